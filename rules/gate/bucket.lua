-- The buckets a tick touches: read once, decided on, written at the end (limiter.md 3.1). Law: every use of capacity
-- goes through fits, then charge, with the cost counted in.
--
-- A limit here is {id, window, amount, w, length}: bucket id, true for a window and false for calls in flight, N,
-- slice and window length in milliseconds.
local bucket = {}
do
  local floor, max = math.floor, math.max
  local opened, listed, freed, is_freed = {}, {}, {}, {}
  -- The same by limit: a frame's limits are asked several times a call, and this saves building the name each time.
  local of_limit = {}

  function bucket.begin()
    opened, listed, freed, is_freed, of_limit = {}, {}, {}, {}, {}
    gauge.begin()
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

  function bucket.open(limit)
    local b = of_limit[limit]
    if not b then
      if limit.window then
        b = open_window(limit.id, limit.w, limit.length)
      else
        b = open_gauge(limit.id)
      end
      of_limit[limit] = b
    end
    if limit.window and b.w ~= limit.w then
      window.fold(b, limit.w, limit.length)
    end
    return b
  end

  -- N, or the part of it a host without the others may use: at least 1, or a small limit would serve nobody.
  function bucket.amount(limit)
    if this.share == 1000 then
      return limit.amount
    end
    return max(1, floor(limit.amount * this.share / 1000))
  end

  function bucket.used(limit)
    local b = bucket.open(limit)
    return limit.window and b.sum or b.used
  end

  function bucket.fits(limit, cost)
    return bucket.used(limit) + cost <= bucket.amount(limit)
  end

  -- When `cost` will fit behind `ahead` more; FAR where only a release can tell.
  function bucket.earliest(limit, cost, ahead)
    local b = bucket.open(limit)
    if limit.window then
      return window.earliest(b, cost + ahead, bucket.amount(limit))
    end
    return b.used + cost + ahead <= bucket.amount(limit) and this.now or order.FAR
  end

  -- Thousandths of cost that waiting calls will ask of this bucket.
  function bucket.queue(limit, change)
    local b = bucket.open(limit)
    b.q = max(0, b.q + change)
    b.queued, b.changed = true, true
  end

  function bucket.queued(limit)
    return floor(bucket.open(limit).q / 1000)
  end

  -- Takes the cost for `owner`; returns the slice charged, 0 for calls in flight.
  function bucket.charge(limit, cost, owner)
    local b = bucket.open(limit)
    if limit.window then
      return window.charge(b, cost)
    end
    gauge.add(owner == this.replica and "r:" or "u:", owner, b, cost)
    return 0
  end

  local function note_freed(id, made_room)
    if made_room and not is_freed[id] then
      is_freed[id] = true
      freed[#freed + 1] = id
    end
  end

  -- delta = actual - charged, in the limit's integer units.
  function bucket.settle(id, w, length, slice, delta)
    note_freed(id, window.settle(open_window(id, w, length), w, slice, delta))
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
        else
          gauge.save(b)
        end
      end
    end
    gauge.save_parts()
  end
end
