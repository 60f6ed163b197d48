-- How fast a window is spent (limiter.md 4.2, Q7, Q8): without it one user burns a minute's room in a second, and
-- whoever comes then waits for a minute in any order of serving.
--
-- What was spent above an even flow of N per L is `over`; it drains at that rate, and a call goes while it leaves
-- `over` within the burst: `idle` while nobody has waited for a whole L, `busy` where somebody does. Laws: pacing only
-- smooths, the window beside it is what keeps N; nothing is given back here (14.2); levels are units, so that a changed
-- rate says nothing new about the past. A call larger than the burst goes at 0 and leaves a debt (Q8).
--
-- A burst is not repaid by silence (Q7). When somebody begins to wait behind one, all that is over is `owed`, and so is
-- what a single large call takes beyond the busy burst: the even flow is N - owed per L, until the slice in which it
-- came to be owed leaves the window.
--
-- Stored in the window's hash: `d` over, `dt` when that was so, `dr` what had drained of the next unit in 1/L of it,
-- `e` owed, `eu` when the last of it goes, `c` until when the window counts as busy; `x<slice>` what is owed since then.
local pace = {}
do
  local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min
  -- Wakes this many milliseconds apart are enough: 200 a second for a service.
  local GRAIN = 5
  -- However much is owed, a sixteenth of the flow goes on; the window says when there is no room.
  local LEAST_FLOW = 16

  function pace.read(v, at)
    return {
      over = v[at] or 0, t = v[at + 1] or 0, rem = v[at + 2] or 0, owed = v[at + 3] or 0, till = v[at + 4] or 0,
      busy = v[at + 5] or 0, since = {}, changed = false,
    }
  end

  -- The slices from..to leave the window. Returns the fields to drop.
  function pace.leave(b, from, to)
    local p, fields, gone = b.pace, {}, {}
    if p.owed == 0 then
      return gone
    end
    for i = from, to do
      fields[#fields + 1] = "x" .. order.text(i)
    end
    local found = store.numbers(b.key, fields)
    for i = 1, #fields do
      if found[i] then
        p.owed, p.changed = p.owed - found[i], true
        gone[#gone + 1] = fields[i]
      end
    end
    return gone
  end

  local function drain_for(p, ms, flow, length)
    local part = ms * flow + p.rem
    local whole = floor(part / length)
    if whole < p.over then
      p.over, p.rem = p.over - whole, part - whole * length
    else
      p.over, p.rem = 0, 0
    end
  end

  local function flow_of(p, amount)
    return max(amount - p.owed, ceil(amount / LEAST_FLOW))
  end

  -- As it stands now. `amount`: N.
  local function drain(p, limit, amount)
    if p.t >= this.now then
      return
    end
    local length, t = limit.length, p.t
    p.t = this.now
    if this.now - t < length then
      p.rem = min(p.rem, length - 1)
      drain_for(p, this.now - t, flow_of(p, amount), length)
    else
      p.over, p.rem = 0, 0
    end
  end

  -- The part of a burst that goes with the part of N in use.
  local function part_of(burst, limit, amount)
    if amount == limit.amount then
      return burst
    end
    return max(1, floor(burst * amount / limit.amount))
  end

  local function is_busy(b)
    return b.q > 0 or this.now < b.pace.busy
  end

  -- What would be over, and what more would be owed, in a window that is busy from now on.
  local function turned(b, limit, amount)
    local p, most = b.pace, part_of(limit.busy, limit, amount)
    return min(p.over, most), is_busy(b) and max(0, p.over - most) or p.over
  end

  local function turn(b, limit, amount)
    local p, more = b.pace, 0
    p.over, more = turned(b, limit, amount)
    if more > 0 then
      p.since[b.current] = (p.since[b.current] or 0) + more
      p.owed, p.till = p.owed + more, (b.current + 1) * b.w + b.length
    end
  end

  function pace.fits(b, limit, amount, cost)
    if limit.idle == 0 then
      return true
    end
    local p = b.pace
    drain(p, limit, amount)
    local most = part_of(is_busy(b) and limit.busy or limit.idle, limit, amount)
    return p.over + min(cost, most) <= most
  end

  function pace.charge(b, limit, amount, cost)
    if limit.idle == 0 then
      return
    end
    local p = b.pace
    drain(p, limit, amount)
    p.over, p.changed, b.changed = p.over + cost, true, true
    if is_busy(b) then
      turn(b, limit, amount)
    end
  end

  -- A call was `delta` larger than was foreseen.
  function pace.settle(b, delta)
    local p = b.pace
    if delta > 0 and p.t > 0 then
      p.over, p.changed, b.changed = p.over + delta, true, true
    end
  end

  -- Somebody begins to wait, or waits no more. `b.q` is as it was before.
  function pace.queue(b, limit, amount)
    if limit.idle == 0 then
      return
    end
    local p = b.pace
    drain(p, limit, amount)
    turn(b, limit, amount)
    p.busy, p.changed, b.changed = this.now + limit.length, true, true
  end

  -- When `cost` will go behind `ahead` more, if it waits.
  function pace.earliest(b, limit, amount, cost, ahead)
    if limit.idle == 0 or (ahead == 0 and pace.fits(b, limit, amount, cost)) then
      return this.now
    end
    local p, length = b.pace, limit.length
    drain(p, limit, amount)
    local over, more = turned(b, limit, amount)
    local most = part_of(limit.busy, limit, amount)
    local slack = most - min(cost, most)
    local short = over + ahead - slack
    if short <= 0 then
      return this.now
    end
    local owed, till = p.owed + more, more > 0 and this.now + length or p.till
    local flow, need = max(amount - owed, ceil(amount / LEAST_FLOW)), short * length - p.rem
    local at = this.now + max(0, ceil(need / flow))
    if owed > 0 and at > till then
      -- the rest at the whole flow
      at = till + max(0, ceil((need - (till - this.now) * flow) / amount))
    end
    -- a wake that is late loses nothing as long as what drains meanwhile is room for calls to come
    if slack * length >= GRAIN * amount then
      at = ceil(at / GRAIN) * GRAIN
    end
    return at
  end

  function pace.save(b, values)
    local p, n = b.pace, #values
    values[n + 1], values[n + 2], values[n + 3], values[n + 4] = "d", p.over, "dt", p.t
    values[n + 5], values[n + 6], values[n + 7], values[n + 8] = "dr", p.rem, "e", p.owed
    values[n + 9], values[n + 10], values[n + 11], values[n + 12] = "eu", p.till, "c", p.busy
    for i, more in pairs(p.since) do
      local key = "x" .. order.text(i)
      values[#values + 1], values[#values + 2] = key, (store.numbers(b.key, { key })[1] or 0) + more
    end
  end
end
