-- The N of a window that nobody publishes, found out from refusals (limiter.md 13). Beside it the window is one like any
-- other: this file only says how much of it may be used now. The arithmetic is CUBIC's (RFC 9438) with windows for round
-- trips, on the time of the store, and shared by all replicas because its state stands here.
--
-- At first N is twice the rate at which the last half of the window was carried. A refusal tells what it can carry
-- (`top`): N falls to BETA of that, once per generation, since calls sent before a cut say nothing about what came of it.
-- From there it grows as top x (1 - C (K - x)^3), x in windows, to `top` after K of them, stays there for `hold` windows,
-- and then looks higher, as top x (1 + C (x - K - hold)^3), until the next refusal. Refused again at much the same place,
-- N falls to `top` and no further, since that was carried all the while, and `hold` doubles: each look costs a refusal,
-- and more than one in ten windows is not worth it. Refused elsewhere, the limit has moved, and `hold` begins anew; where
-- it has fallen, it stays short for a while, to see it come back.
--
-- Laws: it grows only while the limit binds, and to no more than twice what was carried; where headers name a number
-- (`given`), that is N and nothing is tried any more; never above the amount the configuration gives.
--
-- By hour of the week it remembers what the window carried while it bound, and begins the hour there: in any case where
-- that hour met a refusal, else only if that is more.
--
-- Stored: `a:<bucket>`, the field `h`: N, top, ms for which it bound since the cut, hold, time of the cut, last look,
-- most carried, hour of the week (+1), whether it is still doubling, what headers gave, the longest window they told of,
-- looks that come soon, `top` when it was last confirmed, whether this hour met a refusal; and `0`..`167`, twice what
-- each hour carried, and 1 where it met one.
local learned = {}
do
  local floor, max, min = math.floor, math.max, math.min
  -- Limiter.md 13 allows cuts of 0.7 to 0.9, and means of (1 - (1 - BETA)/4) of the limit: 96 %.
  local BETA = 0.85
  -- RFC 9438, 4.1.2, with windows for seconds; K = cbrt((1 - BETA) / C).
  local C, K = 0.4, 0.7211
  -- What a refusal found, less a sixty-fourth: what crosses on its way is counted by the upstream too.
  local MARGIN = 63 / 64
  -- Windows of rest between two looks, first and at the most: at most one refusal in ten windows is wanted (issue 4),
  -- and two calls may go at a look.
  local HOLD, MOST_HOLD = 2, 12
  -- A limit that has fallen by so much may come back soon: so many looks more at the shortest hold, each three windows
  -- apart.
  local FALLEN, SOON = 3 / 4, 5
  -- Two refusals this near, as a part of the former, are of one limit.
  local NEAR = 1 / 8
  -- At first the rate is measured over this part of the window, so that it doubles as often.
  local RECENT = 2
  -- How long what a replica says may have been on its way: until then it counts as sent before a cut.
  local GRACE = 250
  local HOUR, WEEK = 3600000, 168
  local LIFE = 15 * 24 * HOUR
  local FORM = string.sub(string.rep(" %.0f", 14), 2)
  local opened, listed = {}, {}

  function learned.begin()
    opened, listed = {}, {}
  end

  local function open(id)
    local s = opened[id]
    if s then
      return s
    end
    local numbers, stored = {}, store.texts("a:" .. id, { "h" })[1]
    for number in string.gmatch(stored or "", "%S+") do
      numbers[#numbers + 1] = tonumber(number)
    end
    s = {
      key = "a:" .. id, amount = numbers[1] or 0, top = numbers[2] or 0, bound = numbers[3] or 0, hold = numbers[4] or 0,
      cut = numbers[5] or 0, last = numbers[6] or this.now, most = numbers[7] or 0, hour = numbers[8] or 0,
      doubles = (numbers[9] or 1) == 1, given = numbers[10] or 0, span = numbers[11] or 0,
      soon = numbers[12] or 0, was = numbers[13] or 0, met = numbers[14] == 1, hours = {},
    }
    opened[id] = s
    listed[#listed + 1] = s
    return s
  end

  -- The hour changes: what the last one carried is kept, and what this one carried a week ago is where it begins.
  local function turn_hour(s, length)
    local hour = floor(this.raw / HOUR) % WEEK + 1
    if s.hour == hour then
      return
    end
    if s.hour > 0 and s.most > 0 then
      s.hours[s.hour - 1] = 2 * s.most + (s.met and 1 or 0)
    end
    local kept = tonumber(store.texts(s.key, { order.text(hour - 1) })[1] or 0)
    local carried = floor(kept / 2)
    -- without a refusal it could have carried more
    if carried > 0 and (kept % 2 == 1 or carried > s.amount) then
      s.amount, s.top, s.bound, s.hold, s.doubles = carried, carried, floor(K * length), 0, false
    end
    s.hour, s.most, s.met, s.changed = hour, 0, false, true
  end

  -- The curve, in windows since the cut.
  local function curve(x, hold)
    if x < K then
      return 1 - C * (K - x) ^ 3
    elseif x <= K + hold then
      return 1
    end
    return 1 + C * (x - K - hold) ^ 3
  end

  -- What the last part of the window carried.
  local function recent(b, limit)
    local carried = 0
    window.walk(b, function(units, leaves_in)
      if leaves_in > limit.length * (1 - 1 / RECENT) then
        carried = carried + units
      end
    end)
    return carried
  end

  local function grow(s, b, limit, used)
    local passed = this.now - s.last
    s.last = this.now
    local binds = b.q > 0 or used * 8 >= s.amount * 7
    if not binds then
      return
    end
    s.most, s.changed = max(s.most, used), true
    if s.doubles then
      s.amount = max(s.amount, 2 * max(used, RECENT * recent(b, limit)))
      return
    end
    -- what was idle between two looks did not bind
    s.bound = s.bound + min(passed, floor(limit.length / 20))
    local wished = floor(s.top * curve(s.bound / limit.length, s.hold))
    s.amount = max(1, min(wished, max(s.amount, 2 * used)))
  end

  -- N now. `used`: of the window, by everybody.
  function learned.amount(b, limit, used)
    local s = open(limit.id)
    if not s.looked then
      s.looked = true
      if s.amount == 0 then
        s.amount, s.changed = limit.start, true
      end
      turn_hour(s, limit.length)
      if s.given == 0 then
        grow(s, b, limit, used)
      end
    end
    return min(s.given > 0 and s.given or s.amount, limit.amount)
  end

  -- A call of this bucket that was sent `ago` ms ago was refused.
  function learned.cut(id, length, used, ago)
    local s = open(id)
    if s.given > 0 or s.amount == 0 or this.now - ago <= s.cut + GRACE then
      return
    end
    local carried = s.amount
    if used * (s.doubles and 4 or 2) >= s.amount then
      carried = min(s.amount, used)
    elseif s.doubles then
      -- a window that is nearly empty says nothing about how much it holds, and as yet neither does N
      carried = floor(s.amount / 2)
    end
    local top, looked = carried * MARGIN, s.bound >= (K + s.hold) * length
    if not s.doubles and not looked then
      -- refused before it looked higher, it stands too high already (RFC 9438, 4.7)
      top = carried * (1 + BETA) / 2
    elseif s.hold > 0 and top > s.top and top - s.top <= s.top * NEAR then
      -- `top` was carried for a while. What was carried while looking higher may be of two windows of the upstream's
      top = s.top + (top - s.top) / 4
    end
    top = max(1, floor(top))
    local moved = s.doubles or math.abs(top - s.top) > s.top * NEAR
    -- `top` was carried for a while: it is where N stays
    local stays = not moved and looked and s.hold > 0
    if moved then
      s.hold, s.soon = HOLD, top < s.was * FALLEN and SOON or 0
    elseif s.soon > 0 then
      s.hold, s.soon = HOLD, s.soon - 1
    else
      s.hold, s.was = min(MOST_HOLD, max(HOLD, 2 * s.hold)), top
    end
    s.amount, s.bound = stays and top or max(1, floor(top * BETA)), stays and floor(K * length) or 0
    s.top, s.most, s.cut = top, min(max(s.most, used), top), this.now
    s.doubles, s.met, s.changed = false, true, true
    this.version = this.version + 1
  end

  -- Headers say `amount` for windows of at least `span` ms. What is learned so is for windows of `length`.
  function learned.give(id, amount, span, length)
    local s = open(id)
    s.span = max(s.span, span)
    local given = max(1, floor(amount * length / max(length, s.span)))
    if given ~= s.given then
      s.given, s.changed = given, true
      this.version = this.version + 1
    end
  end

  function learned.save()
    for _, s in ipairs(listed) do
      if s.changed then
        local values = { "h", string.format(FORM, s.amount, s.top, s.bound, s.hold, s.cut, s.last, s.most, s.hour,
          s.doubles and 1 or 0, s.given, s.span, s.soon, s.was, s.met and 1 or 0) }
        for hour, carried in pairs(s.hours) do
          values[#values + 1], values[#values + 2] = order.text(hour), carried
        end
        store.put(s.key, values)
        store.expire(s.key, LIFE)
      end
    end
  end
end
