-- Where flows stand: a bucket `b:<id>`, a pool `p:<id>`, or `ready`. Law: a place holds one order per class, by start
-- tag, because tags of different classes do not compare (Q6); between classes fair.lua decides. A place that is not
-- empty has a wake time, is touched by whatever frees it, or waits for a release.
--
-- Stored: `at:<place>` the classes that stand there; `park:<place>|<class>` entry -> start tag, where an entry is the
-- head's enqueue time, its attempt and the flow, so that equal tags go by age; `wake` place -> earliest ms;
-- `bar` place -> the flow that bars it (Q2).
local place = {}
do
  local FAR = order.FAR
  local LIFE = 86400000
  local STAMP = 13
  local places, listed, wakes, bars, barred = {}, {}, {}, {}, {}

  function place.begin()
    places, listed, wakes, bars, barred = {}, {}, {}, {}, {}
  end

  local function open(name)
    local p = places[name]
    if not p then
      p = { name = name, classes = {}, of = {} }
      places[name] = p
      if this.waiting > 0 then
        local flat = store.zrange("at:" .. name, 0, -1)
        for i = 1, #flat, 2 do
          p.classes[#p.classes + 1] = flat[i]
          p.of[flat[i]] = { class = flat[i], set = ranked.open("park:" .. name .. "|" .. flat[i]), stored = true }
        end
      end
    end
    return p
  end

  local function class_at(p, class)
    local c = p.of[class]
    if not c then
      c = { class = class, set = ranked.open("park:" .. p.name .. "|" .. class), stored = false }
      p.of[class] = c
      p.classes[#p.classes + 1] = class
    end
    if not c.touched then
      c.touched = true
      listed[#listed + 1] = { p, c }
    end
    return c
  end

  function place.entry(enqueued, attempt, flow)
    return string.format("%013.0f", enqueued) .. attempt .. flow
  end

  function place.put(name, class, entry, tag)
    ranked.put(class_at(open(name), class).set, entry, tag)
  end

  function place.take_out(name, class, entry)
    ranked.take_out(class_at(open(name), class).set, entry)
  end

  -- The k-th of a class, from 0: {class, tag, enqueued, attempt, flow, entry}; nil past the end.
  local function read(c, k)
    local entry, tag = ranked.at(c.set, k)
    if not entry then
      return nil
    end
    return {
      class = c.class, tag = tag, entry = entry, enqueued = tonumber(string.sub(entry, 1, STAMP)),
      attempt = string.sub(entry, STAMP + 1, STAMP + 29), flow = string.sub(entry, STAMP + 30),
    }
  end

  -- Who is next when `skips[class]` of each class were passed over; nil when nobody is left.
  function place.next(name, skips)
    local p, best = open(name), nil
    for i = 1, #p.classes do
      local class = p.classes[i]
      local e = read(p.of[class], skips[class] or 0)
      if e and (not best or fair.before(name, e, best)) then
        best = e
      end
    end
    return best
  end

  function place.is_empty(name)
    local p = open(name)
    for i = 1, #p.classes do
      if ranked.at(p.of[p.classes[i]].set, 0) then
        return false
      end
    end
    return true
  end

  -- Somebody stands in the place before `one` ({class, tag, enqueued, attempt, flow, leads}).
  function place.is_behind(name, one)
    local p = open(name)
    for i = 1, #p.classes do
      local e = read(p.of[p.classes[i]], 0)
      if e and e.flow == one.flow then
        if not one.leads then
          return true
        end
      elseif e and fair.before(name, e, one) then
        return true
      end
    end
    return false
  end

  -- How many flows of the class stand here, at least 1, and how many of its whole tier.
  local function crowd(p, class)
    local own, all, tier = 1, 0, string.match(class, "%.(.*)$")
    for i = 1, #p.classes do
      local other = p.classes[i]
      if string.match(other, "%.(.*)$") == tier then
        local n = math.max(1, ranked.count(p.of[other].set))
        all = all + n
        if other == class then
          own = n
        end
      end
    end
    return own, math.max(all, own)
  end

  -- A call of the class was granted what this place is about. The tier's weight is divided among the lanes that meet
  -- here by the number of their flows, so that a user counts the same in each.
  function place.served(name, class, share, weight)
    if this.waiting == 0 then
      return
    end
    local p = open(name)
    if #p.classes > 1 or (p.classes[1] and p.classes[1] ~= class) then
      local own, all = crowd(p, class)
      fair.advance(name, class, share, weight * own / all)
    end
  end

  local function wake_time(name)
    if wakes[name] == nil then
      wakes[name] = store.zscores("wake", { name })[1] or FAR
    end
    return wakes[name]
  end

  -- Wake the place at `at` (FAR: only a release can), whatever was said before.
  function place.set_wake(name, at)
    wakes[name] = at
  end

  function place.wake_by(name, at)
    if at < wake_time(name) then
      wakes[name] = at
    end
  end

  -- Places whose time has come, earliest first.
  function place.due(most)
    local out = {}
    if this.waiting > 0 then
      local flat = store.zrange("wake", 0, most - 1)
      for i = 1, #flat, 2 do
        if flat[i + 1] <= this.now then
          out[#out + 1] = flat[i]
        end
      end
    end
    return out
  end

  -- Places whose names begin so and that will be looked at some time.
  function place.timed(prefix)
    local out = {}
    if this.waiting > 0 then
      local flat = store.zrange("wake", 0, -1)
      for i = 1, #flat, 2 do
        if string.sub(flat[i], 1, #prefix) == prefix then
          out[#out + 1] = flat[i]
        end
      end
    end
    return out
  end

  -- Earliest wake after this tick; FAR when nothing waits for a time.
  function place.next_wake()
    local flat = store.zrange("wake", 0, 0)
    return flat[2] or FAR
  end

  -- The flow becomes the barrier of all these places, unless another is of one of them.
  function place.bar(names, flow)
    for _, name in ipairs(names) do
      if bars[name] == nil then
        bars[name] = store.texts("bar", { name })[1]
      end
      if bars[name] and bars[name] ~= flow then
        return false
      end
    end
    for _, name in ipairs(names) do
      bars[name], barred[name] = flow, true
    end
    return true
  end

  function place.unbar(names)
    for _, name in ipairs(names) do
      bars[name], barred[name] = false, true
    end
  end

  local function save_bars()
    local values, none = {}, {}
    for name in pairs(barred) do
      if bars[name] then
        values[#values + 1], values[#values + 2] = name, bars[name]
      else
        none[#none + 1] = name
      end
    end
    if #none > 0 then
      store.drop("bar", none)
    end
    if #values > 0 then
      store.put("bar", values)
      store.expire("bar", LIFE)
    end
  end

  function place.save()
    for _, pair in ipairs(listed) do
      local p, c = pair[1], pair[2]
      local stands = ranked.at(c.set, 0) ~= nil
      if stands then
        if not c.stored then
          store.zput("at:" .. p.name, { c.class, 0 })
        end
        store.expire("at:" .. p.name, LIFE)
      elseif c.stored then
        store.zdrop("at:" .. p.name, { c.class })
      end
    end
    local never = {}
    for name, at in pairs(wakes) do
      if at == FAR then
        never[#never + 1] = name
      else
        store.zput("wake", { name, at })
        store.expire("wake", LIFE)
      end
    end
    if #never > 0 then
      store.zdrop("wake", never)
    end
    save_bars()
  end
end
