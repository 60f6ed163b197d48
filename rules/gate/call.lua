-- A waiting call as it travels: a frame (which limits, which candidate keys) shared by many calls, and the call's own
-- numbers. Law: nothing here reads the store; a frame's text says everything about it, so it may be remembered, and its
-- name is a hash of the rest, so it may stand for it.
--
-- Frame: `pool candidates commons class weight name` (weight in thousandths), then each common limit, then for each
-- candidate `key group rank scopes.. limits..` (counts first; of the least rank the call may have is taken first). A limit is `id kind N w L`, a window `id w N w L idle busy`,
-- one whose N is learned `id l N w L idle busy start least`,
-- a quota `id q N end next J`. Costs stand in the same order: commons, then candidate by candidate.
local call = {}
do
  local MOST_FRAMES = 512
  local frames, remembered = {}, 0

  local function limits(t, at, count, out)
    for i = 1, count do
      out[i] = {
        id = t[at], kind = t[at + 1], amount = tonumber(t[at + 2]),
        w = tonumber(t[at + 3]), length = tonumber(t[at + 4]),
        -- without the hash of the scope
        name = string.match(t[at], "^(.+):") or t[at],
      }
      at = at + 5
      if out[i].kind == "q" then
        out[i].jitter = tonumber(t[at])
        at = at + 1
      elseif out[i].kind == "w" or out[i].kind == "e" then
        out[i].idle, out[i].busy = tonumber(t[at]), tonumber(t[at + 1])
        at = at + 2
      elseif out[i].kind == "l" then
        out[i].kind, out[i].learned = "w", true
        out[i].idle, out[i].busy, out[i].start = tonumber(t[at]), tonumber(t[at + 1]), tonumber(t[at + 2])
        out[i].least = tonumber(t[at + 3])
        at = at + 4
      end
    end
    return at
  end

  -- How likely a waiting call is to be served by each candidate: groups take turns, and in a group its keys.
  local function chances(frame)
    local keys, groups = {}, 0
    for _, candidate in ipairs(frame.candidates) do
      if not keys[candidate.group] then
        groups = groups + 1
      end
      keys[candidate.group] = (keys[candidate.group] or 0) + 1
    end
    for _, candidate in ipairs(frame.candidates) do
      candidate.thousandths = 1000 / (groups * keys[candidate.group])
    end
  end

  -- Each limit once, whatever its scope, with its largest amount.
  local function named(frame)
    local known = {}
    local function add(list)
      for _, limit in ipairs(list) do
        local one = known[limit.name]
        if not one then
          one = { name = limit.name, amount = 0 }
          known[limit.name] = one
          frame.named[#frame.named + 1] = one
        end
        one.amount = math.max(one.amount, limit.amount)
      end
    end
    add(frame.commons)
    for _, candidate in ipairs(frame.candidates) do
      add(candidate.limits)
    end
  end

  local function parse(text)
    local t = {}
    for word in string.gmatch(text, "%S+") do
      t[#t + 1] = word
    end
    local frame = {
      text = text, name = t[6], pool = t[1], class = t[4], weight = tonumber(t[5]), candidates = {}, commons = {},
      named = {},
    }
    local at = limits(t, 7, tonumber(t[3]), frame.commons)
    local costs = #frame.commons
    for i = 1, tonumber(t[2]) do
      local candidate = {
        key = t[at], group = t[at + 1], rank = tonumber(t[at + 2]), scopes = {}, limits = {}, from = costs, index = i,
      }
      local scopes, count = tonumber(t[at + 3]), tonumber(t[at + 4])
      at = at + 5
      for j = 1, scopes do
        candidate.scopes[j] = t[at]
        at = at + 1
      end
      at = limits(t, at, count, candidate.limits)
      costs = costs + count
      frame.candidates[i] = candidate
    end
    frame.costs = costs
    chances(frame)
    named(frame)
    return frame
  end

  function call.frame(text)
    local frame = frames[text]
    if not frame then
      if remembered >= MOST_FRAMES then
        frames, remembered = {}, 0
      end
      frame = parse(text)
      frames[text] = frame
      remembered = remembered + 1
    end
    return frame
  end

  -- Two candidates drain a common bucket, or are one.
  function call.share_bucket(frame, i, j)
    if i == j then
      return true
    end
    for _, a in ipairs(frame.candidates[i].limits) do
      for _, b in ipairs(frame.candidates[j].limits) do
        if a.id == b.id then
          return true
        end
      end
    end
    return false
  end

  -- What a waiting call will ask of each bucket, a key's by how likely it is to serve: `count(limit, thousandths of cost)`.
  function call.asks(head, count)
    for i, limit in ipairs(head.frame.commons) do
      count(limit, head.costs[i] * 1000)
    end
    for _, candidate in ipairs(head.frame.candidates) do
      for i, limit in ipairs(candidate.limits) do
        count(limit, math.floor(head.costs[candidate.from + i] * candidate.thousandths))
      end
    end
  end

  -- Replica (16 characters) and number within it.
  function call.owner(attempt)
    return string.sub(attempt, 1, 16), tonumber(string.sub(attempt, 18))
  end

  function call.attempt(replica, n)
    return replica .. "-" .. string.format("%012.0f", n)
  end

  -- Flow, name of the frame, enqueue time, deadline, priority, share, whether it may be sent twice, and costs.
  function call.record(head)
    local text = order.text
    local words = {
      head.flow, head.frame.name, text(head.enqueued), text(head.deadline), text(head.priority), text(head.share),
      head.tries and "1" or "0",
    }
    for i = 1, #head.costs do
      words[#words + 1] = text(head.costs[i])
    end
    return table.concat(words, " ")
  end

  -- `frame_of` finds a frame by its name. nil where it is not known.
  function call.recall(attempt, record, frame_of)
    local flow, name, rest = string.match(record, "^(%S+) (%S+) (.*)$")
    local frame = frame_of(name)
    if not frame then
      return nil
    end
    local numbers = {}
    for word in string.gmatch(rest, "%S+") do
      numbers[#numbers + 1] = tonumber(word)
    end
    local owner, n = call.owner(attempt)
    return {
      attempt = attempt, owner = owner, n = n, flow = flow, enqueued = numbers[1], deadline = numbers[2],
      priority = numbers[3], share = numbers[4], tries = numbers[5] == 1, costs = { unpack(numbers, 6) },
      frame = frame, class = frame.class,
    }
  end
end
