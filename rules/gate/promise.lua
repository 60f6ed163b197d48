-- What refused calls were told: a call that comes back at its time is let in (Retry-After is true). Law: a promise is a
-- call that waits like any other, but for two things: it enters the line shortly before its time, and when its turn has
-- come the room is kept for it until its client is back. So it takes its user's turns and no one else's, and nobody
-- waits for who stays away longer than that. Room that is kept is idle, so it is kept only for calls that are never held:
-- one that may wait finds its old place in the line when it is back, and its turn has come by then.
--
-- The time told is that at which the call goes even if everyone who came lately takes his full share until then
-- (rivals.due): who comes later may delay nobody beyond it. What they leave of it goes to whoever asks meanwhile.
--
-- A call is known by its flow and by what it asks for, `again` (a hash; wire.py). A flow is trusted with so many promises
-- at a time; each that is kept earns one more, each that is missed halves them, so a client that never comes back holds
-- room for a few calls only.
--
-- Stored: `due` number -> when to look at it next; `pm` number -> record; `told:<flow>` "number again" -> the time told;
-- `pf:<flow>` how many `c`, the sum of their shares `o`, the trust `t`. Meta has how many there are, and the last number.
local promise = {}
do
  local text, floor, max, min = order.text, math.floor, math.max, math.min
  -- The owner of the waiting calls that stand for promises, as long as a replica's name.
  local OWNER = "-promised-calls-"
  -- It enters the line so long before its time: a time is true when the call could not have gone more than 2 s earlier
  -- (issue 3). For an eighth of the shortest window its room may be idle, and for the time in
  -- which its flow has two turns, or it could miss the one it has.
  local LEAD, PART, TURNS = 1950, 8, 2
  -- It is kept so long after: a client that knows whole seconds only, a second of jitter of its own, and the way.
  local KEPT = 2250
  -- A timer that fires a little early is still in time.
  local EARLY = 5
  -- What is told beyond the estimate: for the way, and that room which is kept for others is idle for about so long of
  -- each window.
  local SLACK, IDLE = 100, 800
  -- Nothing is promised for later than a call may ever be held (threats 4.3).
  local FURTHEST = 600000
  -- Far less than the life of meta, which counts them.
  local LIFE = 900000
  local FIRST_TRUST, MOST_TRUST = 64, 1024
  -- Promises of a service: as many as calls may wait by default (design 4.3), half a kilobyte each.
  local MOST = 10000
  -- Promises looked at in one tick.
  local MOST_DUE, MOST_SOUGHT = 64, 64
  local known, flows, changed, dropped

  promise.OWNER = OWNER

  function promise.begin()
    known, flows, changed, dropped = {}, {}, {}, {}
  end

  local function name_of(n)
    return string.sub(call.attempt(OWNER, n), 18)
  end

  local function flow_of(id)
    local flow = flows[id]
    if not flow then
      local v = store.numbers("pf:" .. id, { "c", "o", "t" })
      flow = { id = id, count = v[1] or 0, owed = v[2] or 0, trust = v[3] or FIRST_TRUST, told = {}, gone = {} }
      flows[id] = flow
    end
    return flow
  end

  -- How many of the calls in the line stand for promises.
  function promise.in_line()
    return this.promised > 0 and store.zcount("on:" .. OWNER, 0) or 0
  end

  -- How many promises there are to other flows.
  function promise.of_others(id)
    return this.promised > 0 and max(0, this.promised - flow_of(id).count) or 0
  end

  -- How much of its limits a flow has been promised, as a sum of shares.
  function promise.owed(id)
    return this.promised > 0 and flow_of(id).owed or 0
  end

  local function note(p)
    if not p.changed then
      p.changed = true
      changed[#changed + 1] = p
    end
    flow_of(p.flow).changed = true
  end

  local function recall(n, record)
    local again, told, state, index, slices, rest = string.match(record or "", "^(%S+) (%d+) (%a) (%d+) (%S*);(.*)$")
    local attempt = call.attempt(OWNER, n)
    local head = again and call.recall(attempt, rest, frames.named)
    if not head then
      return nil
    end
    local p = {
      n = n, again = again, told = tonumber(told), state = state, index = tonumber(index), slices = {}, head = head,
      flow = head.flow,
    }
    for slice in string.gmatch(slices, "[^,]+") do
      p.slices[#p.slices + 1] = tonumber(slice)
    end
    return p
  end

  -- Promises by number: false where one is not known.
  local function open(numbers)
    local fields, missing = {}, {}
    for _, n in ipairs(numbers) do
      if known[n] == nil then
        fields[#fields + 1], missing[#missing + 1] = name_of(n), n
      end
    end
    if #fields > 0 then
      local found = store.texts("pm", fields)
      for i, n in ipairs(missing) do
        known[n] = recall(n, found[i]) or false
      end
    end
  end

  -- It is promised no more.
  local function drop(p)
    local flow = flow_of(p.flow)
    flow.count, flow.owed = max(0, flow.count - 1), max(0, flow.owed - p.head.share)
    flow.gone[#flow.gone + 1] = name_of(p.n) .. " " .. p.again
    dropped[#dropped + 1] = name_of(p.n)
    this.promised = max(0, this.promised - 1)
    known[p.n] = false
    p.dropped = true
    note(p)
  end

  -- The limits that are charged for it, each with its cost and what the charge is called.
  local function each_charge(p, visit)
    local frame, at = p.head.frame, 0
    local function walk(limits, from)
      for i, limit in ipairs(limits) do
        at = at + 1
        visit(limit, p.head.costs[from + i], p.slices[at])
      end
    end
    walk(frame.commons, 0)
    local candidate = frame.candidates[p.index]
    walk(candidate.limits, candidate.from)
  end

  local function give_back(p, free)
    each_charge(p, function(limit, cost, slice)
      bucket.give_back(limit, cost, slice, OWNER, free)
    end)
  end

  -- The turn of the call that stands for it has come, and it was charged: the room is kept.
  function promise.keep(head, index, slices)
    open({ head.n })
    local p = known[head.n]
    if p then
      p.state, p.index, p.slices = "r", index, slices
      note(p)
    end
  end

  -- The shortest window of its limits.
  local function shortest(head)
    local least = FURTHEST
    local function look(limits)
      for _, limit in ipairs(limits) do
        if limit.kind == "w" or limit.kind == "e" then
          least = min(least, limit.length)
        end
      end
    end
    look(head.frame.commons)
    for _, candidate in ipairs(head.frame.candidates) do
      look(candidate.limits)
    end
    return least
  end

  -- Nobody came for it.
  local function miss(p)
    local flow = flow_of(p.flow)
    flow.trust = max(1, floor(flow.trust / 2))
    if p.state == "r" then
      give_back(p, true)
    end
    drop(p)
  end

  -- What is due: calls enter the line, or nobody waits for them any more. Returns the places to look at again.
  function promise.due()
    local out = {}
    if this.promised == 0 then
      return out
    end
    local flat, numbers = store.zrange("due", 0, MOST_DUE - 1), {}
    for i = 1, #flat, 2 do
      if flat[i + 1] <= this.now then
        numbers[#numbers + 1] = tonumber(flat[i])
      end
    end
    open(numbers)
    for _, n in ipairs(numbers) do
      local p = known[n]
      if not p then
        dropped[#dropped + 1] = name_of(n)
      elseif this.now >= p.told + KEPT then
        local head = p.state == "l" and line.head(p.head.attempt)
        for _, name in ipairs(head and line.leave(head) or {}) do
          out[#out + 1] = name
        end
        miss(p)
      elseif p.state == "w" then
        p.state = "l"
        line.stand(p.head)
        line.register(p.head, "ready")
        note(p)
      end
    end
    return out
  end

  -- What an arrival was promised, if it is time; nil: nothing.
  function promise.find(head)
    if this.promised == 0 or head.again == "-" or flow_of(head.flow).count == 0 then
      return nil
    end
    local flat = store.zrange("told:" .. head.flow, 0, MOST_SOUGHT - 1)
    for i = 1, #flat, 2 do
      local n, again = string.match(flat[i], "^(%d+) (%S+)$")
      if flat[i + 1] > this.now + EARLY then
        return nil
      end
      if again == head.again then
        n = tonumber(n)
        open({ n })
        if known[n] then
          return known[n]
        end
      end
    end
    return nil
  end

  -- The call is back. Returns the candidate whose room was kept for it, if it still is there.
  function promise.redeem(p, head)
    local flow, index = flow_of(p.flow), nil
    flow.trust = min(MOST_TRUST, flow.trust + 1)
    if p.state == "r" then
      give_back(p, false)
      if head.frame.name == p.head.frame.name and pool.can_serve(head.frame, p.index, head.costs) then
        index = p.index
      end
    end
    drop(p)
    return index
  end

  -- A refused call is told `at`, its flow having a turn every `turn` ms; it is promised where its flow is trusted and there is room for promises. Returns the
  -- time to tell.
  function promise.tell(head, at, turn)
    local window = shortest(head)
    local told = at + SLACK + floor((at - this.now) * IDLE / max(window, PART * IDLE))
    local flow = flow_of(head.flow)
    if told - this.now > FURTHEST or flow.count >= flow.trust
      or this.promised >= MOST then
      return told
    end
    this.made, this.promised = this.made + 1, this.promised + 1
    local attempt, patient = call.attempt(OWNER, this.made), head.patient or head.deadline > this.now
    local p = {
      n = this.made, again = head.again, told = told, state = patient and "p" or "w", index = 0, slices = {}, flow = head.flow,
      lead = min(LEAD, floor(window / 4), max(floor(window / PART), TURNS * turn)),
      head = {
        attempt = attempt, owner = OWNER, n = this.made, flow = head.flow, enqueued = head.enqueued,
        deadline = told + KEPT, priority = head.priority, share = head.share, costs = head.costs, frame = head.frame,
        class = head.class,
      },
    }
    known[p.n] = p
    flow.count, flow.owed = flow.count + 1, flow.owed + head.share
    flow.told[#flow.told + 1], flow.told[#flow.told + 2] = name_of(p.n) .. " " .. p.again, told
    note(p)
    return told
  end

  local function save_records()
    local records, looks = {}, {}
    for _, p in ipairs(changed) do
      if not p.dropped then
        local slices = {}
        for i = 1, #p.slices do
          slices[i] = text(p.slices[i])
        end
        local name = name_of(p.n)
        records[#records + 1] = name
        records[#records + 1] = p.again .. " " .. text(p.told) .. " " .. p.state .. " " .. text(p.index) .. " "
          .. table.concat(slices, ",") .. ";" .. call.record(p.head)
        looks[#looks + 1] = name
        looks[#looks + 1] = p.state == "w" and p.told - p.lead or p.told + KEPT
        frames.keep(p.head)
      end
    end
    if #records > 0 then
      store.put("pm", records)
      store.expire("pm", LIFE)
      store.zput("due", looks)
      store.expire("due", LIFE)
    end
  end

  function promise.save()
    save_records()
    if #dropped > 0 then
      store.drop("pm", dropped)
      store.zdrop("due", dropped)
    end
    for id, flow in pairs(flows) do
      if flow.changed then
        store.put("pf:" .. id, { "c", flow.count, "o", flow.owed, "t", flow.trust })
        store.expire("pf:" .. id, LIFE)
        if #flow.told > 0 then
          store.zput("told:" .. id, flow.told)
          store.expire("told:" .. id, LIFE)
        end
        if #flow.gone > 0 then
          store.zdrop("told:" .. id, flow.gone)
        end
      end
    end
  end
end
