-- Who waits, and where (limiter.md 10, without its fair order: here the oldest arrival goes first, ties by attempt).
-- Law: a waiting call stands in exactly one place: `ready`, a bucket `b:<id>`, or a pool `p:<id>`. A place that is
-- not empty has a wake time, is touched by whatever frees it, or waits for a release. Reads come first, writes at the
-- end: a place is seen as its stored order with this tick's changes laid over it.
--
-- Stored: `park:<place>` attempt -> enqueue time; `wake` place -> earliest ms; `d:<replica>` number -> record;
-- `on:<replica>` number -> place; `pools:<bucket>` the pools whose candidates draw on it.
local line = {}
do
  local FAR = order.FAR
  local LIFE = 86400000
  local STEP = 8
  local places, changed_places, wakes, heads, registered, left, stands = {}, {}, {}, {}, {}, {}, {}
  local has_left = {}
  local indexed, unindexed = {}, {}

  function line.begin()
    places, changed_places, wakes, heads, registered, left, stands = {}, {}, {}, {}, {}, {}, {}
    has_left, indexed, unindexed = {}, {}, {}
  end

  local function place_of(name)
    local place = places[name]
    if not place then
      place = { name = name, base = {}, all = this.waiting == 0, start = 1, added = {}, gone = {}, changed = false }
      places[name] = place
    end
    return place
  end

  local function base(place, i)
    while i > #place.base / 2 and not place.all do
      local from = #place.base / 2
      local more = store.zrange("park:" .. place.name, from, from + STEP - 1)
      for j = 1, #more do
        place.base[#place.base + 1] = more[j]
      end
      place.all = #more < 2 * STEP
    end
    return place.base[2 * i - 1], place.base[2 * i]
  end

  -- Attempt and enqueue time of the k-th call in a place, from 0; nil past its end.
  function line.at(name, k)
    local place = place_of(name)
    local i, j = place.start, 1
    while true do
      local m, s = base(place, i)
      while m and place.gone[m] do
        if i == place.start then
          place.start = i + 1
        end
        i = i + 1
        m, s = base(place, i)
      end
      local extra = place.added[j]
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

  -- An earlier call than the head stands in the place.
  function line.is_behind(name, head)
    if this.waiting == 0 then
      return false
    end
    local m, s = line.at(name, 0)
    return m ~= nil and m ~= head.attempt and order.before(s, m, head.enqueued, head.attempt)
  end

  local function note(place)
    if not place.changed then
      place.changed = true
      changed_places[#changed_places + 1] = place
    end
  end

  local function take_out(name, attempt)
    local place = place_of(name)
    note(place)
    for i = 1, #place.added do
      if place.added[i][1] == attempt then
        table.remove(place.added, i)
        return
      end
    end
    place.gone[attempt] = true
  end

  local function put_in(name, head)
    local place = place_of(name)
    note(place)
    local at = #place.added + 1
    while at > 1 and order.before(head.enqueued, head.attempt, place.added[at - 1][2], place.added[at - 1][1]) do
      at = at - 1
    end
    table.insert(place.added, at, { head.attempt, head.enqueued })
  end

  local function wake_time(name)
    if wakes[name] == nil then
      wakes[name] = store.zscores("wake", { name })[1] or FAR
    end
    return wakes[name]
  end

  -- Wake the place at `at` (FAR: only a release can), whatever was said before.
  function line.set_wake(name, at)
    wakes[name] = at
  end

  function line.wake_by(name, at)
    if at < wake_time(name) then
      wakes[name] = at
    end
  end

  local function index_pool(head)
    local id = head.frame.pool
    if indexed[id] then
      return
    end
    indexed[id] = true
    local first = store.numbers("pool:" .. id, { "x" })[1]
    if first and this.now - first < LIFE / 24 and not unindexed[id] then
      indexed[id] = "before"
      return
    end
    indexed[id] = head.frame
  end

  -- Thousandths of cost a waiting call will ask of each bucket, taken back when it leaves.
  local function queue(head, sign)
    for i, limit in ipairs(head.frame.commons) do
      bucket.queue(limit, sign * head.costs[i] * 1000)
    end
    for _, candidate in ipairs(head.frame.candidates) do
      for i, limit in ipairs(candidate.limits) do
        bucket.queue(limit, sign * math.floor(head.costs[candidate.from + i] * candidate.thousandths))
      end
    end
  end

  -- A new waiting call takes its place in line.
  function line.register(head, name)
    heads[head.attempt] = head
    registered[#registered + 1] = head
    has_left[head.attempt] = nil
    head.place = name
    this.waiting = this.waiting + 1
    queue(head, 1)
    put_in(name, head)
    if head.frame.candidates[1] and name == "p:" .. head.frame.pool then
      index_pool(head)
    end
  end

  function line.move(head, name)
    if head.place == name then
      return
    end
    take_out(head.place, head.attempt)
    head.place = name
    put_in(name, head)
    stands[head.attempt] = head
    if name == "p:" .. head.frame.pool then
      index_pool(head)
    end
  end

  function line.leave(head)
    take_out(head.place, head.attempt)
    head.gone = true
    heads[head.attempt] = nil
    left[#left + 1] = head
    has_left[head.attempt] = true
    this.waiting = math.max(0, this.waiting - 1)
    queue(head, -1)
  end

  -- The call as it was registered; nil when it is not (or no longer) waiting.
  function line.head(attempt)
    local head = heads[attempt]
    if head then
      return head
    end
    if has_left[attempt] then
      return nil
    end
    local owner, n = call.owner(attempt)
    local field = string.sub(attempt, 18)
    local record = store.texts("d:" .. owner, { field })[1]
    local name = store.texts("on:" .. owner, { field })[1]
    if not record or not name then
      return nil
    end
    head = call.recall(attempt, record)
    head.place = name
    heads[attempt] = head
    return head
  end

  -- A member without a record cannot be served: it must not block those behind it.
  function line.discard(name, attempt)
    take_out(name, attempt)
  end

  -- Up to `most` waiting calls of a replica leave. Returns the places they were first in, and whether none is left.
  function line.forget(replica, most)
    local standing, freed = store.all("on:" .. replica), {}
    for i = 1, math.min(most, #standing) do
      local head = line.head(replica .. "-" .. standing[i][1])
      if head then
        if line.at(head.place, 0) == head.attempt then
          freed[#freed + 1] = head.place
        end
        line.leave(head)
      end
    end
    return freed, #standing <= most, #standing > 0
  end

  -- Places whose time has come, earliest first.
  function line.due(most)
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

  -- Pools that draw on a bucket. One nobody waits for any more is dropped from the index.
  function line.pools(id)
    local flat, out = store.zrange("pools:" .. id, 0, -1), {}
    for i = 1, #flat, 2 do
      if line.at("p:" .. flat[i], 0) then
        out[#out + 1] = "p:" .. flat[i]
      else
        unindexed[flat[i]] = unindexed[flat[i]] or {}
        table.insert(unindexed[flat[i]], id)
      end
    end
    return out
  end

  -- Earliest wake after this tick; FAR when nothing waits for a time.
  function line.next_wake()
    local flat = store.zrange("wake", 0, 0)
    return flat[2] or FAR
  end

  local function save_places()
    for _, place in ipairs(changed_places) do
      local key, gone, added = "park:" .. place.name, {}, {}
      for attempt in pairs(place.gone) do
        gone[#gone + 1] = attempt
      end
      for _, pair in ipairs(place.added) do
        added[#added + 1], added[#added + 2] = pair[1], pair[2]
      end
      if #gone > 0 then
        store.zdrop(key, gone)
      end
      if #added > 0 then
        store.zput(key, added)
        store.expire(key, LIFE)
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
  end

  -- Collects what to write for each replica's calls, so that each hash is written once.
  local function per_replica(list, add)
    local of, names = {}, {}
    for _, head in ipairs(list) do
      if not of[head.owner] then
        of[head.owner] = {}
        names[#names + 1] = head.owner
      end
      add(of[head.owner], head, string.sub(head.attempt, 18))
    end
    return of, names
  end

  local function save_heads()
    -- First what left: a resync drops a call and registers it again under its number in one tick.
    local fields, owners = per_replica(left, function(out, _, field)
      out[#out + 1] = field
    end)
    for _, owner in ipairs(owners) do
      store.drop("d:" .. owner, fields[owner])
      store.drop("on:" .. owner, fields[owner])
    end
    local records
    records, owners = per_replica(registered, function(out, head, field)
      if not head.gone then
        out[#out + 1], out[#out + 2] = field, call.record(head)
        stands[head.attempt] = head
      end
    end)
    for _, owner in ipairs(owners) do
      if #records[owner] > 0 then
        store.put("d:" .. owner, records[owner])
        store.expire("d:" .. owner, LIFE)
      end
    end
    local standing = {}
    for _, head in pairs(stands) do
      if not head.gone then
        standing[#standing + 1] = head
      end
    end
    local on
    on, owners = per_replica(standing, function(out, head, field)
      out[#out + 1], out[#out + 2] = field, head.place
    end)
    for _, owner in ipairs(owners) do
      store.put("on:" .. owner, on[owner])
      store.expire("on:" .. owner, LIFE)
    end
  end

  local function save_index()
    for id, buckets in pairs(unindexed) do
      for _, bucket_id in ipairs(buckets) do
        store.zdrop("pools:" .. bucket_id, { id })
      end
      store.drop("pool:" .. id, { "x" })
    end
    for id, frame in pairs(indexed) do
      if type(frame) == "table" then
        for _, candidate in ipairs(frame.candidates) do
          for _, limit in ipairs(candidate.limits) do
            store.zput("pools:" .. limit.id, { id, 0 })
            store.expire("pools:" .. limit.id, LIFE)
          end
        end
        store.put("pool:" .. id, { "x", this.now })
        store.expire("pool:" .. id, LIFE)
      end
    end
  end

  function line.save()
    save_places()
    save_heads()
    save_index()
  end
end
