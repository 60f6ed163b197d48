-- "N per W" as a sliced sliding window of length L = W + J (limiter.md 4.1): a slice of w milliseconds leaves only
-- when all of it is older than L. Law: never more than N in any L; `sum` is always the sum of the live slices.
--
-- A bucket keeps the slice length it began with until it is empty: any will do, and two replicas with different ones
-- (another jitter, in a rolling update) must not cut it anew for each other, or nothing would ever leave. So a charge
-- is named by when its slice began, not by an index (Q14). L is each caller's own.
--
-- Stored: `h`, twelve numbers in one field: the sum, the oldest and newest slice (-1: none), the slice length,
-- thousandths of cost that waiting calls will ask for, and what pace.lua knows; and one field per slice that was
-- charged. The fast path reads two fields: Redis walks through all of a small hash for each. `x`, read only where the
-- upstream tells what it counts: others.lua.
local window = {}
do
  local floor, max, min, text = math.floor, math.max, math.min, order.text
  -- Expiry is garbage collection only: twice the window, and no less than ten minutes.
  local LEAST_LIFE = 600000
  -- Slices are fetched in steps of this many while looking for the earliest fit.
  local STEP = 16
  -- One call for all twelve: `order.text` for each takes twice as long.
  local HEAD = string.sub(string.rep(" %.0f", 12), 2)
  local NUMBERS = "^(%d+) (%S+) (%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%d+)$"

  local function fetch(b, from, to)
    local fields, missing = {}, {}
    for i = from, to do
      if not b.slices[i] then
        fields[#fields + 1] = text(i)
        missing[#missing + 1] = i
      end
    end
    if #fields > 0 then
      local found = store.numbers(b.key, fields)
      for i = 1, #missing do
        b.slices[missing[i]] = found[i] or 0
      end
    end
  end

  local function empty(b)
    b.wiped, b.changed = b.stored, true
    b.sum, b.lo, b.hi, b.slices, b.marked, b.gone = 0, nil, nil, {}, {}, {}
  end

  -- Drops the slices that are wholly older than L. Amortised O(1): only indexes that expired since are walked.
  local function age(b)
    if not b.lo then
      return
    end
    local live = floor((b.now - b.length) / b.w)
    if live <= b.lo then
      return
    end
    if live > b.hi then
      empty(b)
      return
    end
    fetch(b, b.lo, live - 1)
    for i = b.lo, live - 1 do
      if b.slices[i] > 0 then
        b.sum = b.sum - b.slices[i]
        b.gone[#b.gone + 1] = text(i)
      end
    end
    b.lo, b.changed = live, true
  end

  local function index(word)
    return word ~= "-1" and tonumber(word) or nil
  end

  -- The bucket as it stands at `now`. `w` and `length` are the caller's.
  function window.load(id, w, length, now)
    local current = floor(now / w)
    local key = "w:" .. id
    local found = store.texts(key, { "h", text(current) })
    local b = {
      key = key, id = id, now = now, w = w, length = length, current = current, stored = found[1], sum = 0, q = 0,
      slices = {}, marked = {}, gone = {}, changed = false, fresh = not found[2],
    }
    local cut = w
    if b.stored then
      local sum, lo, hi, of, q, over, at, rest, busy, flow, spare, looked = string.match(b.stored, NUMBERS)
      b.sum, b.lo, b.hi, b.q, cut = tonumber(sum), index(lo), index(hi), tonumber(q), tonumber(of)
      b.pace = {
        over = tonumber(over), at = tonumber(at), rest = tonumber(rest), busy = tonumber(busy), flow = tonumber(flow),
        spare = tonumber(spare), found = tonumber(looked),
      }
    else
      b.pace = { over = 0, at = 0, rest = 0, busy = 0, flow = 0, spare = 0, found = 0 }
    end
    if cut ~= w then
      b.w, b.current, b.fresh = cut, floor(now / cut), true
    else
      b.slices[current] = tonumber(found[2] or 0)
    end
    age(b)
    if not b.lo and b.w ~= w then
      b.w, b.current = w, current
    end
    return b
  end

  -- Returns when the slice charged began.
  function window.charge(b, cost)
    local i = b.current
    if not b.lo then
      b.lo = i
    elseif not b.slices[i] then
      fetch(b, i, i)
    end
    b.hi = b.hi and max(b.hi, i) or i
    b.slices[i] = (b.slices[i] or 0) + cost
    b.sum = b.sum + cost
    b.marked[i], b.changed = true, true
    return i * b.w
  end

  -- Corrects the slice that was charged, which began at `began`. It has gone: a credit is dropped, an excess counts
  -- from now on. Returns true when room was made.
  function window.settle(b, began, delta)
    local slice = floor(began / b.w)
    if slice * b.w ~= began or not b.lo or slice < b.lo or slice > b.hi then
      if delta > 0 then
        window.charge(b, delta)
      end
      return false
    end
    fetch(b, slice, slice)
    local after = max(0, b.slices[slice] + delta)
    local before = b.slices[slice]
    b.slices[slice] = after
    b.sum = b.sum + (after - before)
    b.marked[slice], b.changed = true, true
    return after < before
  end

  -- Units of slice `i` that count from now on.
  function window.add(b, i, units)
    local before = b.lo and i >= b.lo and i <= b.hi and window.between(b, i, i) or 0
    b.slices[i] = before + units
    b.sum = b.sum + units
    b.lo, b.hi = b.lo and min(b.lo, i) or i, b.hi and max(b.hi, i) or i
    b.marked[i], b.changed = true, true
  end

  -- What the live slices from `first` to `last` hold.
  function window.between(b, first, last)
    local units = 0
    if b.lo then
      first, last = max(first, b.lo), min(last, b.hi)
      fetch(b, first, last)
      for i = first, last do
        units = units + b.slices[i]
      end
    end
    return units
  end

  -- Shows every live slice that was charged, the oldest first: units, and in how many ms they leave.
  function window.walk(b, visit)
    if not b.lo then
      return
    end
    fetch(b, b.lo, b.hi)
    for i = b.lo, b.hi do
      if b.slices[i] > 0 then
        visit(b.slices[i], (i + 1) * b.w + b.length - b.now)
      end
    end
  end

  -- When `need` will have room under `amount`, nothing else being charged. More than one amount waits for whole
  -- windows: each turns over once per L.
  function window.earliest(b, need, amount)
    local turns = 0
    if need > amount then
      turns = floor((need - 1) / amount)
      need = need - turns * amount
    end
    local short, at = b.sum + need - amount, b.now
    local i = b.lo
    while short > 0 and i and i <= b.hi do
      if not b.slices[i] then
        fetch(b, i, math.min(i + STEP - 1, b.hi))
      end
      short, at = short - b.slices[i], (i + 1) * b.w + b.length
      i = i + 1
    end
    return at + turns * b.length
  end

  function window.save(b)
    local p = b.pace
    local values = { "h", string.format(HEAD, b.sum, b.lo or -1, b.hi or -1, b.w, b.q, p.over, p.at, p.rest, p.busy,
      p.flow, p.spare, p.found) }
    for i in pairs(b.marked) do
      if b.slices[i] == 0 then
        -- when it leaves it is not told from one that was never charged
        b.gone[#b.gone + 1] = text(i)
      else
        values[#values + 1], values[#values + 2] = text(i), b.slices[i]
      end
    end
    if b.extra then
      values[#values + 1], values[#values + 2] = "x", b.extra
    end
    if b.wiped then
      store.delete(b.key)
    elseif #b.gone > 0 then
      store.drop(b.key, b.gone)
    end
    store.put(b.key, values)
    if b.fresh or b.queued then
      store.expire(b.key, max(2 * b.length, LEAST_LIFE))
    end
  end
end
