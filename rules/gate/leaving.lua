-- Calls that leave the line together: their clients have gone, or their replica has. Law: the line is as if one had left
-- after the other; what follows from it is done once for all of them, because ten thousand may go at once.
local leaving = {}
do
  -- `calls`: each as line.head gives it. Returns the places their flows stood in.
  local function leave(calls)
    local freed, limits, sums = {}, {}, {}
    local crowd = { flows = {} }
    function crowd.count(limit, thousandths)
      local sum = sums[limit.id]
      if not sum then
        limits[#limits + 1], sum = limit, 0
      end
      sums[limit.id] = sum + thousandths
    end
    for _, head in ipairs(calls) do
      for _, name in ipairs(line.leave(head, crowd)) do
        freed[#freed + 1] = name
      end
    end
    line.show_again(crowd.flows)
    for _, limit in ipairs(limits) do
      bucket.queue(limit, -sums[limit.id])
    end
    return freed
  end

  -- Those of the replica's calls that wait: {number, ...}. Returns the places to look at again.
  function leaving.cancel(replica, numbers)
    local fields, calls = {}, {}
    for i = 1, #numbers do
      fields[i] = string.sub(call.attempt(replica, numbers[i]), 18)
    end
    line.read(replica, fields)
    for i = 1, #fields do
      -- a number may be named twice
      local head = line.head(replica .. "-" .. fields[i])
      if head and not head.leaves then
        head.leaves = true
        calls[#calls + 1] = head
      end
    end
    local freed = leave(calls)
    for _, head in ipairs(calls) do
      -- a call behind its flow's head may have held a key
      if #head.frame.candidates > 1 then
        freed[#freed + 1] = "p:" .. head.frame.pool
      end
    end
    return freed
  end

  -- Up to `most` waiting calls of a replica leave. Returns the places they were first in, whether none is left, and
  -- whether there were any.
  function leaving.forget(replica, most)
    local standing, fields, calls = store.zrange("on:" .. replica, 0, most), {}, {}
    for i = 1, math.min(most, #standing / 2) do
      fields[i] = standing[2 * i - 1]
    end
    if #fields > 0 then
      line.read(replica, fields)
    end
    for _, field in ipairs(fields) do
      local head = line.head(replica .. "-" .. field)
      if head then
        calls[#calls + 1] = head
      else
        store.zdrop("on:" .. replica, { field })
      end
    end
    return leave(calls), #standing / 2 <= most, #standing > 0
  end
end
