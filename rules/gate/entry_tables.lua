-- The host in this process runs the chunk once and keeps the functions; it tells the time itself.
return function(now, key, ...)
  store.set_clock(now)
  return tick.run(key, { ... }, now)
end, store.sweep, store.size
