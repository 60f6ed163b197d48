-- Which scopes rest: a key, a group, a group's model (Q16), and the state of keys that an operator reads. Laws: an end
-- never moves earlier, except that a scope is lifted; what an operator turned off stays off until he turns it on.
--
-- A scope rests for a time (`blk`), or until a call that goes through it succeeds (`prb`): then one call is let
-- through at a time, the next no sooner than `every` ms after it. Where it is known when it ends, calls may wait for
-- that; else they go with another key or are refused, and only one that is there at the time tries.
--
-- Stored: `blk` scope -> until; `prb` scope -> when the next call may try; `ks` scope -> the record; `off` scope ->
-- since when. A record is `state status since every known key model`.
local rests = {}
do
  local FAR, text = order.FAR, order.text
  local DAY = 86400000
  -- Keys that left the configuration are forgotten after so long.
  local FORGOTTEN = 7 * DAY
  -- Ten years: what a person said does not end by itself, and whose service is gone does not stay for ever.
  local OFF_LIFE = 3650 * DAY
  -- Records of one service. A client can name models without end.
  local MOST_RECORDS = 512
  local untils, probes, offs, records = {}, {}, {}, {}
  local blocked, probed, recorded, turned = {}, {}, {}, {}

  function rests.begin()
    untils, probes, offs, records = {}, {}, {}, {}
    blocked, probed, recorded, turned = {}, {}, {}, {}
  end

  local function unread(of, scopes)
    local missing = {}
    for _, scope in ipairs(scopes) do
      if of[scope] == nil then
        missing[#missing + 1] = scope
      end
    end
    return missing
  end

  local function note(of, scopes, found)
    for i = 1, #scopes do
      of[scopes[i]] = found[i] or false
    end
  end

  local function read_untils(scopes)
    local missing = unread(untils, scopes)
    if #missing > 0 then
      note(untils, missing, store.zscores("blk", missing))
    end
  end

  local function parse(record)
    local state, status, since, every, known, key, model =
      string.match(record or "", "^(%d+) (%d+) (%d+) (%d+) (%d) (%S+) (%S+)$")
    return state and {
      state = tonumber(state), status = tonumber(status), since = tonumber(since), every = tonumber(every),
      known = known == "1", key = key, model = model,
    } or false
  end

  local function read_kept(scopes)
    local missing = unread(probes, scopes)
    if #missing == 0 then
      return
    end
    note(probes, missing, store.zscores("prb", missing))
    note(offs, missing, store.texts("off", missing))
    local found = store.texts("ks", missing)
    for i = 1, #missing do
      records[missing[i]] = parse(found[i])
    end
  end

  -- How many scopes are kept until something is said of them; where `meta` was lost it is counted anew.
  function rests.count()
    return store.zcount("prb", 0) + #store.all("off")
  end

  -- Until when the candidate rests (0: it does not), whether a call that goes with it then tries it out, and whether
  -- nobody knows that it will serve by then. Costs nothing while nothing rests.
  function rests.stands(candidate)
    if this.blocked <= this.now and this.kept == 0 then
      return 0, false, false
    end
    local latest, tries, unsure = 0, false, false
    if this.blocked > this.now then
      read_untils(candidate.scopes)
      for _, scope in ipairs(candidate.scopes) do
        latest = math.max(latest, untils[scope] or 0)
      end
    end
    if this.kept > 0 then
      read_kept(candidate.scopes)
      for _, scope in ipairs(candidate.scopes) do
        if offs[scope] then
          return FAR, false, true
        elseif probes[scope] then
          tries, latest = true, math.max(latest, probes[scope])
          unsure = unsure or (probes[scope] > this.now and not (records[scope] and records[scope].known))
        end
      end
    end
    return latest > this.now and latest or 0, tries, unsure
  end

  function rests.block(scope, ms)
    read_untils({ scope })
    local till = math.max(untils[scope] or 0, this.now + ms)
    untils[scope], blocked[scope] = till, true
    this.blocked = math.max(this.blocked, till)
  end

  -- `kept` is counted when all is written; until then it need only not be 0.
  local function rest_until(scope, at)
    this.kept = this.kept + 1
    probes[scope], probed[scope] = math.max(probes[scope] or 0, at), true
  end

  -- What a reply said of a key of a pool. `every` 0: the scope rests for `ms`; else until a call succeeds, the first
  -- to try after `ms`.
  function rests.say(scope, ms, record)
    read_kept({ scope })
    local before = records[scope]
    if record.every > 0 then
      rest_until(scope, this.now + ms)
    else
      rests.block(scope, ms)
    end
    -- a key that is out and slowed down besides is out
    if before and probes[scope] and record.every == 0 then
      return
    end
    record.since = before and before.state == record.state and before.since or this.now
    records[scope], recorded[scope] = record, true
    this.version = this.version + 1
  end

  -- A call that tried the scopes succeeded: what only a success could end has ended. Returns whether anything had.
  function rests.lift(scopes)
    local lifted = false
    read_kept(scopes)
    for _, scope in ipairs(scopes) do
      if probes[scope] then
        probes[scope], probed[scope], records[scope], recorded[scope] = false, true, false, true
        lifted = true
      end
    end
    if lifted then
      this.version = this.version + 1
    end
    return lifted
  end

  -- An operator turns a key off, or on: then whatever it rested for is forgotten too.
  function rests.turn(scope, off)
    read_kept({ scope })
    if off ~= (offs[scope] and true or false) then
      offs[scope], turned[scope] = off and text(this.now), true
      if off then
        this.kept = this.kept + 1
      end
      this.version = this.version + 1
    end
    if not off then
      rests.lift({ scope })
      read_untils({ scope })
      if untils[scope] then
        untils[scope], blocked[scope], records[scope], recorded[scope] = false, true, false, true
        this.version = this.version + 1
      end
    end
  end

  -- The candidate is granted: the scopes whose time to be tried has come wait for the outcome. Returns whether any did.
  function rests.try(candidate)
    local tries = false
    if this.kept > 0 then
      read_kept(candidate.scopes)
      for _, scope in ipairs(candidate.scopes) do
        if probes[scope] then
          local record = records[scope]
          rest_until(scope, this.now + (record and record.every > 0 and record.every or 60000))
          if record and record.known then
            record.known, recorded[scope] = false, true
            this.version = this.version + 1
          end
          tries = true
        end
      end
    end
    return tries
  end

  -- Every state there is, as text: version, then `scope for tries state status age key model every` for each. `for`: ms
  -- from now (-1: without end). `tries`: 1 it ends with a success, 2 and is known to. State 4: turned off.
  function rests.list()
    local out = { text(this.version) }
    local names = {}
    for _, pair in ipairs(store.all("ks")) do
      names[#names + 1] = pair[1]
    end
    read_untils(names)
    read_kept(names)
    for _, scope in ipairs(names) do
      local r = records[scope]
      local at = probes[scope] or untils[scope] or 0
      if r and (probes[scope] or at > this.now) then
        out[#out + 1] = table.concat({
          scope, text(math.max(0, at - this.now)), probes[scope] and (r.known and "2" or "1") or "0", text(r.state),
          text(r.status), text(this.now - r.since), r.key, r.model, text(r.every),
        }, " ")
      end
    end
    for _, pair in ipairs(store.all("off")) do
      out[#out + 1] = table.concat({ pair[1], "-1 0 4 0", text(this.now - tonumber(pair[2])), "- - 0" }, " ")
    end
    return table.concat(out, " ")
  end

  local function save_set(key, changed, values, life)
    local put, gone = {}, {}
    for scope in pairs(changed) do
      if values[scope] then
        put[#put + 1], put[#put + 2] = scope, values[scope]
      else
        gone[#gone + 1] = scope
      end
    end
    if #gone > 0 then
      store.zdrop(key, gone)
    end
    if #put > 0 then
      store.zput(key, put)
      store.expire(key, life)
    end
  end

  -- Records of scopes that rest no more make room for new ones.
  local function tidy()
    local all, stale = store.all("ks"), {}
    local names = {}
    for i = 1, #all do
      names[i] = all[i][1]
    end
    read_untils(names)
    read_kept(names)
    for _, scope in ipairs(names) do
      if not probes[scope] and (untils[scope] or 0) <= this.now then
        stale[#stale + 1] = scope
      end
    end
    if #stale > 0 then
      store.drop("ks", stale)
    end
    return #names - #stale
  end

  local function save_records()
    local put, gone = {}, {}
    for scope in pairs(recorded) do
      local r = records[scope]
      if r then
        put[#put + 1], put[#put + 2] = scope, table.concat({
          text(r.state), text(r.status), text(r.since), text(r.every), r.known and "1" or "0", r.key, r.model,
        }, " ")
      else
        gone[#gone + 1] = scope
      end
    end
    if #gone > 0 then
      store.drop("ks", gone)
    end
    if #put > 0 and tidy() < MOST_RECORDS then
      store.put("ks", put)
      store.expire("ks", 2 * FORGOTTEN)
    end
  end

  local function save_offs()
    local put, gone = {}, {}
    for scope in pairs(turned) do
      if offs[scope] then
        put[#put + 1], put[#put + 2] = scope, offs[scope]
      else
        gone[#gone + 1] = scope
      end
    end
    if #gone > 0 then
      store.drop("off", gone)
    end
    if #put > 0 then
      store.put("off", put)
      store.expire("off", OFF_LIFE)
    end
  end

  function rests.save()
    save_records()
    if next(blocked) then
      store.ztrim("blk", this.now)
      save_set("blk", blocked, untils, math.max(DAY, 2 * (this.blocked - this.now)))
    end
    if next(probed) then
      store.ztrim("prb", this.now - FORGOTTEN)
      save_set("prb", probed, probes, 2 * FORGOTTEN)
    end
    save_offs()
    if next(probed) or next(turned) then
      this.kept = rests.count()
    end
  end
end
