-- Storage over Lua tables. Law: the same functions, arguments and results as store_redis.lua; expiry is only noted
-- here and carried out by store.sweep, outside any tick, because it is never logic (limiter.md 3.1).
local store = {}
do
  local floor = math.floor
  local MINUTE = 60000
  -- Members of which at least so many leave a set together: each alone would move a quarter of it.
  local MANY = 8
  local services, current, clock = {}, nil, nil

  function store.open(name)
    local found = services[name]
    if not found then
      found = { hash = {}, sorted = {}, dies = {}, listed = {}, wheel = {} }
      services[name] = found
    end
    current = found
  end

  function store.set_clock(now)
    clock = now
  end

  function store.numbers(key, fields)
    local hash, found = current.hash[key], {}
    for i = 1, #fields do
      found[i] = hash and hash[fields[i]] or false
    end
    return found
  end

  store.texts = store.numbers

  function store.put(key, values)
    local hash = current.hash[key]
    if not hash then
      hash = {}
      current.hash[key] = hash
    end
    for i = 1, #values, 2 do
      hash[values[i]] = values[i + 1]
    end
  end

  function store.drop(key, fields)
    local hash = current.hash[key]
    if hash then
      for i = 1, #fields do
        hash[fields[i]] = nil
      end
      if next(hash) == nil then
        current.hash[key] = nil
      end
    end
  end

  function store.delete(key)
    current.hash[key], current.sorted[key], current.dies[key] = nil, nil, nil
  end

  function store.all(key)
    local out = {}
    for field, value in pairs(current.hash[key] or {}) do
      out[#out + 1] = { field, type(value) == "number" and order.text(value) or value }
    end
    table.sort(out, function(a, b)
      return order.less(a[1], b[1])
    end)
    return out
  end

  -- A sorted set is an array of members in order between `first` and `last`, so that the oldest leaves in O(1).
  -- Where (score, member) stands, or would stand.
  local function place(set, score, member)
    local low, high = set.first, set.last + 1
    while low < high do
      local mid = floor((low + high) / 2)
      local other = set.members[mid]
      if order.before(set.scores[other], other, score, member) then
        low = mid + 1
      else
        high = mid
      end
    end
    return low
  end

  local function take_out(key, set, member)
    local score = set.scores[member]
    if not score then
      return
    end
    local members, at = set.members, place(set, score, member)
    if at - set.first < set.last - at then
      for i = at, set.first + 1, -1 do
        members[i] = members[i - 1]
      end
      members[set.first] = nil
      set.first = set.first + 1
    else
      for i = at, set.last - 1 do
        members[i] = members[i + 1]
      end
      members[set.last] = nil
      set.last = set.last - 1
    end
    set.scores[member] = nil
    if set.first > set.last then
      current.sorted[key] = nil
    end
  end

  local function sorted(key)
    local set = current.sorted[key]
    if not set then
      set = { members = {}, scores = {}, first = 1, last = 0 }
      current.sorted[key] = set
    end
    return set
  end

  function store.zput(key, values)
    for i = 1, #values, 2 do
      local member, score = values[i], values[i + 1]
      local set = sorted(key)
      if set.scores[member] then
        take_out(key, set, member)
        set = sorted(key)
      end
      local at = place(set, score, member)
      for j = set.last, at, -1 do
        set.members[j + 1] = set.members[j]
      end
      set.members[at] = member
      set.last = set.last + 1
      set.scores[member] = score
    end
  end

  -- The array is gone through once: taking members out one by one moves what stands between them again and again.
  local function take_out_many(key, set, members)
    for i = 1, #members do
      set.scores[members[i]] = nil
    end
    local kept = set.first
    for i = set.first, set.last do
      local member = set.members[i]
      set.members[i] = nil
      if set.scores[member] then
        set.members[kept] = member
        kept = kept + 1
      end
    end
    set.last = kept - 1
    if set.first > set.last then
      current.sorted[key] = nil
    end
  end

  function store.zdrop(key, members)
    local set = current.sorted[key]
    if not set then
      return
    elseif #members >= MANY then
      return take_out_many(key, set, members)
    end
    for i = 1, #members do
      take_out(key, set, members[i])
    end
  end

  function store.zrange(key, from, to)
    local set, out = current.sorted[key], {}
    if set then
      local last = to < 0 and set.last or math.min(set.first + to, set.last)
      for i = set.first + from, last do
        local member = set.members[i]
        out[#out + 1] = member
        out[#out + 1] = set.scores[member]
      end
    end
    return out
  end

  function store.zscores(key, members)
    local set, found = current.sorted[key], {}
    for i = 1, #members do
      found[i] = set and set.scores[members[i]] or false
    end
    return found
  end

  function store.zcount(key, low)
    local set = current.sorted[key]
    return set and set.last + 1 - place(set, low, "") or 0
  end

  function store.zrank(key, member)
    local set = current.sorted[key]
    local score = set and set.scores[member]
    return score and place(set, score, member) - set.first or false
  end

  function store.ztrim(key, high)
    local set = current.sorted[key]
    while set and set.first <= set.last and set.scores[set.members[set.first]] <= high do
      take_out(key, set, set.members[set.first])
    end
  end

  local function list(of, key, dies)
    local minute = floor(dies / MINUTE) + 1
    local keys = of.wheel[minute] or {}
    of.wheel[minute] = keys
    keys[#keys + 1] = key
    of.listed[key] = true
  end

  function store.expire(key, ms)
    local dies = clock + ms
    current.dies[key] = dies
    if not current.listed[key] then
      list(current, key, dies)
    end
  end

  -- One process has no other replica to nudge.
  function store.nudge(_) end

  -- Throws away what has expired, minute by minute; returns how many keys went.
  function store.sweep(now)
    local gone, minute = 0, floor(now / MINUTE)
    for _, of in pairs(services) do
      local due = {}
      for at in pairs(of.wheel) do
        if at <= minute then
          due[#due + 1] = at
        end
      end
      for _, at in ipairs(due) do
        local keys = of.wheel[at]
        of.wheel[at] = nil
        for _, key in ipairs(keys) do
          of.listed[key] = nil
          local dies = of.dies[key]
          if dies and dies > now then
            list(of, key, dies)
          elseif dies then
            of.hash[key], of.sorted[key], of.dies[key] = nil, nil, nil
            gone = gone + 1
          end
        end
      end
    end
    return gone
  end

  -- How many keys are held, by all services.
  function store.size()
    local count = 0
    for _, of in pairs(services) do
      for _ in pairs(of.hash) do
        count = count + 1
      end
      for _ in pairs(of.sorted) do
        count = count + 1
      end
    end
    return count
  end
end
