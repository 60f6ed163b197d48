-- Sorted sets of the store as they stand within a tick: the stored order with the tick's changes laid over it.
-- Law: reads come first and in small steps, writes at the end; the same order on both hosts.
local ranked = {}
do
  local LIFE = 86400000
  local STEP = 8
  local sets, changed = {}, {}

  function ranked.begin()
    sets, changed = {}, {}
  end

  -- Where nobody waits nothing is stored, and nothing is read.
  function ranked.open(key)
    local set = sets[key]
    if not set then
      set = { key = key, base = {}, all = this.waiting == 0, start = 1, added = {}, gone = {}, changed = false }
      sets[key] = set
    end
    return set
  end

  local function base(set, i)
    while i > #set.base / 2 and not set.all do
      local from = #set.base / 2
      local more = store.zrange(set.key, from, from + STEP - 1)
      for j = 1, #more do
        set.base[#set.base + 1] = more[j]
      end
      set.all = #more < 2 * STEP
    end
    return set.base[2 * i - 1], set.base[2 * i]
  end

  -- Member and score of the k-th, from 0; nil past the end.
  function ranked.at(set, k)
    local i, j = set.start, 1
    while true do
      local m, s = base(set, i)
      while m and set.gone[m] do
        if i == set.start then
          set.start = i + 1
        end
        i = i + 1
        m, s = base(set, i)
      end
      local extra = set.added[j]
      if not m and not extra then
        return nil
      end
      local from_base = m and not (extra and order.before(extra[2], extra[1], s, m))
      if k == 0 then
        if from_base then
          return m, s
        end
        return extra[1], extra[2]
      end
      k = k - 1
      if from_base then
        i = i + 1
      else
        j = j + 1
      end
    end
  end

  local function note(set)
    if not set.changed then
      set.changed = true
      changed[#changed + 1] = set
    end
  end

  function ranked.take_out(set, member)
    note(set)
    for i = 1, #set.added do
      if set.added[i][1] == member then
        table.remove(set.added, i)
        return
      end
    end
    set.gone[member] = true
  end

  function ranked.put(set, member, score)
    note(set)
    local at = #set.added + 1
    while at > 1 and order.before(score, member, set.added[at - 1][2], set.added[at - 1][1]) do
      at = at - 1
    end
    table.insert(set.added, at, { member, score })
  end

  -- How many there are.
  function ranked.count(set)
    local stored, gone = #set.base / 2, 0
    if not set.all then
      stored = store.zcount(set.key, 0)
    end
    for _ in pairs(set.gone) do
      gone = gone + 1
    end
    return stored - gone + #set.added
  end

  function ranked.save()
    for _, set in ipairs(changed) do
      local gone, added = {}, {}
      for member in pairs(set.gone) do
        gone[#gone + 1] = member
      end
      for _, pair in ipairs(set.added) do
        added[#added + 1], added[#added + 2] = pair[1], pair[2]
      end
      if #gone > 0 then
        store.zdrop(set.key, gone)
      end
      if #added > 0 then
        store.zput(set.key, added)
        store.expire(set.key, LIFE)
      end
    end
  end
end
