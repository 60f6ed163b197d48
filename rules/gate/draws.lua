-- Which pools draw on a bucket, so that room in it wakes who waits for them. Law: a pool is in the index as long as
-- somebody stands in its place; one that nobody waits for is dropped when it is met.
--
-- Stored: `pools:<bucket>` the pools whose candidates draw on it; `x` of `pool:<pool>` when that was written.
local draws = {}
do
  local LIFE = 86400000
  local noted, unwanted

  function draws.begin()
    noted, unwanted = {}, {}
  end

  -- A flow stands in the place of the frame's pool.
  function draws.note(frame)
    local id = frame.pool
    if noted[id] ~= nil then
      return
    end
    local first = store.numbers("pool:" .. id, { "x" })[1]
    noted[id] = (not first or this.now - first >= LIFE / 24 or unwanted[id]) and frame or false
  end

  -- Places of the pools that draw on a bucket.
  function draws.places(id)
    local flat, out = store.zrange("pools:" .. id, 0, -1), {}
    for i = 1, #flat, 2 do
      if not place.is_empty("p:" .. flat[i]) then
        out[#out + 1] = "p:" .. flat[i]
      else
        unwanted[flat[i]] = unwanted[flat[i]] or {}
        table.insert(unwanted[flat[i]], id)
      end
    end
    return out
  end

  function draws.save()
    for id, buckets in pairs(unwanted) do
      for _, bucket_id in ipairs(buckets) do
        store.zdrop("pools:" .. bucket_id, { id })
      end
      store.drop("pool:" .. id, { "x" })
    end
    for id, frame in pairs(noted) do
      if frame then
        for _, candidate in ipairs(frame.candidates) do
          for _, limit in ipairs(candidate.limits) do
            store.zput("pools:" .. limit.id, { id, 0 })
            store.expire("pools:" .. limit.id, LIFE)
          end
        end
        store.put("pool:" .. id, { "x", this.now })
        store.expire("pool:" .. id, LIFE)
      end
    end
  end
end
