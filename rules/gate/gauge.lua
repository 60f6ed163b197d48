-- Calls in flight (limiter.md 6, 7). Law: `used` of a bucket is the sum over replicas of what each holds; a replica
-- states its own part as an absolute number, so a lost or repeated release heals with the next statement.
--
-- The parts live in one hash per replica, so that a dead replica is forgotten in one read: `r:<replica>` what it has
-- acknowledged or was given in its own tick, `u:<replica>` what other replicas' ticks gave it and it has not yet seen.
--
-- How long a unit is held on average follows from how many were in use how long, `a` in unit milliseconds until `t`, and
-- how many came back, `n` (Little 1961: L = lambda W). Both are halved now and then, so that the past fades.
local gauge = {}
do
  -- Replicas state their gauges again each minute (proxy), far inside this.
  local LIFE = 900000
  -- Units that came back before the sums are halved.
  local MANY = 64
  -- Far below 2^53.
  local MOST = 1125899906842624
  local parts = {}

  function gauge.begin()
    parts = {}
  end

  function gauge.load(id, now)
    local key = "g:" .. id
    local v = store.numbers(key, { "used", "q", "a", "t", "n" })
    local used, at = v[1] or 0, v[4] or now
    return {
      key = key, id = id, now = now, used = used, q = v[2] or 0, area = math.min((v[3] or 0) + used * (now - at), MOST),
      back = v[5] or 0, changed = false, queued = false,
    }
  end

  -- Adds to a replica's part and to the bucket; returns the part as it was.
  local function part(kind, replica, id)
    local key = kind .. replica
    local of = parts[key]
    if not of then
      of = { values = {}, changed = {} }
      parts[key] = of
    end
    if not of.values[id] then
      of.values[id] = store.numbers(key, { id })[1] or 0
    end
    return of
  end

  local function set(of, b, value)
    local before = of.values[b.id]
    if value ~= before then
      b.used = math.max(0, b.used + (value - before))
      b.back = b.back + math.max(0, before - value)
      b.changed = true
    end
    of.values[b.id] = value
    of.changed[b.id] = true
    return value < before
  end

  -- kind: "r:" or "u:".
  function gauge.add(kind, replica, b, amount)
    local of = part(kind, replica, b.id)
    return set(of, b, math.max(0, of.values[b.id] + amount))
  end

  -- The replica holds `value` now. Returns true when room was made.
  function gauge.state(replica, b, value)
    b.changed = true
    return set(part("r:", replica, b.id), b, value)
  end

  -- Everything a replica holds, as {{id, amount}, ...}; what this tick changed already is not in it.
  function gauge.parts(kind, replica)
    local out = {}
    for _, pair in ipairs(store.all(kind .. replica)) do
      out[#out + 1] = { pair[1], tonumber(pair[2]) }
    end
    return out
  end

  -- How many milliseconds a unit is held, as far as is known; nil: none has come back yet.
  function gauge.lasts(b)
    return b.back > 0 and b.area / b.back or nil
  end

  function gauge.save(b)
    if b.back >= MANY then
      b.area, b.back = math.floor(b.area / 2), math.floor(b.back / 2)
    end
    local values = { "used", b.used, "a", b.area, "t", b.now, "n", b.back }
    if b.queued then
      values[9], values[10] = "q", b.q
    end
    store.put(b.key, values)
    store.expire(b.key, LIFE)
  end

  function gauge.save_parts()
    for key, of in pairs(parts) do
      local values, zero = {}, {}
      for id in pairs(of.changed) do
        if of.values[id] == 0 then
          zero[#zero + 1] = id
        else
          values[#values + 1], values[#values + 2] = id, of.values[id]
        end
      end
      if #zero > 0 then
        store.drop(key, zero)
      end
      if #values > 0 then
        store.put(key, values)
        store.expire(key, LIFE)
      end
    end
  end
end
