-- What others use of a window, found out from what the upstream says it counts (limiter.md 13). Law: that is a lower
-- bound on use. Whatever of it no charge of ours explains is other people's, and counts from now on like a charge, in
-- the slice that leaves when the upstream's window ends. Every charge of ours that may explain it does, even one that
-- came after the upstream answered, and so does what others were found to use before: answers that are late, or come
-- in another order, count nothing twice and loosen nothing.
--
-- Kept in the window's field `x`: "slice units slice units .. ; level next" - what others use and where it stands, and,
-- for an upstream whose bucket refills, how full it was by our books (in thousandths) at the beginning of slice `next`.
local others = {}
do
  local ceil, floor, max, min, text = math.ceil, math.floor, math.max, math.min, order.text
  -- Since when such an upstream counts (hearsay.py).
  local REFILLS = -2
  -- Thousandths of larger amounts are no integers below 2^53.
  local MOST = 9007199254740

  local function read(b)
    if b.others then
      return
    end
    local known = store.texts(b.key, { "x" })[1] or ""
    local pairs_of, level, next_slice = string.match(known, "^([^;]*);?(%d*) ?(%d*)$")
    b.others, b.level = {}, level ~= "" and { units = tonumber(level), from = tonumber(next_slice) } or nil
    for i, units in string.gmatch(pairs_of or "", "(%d+) (%d+)") do
      if b.lo and tonumber(i) >= b.lo then
        b.others[#b.others + 1] = { at = tonumber(i), units = tonumber(units) }
      end
    end
  end

  local function record(b)
    local words = {}
    for _, one in ipairs(b.others) do
      words[#words + 1] = text(one.at) .. " " .. text(one.units)
    end
    local level = b.level and ";" .. text(b.level.units) .. " " .. text(b.level.from) or ""
    return table.concat(words, " ") .. level
  end

  -- Units of others that stand in the slices from `first` to `last`.
  local function of_others(b, first, last)
    local units = 0
    for _, one in ipairs(b.others) do
      if one.at >= first and one.at <= last then
        units = units + one.units
      end
    end
    return units
  end

  -- Leaves in `ms`, and no later than a charge of now.
  local function count(b, units, ms)
    local i = min(b.current, ceil((b.now + ms - b.length) / b.w) - 1)
    window.add(b, i, units)
    b.others[#b.others + 1] = { at = i, units = units }
    -- the pace must look anew
    b.pace.found = 0
  end

  -- The upstream's window began at `since`: what we charged from then on explains, wherever it is known by now.
  local function of_window(b, since, used, ms, held)
    if since + b.length + b.w < b.now then
      -- the window it speaks of may be over
      return
    end
    local first = floor(since / b.w)
    local ours = held + window.between(b, first, b.current) + of_others(b, -1, first - 1)
    if used > ours then
      count(b, used - ours, ms)
    end
  end

  -- The upstream's bucket of `amount` drains in a window: what fills it and is not ours is others'. The level is kept
  -- as of when the last call left that we heard the answer to, for the bucket may have been as full as told at any
  -- time since; an answer to an earlier call says nothing, and books that were too full are corrected.
  local function of_bucket(b, sent, knew, used, slack, amount, ms, held)
    local drained = amount * 1000 * b.w / b.length
    local told, first = used * 1000, min(floor(sent / b.w), b.current)
    local most = told + slack * 1000 + (b.current - first + 1) * drained
    local level, highest = most, told
    local function own(i)
      return 1000 * (window.between(b, i, i) - of_others(b, i, i))
    end
    if b.level then
      if first < b.level.from then
        return
      end
      local from = min(first, max(b.level.from, b.lo or b.current))
      level = max(0, b.level.units - (from - b.level.from) * drained)
      for i = from, first - 1 do
        level = max(0, level + own(i) - drained)
      end
      local h = level
      highest = 0
      for i = first, b.current do
        h = h + own(i)
        highest = max(highest, h)
        h = max(0, h - drained)
      end
    end
    -- what is rounded must not be added up; what is more than all our books is no matter of rounding
    local excess = floor((told - slack * 1000 - highest) / 1000)
    excess = max(excess, used - max(knew, b.sum + held))
    if excess > 0 then
      count(b, excess, ms)
      level = level + excess * 1000
    end
    b.level, b.changed = { units = ceil(min(level, most)), from = first }, true
  end

  -- The upstream counts `used` of its `amount`, or up to `slack` more or less. `sent`: the slice of the call that it
  -- answered; `since`: when its window began, or REFILLS, or -1: nobody knows; `knew`: what all our books held when that
  -- call left; `held`: what is in use besides the slices; `ms`: until its window ends, or its bucket is full.
  function others.told(b, sent, since, knew, used, slack, amount, ms, held)
    read(b)
    if since == REFILLS and amount <= MOST then
      of_bucket(b, sent, knew, used, slack, amount, ms, held)
    elseif since >= 0 then
      of_window(b, since, used, ms, held)
    elseif used > max(knew, b.sum + held) then
      count(b, used - max(knew, b.sum + held), ms)
    end
    b.extra = b.changed and record(b) or b.extra
  end
end
