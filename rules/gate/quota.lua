-- N per calendar day or month (limiter.md Q21). Law: of the calls the upstream counts in one period at most N are
-- ours, whatever the jitter: a call that goes within J of the end is charged to both periods, because nobody can say
-- in which it will be counted.
--
-- A limit brings the ends of two periods, in raw time (this.raw: the wall clock, not the one that never steps back);
-- which of them it is now is decided here, at the grant, so a call may wait past midnight. Stored: `q:<id>:<end>` with
-- `used`, one key a period; `q:<id>` with what waiting calls will ask. What is settled goes to the period charged.
local quota = {}
do
  local floor, ceil, max, min, text = math.floor, math.ceil, math.max, math.min, order.text
  -- Ends of periods that a replica's clock has not told us: look again after a minute.
  local UNKNOWN = 60000
  local LIFE = 86400000

  function quota.load(id)
    return { key = "q:" .. id, id = id, periods = {}, changed = false, queued = false }
  end

  local function period(b, finish)
    local found = b.periods[finish]
    if not found then
      local key = b.key .. ":" .. text(finish)
      found = { key = key, used = store.numbers(key, { "used" })[1] or 0, changed = false }
      b.periods[finish] = found
    end
    return found
  end

  -- The period a call would be charged to now, and the one after it too when that is near; the end of the first.
  local function charged_to(b, limit)
    local finish, after = limit.w, limit.length
    if this.raw >= finish then
      return period(b, after), nil, after
    elseif this.raw >= finish - limit.jitter then
      return period(b, finish), period(b, after), finish
    end
    return period(b, finish), nil, finish
  end

  function quota.used(b, limit)
    local one, other = charged_to(b, limit)
    return other and max(one.used, other.used) or one.used
  end

  local function add(b, one, limit_end, cost)
    one.used = max(0, one.used + cost)
    one.changed, b.changed = true, true
    one.life = max(LIFE, limit_end - this.raw + LIFE)
  end

  -- Returns twice the end of the period charged, plus one if the next was charged too.
  function quota.charge(b, limit, cost)
    local one, other, finish = charged_to(b, limit)
    add(b, one, finish, cost)
    if other then
      add(b, other, limit.length, cost)
    end
    return 2 * finish + (other and 1 or 0)
  end

  -- When `need` will fit: now, or at the end of this period, or of a later one when more than one amount waits.
  function quota.earliest(b, limit, need, amount)
    local one, other, finish = charged_to(b, limit)
    if other and other.used + need > amount then
      one, finish = other, limit.length
    end
    if one.used + need <= amount then
      return this.now
    end
    -- what was used above the amount does not pass to the next period
    local over = min(one.used, amount) + need - amount
    local turns = max(0, ceil(over / amount) - 1)
    local wait = finish - this.raw
    if wait <= 0 then
      wait = UNKNOWN
    end
    return this.now + wait + turns * max(UNKNOWN, limit.length - limit.w)
  end

  -- `after`: the end of the period after the one charged, 0 if it was not charged too. A period that is over is past
  -- correction: nothing is asked of it any more.
  function quota.settle(b, after, slice, delta)
    local made_room, finish = false, floor(slice / 2)
    for _, at in ipairs({ finish, after }) do
      if at > this.raw then
        add(b, period(b, at), at, delta)
        made_room = delta < 0
      end
    end
    return made_room
  end

  -- The upstream had counted `used` of the period that a call was charged to. A period that is over is past telling.
  function quota.told(b, slice, used)
    local finish = floor(slice / 2)
    if finish > this.raw then
      local one = period(b, finish)
      if used > one.used then
        add(b, one, finish, used - one.used)
      end
    end
  end

  -- Thousandths of cost that waiting calls will ask: read only where somebody waits.
  function quota.waiting(b)
    if not b.q then
      b.q = store.numbers(b.key, { "q" })[1] or 0
    end
    return b.q
  end

  function quota.save(b)
    for _, one in pairs(b.periods) do
      if one.changed then
        store.put(one.key, { "used", one.used })
        store.expire(one.key, one.life)
      end
    end
    if b.queued then
      store.put(b.key, { "q", b.q })
      store.expire(b.key, LIFE)
    end
  end
end
