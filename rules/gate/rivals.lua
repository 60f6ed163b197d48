-- How much will be served before a call that arrives now (Q17): what its own flow waits for, and as much for each
-- rival, by the weights of their tiers. Law: an estimate only, and never more than all that waits for the bucket.
--
-- For what a refused call is told, everyone who asked lately counts as a rival, whether he waits or not: he may come
-- again at any time, and then has his turn. But nobody is expected to ask for much more than he did.
--
-- Stored: `rivals` class -> flows that wait and their weight in thousandths; `asked:<class>:<period>` what was asked for
-- while somebody waited or was refused, by flow, in all `*`, by how many `#`, since when `@`; `lanes` class -> weight.
local rivals = {}
do
  local LIFE = 86400000
  -- The whole of a limit (standing.py).
  local SHARE = 1073741824
  -- What is asked is summed up in periods of half a minute; who asked in neither of the last two is not counted on.
  local PERIOD = 30000
  -- A sum of less than this time says nothing of a rate.
  local LEAST = 5000
  -- What others ask for is taken to grow by so much: their arrivals are random, and a time told is kept.
  local MARGIN = 1.3
  local MOST_LANES = 256
  local floor, max, text = math.floor, math.max, order.text
  local classes, names, changed, lanes, new_lanes, asked

  function rivals.begin()
    classes, names, changed, lanes, new_lanes, asked = nil, {}, false, nil, {}, {}
  end

  local function all()
    if not classes then
      classes = {}
      for _, pair in ipairs(this.waiting > 0 and store.all("rivals") or {}) do
        local flows, weight = string.match(pair[2], "^(%d+) (%d+)$")
        classes[pair[1]] = { flows = tonumber(flows), weight = tonumber(weight) }
        names[#names + 1] = pair[1]
      end
    end
    return classes
  end

  -- A flow of the class begins to wait (1) or waits no more (-1).
  function rivals.count(class, weight, change)
    local of = all()[class]
    if not of then
      of = { flows = 0, weight = weight }
      classes[class] = of
      names[#names + 1] = class
    end
    of.flows, of.weight, changed = max(0, of.flows + change), weight, true
  end

  -- Cost on the limit's bucket that goes before a call whose flow waits for `owed` in shares. A limit of keys is met by
  -- the call's own lane only.
  function rivals.ahead(head, owed, limit, of_key)
    local queued = bucket.queued(limit)
    if queued == 0 then
      return 0
    end
    all()
    local own, weights, lane = classes[head.class], 0, string.match(head.class, "^[^.]*")
    for _, class in ipairs(names) do
      if class ~= head.class and classes[class].flows > 0
        and (not of_key or string.match(class, "^[^.]*") == lane) then
        weights = weights + classes[class].weight
      end
    end
    local flows = own and own.flows or 0
    if owed == 0 then
      flows = flows + 1
    end
    local whole = flows * (1 + weights / head.frame.weight) * (owed + head.share) - head.share
    return math.min(queued, math.floor(whole * limit.amount / SHARE))
  end

  local function key_of(class, period)
    return "asked:" .. class .. ":" .. text(period)
  end

  -- What a class asked for in this period and the one before, and what `flow` did of it: sums of shares.
  local function asked_by(class, flow)
    local of = asked[class]
    if not of then
      local period = floor(this.now / PERIOD)
      of = { period = period, all = {}, flows = {}, ours = {} }
      for i = 0, 1 do
        local v = store.numbers(key_of(class, period - i), { "*", "#", "@" })
        of.all[i] = { sum = v[1] or 0, flows = v[2] or 0, began = v[3] or this.now, known = v[1] and true or false }
      end
      asked[class] = of
    end
    if flow and not of.flows[flow] then
      of.flows[flow] = {}
      for i = 0, 1 do
        of.flows[flow][i] = store.numbers(key_of(class, of.period - i), { flow })[1] or 0
      end
    end
    return of
  end

  local function known_lanes()
    if not lanes then
      lanes = {}
      for _, pair in ipairs(store.all("lanes")) do
        lanes[#lanes + 1] = { class = pair[1], weight = tonumber(pair[2]) }
        lanes[pair[1]] = lanes[#lanes]
      end
    end
    return lanes
  end

  -- The flow asks now, for the first time or for more, while somebody waits or is refused.
  function rivals.saw(head)
    local of, one = asked_by(head.class, head.flow), known_lanes()[head.class]
    if not one or one.weight ~= head.frame.weight then
      if not one then
        one = { class = head.class }
        lanes[#lanes + 1], lanes[head.class] = one, one
      end
      one.weight = head.frame.weight
      new_lanes[#new_lanes + 1] = one
    end
    local all, ours = of.all[0], of.flows[head.flow]
    if ours[0] == 0 then
      all.flows = all.flows + 1
    end
    ours[0], all.sum, of.changed, of.ours[head.flow] = ours[0] + head.share, all.sum + head.share, true, true
  end

  -- Shares a millisecond, from the sums of two periods: the older counts by the part of it that is less than a period ago.
  local function rate(of, before, sum)
    local passed = this.now - of.period * PERIOD
    if of.all[1].known then
      return (before * (PERIOD - passed) / PERIOD + sum) / PERIOD
    end
    return sum / max(LEAST, this.now - of.all[0].began)
  end

  -- Cost on a limit that may go before a call which takes `cost` of it; `owed` of the head is what goes before it of its
  -- own flow, `waits` what that waits for, `theirs` what others were promised, in shares. In the worst case each rival has
  -- as many turns as this flow; but not more than he asks for, and a third more.
  function rivals.due(head, limit, of_key, cost)
    if cost == 0 then
      return 0
    end
    local theirs = max(0, bucket.queued(limit) * head.share / cost - head.waits) + head.theirs
    local per_ms = bucket.returns(limit)
    local weights, demand, lane = 0, 0, string.match(head.class, "^[^.]*")
    for _, one in ipairs(known_lanes()) do
      if not of_key or string.match(one.class, "^[^.]*") == lane then
        local of = asked_by(one.class, one.class == head.class and head.flow)
        weights = weights + max(of.all[0].flows, of.all[1].flows) * one.weight
        demand = demand + rate(of, of.all[1].sum, of.all[0].sum)
        if one.class == head.class then
          demand = demand - rate(of, of.flows[head.flow][1], of.flows[head.flow][0])
        end
      end
    end
    local own = (head.owed + head.share) / head.share
    local turns, left = max(1, weights / head.frame.weight) * own, 1
    if per_ms > 0 then
      left = 1 - MARGIN * demand / per_ms
    end
    if left > 0 then
      turns = math.min(turns, (own + theirs / head.share) / left)
    end
    return math.min(order.FAR / 4, floor((turns - 1) * cost))
  end

  local function save_asked()
    for class, of in pairs(asked) do
      if of.changed then
        local key, all = key_of(class, of.period), of.all[0]
        local values = { "*", all.sum, "#", all.flows, "@", all.began }
        for flow in pairs(of.ours) do
          values[#values + 1], values[#values + 2] = flow, of.flows[flow][0]
        end
        store.put(key, values)
        store.expire(key, 3 * PERIOD)
      end
    end
    if #new_lanes > 0 then
      if #lanes > MOST_LANES then
        store.delete("lanes")
      end
      local values = {}
      for _, one in ipairs(new_lanes) do
        values[#values + 1], values[#values + 2] = one.class, one.weight
      end
      store.put("lanes", values)
    end
    if lanes and #lanes > 0 then
      store.expire("lanes", LIFE)
    end
  end

  function rivals.save()
    save_asked()
    if not changed then
      return
    end
    if this.waiting == 0 then
      store.delete("rivals")
      return
    end
    local values, none = {}, {}
    for class, of in pairs(classes) do
      if of.flows > 0 then
        values[#values + 1], values[#values + 2] = class, order.text(of.flows) .. " " .. order.text(of.weight)
      else
        none[#none + 1] = class
      end
    end
    if #none > 0 then
      store.drop("rivals", none)
    end
    if #values > 0 then
      store.put("rivals", values)
      store.expire("rivals", LIFE)
    end
  end
end
