-- Storage over redis.call. Law: the same functions, arguments and results as store_tables.lua; numbers are written
-- through order.text and read back as numbers, so that no caller sees how a host prints them.
local store = {}
do
  local call, text = redis.call, order.text
  local prefix = ""

  -- `name` is the service's `rl:{<service>}:`; every other key of the script begins with it.
  function store.open(name)
    prefix = name
  end

  local function plain(values)
    for i = 1, #values do
      if type(values[i]) == "number" then
        values[i] = text(values[i])
      end
    end
    return values
  end

  -- Values of the hash fields as numbers, false where absent.
  function store.numbers(key, fields)
    local found = call("HMGET", prefix .. key, unpack(fields))
    for i = 1, #fields do
      found[i] = found[i] and tonumber(found[i])
    end
    return found
  end

  -- Values of the hash fields as they were written, false where absent.
  function store.texts(key, fields)
    return call("HMGET", prefix .. key, unpack(fields))
  end

  -- {field, value, field, value, ...}
  function store.put(key, values)
    call("HSET", prefix .. key, unpack(plain(values)))
  end

  function store.drop(key, fields)
    call("HDEL", prefix .. key, unpack(fields))
  end

  function store.delete(key)
    call("DEL", prefix .. key)
  end

  -- The whole hash as {{field, text}, ...} in the order of the field's bytes.
  function store.all(key)
    local flat, out = call("HGETALL", prefix .. key), {}
    for i = 1, #flat, 2 do
      out[#out + 1] = { flat[i], flat[i + 1] }
    end
    table.sort(out, function(a, b)
      return order.less(a[1], b[1])
    end)
    return out
  end

  -- {member, score, member, score, ...}
  function store.zput(key, values)
    local arguments = {}
    for i = 1, #values, 2 do
      arguments[i], arguments[i + 1] = text(values[i + 1]), values[i]
    end
    call("ZADD", prefix .. key, unpack(arguments))
  end

  function store.zdrop(key, members)
    call("ZREM", prefix .. key, unpack(members))
  end

  -- {member, score, ...} of the places from..to, counted from 0; to = -1: to the end.
  function store.zrange(key, from, to)
    local flat = call("ZRANGE", prefix .. key, text(from), text(to), "WITHSCORES")
    for i = 2, #flat, 2 do
      flat[i] = tonumber(flat[i])
    end
    return flat
  end

  -- Scores of the members, false where absent.
  function store.zscores(key, members)
    local found = call("ZMSCORE", prefix .. key, unpack(members))
    for i = 1, #members do
      found[i] = found[i] and tonumber(found[i])
    end
    return found
  end

  -- How many score at least `low`.
  function store.zcount(key, low)
    return call("ZCOUNT", prefix .. key, text(low), "+inf")
  end

  -- Place of the member, from 0; false where absent.
  function store.zrank(key, member)
    return call("ZRANK", prefix .. key, member)
  end

  -- Removes all that score at most `high`.
  function store.ztrim(key, high)
    call("ZREMRANGEBYSCORE", prefix .. key, "-inf", text(high))
  end

  function store.expire(key, ms)
    call("PEXPIRE", prefix .. key, text(ms))
  end

  -- A hint to a replica that a grant lies ready for it; the truth is in `grant:<replica>`.
  function store.nudge(replica)
    call("PUBLISH", "rl:nudge:" .. replica, prefix)
  end
end
