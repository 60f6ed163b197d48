-- One run for one replica and one service (limiter.md 7): guard, operations, arrivals and waiting calls, reply.
-- Law: a tick takes effect exactly once; whatever it writes, it writes after everything is decided. So a tick that only
-- asks (seq 0) decides the same and writes nothing: it is no heartbeat and no part of any replica's numbers (limiter.md
-- 11). Its answers are what a tick with these operations would say.
--
-- Arguments: replica, incarnation, seq, share (per mille), epoch (0: none known), then operations, each a letter and
-- its fields:
--   A n age wait flags most_waiting flow priority share again frame costs..   arrive (flags: 1 keeps its place,
--                                                   2 observe, 4 may be sent again;
--                                                   again: what it is known by when it comes back, or -)
--   C n                                             cancel
--   E n again                                       cancel, its time is up: say when to come back
--   S kind bucket w L slice charged delta           settle a charge by delta (bucket.settle)
--   V kind bucket w L sent since knew used slack amount ms   the upstream counts `used` (bucket.told)
--   N bucket amount L                               the upstream says what the bucket holds (announced.lua)
--   F class flow delta                              correct what a flow has had, by delta of its share
--   B, R, U, O, X, H                                what is told of keys and learned limits (told.lua)
--   G bucket value                                  the replica's calls in flight, absolute
--   K n                                             a pushed grant was received
-- Reply, integers joined by spaces: age, status, epoch, next look in ms (-1: none), rank, live replicas, waiting,
-- version of what is known of keys, then answers: `1 n candidate fullest count`, then slice and use of each bucket, for
-- a grant, the same with 3 and an age behind it for one that another replica's tick made, `2 n code position wait` for a
-- refusal, `4 n position` for a call that is held. Before that, where it only asks: `5 n candidate rest wait count` and
-- for each limit of the call `used amount ahead wait paced`; before the grant of an observed call that did not fit:
-- `6 n code position wait` (code 0: it would have been held); and before a grant that tries a key out: `7 n`, or is
-- on a learned limit: `8 n N`. A tick
-- that asks `L` and nothing else is told the states of keys (rests.list).
-- The first age is the reply's (0 unless a tick is repeated), a grant's own is to be added to it: so many ms ago it was
-- charged, by this store's clock, which no replica's need agree with (Q10).
local tick = {}
do
  local text = order.text
  local DONE, RESYNC, STALE = 0, 1, 2
  -- Slot TTL, limiter.md 12; silence after which reaping pauses for one TTL, limiter.md 7 step 1.
  local SLOT_TTL, SILENCE = 10000, 2000
  -- Waiting calls of a replica that one tick forgets; as many as it may cancel (proxy/line.py).
  local MOST_FORGOTTEN = 500
  local LIFE, REFRESH = 900000, 60000
  local MOST_EPOCH = 4503599627370496
  -- Pushed grants acknowledged in this tick, by number.
  local seen = {}

  local function status(code, epoch)
    return "0 " .. text(code) .. " " .. text(epoch) .. " -1 0 0 0 0"
  end

  -- Everything a replica has in the store goes. Returns false when there was more than one tick may do.
  local function forget(replica)
    local places, finished, had = leaving.forget(replica, MOST_FORGOTTEN)
    for _, name in ipairs(places) do
      dispatch.wake(name)
      place.wake_by(name, this.now)
    end
    if not finished then
      return false, true
    end
    had = bucket.forget(replica) or had
    local unseen = store.all("grant:" .. replica)
    this.pushed = math.max(0, this.pushed - #unseen)
    if #unseen > 0 then
      store.delete("grant:" .. replica)
    end
    return true, had or #unseen > 0
  end

  local function acknowledge(n)
    local key, field = "grant:" .. this.replica, text(n)
    local record = store.texts(key, { field })[1]
    if not record or seen[field] then
      return
    end
    seen[field] = true
    this.pushed = math.max(0, this.pushed - 1)
    local id
    for word in string.gmatch(string.sub(record, string.find(record, ";", 1, true) + 1), "%S+") do
      if id then
        bucket.seen(this.replica, id, tonumber(word))
        id = nil
      else
        id = word
      end
    end
  end

  local function cancel(numbers)
    for _, name in ipairs(leaving.cancel(this.replica, numbers)) do
      dispatch.wake(name)
    end
  end

  -- A call whose time is up leaves like any other, and is told when to come back.
  local function expire(n, again)
    local head = line.head(call.attempt(this.replica, n))
    if head then
      cancel({ n })
      head.again, head.keeps_place, head.patient = again, true, true
      dispatch.expire(head)
    end
  end

  local function arrival(argv, at)
    local n, flags = tonumber(argv[at + 1]), tonumber(argv[at + 4])
    local frame = call.frame(argv[at + 10])
    agreed.name(frame.named)
    local head = {
      n = n, owner = this.replica, attempt = call.attempt(this.replica, n), frame = frame, costs = {},
      enqueued = math.max(0, this.now - tonumber(argv[at + 2])), deadline = this.now + tonumber(argv[at + 3]),
      keeps_place = flags % 2 == 1, observed = flags % 4 >= 2, tries = flags >= 4, most_waiting = tonumber(argv[at + 5]),
      flow = argv[at + 6], priority = tonumber(argv[at + 7]), share = tonumber(argv[at + 8]), again = argv[at + 9],
      class = frame.class,
    }
    for i = 1, frame.costs do
      head.costs[i] = tonumber(argv[at + 10 + i])
    end
    return head, at + 11 + frame.costs
  end

  -- By (priority, enqueue time, attempt). All are this replica's, so their attempts differ in the number alone.
  local function earlier(a, b)
    if a.priority ~= b.priority then
      return a.priority > b.priority
    end
    if a.enqueued ~= b.enqueued then
      return a.enqueued < b.enqueued
    end
    return a.n < b.n
  end

  local function in_order(arrivals)
    for i = 2, #arrivals do
      if earlier(arrivals[i], arrivals[i - 1]) then
        return false
      end
    end
    return true
  end

  local function operations(argv, at)
    local arrivals, gone = {}, {}
    while at <= #argv do
      local op = argv[at]
      if gone[1] and op ~= "C" and op ~= "A" then
        cancel(gone)
        gone = {}
      end
      if op == "A" then
        arrivals[#arrivals + 1], at = arrival(argv, at)
      elseif op == "S" then
        bucket.settle(argv[at + 1], argv[at + 2], tonumber(argv[at + 3]), tonumber(argv[at + 4]),
          tonumber(argv[at + 5]), tonumber(argv[at + 6]), tonumber(argv[at + 7]))
        at = at + 8
      elseif op == "V" then
        bucket.told(argv[at + 1], argv[at + 2], tonumber(argv[at + 3]), tonumber(argv[at + 4]), tonumber(argv[at + 5]),
          tonumber(argv[at + 6]), tonumber(argv[at + 7]), tonumber(argv[at + 8]), tonumber(argv[at + 9]),
          tonumber(argv[at + 10]), tonumber(argv[at + 11]))
        at = at + 12
      elseif op == "N" then
        bucket.announce(argv[at + 1], tonumber(argv[at + 2]), tonumber(argv[at + 3]))
        at = at + 4
      elseif op == "G" then
        bucket.state(this.replica, argv[at + 1], tonumber(argv[at + 2]))
        at = at + 3
      elseif op == "K" then
        acknowledge(tonumber(argv[at + 1]))
        at = at + 2
      elseif op == "C" then
        gone[#gone + 1], at = tonumber(argv[at + 1]), at + 2
      elseif op == "E" then
        expire(tonumber(argv[at + 1]), argv[at + 2])
        at = at + 3
      elseif op == "F" then
        if this.waiting > 0 then
          line.correct(argv[at + 2], argv[at + 1], tonumber(argv[at + 3]))
        end
        at = at + 4
      else
        at = told.take(op, argv, at)
      end
    end
    if gone[1] then
      cancel(gone)
    end
    if not in_order(arrivals) then
      table.sort(arrivals, earlier)
    end
    return arrivals
  end

  -- At most one silent replica per tick; none in the TTL after everybody was silent, or the first one back would reap
  -- all the others.
  local function reap(meta, rep)
    if meta.seen > 0 and this.now - meta.seen > SILENCE then
      meta.patience = this.now + SLOT_TTL
    end
    if this.now < meta.patience then
      return
    end
    local oldest = store.zrange("hb", 0, 0)
    local replica, seen = oldest[1], oldest[2]
    if replica and replica ~= this.replica and this.now - seen >= SLOT_TTL then
      local finished, had = forget(replica)
      if finished then
        store.zdrop("hb", { replica })
        rep.refreshed = nil
        if had then
          store.delete("rep:" .. replica)
        end
      end
    end
  end

  local META = {
    "epoch", "t", "grants", "waiting", "blocked", "pushed", "seen", "patience", "x", "promised", "made", "kept", "ver",
    "said",
  }

  local function read_meta(now)
    local v = store.numbers("meta", META)
    this.now = math.max(now, v[2] or 0)
    this.grants, this.waiting, this.blocked, this.pushed = v[3] or 0, v[4] or 0, v[5] or 0, v[6] or 0
    this.promised, this.made = v[10] or 0, v[11] or 0
    -- `meta` of an idle service expires, and what an operator said must outlive it
    this.kept, this.version, this.announced = v[12] or rests.count(), v[13] or 0, v[14] or 0
    return {
      epoch = v[1] or 0, seen = v[7] or 0, patience = v[8] or 0, refreshed = v[9] or false, blocked = this.blocked,
    }
  end

  local function write_meta(meta)
    local refresh = not meta.refreshed or this.now - meta.refreshed > REFRESH or this.blocked > meta.blocked
    store.put("meta", {
      "epoch", meta.epoch, "t", this.now, "grants", this.grants, "waiting", this.waiting, "blocked", this.blocked,
      "pushed", this.pushed, "seen", this.now, "patience", meta.patience, "x",
      refresh and this.now or meta.refreshed, "promised", this.promised, "made", this.made, "kept", this.kept,
      "ver", this.version, "said", this.announced,
    })
    if refresh then
      store.expire("meta", math.max(2 * LIFE, 2 * (math.max(this.blocked, this.announced) - this.now)))
    end
  end

  local function write_replica(rep, incarnation, seq, reply)
    local refresh = not rep.refreshed or this.now - rep.refreshed > REFRESH
    local key = "rep:" .. this.replica
    store.put(key, {
      "inc", incarnation, "seq", seq, "reply", text(this.now) .. " " .. reply,
      "x", refresh and this.now or rep.refreshed,
    })
    if refresh then
      store.expire(key, LIFE)
      store.expire("hb", LIFE)
    end
  end

  -- nil: go on; else what to answer instead.
  local function guard(rep, incarnation, seq, epoch, meta)
    if (epoch ~= 0 and epoch ~= meta.epoch) or (not rep.incarnation and seq ~= 1) then
      return status(RESYNC, meta.epoch)
    end
    if not rep.incarnation or rep.incarnation < incarnation then
      return seq ~= 1 and status(RESYNC, meta.epoch) or nil
    end
    if rep.incarnation > incarnation or seq < rep.seq then
      return status(STALE, meta.epoch)
    end
    if seq == rep.seq then
      local at, said = string.match(store.texts("rep:" .. this.replica, { "reply" })[1], "^(%d+) (.*)")
      return text(this.now - tonumber(at)) .. " " .. said
    end
    return seq ~= rep.seq + 1 and status(RESYNC, meta.epoch) or nil
  end

  -- Grants made by other replicas' ticks that the owner has not acknowledged.
  local function add_pushed(out)
    if this.pushed > 0 then
      -- Read after dispatch.save: a tick never pushes to its own replica, so only `seen` is newer than the store.
      for _, pair in ipairs(store.all("grant:" .. this.replica)) do
        if not seen[pair[1]] then
          local at, said = string.match(pair[2], "^(%d+) ([^;]*)")
          out[#out + 1] = said .. " " .. text(this.now - tonumber(at))
        end
      end
    end
  end

  local function reply(meta, cut)
    local next_in, rank = -1, 0
    if this.waiting > 0 then
      local at = cut and this.now or place.next_wake()
      next_in = at < order.FAR and math.max(0, at - this.now) or -1
      rank = store.zrank("hb", this.replica) or 0
    end
    local out = {
      text(DONE), text(meta.epoch), text(next_in), text(rank), text(store.zcount("hb", this.now - SLOT_TTL)),
      text(math.max(0, this.waiting - promise.in_line())), text(this.version),
    }
    local answers = answer.all()
    local said = {}
    for i = 1, #answers do
      local number = answers[i]
      local word = said[number]
      if not word then
        word = text(number)
        said[number] = word
      end
      out[i + 7] = word
    end
    add_pushed(out)
    return table.concat(out, " ")
  end

  local function begin(key, argv)
    store.open(string.sub(key, 1, -5))
    this.replica, this.share, this.asks = argv[1], tonumber(argv[4]), tonumber(argv[3]) == 0
    agreed.begin()
    announced.begin()
    bucket.begin()
    rests.begin()
    pool.begin()
    promise.begin()
    ranked.begin()
    fair.begin()
    place.begin()
    rivals.begin()
    frames.begin()
    draws.begin()
    line.begin()
    dispatch.begin()
    answer.begin()
    seen = {}
  end

  local function save()
    agreed.save()
    announced.save()
    bucket.save()
    rests.save()
    pool.save()
    promise.save()
    line.save()
    draws.save()
    place.save()
    rivals.save()
    fair.save()
    ranked.save()
    answer.save()
    local acknowledged = {}
    for field in pairs(seen) do
      acknowledged[#acknowledged + 1] = field
    end
    if #acknowledged > 0 then
      store.drop("grant:" .. this.replica, acknowledged)
    end
  end

  -- key: `rl:{<service>}:meta`; now: milliseconds.
  function tick.run(key, argv, now)
    begin(key, argv)
    local incarnation, seq, epoch = tonumber(argv[2]), tonumber(argv[3]), tonumber(argv[5])
    local meta = read_meta(now)
    if this.asks and argv[6] == "L" then
      return rests.list()
    elseif this.asks then
      return "0 " .. reply(meta, dispatch.run(operations(argv, 6)))
    end
    local v = store.numbers("rep:" .. this.replica, { "inc", "seq", "x" })
    local rep = { incarnation = v[1], seq = v[2], refreshed = v[3] }
    local instead = guard(rep, incarnation, seq, epoch, meta)
    if instead then
      return instead
    end
    if meta.epoch == 0 then
      meta.epoch = (this.now * 4096 + incarnation) % MOST_EPOCH + 1
    end
    if rep.incarnation ~= incarnation then
      rep.refreshed = nil
      if not forget(this.replica) then
        save()
        write_meta(meta)
        return status(RESYNC, meta.epoch)
      end
    end
    reap(meta, rep)
    local cut = dispatch.run(operations(argv, 6))
    save()
    store.zput("hb", { this.replica, this.now })
    local said = reply(meta, cut)
    write_meta(meta)
    write_replica(rep, incarnation, seq, said)
    return "0 " .. said
  end
end
