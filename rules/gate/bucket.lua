-- The buckets a tick touches: read once, decided on, written at the end (limiter.md 3.1). Law: every use of capacity
-- goes through fits, then charge, with the cost counted in. An amount of 0 lets nothing through.
--
-- A limit here is {id, kind, amount, w, length}: bucket id, kind, N, and two numbers of its kind:
--   w  a window: slice and window length in milliseconds, bursts `idle` and `busy` (pace.lua; 0: not paced)
--      `learned`: how much of N is used is found out (learned.lua), from `start` on
--   e  the same, counted by the upstream when a call ends       c  calls in flight: none
--   t  a token bucket: units refilled, in how many milliseconds  q  a quota: ends of two periods, and `jitter`
local bucket = {}
do
  local floor, max, min, FAR = math.floor, math.max, math.min, order.FAR
  -- The whole of a limit (standing.py).
  local SHARE = 1073741824
  local opened, listed, freed, is_freed = {}, {}, {}, {}
  -- The same by limit: a frame's limits are asked several times a call, and this saves building the name each time.
  local of_limit = {}

  function bucket.begin()
    opened, listed, freed, is_freed, of_limit = {}, {}, {}, {}, {}
    gauge.begin()
    learned.begin()
  end

  local function keep(name, b)
    opened[name] = b
    listed[#listed + 1] = b
    return b
  end

  local function open_window(id, w, length)
    local name = "w:" .. id
    return opened[name] or keep(name, window.load(id, w, length, this.now))
  end

  local function open_gauge(id)
    local name = "g:" .. id
    return opened[name] or keep(name, gauge.load(id, this.now))
  end

  local function open_twin(id, p, q, settles)
    local name = "t:" .. id
    local b = opened[name] or keep(name, twin.load(id, this.now))
    twin.drain(b, p, q, settles)
    return b
  end

  local function open_quota(id)
    local name = "q:" .. id
    return opened[name] or keep(name, quota.load(id))
  end

  function bucket.open(limit)
    local b = of_limit[limit]
    if not b then
      if limit.kind == "w" or limit.kind == "e" then
        b = open_window(limit.id, limit.w, limit.length)
      elseif limit.kind == "c" then
        b = open_gauge(limit.id)
      elseif limit.kind == "t" then
        b = open_twin(limit.id, limit.w, limit.length)
      else
        b = open_quota(limit.id)
      end
      of_limit[limit] = b
    end
    return b
  end

  -- N, or the part of it a host without the others may use: at least 1, or a small limit would serve nobody. The
  -- product stays below 2^53.
  function bucket.part(amount)
    local share = this.share
    if share == 1000 or amount == 0 then
      return amount
    end
    local thousands = floor(amount / 1000)
    return max(1, thousands * share + floor((amount - thousands * 1000) * share / 1000))
  end

  -- What holds now, and until when another replica, or what the upstream said, holds it below the limit's own
  -- (agreed.lua, announced.lua).
  function bucket.amount(limit)
    local amount, till = agreed.amount(limit)
    if limit.learned then
      local b = bucket.open(limit)
      amount = min(amount, learned.amount(b, limit, b.sum))
    end
    local said, believed = announced.amount(limit.id)
    if said and said < amount then
      amount, till = said, believed
    end
    return bucket.part(amount), till
  end

  -- The same for a call: what is only learned turns none away for ever because it costs more.
  local function amount_for(limit, cost)
    local amount, till = bucket.amount(limit)
    return limit.learned and max(amount, cost) or amount, till
  end

  -- What calls in flight will cost where the upstream counts at their end (Q13): held by their replicas until then.
  local function held(limit)
    return limit.kind == "e" and open_gauge(limit.id).used or 0
  end

  function bucket.used(limit)
    local b = bucket.open(limit)
    if limit.kind == "q" then
      return quota.used(b, limit)
    end
    return b.slices and b.sum + held(limit) or b.used
  end

  function bucket.fits(limit, cost)
    local amount = amount_for(limit, cost)
    if bucket.used(limit) + cost > amount then
      return false
    end
    local b = bucket.open(limit)
    return not b.slices or pace.fits(b, limit, amount, bucket.used(limit), cost)
  end

  local function earliest(limit, cost, ahead, amount)
    local b, kind = bucket.open(limit), limit.kind
    if cost > amount or amount == 0 then
      return FAR
    elseif b.slices then
      local left = amount - held(limit)
      if cost > left then
        return FAR
      end
      local used = b.sum + amount - left
      return max(window.earliest(b, cost + ahead, left), pace.earliest(b, limit, amount, used, cost, ahead))
    elseif kind == "t" then
      return twin.earliest(b, cost + ahead, amount)
    elseif kind == "q" then
      return quota.earliest(b, limit, cost + ahead, amount)
    end
    return b.used + cost + ahead <= amount and this.now or FAR
  end

  -- When `cost` will fit behind `ahead` more; FAR where only a release can tell, or nothing.
  function bucket.earliest(limit, cost, ahead)
    local amount, till = amount_for(limit, cost)
    local at = earliest(limit, cost, ahead, amount)
    if till and at > till then
      -- the smaller N may be named no more by then, and nothing else would tell
      at = min(at, max(till, earliest(limit, cost, ahead, bucket.part(limit.amount))))
    end
    return at
  end

  -- What part of the limit comes back in a millisecond, in shares (standing.py); 0 where it does not come back steadily.
  function bucket.returns(limit)
    if limit.kind == "w" or limit.kind == "e" then
      return SHARE / limit.length
    elseif limit.kind == "t" then
      return SHARE * limit.w / (limit.length * max(1, limit.amount))
    end
    return 0
  end

  -- The same, and where calls in flight decide, when so many are expected to have ended: a guess, by which nothing is
  -- granted and nobody is woken.
  function bucket.expected(limit, cost, ahead)
    local amount = bucket.amount(limit)
    if limit.kind ~= "c" or cost > amount or amount == 0 then
      return bucket.earliest(limit, cost, ahead)
    end
    local b = bucket.open(limit)
    local short, lasts = b.used + cost + ahead - amount, gauge.lasts(b)
    if short <= 0 then
      return this.now
    end
    return lasts and min(FAR, this.now + floor(short * lasts / amount)) or FAR
  end

  -- Whether it is the window's pace, and not the window, that lets `cost` go no earlier than `at`.
  function bucket.is_pace(limit, cost, ahead, at)
    local b = bucket.open(limit)
    return b.slices and window.earliest(b, cost + ahead, bucket.amount(limit) - held(limit)) < at
  end

  -- Thousandths of cost that waiting calls will ask of this bucket; as much as can be counted.
  function bucket.queue(limit, change)
    local b = bucket.open(limit)
    if b.slices then
      pace.queue(b, limit)
    end
    b.q = min(FAR, max(0, (limit.kind == "q" and quota.waiting(b) or b.q) + change))
    b.queued, b.changed = true, true
  end

  function bucket.queued(limit)
    local b = bucket.open(limit)
    return floor((limit.kind == "q" and quota.waiting(b) or b.q) / 1000)
  end

  -- Takes the cost for `owner`; returns what names the charge when it is settled: slice, time or period charged, 0 for
  -- calls in flight.
  function bucket.charge(limit, cost, owner)
    local b = bucket.open(limit)
    if b.slices then
      pace.charge(b, limit, bucket.amount(limit), bucket.used(limit), cost)
    end
    if limit.kind == "w" then
      return window.charge(b, cost)
    elseif limit.kind == "t" then
      return twin.charge(b, cost)
    elseif limit.kind == "q" then
      return quota.charge(b, limit, cost)
    end
    gauge.add(owner == this.replica and "r:" or "u:", owner, open_gauge(limit.id), cost)
    return 0
  end

  local note_freed

  -- What was kept for a call that did not use it, or uses it only now, is as if it had never been charged; `slice` and
  -- `owner` as in the charge. `free`: others may have the room.
  function bucket.give_back(limit, cost, slice, owner, free)
    local b, made_room = bucket.open(limit), nil
    if limit.kind == "w" then
      made_room = window.settle(b, slice, -cost)
      pace.give_back(b, limit, cost)
    elseif limit.kind == "t" then
      made_room = twin.give_back(b, limit.w, limit.length, slice, cost)
    elseif limit.kind == "q" then
      made_room = quota.settle(b, slice % 2 == 1 and limit.length or 0, slice, -cost)
    else
      made_room = gauge.add("u:", owner, open_gauge(limit.id), -cost)
      if b.slices then
        pace.give_back(b, limit, cost)
      end
    end
    if free then
      note_freed(limit.id, made_room)
    end
  end

  function note_freed(id, made_room)
    if made_room and not is_freed[id] then
      is_freed[id] = true
      freed[#freed + 1] = id
    end
  end

  -- delta = actual - charged, in the limit's integer units; `slice` as charge returned it, w and length the limit's
  -- own (a quota: any, and the end of the next period if that was charged too).
  function bucket.settle(kind, id, w, length, slice, charged, delta)
    if kind == "t" then
      note_freed(id, twin.settle(open_twin(id, w, length, true), w, length, slice, charged, delta))
    elseif kind == "q" then
      note_freed(id, quota.settle(open_quota(id), length, slice, delta))
    else
      note_freed(id, window.settle(open_window(id, w, length), slice, delta))
    end
  end

  -- A call that was sent `ago` ms ago was refused: what is learned of the window it was charged to.
  function bucket.refused(id, w, length, ago)
    learned.cut(id, length, open_window(id, w, length).sum, ago)
  end

  -- What the upstream says is used (wire.told); w and length the limit's own.
  function bucket.told(kind, id, w, length, sent, since, knew, used, slack, amount, ms)
    used, amount = bucket.part(used), bucket.part(amount)
    if kind == "t" then
      twin.told(open_twin(id, w, length, true), w, length, sent, used)
    elseif kind == "q" then
      quota.told(open_quota(id), sent, used)
    else
      local held = kind == "e" and open_gauge(id).used or 0
      others.told(open_window(id, w, length), sent, since, knew, used, slack, amount, ms, held)
    end
  end

  -- What the upstream says a bucket holds.
  function bucket.announce(id, amount, length)
    note_freed(id, announced.say(id, amount, length))
  end

  function bucket.state(replica, id, value)
    note_freed(id, gauge.state(replica, open_gauge(id), value))
  end

  -- Takes back what other replicas' ticks gave `replica` and it has now seen, or will never see.
  function bucket.seen(replica, id, amount)
    note_freed(id, gauge.add("u:", replica, open_gauge(id), -amount))
  end

  function bucket.forget(replica)
    local had = false
    for _, kind in ipairs({ "r:", "u:" }) do
      for _, part in ipairs(gauge.parts(kind, replica)) do
        note_freed(part[1], gauge.add(kind, replica, open_gauge(part[1]), -part[2]))
        had = true
      end
    end
    return had
  end

  -- Ids of the buckets that lost use in this tick, each once, in order of the loss.
  function bucket.freed()
    return freed
  end

  function bucket.save()
    for i = 1, #listed do
      local b = listed[i]
      if b.changed then
        if b.slices then
          window.save(b)
        elseif b.den then
          twin.save(b)
        elseif b.periods then
          quota.save(b)
        else
          gauge.save(b)
        end
      end
    end
    gauge.save_parts()
    learned.save()
  end
end
