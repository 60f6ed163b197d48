-- The upstream's token bucket, mirrored (limiter.md 14): capacity C, rate p units per q milliseconds. Law: in any x
-- milliseconds at most B + x p/q leaves, where B is C less what refills within the jitter, so the upstream's own bucket
-- never runs dry; the call that would is never ours.
--
-- Kept as what is used, which drains: `used` (above B after an excess), `t` when that was so, `rem` what had drained
-- of the next unit, in 1/`den` of it; and the least that was in use, `lo` since `ls`, `lp` from `lf` to then. A smaller or larger B or rate so takes effect at once and rewrites nothing. Two
-- replicas may name different rates, as in a rolling update: between two looks the bucket drains at the slower of the
-- rate it was last asked with, `p` in `den` milliseconds, and that of now (Q14). A settlement brings the rate of its
-- charge, which may be gone: it changes none.
local twin = {}
do
  local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
  -- Expiry is garbage collection only: twice the time to drain, and no less than ten minutes.
  local LEAST_LIFE = 600000
  -- The least in use is known for once to twice so long: longer than room is kept for a call (promise.lua).
  local LOOK_BACK = 4500

  -- The part of the rate that a host without the others may use: never rounded up, down by a thousandth at most, and
  -- p q stays below 2^53 (limiter.md 4.3).
  local function rate(p, q)
    if this.share == 1000 then
      return p, q
    elseif p >= 1000 then
      return floor(p * this.share / 1000), q
    elseif q <= 1000000 then
      return p * this.share, q * 1000
    end
    return p, ceil(q * 1000 / this.share)
  end

  function twin.load(id, now)
    local key = "tb:" .. id
    local v = store.numbers(key, { "used", "t", "rem", "den", "q", "p", "lo", "lp", "ls", "lf" })
    return {
      key = key, id = id, used = v[1] or 0, t = v[2] or now, rem = v[3] or 0, den = v[4] or 1, q = v[5] or 0,
      p = v[6] or 0, low = v[7] or 0, before = v[8] or 0, since = v[9] or now, from = v[10] or now, changed = false,
      queued = false,
    }
  end

  -- The fraction of a unit counts in 1/q from now on, rounded down.
  local function use_rate(b, p, q)
    if b.den ~= q then
      b.rem, b.den = floor(b.rem / b.den * q), q
    end
    b.p = p
  end

  -- As it stands now. What drains is exact over any number of looks: the fraction is carried. `settles`: the rate is
  -- that of a charge, not of the limit.
  function twin.drain(b, p, q, settles)
    p, q = rate(p, q)
    local passed, last_p, last_q = this.now - b.t, b.p, b.den
    if last_p == 0 or p * last_q < last_p * q then
      use_rate(b, p, q)
    end
    b.t = this.now
    local whole = floor(passed / b.den)
    local part = (passed - whole * b.den) * b.p + b.rem
    b.used, b.rem = b.used - whole * b.p - floor(part / b.den), part % b.den
    if b.used <= 0 then
      -- full: a fraction above that would be more than the upstream has
      b.used, b.rem = 0, 0
    end
    local least = b.used - (b.rem > 0 and 1 or 0)
    b.low = min(b.low, least)
    if this.now - b.since >= LOOK_BACK then
      b.before, b.from, b.low, b.since = b.low, b.since, least, this.now
    end
    if not settles then
      use_rate(b, p, q)
      -- the next to look must know of it, whatever becomes of this call
      b.changed = b.changed or (last_p > 0 and (p ~= last_p or q ~= last_q))
    elseif last_p > 0 then
      use_rate(b, last_p, last_q)
    end
  end

  function twin.charge(b, cost)
    b.used, b.changed = b.used + cost, true
    return this.now
  end

  -- `need` will fit under `amount` when what is too much has drained; rounded up. In the past where it fits already.
  function twin.earliest(b, need, amount)
    local short = b.used + need - amount
    local whole = floor(short / b.p)
    local wait = whole * b.den + ceil(((short - whole * b.p) * b.den - b.rem) / b.p)
    return min(order.FAR, this.now + wait)
  end

  -- A charge of `charged` made at `at` was really `delta` more. Less: only what the refill since then has not given
  -- back already, or a full bucket would grow (14.2). `at` -1 or ahead: nobody knows when; a credit is dropped.
  function twin.settle(b, p, q, at, charged, delta)
    local before = b.used
    if delta > 0 then
      b.used, b.changed = b.used + delta, true
    elseif at >= 0 and at <= this.now then
      local age = this.now - at
      local whole = floor(age / q)
      local refilled = whole * p + ceil((age - whole * q) * p / q)
      b.used, b.changed = max(0, b.used - max(0, min(-delta, charged - refilled))), true
      b.low = min(b.low, b.used)
    end
    return b.used < before
  end

  -- A charge made at `at` is taken back, as if it had not been made: what refilled meanwhile would have refilled without
  -- it, as long as the bucket would not have been full then. So no more is given back than the least that was in use
  -- since, and the same once only. Where that is not known, as any settlement.
  function twin.give_back(b, p, q, at, charged)
    if at < b.from then
      return twin.settle(b, p, q, at, charged, -charged)
    end
    local credit = min(charged, b.low, at < b.since and b.before or charged)
    b.used, b.low, b.before, b.changed = b.used - credit, b.low - credit, max(0, b.before - credit), true
    return credit > 0
  end

  -- The upstream had used `used` of its bucket when it answered a call that left at `at`: so much is used of ours too,
  -- less what has drained since.
  function twin.told(b, p, q, at, used)
    if at < 0 or at > this.now then
      return
    end
    local age = this.now - at
    local whole = floor(age / q)
    local least = used - whole * p - ceil((age - whole * q) * p / q)
    if least > b.used then
      b.used, b.changed = least, true
    end
  end

  function twin.save(b)
    local values = { "used", b.used, "t", b.t, "rem", b.rem, "den", b.den, "p", b.p, "lo", b.low, "lp", b.before,
      "ls", b.since, "lf", b.from }
    if b.queued then
      values[19], values[20] = "q", b.q
    end
    store.put(b.key, values)
    store.expire(b.key, max(LEAST_LIFE, 2 * ceil(b.used / b.p) * b.den))
  end
end
