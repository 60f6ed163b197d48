-- The amount that holds while replicas with different configurations are about, as in a rolling update (limiter.md
-- Q14). Law: the smaller N holds.
--
-- Every arrival names the amounts of its replica's configuration. The smallest holds for one heartbeat from when it was
-- last named, so a replica that goes away, or is told better, is waited for no longer than that. Whoever alone named it
-- takes it back at once by naming another: one replica by itself never waits to raise its own limit. A call whose cost
-- only the larger N can hold waits until the smaller one is named no more.
--
-- This is by limit, not by bucket: what a replica says on one bucket of a limit holds for all of them. How long a
-- window is, how fast a bucket refills and when a period ends is each caller's own.
--
-- Stored: `n` limit -> "amount by at", where `by` is a replica, or `*` for several.
local agreed = {}
do
  local text = order.text
  -- One heartbeat (limiter.md 10): a change is in force everywhere within a second of the last reload.
  local LEASE = 1000
  -- A claim that is repeated is written again after so long.
  local REFRESH = 250
  -- Expiry is garbage collection only.
  local LIFE = 600000
  local SEVERAL = "*"
  local claims, changed

  function agreed.begin()
    claims, changed = {}, {}
  end

  local function read(names)
    local found = store.texts("n", names)
    for i = 1, #names do
      local amount, by, at = string.match(found[i] or "", "^(%d+) (%S+) (%d+)$")
      claims[names[i]] = amount and { amount = tonumber(amount), by = by, at = tonumber(at) } or false
    end
  end

  local function claim(name, amount, by)
    local c = claims[name]
    if not c or c.amount ~= amount or c.by ~= by or this.now - c.at >= REFRESH then
      claims[name] = { amount = amount, by = by, at = this.now }
      changed[name] = true
    end
  end

  -- An arrival of this tick's replica names the amounts of its limits: {{name, amount}, ...}.
  function agreed.name(named)
    local unknown = {}
    for _, limit in ipairs(named) do
      if claims[limit.name] == nil then
        unknown[#unknown + 1] = limit.name
      end
    end
    if #unknown > 0 then
      read(unknown)
    end
    for _, limit in ipairs(named) do
      local c = claims[limit.name]
      if not c or c.by == this.replica or this.now - c.at >= LEASE or limit.amount < c.amount then
        claim(limit.name, limit.amount, this.replica)
      elseif limit.amount == c.amount then
        claim(limit.name, limit.amount, SEVERAL)
      end
    end
  end

  -- N, and until when it is smaller than the limit's own because of another replica (nil: it is not).
  function agreed.amount(limit)
    local c = claims[limit.name]
    if c == nil then
      read({ limit.name })
      c = claims[limit.name]
    end
    if c and c.amount < limit.amount and this.now - c.at < LEASE then
      return c.amount, c.at + LEASE
    end
    return limit.amount, nil
  end

  function agreed.save()
    local values = {}
    for name in pairs(changed) do
      local c = claims[name]
      values[#values + 1], values[#values + 2] = name, text(c.amount) .. " " .. c.by .. " " .. text(c.at)
    end
    if #values > 0 then
      store.put("n", values)
      store.expire("n", LIFE)
    end
  end
end
