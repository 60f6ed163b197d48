-- Arrivals and waiting calls, oldest first: grant, park, or refuse. Law: all limits of a call are checked before any
-- is charged; no call passes an earlier one that waits for the same limit; whoever leaves a place lets the next try.
local dispatch = {}
do
  local FAR = order.FAR
  -- Waiting calls looked at in one tick (limiter.md 7, step 6); the caller ticks again at once for the rest.
  local MOST_INSPECTED = 64
  local MOST_DUE = 16
  -- Calls of one pool's line that may each hold a candidate (pool.lua stores as many).
  local MOST_HOLDERS = 8
  local GRANT, REFUSE, PUSHED, HELD = 1, 2, 3, 4
  local CODES = { wait_too_long = 1, never_fits = 2, queue_full = 3, no_key = 4, store_unavailable = 5 }
  local NOTHING = {}

  local sources, source_of, answers, pushed, pushed_to

  function dispatch.begin()
    sources, source_of, answers, pushed, pushed_to = {}, {}, {}, {}, {}
  end

  -- Look at the calls that stand in a place.
  function dispatch.wake(name)
    if not source_of[name] then
      local source = { name = name, skip = 0, done = false, at = FAR }
      source_of[name] = source
      sources[#sources + 1] = source
    end
  end

  -- Look again at `at`, though its source may have had its turn in this tick already.
  local function wake_by(name, at)
    line.wake_by(name, at)
    local source = source_of[name]
    if source then
      source.at = math.min(source.at, at)
    end
  end

  local function refuse(head, code, position, at)
    local wait = at and at < FAR and math.max(0, at - this.now) or -1
    local out = { REFUSE, head.n, CODES[code], position or 0, wait }
    for i = 1, #out do
      answers[#answers + 1] = out[i]
    end
  end

  -- Id and cost of each limit on calls in flight that a grant takes from.
  local function in_flight(head, candidate)
    local out = {}
    local function note(limits, before)
      for i, limit in ipairs(limits) do
        if limit.kind == "c" then
          out[#out + 1], out[#out + 2] = limit.id, order.text(head.costs[before + i])
        end
      end
    end
    note(head.frame.commons, 0)
    note(candidate.limits, candidate.from)
    return out
  end

  -- Charges everything and says so: {GRANT, n, candidate, fullest, its use, how many slices, slices...}.
  local function grant(head, index)
    local candidate = head.frame.candidates[index]
    local own = head.owner == this.replica
    local out = own and answers or {}
    local start, fullest, at, use = #out, -1, 0, 0
    local from, last = start + 6, start + 6
    local function take(limits, before)
      for i = 1, #limits do
        local limit = limits[i]
        last = last + 1
        out[last] = bucket.charge(limit, head.costs[before + i], head.owner)
        local used, amount = bucket.used(limit), bucket.amount(limit)
        if used / amount > fullest then
          fullest, at, use = used / amount, last - from, used
        end
      end
    end
    out[start + 1], out[start + 2], out[start + 3] = own and GRANT or PUSHED, head.n, index
    out[start + 4], out[start + 5], out[start + 6] = 0, 0, 0
    take(head.frame.commons, 0)
    take(candidate.limits, candidate.from)
    out[start + 4], out[start + 5], out[start + 6] = at, use, last - from
    pool.granted(head.frame, candidate)
    if own then
      return
    end
    for i = 1, #out do
      out[i] = order.text(out[i])
    end
    if not pushed[head.owner] then
      pushed[head.owner] = {}
      pushed_to[#pushed_to + 1] = head.owner
    end
    local list = pushed[head.owner]
    list[#list + 1] = order.text(head.n)
    list[#list + 1] = table.concat(out, " ") .. ";" .. table.concat(in_flight(head, candidate), " ")
    this.pushed = this.pushed + 1
  end

  -- The common limit that keeps the call: place, time (nil: behind an earlier call), position. nil: all fit.
  local function kept_by_common(head)
    local place, at, position
    for i, limit in ipairs(head.frame.commons) do
      -- the name is built only where somebody waits
      if this.waiting > 0 and line.is_behind("b:" .. limit.id, head) then
        return "b:" .. limit.id, nil, i
      end
      if not bucket.fits(limit, head.costs[i]) then
        local t = bucket.earliest(limit, head.costs[i], 0)
        -- A window's time is known: wait there first, or the wake would be for nothing.
        if not place or (t < FAR and (at == FAR or t > at)) then
          place, at, position = "b:" .. limit.id, t, i
        end
      end
    end
    return place, at, position
  end

  -- Candidate index to grant; or nil, then place and time as above, and the candidate held.
  local function decide(head, without)
    local place, at, position = kept_by_common(head)
    if place then
      return nil, place, at, position
    end
    local index = pool.choose(head.frame, head.costs, without)
    if index then
      return index
    end
    local held, t, binds = pool.earliest(head.frame, head.costs, without, false)
    return nil, "p:" .. head.frame.pool, t, binds or 0, held
  end

  -- When an arrival would be served behind all that wait: time, position. `fresh`: it has no place from before.
  local function estimate(head, fresh)
    local at, position = this.now, 0
    for i, limit in ipairs(head.frame.commons) do
      local t = bucket.earliest(limit, head.costs[i], fresh and bucket.queued(limit) or 0)
      if t > at then
        at, position = t, i
      end
    end
    local _, t, binds = pool.earliest(head.frame, head.costs, NOTHING, fresh)
    if t > at then
      at, position = t, binds
    end
    return at, position
  end

  -- One of the limits can never hold its cost: code and position.
  local function too_much(costs, limits, from)
    local code, position
    for i = 1, #limits do
      local limit, cost = limits[i], costs[from + i]
      if cost > limit.amount then
        return "never_fits", from + i
      elseif cost > bucket.amount(limit) then
        code, position = "store_unavailable", from + i
      end
    end
    return code, position
  end

  -- A candidate, or all the common limits, can never hold the cost: code and position. nil: some wait may help.
  local function impossible(head)
    local code, position = too_much(head.costs, head.frame.commons, 0)
    if code then
      return code, position
    end
    for _, candidate in ipairs(head.frame.candidates) do
      local c, p = too_much(head.costs, candidate.limits, candidate.from)
      if not c then
        return nil
      end
      if not code or c == "store_unavailable" then
        code, position = c, p
      end
    end
    return code, position
  end

  -- The arrival does not go now: hold it in `place`, or refuse it. Returns true when it is held.
  local function hold(head, place)
    local at, position = estimate(head, not head.keeps_place)
    if at > head.deadline and at < FAR or head.deadline <= this.now then
      local rested = pool.all_rest_until(head.frame)
      if rested and rested > head.deadline then
        refuse(head, "no_key", 0, rested)
      else
        refuse(head, "wait_too_long", position, at)
      end
      return false
    end
    if this.waiting >= head.most_waiting then
      refuse(head, "queue_full", position, at)
      return false
    end
    line.register(head, place)
    local n = #answers
    answers[n + 1], answers[n + 2], answers[n + 3] = HELD, head.n, position
    return true
  end

  local function observe(head)
    local index = pool.choose(head.frame, head.costs, NOTHING)
      or pool.earliest(head.frame, head.costs, NOTHING, false)
    grant(head, index)
  end

  -- Calls before the head in its pool's line leave it what they do not hold.
  local function held_before(head)
    if this.waiting == 0 then
      return NOTHING, 0
    end
    local name = "p:" .. head.frame.pool
    if not line.is_behind(name, head) then
      return NOTHING, 0
    end
    local places = 0
    while line.at(name, places) do
      places = places + 1
      if places > #head.frame.candidates then
        break
      end
    end
    return pool.taken_before(head.frame, places), places
  end

  local function arrive(head)
    if #head.frame.candidates == 0 then
      return refuse(head, "no_key")
    end
    if head.observed then
      return observe(head)
    end
    local code, position = impossible(head)
    if code then
      return refuse(head, code, position)
    end
    local without, places = held_before(head)
    local index, place, at, _, held = decide(head, without)
    if index then
      return grant(head, index)
    end
    if hold(head, place) then
      if at then
        wake_by(place, at)
      end
      if held and place == "p:" .. head.frame.pool then
        pool.hold(head.frame.pool, places + 1, held)
      end
    end
  end

  -- The waiting call of a source is served, moves on, or ends its source's turn.
  local function retry(source, attempt)
    local head = line.head(attempt)
    if not head then
      return line.discard(source.name, attempt)
    end
    if head.deadline <= this.now then
      return line.leave(head)
    end
    local pool_name = "p:" .. head.frame.pool
    local without = NOTHING
    if source.name == pool_name then
      without = pool.taken_before(head.frame, source.skip)
    elseif this.waiting > 0 then
      without = held_before(head)
    end
    local index, place, at, _, held = decide(head, without)
    if index then
      line.leave(head)
      return grant(head, index)
    end
    if place ~= source.name then
      line.move(head, place)
      if at then
        wake_by(place, at)
      end
      return
    end
    source.at = math.min(source.at, at or FAR)
    if place == pool_name and held and source.skip < MOST_HOLDERS then
      source.skip = source.skip + 1
      pool.hold(head.frame.pool, source.skip, held)
      source.done = #head.frame.candidates == 1
    else
      source.done = true
    end
  end

  local function next_source()
    local best, best_attempt, best_time
    for _, source in ipairs(sources) do
      if not source.done then
        local attempt, time = line.at(source.name, source.skip)
        if not attempt then
          source.done = true
        elseif not best or order.before(time, attempt, best_time, best_attempt) then
          best, best_attempt, best_time = source, attempt, time
        end
      end
    end
    return best, best_attempt, best_time
  end

  local function wake_what_can_move()
    if this.waiting == 0 then
      return
    end
    dispatch.wake("ready")
    for _, name in ipairs(line.due(MOST_DUE)) do
      dispatch.wake(name)
    end
    for _, id in ipairs(bucket.freed()) do
      dispatch.wake("b:" .. id)
      for _, name in ipairs(line.pools(id)) do
        dispatch.wake(name)
      end
    end
  end

  -- `arrivals` in order of enqueue time, then attempt. Returns when to look again, if the tick was cut short.
  function dispatch.run(arrivals)
    wake_what_can_move()
    local inspected, i, cut = 0, 1, false
    while true do
      local source, attempt, time = next_source()
      local arrival = arrivals[i]
      if source and (not arrival or order.before(time, attempt, arrival.enqueued, arrival.attempt)) then
        if inspected >= MOST_INSPECTED then
          cut = true
          break
        end
        inspected = inspected + 1
        retry(source, attempt)
      elseif arrival then
        i = i + 1
        arrive(arrival)
      else
        break
      end
    end
    for j = i, #arrivals do
      if #arrivals[j].frame.candidates == 0 or arrivals[j].observed or impossible(arrivals[j]) then
        arrive(arrivals[j])
      else
        hold(arrivals[j], "ready")
      end
    end
    for _, source in ipairs(sources) do
      if source.name ~= "ready" then
        line.set_wake(source.name, source.done and source.at or this.now)
      end
    end
    return cut
  end

  -- Flat integers of this tick's own answers.
  function dispatch.answers()
    return answers
  end

  function dispatch.save()
    for _, owner in ipairs(pushed_to) do
      store.put("grant:" .. owner, pushed[owner])
      store.expire("grant:" .. owner, 900000)
      store.nudge(owner)
    end
  end
end
