-- The host in this process runs the chunk once and keeps the functions; it tells both times itself.
return function(now, raw, key, ...)
  this.raw = raw
  store.set_clock(now)
  return tick.run(key, { ... }, now)
end, store.sweep, store.size
