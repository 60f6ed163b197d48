-- Who waits: flows, each with its calls in order (priority, enqueue time, attempt). Law: a flow stands where its first
-- call was short, with one start tag; the call behind it stands nowhere until it is the first. A flow that was sent
-- from limit to limit twice stands at all its common limits at once, as their barrier: no larger tag passes it there,
-- so it cannot starve between two limits that are never free together (Q2).
--
-- Every waiting call is registered, not only four of each flow and replica (limiter.md 1): an arrival has to ask
-- whether it may wait at all, so it is no command more; and the order, the bounds and the wait told are exact over
-- replicas, a grant needs no next head fetched, and an urgent call finds no place taken by others (Q24). It takes 430
-- bytes in Redis, 750 here, and no command while it waits.
--
-- Stored: `f:<flow>` tag `s`, entry `m`, place `p`, number of calls `n`, sum of their shares `o`, moves `x`, barred
-- places `b`; `h:<flow>` attempt -> rank; `d:<replica>` number -> record; `on:<replica>` the numbers.
local line = {}
do
  local FAR = order.FAR
  local LIFE = 86400000
  -- A call's rank in its flow: the enqueue time, in a band of its priority (0 to 9, the highest first).
  local BAND, HIGHEST = 2199023255552, 9
  -- A flow may hold so many times the room that is left in the line (dynamic threshold of Choudhury and Hahne, as for
  -- packets that share a buffer): one user alone can take nine tenths, two can take less than half each, and there is
  -- always room for one more.
  local ROOM_FACTOR = 9
  local FLOW = { "s", "m", "p", "n", "o", "x", "b" }
  local flows, changed_flows, heads, records, registered, left, has_left = {}, {}, {}, {}, {}, {}, {}

  function line.begin()
    flows, changed_flows, heads, records, registered, left, has_left = {}, {}, {}, {}, {}, {}, {}
  end

  local function words(text)
    local out = {}
    for word in string.gmatch(text or "", "%S+") do
      out[#out + 1] = word
    end
    return out
  end

  -- The flow as it stands; one that does not wait has no calls.
  function line.flow(id, class)
    local flow = flows[id]
    if not flow then
      local v = this.waiting > 0 and store.texts("f:" .. id, FLOW) or {}
      flow = {
        id = id, class = class, start = tonumber(v[1] or 0), entry = v[2], place = v[3], size = tonumber(v[4] or 0),
        owed = tonumber(v[5] or 0), moves = tonumber(v[6] or 0), bars = words(v[7] or ""),
        calls = ranked.open("h:" .. id), changed = false,
      }
      flows[id] = flow
    end
    return flow
  end

  local function note(flow)
    if not flow.changed then
      flow.changed = true
      changed_flows[#changed_flows + 1] = flow
    end
  end

  -- All places in which a flow stands.
  function line.places(flow)
    local out = { flow.place }
    for _, name in ipairs(flow.bars) do
      if name ~= flow.place then
        out[#out + 1] = name
      end
    end
    return out
  end

  function line.stands(flow, name)
    if flow.size == 0 then
      return false
    end
    for _, other in ipairs(line.places(flow)) do
      if other == name then
        return true
      end
    end
    return false
  end

  local function hide(flow)
    for _, name in ipairs(line.places(flow)) do
      place.take_out(name, flow.class, flow.entry)
    end
  end

  local function show(flow)
    note(flow)
    local attempt, rank = ranked.at(flow.calls, 0)
    flow.entry = place.entry(rank % BAND, attempt, flow.id)
    for _, name in ipairs(line.places(flow)) do
      place.put(name, flow.class, flow.entry, flow.start)
    end
  end

  local function rank_of(head)
    return (HIGHEST - head.priority) * BAND + head.enqueued
  end

  -- A new call's place in the order: `tag`, and whether it `leads` its flow.
  function line.stand(head)
    local flow = line.flow(head.flow, head.class)
    head.leads = true
    if flow.size == 0 then
      head.tag = fair.start(head.class, head.flow)
      return
    end
    local attempt, rank = ranked.at(flow.calls, 0)
    head.leads = not attempt or order.before(rank_of(head), head.attempt, rank, attempt)
    head.tag = head.leads and flow.start or math.min(FAR, flow.start + flow.owed)
  end

  -- How much the calls of its flow wait for, as a sum of shares.
  function line.owed(head)
    return this.waiting > 0 and line.flow(head.flow, head.class).owed or 0
  end

  -- Cost that goes before a new call, which takes `cost`, on the limit's bucket; none for one that keeps a place it had.
  function line.ahead(head, limit, of_key, cost)
    if head.owed then
      return rivals.due(head, limit, of_key, cost)
    end
    if head.keeps_place or this.waiting == 0 then
      return 0
    end
    return rivals.ahead(head, line.owed(head), limit, of_key)
  end

  function line.has_room(head)
    if this.waiting >= head.most_waiting then
      return false
    end
    if head.keeps_place then
      return true
    end
    return line.flow(head.flow, head.class).size < ROOM_FACTOR * (head.most_waiting - this.waiting)
  end

  local function count_out(limit, thousandths)
    bucket.queue(limit, -thousandths)
  end

  -- A new waiting call takes its place in line. Where it leads its flow, the flow stands at `name`.
  function line.register(head, name)
    local flow = line.flow(head.flow, head.class)
    heads[head.attempt] = head
    registered[#registered + 1] = head
    this.waiting = this.waiting + 1
    call.asks(head, bucket.queue)
    note(flow)
    if flow.size == 0 then
      flow.start, flow.moves, flow.owed, flow.bars, flow.place = head.tag, 0, 0, {}, name
      rivals.count(head.class, head.frame.weight, 1)
    elseif head.leads then
      hide(flow)
      flow.place = name
    end
    flow.size, flow.owed = flow.size + 1, flow.owed + head.share
    ranked.put(flow.calls, head.attempt, rank_of(head))
    if head.leads then
      show(flow)
      if head.frame.candidates[1] and name == "p:" .. head.frame.pool then
        draws.note(head.frame)
      end
    end
  end

  -- The flow of this head stands elsewhere from now on.
  function line.move(head, name)
    local flow = line.flow(head.flow, head.class)
    if flow.place == name then
      return
    end
    hide(flow)
    flow.place, flow.moves = name, flow.moves + 1
    if flow.moves >= 2 and #head.frame.commons > 1 then
      local names = {}
      for i, limit in ipairs(head.frame.commons) do
        names[i] = "b:" .. limit.id
      end
      if place.bar(names, flow.id) then
        flow.bars = names
      end
    end
    show(flow)
    if name == "p:" .. head.frame.pool then
      draws.note(head.frame)
    end
  end

  -- A call waits no more. Returns the places its flow stood in, if it was the first of it. With `crowd` others leave
  -- with it (leaving.lua): the flow then stands nowhere until line.show_again, and what the call would have asked of each
  -- bucket is for `crowd` to count.
  function line.leave(head, crowd)
    local flow = line.flow(head.flow, head.class)
    local was_first = not flow.hidden and ranked.at(flow.calls, 0) == head.attempt
    local stood = was_first and line.places(flow) or {}
    if was_first then
      hide(flow)
      place.unbar(flow.bars)
      flow.bars, flow.moves = {}, 0
    end
    ranked.take_out(flow.calls, head.attempt)
    note(flow)
    flow.size, flow.owed = math.max(0, flow.size - 1), math.max(0, flow.owed - head.share)
    if not ranked.at(flow.calls, 0) then
      flow.size = 0
      rivals.count(head.class, head.frame.weight, -1)
      fair.remember(flow.class, flow.id, flow.start)
    elseif was_first and crowd then
      flow.hidden = true
      crowd.flows[#crowd.flows + 1] = flow
    elseif was_first then
      show(flow)
    end
    head.gone = true
    heads[head.attempt] = nil
    left[#left + 1] = head
    has_left[head.attempt] = true
    this.waiting = math.max(0, this.waiting - 1)
    call.asks(head, crowd and crowd.count or count_out)
    return stood
  end

  -- Flows whose first calls have left together stand where the next of each puts them.
  function line.show_again(hidden)
    for _, flow in ipairs(hidden) do
      flow.hidden = false
      if flow.size > 0 then
        show(flow)
      end
    end
  end

  -- The flow has had a call of `share`: its next start is this one's end.
  function line.serve(head, start)
    local flow = line.flow(head.flow, head.class)
    local finish = fair.serve(head.class, start, head.share)
    if flow.size > 0 then
      hide(flow)
      flow.start = finish
      show(flow)
    else
      fair.remember(flow.class, flow.id, finish)
    end
  end

  -- A settlement changed what a flow has had.
  function line.correct(id, class, delta)
    local flow = line.flow(id, class)
    if flow.size > 0 then
      hide(flow)
      flow.start = fair.corrected(class, flow.start, delta)
      show(flow)
    else
      fair.remember(class, id, fair.corrected(class, fair.start(class, id), delta))
    end
  end

  -- These calls of a replica will be asked for: {number within it as a field, ...}.
  function line.read(replica, fields)
    local found = store.texts("d:" .. replica, fields)
    for i = 1, #fields do
      records[replica .. "-" .. fields[i]] = found[i]
    end
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
    local record = records[attempt]
    if record == nil then
      record = store.texts("d:" .. call.owner(attempt), { string.sub(attempt, 18) })[1]
    end
    if not record then
      return nil
    end
    head = call.recall(attempt, record, frames.named)
    heads[attempt] = head
    return head
  end

  -- Collects what to write for each replica's calls, so that each key is written once.
  local function per_replica(list, add)
    local of, names = {}, {}
    for _, head in ipairs(list) do
      if not of[head.owner] then
        of[head.owner] = { {}, {} }
        names[#names + 1] = head.owner
      end
      add(of[head.owner][1], of[head.owner][2], head, string.sub(head.attempt, 18))
    end
    return of, names
  end

  local function save_heads()
    -- First what left: a resync drops a call and registers it again under its number in one tick.
    local gone, owners = per_replica(left, function(out, _, _, field)
      out[#out + 1] = field
    end)
    for _, owner in ipairs(owners) do
      store.drop("d:" .. owner, gone[owner][1])
      store.zdrop("on:" .. owner, gone[owner][1])
    end
    local new
    new, owners = per_replica(registered, function(records, numbers, head, field)
      if not head.gone then
        frames.keep(head)
        records[#records + 1], records[#records + 2] = field, call.record(head)
        numbers[#numbers + 1], numbers[#numbers + 2] = field, head.n
      end
    end)
    for _, owner in ipairs(owners) do
      if #new[owner][1] > 0 then
        store.put("d:" .. owner, new[owner][1])
        store.expire("d:" .. owner, LIFE)
        store.zput("on:" .. owner, new[owner][2])
        store.expire("on:" .. owner, LIFE)
      end
    end
  end

  local function save_flows()
    for _, flow in ipairs(changed_flows) do
      local key = "f:" .. flow.id
      if flow.size == 0 then
        store.delete(key)
      else
        store.put(key, {
          "s", flow.start, "m", flow.entry, "p", flow.place, "n", flow.size, "o", flow.owed, "x", flow.moves, "b",
          table.concat(flow.bars, " "),
        })
        store.expire(key, LIFE)
      end
    end
  end

  function line.save()
    save_heads()
    save_flows()
  end
end
