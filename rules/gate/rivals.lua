-- How much will be served before a call that arrives now (Q17): what its own flow waits for, and as much for each
-- rival, by the weights of their tiers. Law: an estimate only, and never more than all that waits for the bucket.
--
-- For what a refused call is told, everyone who asked lately counts as a rival, whether he waits or not: he may come
-- again at any time, and then has his turn.
--
-- Stored: `rivals` class -> flows that wait and their weight in thousandths; `seen:<class>` flow -> when it last asked
-- while somebody waited or was refused; `lanes` class -> weight, of those that have a `seen`.
local rivals = {}
do
  local LIFE = 86400000
  -- The whole of a limit (standing.py).
  local SHARE = 1073741824
  -- Who has not asked for so long is not counted on to come again. By simulation: with 10 s a user who sends a call now
  -- and then delays what others were told, with 60 s they are told too late a time.
  local LATELY = 30000
  local SEEN_LIFE = 900000
  local MOST_LANES = 256
  local classes, names, changed, lanes, new_lanes, seen

  function rivals.begin()
    classes, names, changed, lanes, new_lanes, seen = nil, {}, false, nil, {}, {}
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
    of.flows, of.weight, changed = math.max(0, of.flows + change), weight, true
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

  -- The flow asks now, while somebody waits or is refused.
  function rivals.saw(head)
    local of = seen[head.class]
    if not of then
      of = { flows = {}, more = 0 }
      seen[head.class] = of
      local one = known_lanes()[head.class]
      if not one or one.weight ~= head.frame.weight then
        if not one then
          one = { class = head.class }
          lanes[#lanes + 1] = one
          lanes[head.class] = one
        end
        one.weight = head.frame.weight
        new_lanes[#new_lanes + 1] = one
      end
    end
    if not of.flows[head.flow] then
      of.flows[head.flow] = true
      local at = store.zscores("seen:" .. head.class, { head.flow })[1]
      if not at or at < this.now - LATELY then
        of.more = of.more + 1
      end
    end
  end

  -- Cost on a limit that may go before a call which takes `cost` of it and whose flow waits for, or was promised, `owed`
  -- in shares.
  function rivals.due(head, owed, of_key, cost)
    local flows, lane = 0, string.match(head.class, "^[^.]*")
    for _, one in ipairs(known_lanes()) do
      if not of_key or string.match(one.class, "^[^.]*") == lane then
        local count = store.zcount("seen:" .. one.class, this.now - LATELY) + (seen[one.class] and seen[one.class].more or 0)
        flows = flows + count * one.weight
      end
    end
    local turns = math.max(1, flows / head.frame.weight) * (owed + head.share) / head.share - 1
    return math.min(order.FAR / 4, math.floor(turns * cost))
  end

  local function save_seen()
    for class, of in pairs(seen) do
      local key, values = "seen:" .. class, {}
      for flow in pairs(of.flows) do
        values[#values + 1], values[#values + 2] = flow, this.now
      end
      store.ztrim(key, this.now - LATELY)
      store.zput(key, values)
      store.expire(key, SEEN_LIFE)
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
      store.expire("lanes", SEEN_LIFE)
    end
  end

  function rivals.save()
    save_seen()
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
