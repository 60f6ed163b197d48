-- What a tick answers: grants, refusals and holds for its own replica, and grants pushed to the others. Law: a grant
-- charges everything it names, and moves the tags of whoever had his turn. Before a grant whose outcome tells whether a
-- resting key is back stands {TRIES, n}, and before one on a limit that is being found out {LEARNED, n, its N now}.
local answer = {}
do
  local FAR = order.FAR
  local GRANT, REFUSE, PUSHED, HELD, SEEN, OBSERVED, TRIES, LEARNED = 1, 2, 3, 4, 5, 6, 7, 8
  local CODES = { wait_too_long = 1, never_fits = 2, queue_full = 3, no_key = 4, store_unavailable = 5, hold_expired = 6 }
  local answers, pushed, pushed_to

  function answer.begin()
    answers, pushed, pushed_to = {}, {}, {}
  end

  -- Milliseconds from now; -1: nobody knows.
  local function wait_until(at)
    return at and at < FAR and math.max(0, at - this.now) or -1
  end

  local function say(out)
    for i = 1, #out do
      answers[#answers + 1] = out[i]
    end
  end

  function answer.refuse(head, code, position, at)
    say({ REFUSE, head.n, CODES[code], position or 0, wait_until(at) })
  end

  -- What an observed call would be told; code nil: that it is held.
  function answer.observe(head, code, position, at)
    say({ OBSERVED, head.n, code and CODES[code] or 0, position or 0, wait_until(at) })
  end

  -- How things stand for a call that would go at `at`: the candidate (nil: that which fits earliest) and its rest, then
  -- each limit: {used, amount, what goes before the call, when it fits behind that, 1: its pace decides that}.
  function answer.see(head, index, at)
    index = index or pool.earliest(head.frame, head.costs, {}, head, head.tries)
    local candidate = head.frame.candidates[index]
    local rest = math.max(0, (rests.stands(candidate)) - this.now)
    say({ SEEN, head.n, index, rest, wait_until(at), #head.frame.commons + #candidate.limits })
    local function stand(limits, before, of_key)
      for i, limit in ipairs(limits) do
        local cost, amount = head.costs[before + i], bucket.amount(limit)
        local ahead = line.ahead(head, limit, of_key, cost)
        local fits = cost <= amount and bucket.earliest(limit, cost, ahead) or FAR
        local paced = fits < FAR and bucket.is_pace(limit, cost, ahead, fits)
        say({ bucket.used(limit), amount, ahead, wait_until(fits), paced and 1 or 0 })
      end
    end
    stand(head.frame.commons, 0, false)
    stand(candidate.limits, candidate.from, true)
  end

  -- Id and cost of what a grant holds while the call is in flight.
  local function in_flight(head, candidate)
    local out = {}
    local function note(limits, before)
      for i, limit in ipairs(limits) do
        if limit.kind == "c" or limit.kind == "e" then
          out[#out + 1], out[#out + 2] = limit.id, order.text(head.costs[before + i])
        end
      end
    end
    note(head.frame.commons, 0)
    note(candidate.limits, candidate.from)
    return out
  end

  -- The flow has had its turn, and its class in every place where it meets another.
  local function account(head)
    local flow = line.flow(head.flow, head.class)
    line.serve(head, flow.size > 0 and flow.start or head.tag)
    for _, limit in ipairs(head.frame.commons) do
      place.served("b:" .. limit.id, head.class, head.share, head.frame.weight)
    end
    place.served("p:" .. head.frame.pool, head.class, head.share, head.frame.weight)
  end

  -- Charges everything and says so: {GRANT, n, candidate, fullest, how many, then slice and use of each bucket}.
  function answer.grant(head, index)
    local candidate = head.frame.candidates[index]
    local own = head.owner == this.replica
    local out, slices = own and answers or {}, {}
    if rests.try(candidate) then
      out[#out + 1], out[#out + 2] = TRIES, head.n
    end
    for _, limit in ipairs(candidate.limits) do
      if limit.learned then
        out[#out + 1], out[#out + 2], out[#out + 3] = LEARNED, head.n, bucket.amount(limit)
      end
    end
    local start, fullest, at = #out, -1, 0
    local from, last = start + 5, start + 5
    local function take(limits, before)
      for i = 1, #limits do
        local limit = limits[i]
        last = last + 2
        out[last - 1] = bucket.charge(limit, head.costs[before + i], head.owner)
        slices[#slices + 1] = out[last - 1]
        out[last] = bucket.used(limit)
        local full = out[last] / bucket.amount(limit)
        if full > fullest then
          fullest, at = full, (last - from) / 2
        end
      end
    end
    out[start + 1], out[start + 2], out[start + 3] = own and GRANT or PUSHED, head.n, index
    out[start + 4], out[start + 5] = 0, 0
    take(head.frame.commons, 0)
    take(candidate.limits, candidate.from)
    out[start + 4], out[start + 5] = at, (last - from) / 2
    pool.granted(head.frame, candidate)
    if this.ranks and not head.observed and not head.had_turn then
      account(head)
    end
    if own then
      return
    end
    if head.owner == promise.OWNER then
      return promise.keep(head, index, slices)
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
    list[#list + 1] = order.text(this.now) .. " " .. table.concat(out, " ") .. ";"
      .. table.concat(in_flight(head, candidate), " ")
    this.pushed = this.pushed + 1
  end

  -- The arrival waits; `position` is that of the limit it waits for.
  function answer.hold(head, position)
    local n = #answers
    answers[n + 1], answers[n + 2], answers[n + 3] = HELD, head.n, position
  end

  -- Flat integers of this tick's own answers.
  function answer.all()
    return answers
  end

  function answer.save()
    for _, owner in ipairs(pushed_to) do
      store.put("grant:" .. owner, pushed[owner])
      store.expire("grant:" .. owner, 900000)
      store.nudge(owner)
    end
  end
end
