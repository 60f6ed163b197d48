-- What is decided about a call before anything is done: whether it fits, and when it would. Law: nothing here has an
-- effect, so that a call that only asks is told what a call that arrives is told.
local decision = {}
do
  local FAR = order.FAR
  local NOTHING = {}

  -- The common limit that keeps the call: place, time (nil: behind a smaller tag), position. nil: all fit.
  local function kept_by_common(head)
    local where, at, position
    for i, limit in ipairs(head.frame.commons) do
      -- the name is built only where somebody waits
      if this.waiting > 0 and place.is_behind("b:" .. limit.id, head) then
        return "b:" .. limit.id, nil, i
      end
      if not bucket.fits(limit, head.costs[i]) then
        local t = bucket.earliest(limit, head.costs[i], 0)
        -- A window's time is known: wait there first, or the wake would be for nothing.
        if not where or (t < FAR and (at == FAR or t > at)) then
          where, at, position = "b:" .. limit.id, t, i
        end
      end
    end
    return where, at, position
  end

  -- Candidate index to grant; or nil, then place and time as above, and the candidate held.
  function decision.decide(head, without)
    local where, at, position = kept_by_common(head)
    if where then
      return nil, where, at, position
    end
    local index = pool.choose(head.frame, head.costs, without, head.tries)
    if index then
      return index
    end
    local held, t, binds = pool.earliest(head.frame, head.costs, without, nil, head.tries)
    return nil, "p:" .. head.frame.pool, t, binds or 0, held
  end

  -- When an arrival would be served behind those that go before it: time, position.
  function decision.estimate(head)
    local at, position = this.now, 0
    local fits = head.owed and bucket.expected or bucket.earliest
    for i, limit in ipairs(head.frame.commons) do
      local t = fits(limit, head.costs[i], line.ahead(head, limit, false, head.costs[i]))
      if t > at then
        at, position = t, i
      end
    end
    local _, t, binds = pool.earliest(head.frame, head.costs, NOTHING, head, head.tries)
    if t > at then
      at, position = t, binds
    end
    return at, position
  end

  -- When a call would be served even if everyone who came lately takes his full share until then (rivals.due).
  -- And how long its flow then waits for each turn.
  function decision.latest(head)
    head.waits = line.owed(head)
    head.owed = (head.keeps_place and 0 or head.waits) + (head.is_back and 0 or promise.owed(head.flow))
    head.theirs = head.share * promise.of_others(head.flow)
    local turns = (head.owed + head.share) / head.share
    local at = decision.estimate(head)
    head.owed = nil
    return at, math.floor((at - this.now) / turns)
  end

  -- One of the limits can never hold its cost: code and position.
  local function too_much(costs, limits, from)
    local code, position
    for i = 1, #limits do
      local limit, cost = limits[i], costs[from + i]
      if cost > limit.amount then
        return "never_fits", from + i
      elseif cost > bucket.part(limit.amount) then
        code, position = "store_unavailable", from + i
      end
    end
    return code, position
  end

  -- A candidate, or all the common limits, can never hold the cost: code and position. nil: some wait may help.
  function decision.impossible(head)
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

  -- An arrival that does not go now is refused: code, position, time; or (nil) held: then position and time too.
  function decision.turned_away(head)
    if pool.is_out(head.frame) then
      return "no_key", 0, pool.all_rest_until(head.frame)
    end
    local at, position = decision.estimate(head)
    if at > head.deadline and at < FAR or head.deadline <= this.now then
      local rested = pool.all_rest_until(head.frame)
      if rested and rested > head.deadline then
        return "no_key", 0, rested
      end
      return "wait_too_long", position, at
    end
    line.stand(head)
    return not line.has_room(head) and "queue_full" or nil, position, at
  end

  -- What calls before this one hold of its pool.
  function decision.held_before(head)
    if this.waiting == 0 then
      return NOTHING
    end
    return pool.taken_before(head.frame, head)
  end
end
