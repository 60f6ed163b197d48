-- Which key may serve a call (limiter.md 8): not resting, all its limits fit; keys reserved for its tier first, then the
-- least recently granted group, then the key in it, by a counter of grants, because several grants share a millisecond.
-- A key that waits to be tried (rests.lua) goes before all others, once: no call can be spared for that otherwise.
--
-- Calls that wait for a pool each hold one candidate, the one that will fit them earliest; later calls of the same
-- pool leave it, and what shares a bucket with it, alone (Q3), and may use the others.
local pool = {}
do
  local FAR = order.FAR
  local LIFE = 86400000
  local counters, touched, held, dirty_held = {}, {}, {}, {}

  function pool.begin()
    counters, touched, held, dirty_held = {}, {}, {}, {}
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
    local at, to_try = rests.stands(candidate)
    return at == 0 and not to_try and have_room(frame.commons, 0) and have_room(candidate.limits, candidate.from)
  end

  -- No candidate is sound: each is off, or waits to be tried.
  local function none_sound(frame)
    if this.kept == 0 then
      return false
    end
    for _, candidate in ipairs(frame.candidates) do
      local at, tries = rests.stands(candidate)
      if not tries and at < FAR then
        return false
      end
    end
    return true
  end

  -- A call that cannot be sent twice tries a key out only where no other could serve it.
  local function may_try(frame, tries)
    return tries or none_sound(frame)
  end

  -- Index of the candidate to grant now, or nil. `without`: candidates that earlier calls hold; `tries`: the call may
  -- be sent again with another key.
  function pool.choose(frame, costs, without, tries)
    local best, best_rank, best_group, best_key
    local single = #frame.candidates == 1
    for i, candidate in ipairs(frame.candidates) do
      local at, to_try = rests.stands(candidate)
      if not without[i] and at == 0 and (not to_try or may_try(frame, tries)) and fits(candidate, costs) then
        if single or to_try then
          return i
        end
        read_counters(frame)
        local rank, group, key = candidate.rank, counters["g" .. candidate.group], counters["k" .. candidate.key]
        if not best or rank < best_rank
          or (rank == best_rank and (group < best_group or (group == best_group and key < best_key))) then
          best, best_rank, best_group, best_key = i, rank, group, key
        end
      end
    end
    return best
  end

  -- When the candidate will fit: time, the place in the costs of the limit that binds (0: it rests), and whether nobody
  -- knows that it will serve then.
  local function ready_at(frame, candidate, costs, behind, tries)
    local at, to_try, unsure = rests.stands(candidate)
    local binds = 0
    if at == 0 then
      at, unsure = this.now, to_try and not may_try(frame, tries)
    end
    if unsure and (behind or at == this.now) then
      at = FAR
    end
    for i, limit in ipairs(candidate.limits) do
      local ahead = behind and line.ahead(behind, limit, true, costs[candidate.from + i]) or 0
      -- a key whose limit is smaller than the call never serves it, and must not be waited for
      local t = (behind and behind.owed and bucket.expected or bucket.earliest)(limit, costs[candidate.from + i], ahead)
      if t > at then
        at, binds = t, candidate.from + i
      end
    end
    return at, binds, unsure
  end

  -- `behind`: the call that waits for it, behind others; nil: the next to go.
  -- The candidate that will fit earliest, of those that are sure to serve if there are such: index, what binds, and when
  -- to look. nil where all are left out.
  function pool.earliest(frame, costs, without, behind, tries)
    local best, best_at, best_binds, best_unsure
    local soonest = FAR
    for i, candidate in ipairs(frame.candidates) do
      if not without[i] then
        local at, binds, unsure = ready_at(frame, candidate, costs, behind, tries)
        soonest = math.min(soonest, at)
        if not best or (best_unsure and not unsure) or (best_unsure == unsure and at < best_at) then
          best, best_at, best_binds, best_unsure = i, at, binds, unsure
        end
      end
    end
    return best, best and soonest, best_binds
  end

  -- When the first candidate wakes, if all of them rest; else nil. FAR: nobody knows.
  function pool.all_rest_until(frame)
    local first = FAR
    for _, candidate in ipairs(frame.candidates) do
      local till = rests.stands(candidate)
      if till == 0 then
        return nil
      end
      first = math.min(first, till)
    end
    return first
  end

  -- No candidate is there to be waited for: each is off, or rests and nobody knows until when.
  function pool.is_out(frame)
    if this.kept == 0 then
      return false
    end
    for _, candidate in ipairs(frame.candidates) do
      local at, _, unsure = rests.stands(candidate)
      if at == 0 or not unsure then
        return false
      end
    end
    return true
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
