-- Start-time fair queueing (limiter.md 9): who has had how much, and whose turn it is.
--
-- A flow is a user in one class; a class is a tier in one lane, that is, calls on the same limits and the same
-- candidates (Q1). Each class has a virtual time V of its own, so that a fast lane never lifts the tags of a slow one.
-- A flow starts at S = max(V, F) and ends at F = S + share, where share is the call's dominant share of its limits in
-- 2^-30. Where classes meet at a limit or pool, the place keeps one tag for each in a virtual time of its own; a class
-- goes forward there by share / weight.
--
-- Laws: V follows served tags only and never goes back. Nobody saves up turns while idle, or while parked elsewhere:
-- a tag below V counts as V, the older tag first. A drained flow's F is remembered until V passes it. Tags move only
-- while somebody waits: before that everybody got what he asked for. Numbers stay below 2^53: a tag stops there (then
-- the order is that of arrival), and tags beyond 2^52 are thrown away as soon as nobody waits, which with windows of
-- a second is after 48 days of waiting without a break.
--
-- Stored: `v` class -> V; `fin:<class>` flow -> F, those beyond V; `up:<place>` "U" and class -> F.
local fair = {}
do
  local FAR = order.FAR
  local LIFE = 86400000
  local AGAIN = 4503599627370496
  -- Drained flows remembered per class (limiter.md 6).
  local MOST_REMEMBERED = 10000
  local times, moved, ends, ended, places

  function fair.begin()
    times, moved, ends, ended, places = {}, {}, {}, {}, {}
  end

  -- V of a class.
  function fair.time(class)
    if not times[class] then
      times[class] = store.numbers("v", { class })[1] or 0
    end
    return times[class]
  end

  -- Where a flow that does not wait begins.
  function fair.start(class, flow)
    local known = ends[flow]
    if not known then
      known = { class = class, at = store.zscores("fin:" .. class, { flow })[1] or 0 }
      ends[flow] = known
    end
    return math.max(fair.time(class), known.at)
  end

  -- A flow that began at `start` is served `share`: returns its F.
  function fair.serve(class, start, share)
    local s = math.max(start, fair.time(class))
    if s > times[class] then
      times[class] = s
      moved[class] = true
    end
    return math.min(FAR, s + share)
  end

  -- F of a flow that waits no more.
  function fair.remember(class, flow, at)
    if not ends[flow] then
      ends[flow] = { class = class, at = 0 }
    end
    ends[flow].at = at
    ended[flow] = true
  end

  -- A tag moved by what was settled: never below V, and never up by a credit.
  function fair.corrected(class, tag, delta)
    if delta < 0 then
      return math.max(math.min(fair.time(class), tag), tag + delta)
    end
    return math.min(FAR, tag + delta)
  end

  local function place(name)
    local p = places[name]
    if not p then
      p = { known = {}, changed = {} }
      places[name] = p
    end
    return p
  end

  -- Tag of a class at a place; a tag below the place's time counts as that time, and `own` breaks the tie.
  local function tag_of(name, class)
    local p = place(name)
    if not p.known[class] or not p.known.U then
      local v = store.numbers("up:" .. name, { "U", class })
      p.known.U = p.known.U or v[1] or 0
      p.known[class] = p.known[class] or v[2] or 0
    end
    return math.max(p.known.U, p.known[class]), p.known[class]
  end

  -- Two that stand, or would stand, in one place: {class, tag, enqueued, attempt}. The first goes before the second.
  -- Below the time of the class or the place the older tag goes first, and above it the smaller: it is one order.
  function fair.before(name, a, b)
    local x, y = a.tag, b.tag
    if a.class ~= b.class then
      local _
      _, x = tag_of(name, a.class)
      _, y = tag_of(name, b.class)
    end
    if x ~= y then
      return x < y
    end
    if a.enqueued ~= b.enqueued then
      return a.enqueued < b.enqueued
    end
    return order.less(a.attempt, b.attempt)
  end

  -- Several calls of one tick go in the order of the tags they would have: how far each is ahead of its class.
  -- Returns whether tags count in this tick at all.
  function fair.rank(arrivals)
    local ends, several = {}, this.waiting > 0
    for _, head in ipairs(arrivals) do
      several = several or head.flow ~= arrivals[1].flow
    end
    if not several or #arrivals < 2 then
      return several
    end
    for _, head in ipairs(arrivals) do
      local v = fair.time(head.class)
      local start = ends[head.flow] or fair.start(head.class, head.flow)
      head.ahead = (start - v) / head.frame.weight
      ends[head.flow] = start + head.share
    end
    table.sort(arrivals, function(a, b)
      if a.ahead ~= b.ahead then
        return a.ahead < b.ahead
      end
      return order.before(a.enqueued, a.attempt, b.enqueued, b.attempt)
    end)
    return true
  end

  -- A class was served at a place where another waits. `weight`: in thousandths.
  function fair.advance(name, class, share, weight)
    local p, s = place(name), tag_of(name, class)
    p.known.U = s
    p.known[class] = math.min(FAR, s + math.ceil(share * 1000 / weight))
    p.changed.U, p.changed[class] = true, true
  end

  local function save_ends()
    for flow in pairs(ended) do
      local class, at = ends[flow].class, ends[flow].at
      local key = "fin:" .. class
      if at > fair.time(class) then
        store.zput(key, { flow, at })
        store.expire(key, LIFE)
        local over = store.zcount(key, 0) - MOST_REMEMBERED
        if over > 0 then
          local flat, least = store.zrange(key, 0, over - 1), {}
          for i = 1, #flat, 2 do
            least[#least + 1] = flat[i]
          end
          store.zdrop(key, least)
        end
      else
        -- a credit brought it down to V: what was remembered is more than it has had
        store.zdrop(key, { flow })
      end
    end
  end

  local function save_times()
    local values = {}
    for class in pairs(moved) do
      if this.waiting == 0 and times[class] > AGAIN then
        store.drop("v", { class })
        store.delete("fin:" .. class)
      else
        values[#values + 1], values[#values + 2] = class, times[class]
        store.ztrim("fin:" .. class, times[class])
      end
    end
    if #values > 0 then
      store.put("v", values)
      store.expire("v", LIFE)
    end
  end

  local function save_places()
    for name, p in pairs(places) do
      if next(p.changed) then
        local values = {}
        for field in pairs(p.changed) do
          values[#values + 1], values[#values + 2] = field, p.known[field]
        end
        if this.waiting == 0 and p.known.U > AGAIN then
          store.delete("up:" .. name)
        else
          store.put("up:" .. name, values)
          store.expire("up:" .. name, LIFE)
        end
      end
    end
  end

  function fair.save()
    save_ends()
    save_times()
    save_places()
  end
end
