-- How fast a window is spent (limiter.md 4.2, Q7, Q8): without it one user burns a minute's room in a second, and
-- whoever comes then waits for a minute in any order of serving.
--
-- While nobody has waited for a whole L, a call goes at once as long as what is then left can still be spent without a
-- pause at N - `idle` per L. Where somebody waits, calls go at the flow: the highest rate at which the room there is,
-- and what leaves the window as it turns, last without a pause (at most N per L). So no burst, however it was spread,
-- is repaid by silence (Q7). What drained at the flow while nobody looked, up to the `busy` burst, may go at once. A
-- call larger than the burst waits until all of it is there, and the flow then tells what it has cost (Q8).
--
-- Laws: pacing only smooths, the window beside it is what keeps N; a settlement is not given back here, it shows in
-- the flow by the room it makes (14.2); levels are units, so that a changed rate says nothing new about the past.
--
-- Stored in the window's `h`: `over` what was spent above the flow, `at` when that was so, `rest` what had drained of
-- the next unit in 1/L of it, `busy` until when the window counts as such, `flow` in units per L, `spare` what may go
-- at once while idle, `found` when these two were.
local pace = {}
do
  local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min
  -- Wakes this many milliseconds apart are enough: 200 a second for a service.
  local GRAIN = 5
  -- The window says when there is no room at all; until then a sixteenth of N goes on.
  local LEAST_FLOW = 16
  -- A little more than lasts: the window then decides how much is used, and not the pace.
  local AHEAD = 64

  -- The part of a burst that goes with the part of N in use.
  local function part_of(burst, limit, amount)
    return max(1, floor(burst * amount / limit.amount))
  end

  -- What may go at once where somebody waits. `least`: of a learned N that is a small part of its limit.
  local function busy_part(limit, amount)
    return max(limit.least or 1, part_of(limit.busy, limit, amount))
  end

  local function is_busy(b)
    return b.q > 0 or this.now < b.pace.busy
  end

  -- Finds the flow, and what may go at once while idle. `used`: of N.
  local function look(b, limit, amount, used)
    local p, length = b.pace, limit.length
    local slow = amount - part_of(limit.idle, limit, amount)
    local even = ceil(amount * b.w / length)
    local free = amount - used
    local flow, spare = amount, amount
    window.walk(b, function(units, leaves_in)
      -- of an even flow one slice leaves as the next is due
      flow = min(flow, floor((free + min(units, even)) * length / leaves_in))
      spare = min(spare, free - ceil(slow * leaves_in / length))
      free = free + units
    end)
    p.flow = max(flow + floor(flow / AHEAD), ceil(amount / LEAST_FLOW))
    p.spare, p.found = min(spare, free - slow), this.now
  end

  -- A slice later something may have left.
  local function refresh(b, limit, amount, used)
    if this.now - b.pace.found >= b.w then
      look(b, limit, amount, used)
    end
  end

  -- What is over now, and what has drained of the next unit. The flow of now counts for all the time since the last
  -- call: where it has grown since, because room came back, nobody is held to what it was.
  local function level(b, limit, amount, used)
    local p, length, flow = b.pace, limit.length, amount
    if is_busy(b) or used >= part_of(limit.idle, limit, amount) then
      refresh(b, limit, amount, used)
      flow = p.flow
    end
    local passed = this.now - p.at
    if passed < length then
      local part = passed * flow + min(p.rest, length)
      local whole = floor(part / length)
      if whole < p.over then
        return p.over - whole, part - whole * length
      end
    end
    return 0, 0
  end

  function pace.fits(b, limit, amount, used, cost)
    if limit.idle == 0 then
      return true
    end
    if not is_busy(b) then
      local idle = part_of(limit.idle, limit, amount)
      if used + cost <= idle then
        return true
      end
      refresh(b, limit, amount, used)
      if min(cost, idle) <= b.pace.spare then
        return true
      end
    end
    local most = busy_part(limit, amount)
    return level(b, limit, amount, used) + min(cost, most) <= most
  end

  function pace.charge(b, limit, amount, used, cost)
    if limit.idle == 0 then
      return
    end
    local p, most = b.pace, busy_part(limit, amount)
    local over, rest = level(b, limit, amount, used)
    p.over, p.rest, p.at, p.spare = min(over + cost, most), rest, this.now, p.spare - cost
    if cost > most then
      -- large enough to show in the flow at once
      p.found = 0
    end
    b.changed = true
  end

  -- A charge is taken back, as if it had not been made.
  function pace.give_back(b, limit, cost)
    if limit.idle == 0 then
      return
    end
    local p = b.pace
    p.over, p.spare, b.changed = max(0, p.over - cost), p.spare + cost, true
  end

  -- Somebody begins to wait, or waits no more. `b.q` is as it was before.
  function pace.queue(b, limit)
    if limit.idle == 0 then
      return
    end
    if not is_busy(b) then
      b.pace.found = 0
    end
    b.pace.busy = this.now + limit.length
  end

  -- The flow grows as slices leave: when `short` will have drained since the last call, if none goes before. By then
  -- (now - at) x room >= short x (leaves - now) for each slice, where room is what is free just before it leaves.
  local function grown(b, amount, used, short)
    local began, free, at = b.pace.at, max(0, amount - used), this.now
    window.walk(b, function(units, leaves_in)
      local leaves = this.now + leaves_in
      at = max(at, leaves - floor(free * (leaves - began) / (free + short)))
      free = free + units
    end)
    return at
  end

  -- When `cost` will go behind `ahead` more, if it waits.
  function pace.earliest(b, limit, amount, used, cost, ahead)
    if limit.idle == 0 or (ahead == 0 and pace.fits(b, limit, amount, used, cost)) then
      return this.now
    end
    refresh(b, limit, amount, used)
    local p, length = b.pace, limit.length
    local over, rest = level(b, limit, amount, used)
    local most = busy_part(limit, amount)
    local slack = most - min(cost, most)
    local short = over + ahead - slack
    if short <= 0 then
      return this.now
    end
    local at = this.now + ceil((short * length - rest) / p.flow)
    if at - this.now > b.w then
      at = min(at, grown(b, amount, used, p.over + ahead - slack))
    end
    -- a wake that is late loses nothing as long as what drains meanwhile is room for calls to come
    if slack * length >= GRAIN * amount then
      at = ceil(at / GRAIN) * GRAIN
    end
    return at
  end
end
