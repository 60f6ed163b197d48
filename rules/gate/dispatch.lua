-- Arrivals and waiting calls, the smallest start tag first: grant, park, or refuse. Law: all limits of a call are
-- checked before any is charged; no call passes a smaller tag that waits for the same limit; whoever leaves a place
-- lets the next try.
local dispatch = {}
do
  local FAR = order.FAR
  -- Waiting calls looked at in one tick (limiter.md 7, step 6); the caller ticks again at once for the rest.
  local MOST_INSPECTED = 64
  local MOST_DUE = 16
  -- Calls of one pool's line that may each hold a candidate (pool.lua stores as many): first the heads of its flows,
  -- then the calls behind them.
  local MOST_HOLDERS = 8
  local NOTHING = {}

  local sources, source_of

  function dispatch.begin()
    sources, source_of = {}, {}
  end

  -- Look at the flows that stand in a place, from the first. `held`: how many hold a candidate of the pool; `skips`:
  -- how many of each class; `deep`: flows whose later calls may use what is left.
  function dispatch.wake(name)
    local source = source_of[name]
    if not source then
      source = { name = name }
      source_of[name] = source
      sources[#sources + 1] = source
    end
    source.held, source.skips, source.deep, source.done, source.at = 0, {}, {}, false, FAR
  end

  -- Look again at `at`, though its source may have had its turn in this tick already.
  local function wake_by(name, at)
    place.wake_by(name, at)
    local source = source_of[name]
    if source then
      source.at = math.min(source.at, at)
    end
  end

  -- When a refused call should come back, where that is known. `at`: when the limits say that it would go.
  local function tell(head, at)
    local latest, turn = decision.latest(head)
    if latest >= FAR or (head.again == "-" and at < FAR) then
      return at
    end
    at = at < FAR and math.max(at, latest) or latest
    return head.again == "-" and at or promise.tell(head, at, turn)
  end

  -- A call whose time in the line is up is told when to come back.
  function dispatch.expire(head)
    local at, position = decision.estimate(head)
    answer.refuse(head, "hold_expired", position, tell(head, at))
  end

  -- The arrival does not go now: hold it in the place, or refuse it. Returns true when it is held.
  local function hold(head, name)
    rivals.saw(head)
    local code, position, at = decision.turned_away(head)
    if code then
      answer.refuse(head, code, position, code == "wait_too_long" and tell(head, at) or at)
      return false
    end
    this.ranks = true
    line.register(head, name)
    answer.hold(head, position)
    return true
  end

  -- An observed call goes in any case; what it would be told if its limits were enforced is said beside the grant.
  local function observe(head)
    local index
    local code, position, at = decision.impossible(head)
    if not code then
      line.stand(head)
      index = decision.decide(head, decision.held_before(head))
      if not index then
        code, position, at = decision.turned_away(head)
      end
    end
    if not index then
      answer.observe(head, code, position, at)
      index = pool.choose(head.frame, head.costs, NOTHING, head.tries)
        or pool.earliest(head.frame, head.costs, NOTHING, nil, head.tries)
    end
    answer.grant(head, index)
  end

  -- How things stand for a call that only asks, by what decides about it.
  local function see(head)
    line.stand(head)
    answer.see(head, decision.decide(head, decision.held_before(head)), decision.estimate(head))
  end

  -- A call that was told to come back now: the candidate that is kept for it; else it has the place that it was promised.
  local function come_back(head)
    local p = promise.find(head)
    if not p then
      return nil
    end
    local stands = p.state == "l" and line.head(p.head.attempt)
    for _, name in ipairs(stands and line.leave(stands) or {}) do
      dispatch.wake(name)
    end
    head.enqueued, head.keeps_place, head.is_back = math.min(head.enqueued, p.head.enqueued), true, true
    return promise.redeem(p, head)
  end

  local function arrive(head)
    if #head.frame.candidates == 0 then
      return answer.refuse(head, "no_key")
    end
    if this.asks then
      see(head)
    end
    if head.observed then
      return observe(head)
    end
    local code, position = decision.impossible(head)
    if code then
      return answer.refuse(head, code, position)
    end
    if this.waiting > 0 or this.promised > 0 then
      rivals.saw(head)
      local kept = come_back(head)
      if kept then
        head.had_turn = true
        return answer.grant(head, kept)
      end
    end
    if this.ranks then
      line.stand(head)
    end
    local index, where, at, _, held = decision.decide(head, decision.held_before(head))
    if index then
      return answer.grant(head, index)
    end
    if hold(head, where) then
      if at then
        wake_by(where, at)
      end
      -- Who holds what is decided anew, from the first.
      if held and head.leads and where == "p:" .. head.frame.pool then
        dispatch.wake(where)
      end
    end
  end

  -- A call behind the head of its flow tries what the heads do not hold.
  local function retry_deep(source, one)
    local index, where, at, _, held = decision.decide(one.head, pool.taken(one.head.frame, source.held))
    if index then
      line.leave(one.head)
      return answer.grant(one.head, index)
    end
    source.at = math.min(source.at, at or FAR)
    if where == source.name and held and source.held < MOST_HOLDERS then
      source.held = source.held + 1
      pool.hold(one.head.frame.pool, source.held, held, one)
      one.deep.depth = one.deep.depth + 1
    else
      source.done = true
    end
  end

  -- The flow stays here: its head could not go.
  local function stay(source, one, at, held)
    source.at = math.min(source.at, at or FAR)
    local head = one.head
    if not held or source.name ~= "p:" .. head.frame.pool or source.held >= MOST_HOLDERS then
      source.done = true
      return
    end
    source.held = source.held + 1
    pool.hold(head.frame.pool, source.held, held, one)
    if #head.frame.candidates == 1 then
      source.done = true
    else
      source.skips[one.class] = (source.skips[one.class] or 0) + 1
      source.deep[#source.deep + 1] = { flow = line.flow(one.flow, one.class), depth = 1, one = one }
    end
  end

  -- The head of a flow that stands in the place of a source is served, moves on, or ends its source's turn.
  local function retry(source, one)
    local head = line.head(one.attempt)
    if not head then
      -- without a record it cannot be served, and must not block those behind it
      return place.take_out(source.name, one.class, one.entry)
    end
    head.tag, head.leads, one.head = one.tag, true, head
    if head.deadline <= this.now then
      for _, name in ipairs(line.leave(head)) do
        dispatch.wake(name)
      end
      return
    end
    if one.deep then
      return retry_deep(source, one)
    end
    local pool_name = "p:" .. head.frame.pool
    local without = NOTHING
    if source.name == pool_name then
      without = pool.taken(head.frame, source.held)
    else
      without = decision.held_before(head)
    end
    local index, where, at, _, held = decision.decide(head, without)
    if index then
      for _, name in ipairs(line.leave(head)) do
        if name ~= source.name then
          dispatch.wake(name)
        end
      end
      return answer.grant(head, index)
    end
    local flow = line.flow(one.flow, one.class)
    if where ~= source.name then
      if source.name == flow.place then
        line.move(head, where)
      end
      if where == pool_name then
        dispatch.wake(where)
      elseif at then
        wake_by(where, at)
      end
    end
    if line.stands(flow, source.name) then
      stay(source, one, at, held)
    end
  end

  -- Who is next in the place of a source.
  local function next_of(source)
    local one = place.next(source.name, source.skips)
    if one then
      return one
    end
    for _, deep in ipairs(source.deep) do
      local attempt = ranked.at(deep.flow.calls, deep.depth)
      if attempt then
        local head = line.head(attempt)
        if head then
          return {
            class = deep.flow.class, tag = deep.flow.start, enqueued = head.enqueued, attempt = attempt,
            flow = deep.flow.id, deep = deep,
          }
        end
      end
    end
    return nil
  end

  -- Between places: in one class by tag, else by age.
  local function goes_before(source, a, best_source, b)
    if source == best_source or a.class == b.class then
      return fair.before(source.name, a, b)
    end
    return order.before(a.enqueued, a.attempt, b.enqueued, b.attempt)
  end

  local function next_source()
    local best, best_one
    for _, source in ipairs(sources) do
      if not source.done then
        local one = next_of(source)
        if not one then
          source.done = true
        elseif not best or goes_before(source, one, best, best_one) then
          best, best_one = source, one
        end
      end
    end
    return best, best_one
  end

  -- A key is back: whoever waits for one may look.
  function dispatch.wake_pools()
    for _, name in ipairs(place.timed("p:")) do
      dispatch.wake(name)
    end
  end

  local function wake_what_can_move()
    for _, name in ipairs(promise.due()) do
      dispatch.wake(name)
    end
    if this.waiting == 0 then
      return
    end
    dispatch.wake("ready")
    for _, name in ipairs(place.due(MOST_DUE)) do
      dispatch.wake(name)
    end
    for _, id in ipairs(bucket.freed()) do
      dispatch.wake("b:" .. id)
      for _, name in ipairs(draws.places(id)) do
        dispatch.wake(name)
      end
    end
  end

  -- A call that arrives goes before one that waits elsewhere only with a smaller tag, or in another class by age.
  local function arrives_before(arrival, source, one)
    if not one or not this.ranks then
      return true
    end
    if not arrival.tag then
      line.stand(arrival)
    end
    if arrival.class == one.class then
      return fair.before(source.name, arrival, one)
    end
    return order.before(arrival.enqueued, arrival.attempt, one.enqueued, one.attempt)
  end

  -- `arrivals` in order of priority, enqueue time, attempt. Returns whether the tick was cut short.
  function dispatch.run(arrivals)
    wake_what_can_move()
    this.ranks = fair.rank(arrivals)
    local inspected, i, cut = 0, 1, false
    while true do
      local source, one = next_source()
      local arrival = arrivals[i]
      if arrival and arrives_before(arrival, source, one) then
        i = i + 1
        arrive(arrival)
      elseif source then
        if inspected >= MOST_INSPECTED then
          cut = true
          break
        end
        inspected = inspected + 1
        retry(source, one)
      else
        break
      end
    end
    for j = i, #arrivals do
      if #arrivals[j].frame.candidates == 0 or arrivals[j].observed or decision.impossible(arrivals[j]) then
        arrive(arrivals[j])
      else
        if this.asks then
          see(arrivals[j])
        end
        hold(arrivals[j], "ready")
      end
    end
    for _, source in ipairs(sources) do
      if string.sub(source.name, 1, 2) == "p:" then
        pool.trim(string.sub(source.name, 3), source.held)
      end
      if source.name ~= "ready" then
        place.set_wake(source.name, source.done and source.at or this.now)
      end
    end
    return cut
  end
end
