-- How much will be served before a call that arrives now (Q17): what its own flow waits for, and as much for each
-- rival, by the weights of their tiers. Law: an estimate only, and never more than all that waits for the bucket.
--
-- Stored: `rivals` class -> flows that wait and their weight in thousandths.
local rivals = {}
do
  local LIFE = 86400000
  -- The whole of a limit (standing.py).
  local SHARE = 1073741824
  local classes, names, changed

  function rivals.begin()
    classes, names, changed = nil, {}, false
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

  function rivals.save()
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
