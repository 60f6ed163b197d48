-- Redis tells the time (milliseconds since 2024-01-01 UTC, limiter.md 4.3), runs the files once and keeps the functions.
return function(keys, args)
  local time = redis.call("TIME")
  this.raw = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) - 1704067200000
  return tick.run(keys[1], args, this.raw)
end
