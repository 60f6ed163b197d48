-- Which key may serve a call (limiter.md 8): not resting, all its limits fit; the least recently granted group first,
-- then the key in it, by a counter of grants, because several grants share a millisecond.
--
-- Calls that wait for a pool each hold one candidate, the one that will fit them earliest; later calls of the same
-- pool leave it, and what shares a bucket with it, alone (Q3), and may use the others.
local pool = {}
do
  local FAR = order.FAR
  local LIFE = 86400000
  local counters, touched, rests, held, dirty_held, blocks = {}, {}, {}, {}, {}, {}

  function pool.begin()
    counters, touched, rests, held, dirty_held, blocks = {}, {}, {}, {}, {}, {}
  end

  local function read_counters(frame)
    local missing = {}
    for _, candidate in ipairs(frame.candidates) do
      for _, field in ipairs({ "k" .. candidate.key, "g" .. candidate.group }) do
        if not counters[field] then
          counters[field] = 0
          missing[#missing + 1] = field
        end
      end
    end
    if #missing > 0 then
      local found = store.numbers("k", missing)
      for i = 1, #missing do
        counters[missing[i]] = found[i] or 0
      end
    end
  end

  local function read_rests(frame)
    local missing = {}
    for _, candidate in ipairs(frame.candidates) do
      for _, scope in ipairs(candidate.scopes) do
        if not rests[scope] then
          rests[scope] = 0
          missing[#missing + 1] = scope
        end
      end
    end
    if #missing > 0 then
      local found = store.zscores("blk", missing)
      for i = 1, #missing do
        rests[missing[i]] = found[i] or 0
      end
    end
  end

  -- Until when the candidate rests; 0 when it does not. Costs nothing while nothing is blocked.
  function pool.rests_until(frame, candidate)
    if this.blocked <= this.now then
      return 0
    end
    read_rests(frame)
    local latest = 0
    for _, scope in ipairs(candidate.scopes) do
      if rests[scope] > latest then
        latest = rests[scope]
      end
    end
    return latest > this.now and latest or 0
  end

  function pool.block(scope, ms)
    local old = rests[scope] or store.zscores("blk", { scope })[1] or 0
    local till = math.max(old, this.now + ms)
    rests[scope] = till
    blocks[#blocks + 1] = scope
    this.blocked = math.max(this.blocked, till)
  end

  local function fits(candidate, costs)
    for i, limit in ipairs(candidate.limits) do
      if not bucket.fits(limit, costs[candidate.from + i]) then
        return false
      end
    end
    return true
  end

  -- The candidate does not rest, and it and all the common limits have room for a call whose turn it is, whatever the
  -- pace: that was asked when its turn came.
  function pool.can_serve(frame, index, costs)
    local candidate = frame.candidates[index]
    local function have_room(limits, from)
      for i, limit in ipairs(limits) do
        if bucket.used(limit) + costs[from + i] > bucket.amount(limit) then
          return false
        end
      end
      return true
    end
    return pool.rests_until(frame, candidate) == 0 and have_room(frame.commons, 0)
      and have_room(candidate.limits, candidate.from)
  end

  -- Index of the candidate to grant now, or nil. `without`: candidates that earlier calls hold.
  function pool.choose(frame, costs, without)
    local best, best_group, best_key
    local single = #frame.candidates == 1
    for i, candidate in ipairs(frame.candidates) do
      if not without[i] and pool.rests_until(frame, candidate) == 0 and fits(candidate, costs) then
        if single then
          return i
        end
        read_counters(frame)
        local group, key = counters["g" .. candidate.group], counters["k" .. candidate.key]
        if not best or group < best_group or (group == best_group and key < best_key) then
          best, best_group, best_key = i, group, key
        end
      end
    end
    return best
  end

  -- When the candidate will fit: time, and the place in the costs of the limit that binds (0: it rests).
  local function ready_at(frame, candidate, costs, behind)
    local at, binds = pool.rests_until(frame, candidate), 0
    if at == 0 then
      at = this.now
    end
    for i, limit in ipairs(candidate.limits) do
      local ahead = behind and line.ahead(behind, limit, true, costs[candidate.from + i]) or 0
      -- a key whose limit is smaller than the call never serves it, and must not be waited for
      local t = (behind and behind.owed and bucket.expected or bucket.earliest)(limit, costs[candidate.from + i], ahead)
      if t > at then
        at, binds = t, candidate.from + i
      end
    end
    return at, binds
  end

  -- `behind`: the call that waits for it, behind others; nil: the next to go.
  -- The candidate that will fit earliest: index, time, what binds. nil where all are left out.
  function pool.earliest(frame, costs, without, behind)
    local best, best_at, best_binds
    for i, candidate in ipairs(frame.candidates) do
      if not without[i] then
        local at, binds = ready_at(frame, candidate, costs, behind)
        if not best or at < best_at then
          best, best_at, best_binds = i, at, binds
        end
      end
    end
    return best, best_at, best_binds
  end

  -- When the first candidate wakes, if all of them rest; else nil.
  function pool.all_rest_until(frame)
    local first = FAR
    for _, candidate in ipairs(frame.candidates) do
      local till = pool.rests_until(frame, candidate)
      if till == 0 then
        return nil
      end
      first = math.min(first, till)
    end
    return first
  end

  -- The grant is counted for its key and group, where there was a choice: a caller's own key has no rival, and must
  -- not leave a trace for ever.
  function pool.granted(frame, candidate)
    if #frame.candidates == 1 then
      return
    end
    this.grants = this.grants + 1
    for _, field in ipairs({ "k" .. candidate.key, "g" .. candidate.group }) do
      counters[field] = this.grants
      touched[field] = true
    end
  end

  -- What calls that wait for the pool hold, in their order: {index, class, tag, enqueued, attempt}.
  function pool.held(id)
    local of = held[id]
    if not of then
      of = {}
      local v = store.texts("pool:" .. id, { "n", "1", "2", "3", "4", "5", "6", "7", "8" })
      for i = 1, math.min(tonumber(v[1] or 0), 8) do
        local index, class, tag, enqueued, attempt =
          string.match(v[i + 1] or "", "^(%d+) (%S+) (%d+) (%d+) (%S+)$")
        if index then
          of[#of + 1] = {
            index = tonumber(index), class = class, tag = tonumber(tag), enqueued = tonumber(enqueued),
            attempt = attempt,
          }
        end
      end
      held[id] = of
    end
    return of
  end

  -- The call at `at` (from 1) of the pool's line holds `index`; what stood behind it is decided anew.
  function pool.hold(id, at, index, one)
    local of = pool.held(id)
    for i = #of, at, -1 do
      of[i] = nil
    end
    if #of == at - 1 and at <= 8 then
      of[at] = { index = index, class = one.class, tag = one.tag, enqueued = one.enqueued, attempt = one.attempt }
    end
    dirty_held[id] = true
  end

  -- No more than the first `count` hold anything.
  function pool.trim(id, count)
    local of = pool.held(id)
    for i = #of, count + 1, -1 do
      of[i] = nil
      dirty_held[id] = true
    end
  end

  local function take(out, frame, index)
    for i = 1, #frame.candidates do
      if frame.candidates[index] and call.share_bucket(frame, index, i) then
        out[i] = true
      end
    end
  end

  -- The set of candidates that the first `count` holders hold.
  function pool.taken(frame, count)
    local out, of = {}, pool.held(frame.pool)
    for i = 1, math.min(count, #of) do
      take(out, frame, of[i].index)
    end
    return out
  end

  -- The set that those hold who go before `one`.
  function pool.taken_before(frame, one)
    local out, of = {}, pool.held(frame.pool)
    for i = 1, #of do
      if fair.before("p:" .. frame.pool, of[i], one) then
        take(out, frame, of[i].index)
      end
    end
    return out
  end

  function pool.save()
    local values = {}
    for field in pairs(touched) do
      values[#values + 1], values[#values + 2] = field, counters[field]
    end
    if #values > 0 then
      store.put("k", values)
      store.expire("k", LIFE)
    end
    if #blocks > 0 then
      store.ztrim("blk", this.now)
      for _, scope in ipairs(blocks) do
        store.zput("blk", { scope, rests[scope] })
      end
      store.expire("blk", math.max(LIFE, 2 * (this.blocked - this.now)))
    end
    for id in pairs(dirty_held) do
      local of, fields = held[id], { "n", #held[id] }
      for i = 1, #of do
        local h = of[i]
        fields[#fields + 1] = order.text(i)
        fields[#fields + 1] = table.concat({
          order.text(h.index), h.class, order.text(h.tag), order.text(h.enqueued), h.attempt,
        }, " ")
      end
      store.put("pool:" .. id, fields)
      store.expire("pool:" .. id, LIFE)
    end
  end
end
