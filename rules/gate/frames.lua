-- What the records of many waiting calls share, stored once. Law: no record outlives its frame.
--
-- Stored: `fr:<name>` the frame's text `t` (call.lua), and until when it is kept `x`.
local frames = {}
do
  -- A frame is kept so much longer than a call that names it may wait, and written for twice that, so that it is
  -- written once an hour. A store that nobody spoke to for half as long has forgotten who waits (tick.lua).
  local LIFE = 3600000
  local known, kept

  function frames.begin()
    known, kept = {}, {}
  end

  -- The frame of that name; false where it is not known.
  function frames.named(name)
    if known[name] == nil then
      local text = store.texts("fr:" .. name, { "t" })[1]
      known[name] = text and call.frame(text) or false
    end
    return known[name]
  end

  -- A call's record is about to be written.
  function frames.keep(head)
    local name, till = head.frame.name, head.deadline + LIFE
    if not kept[name] then
      kept[name] = store.numbers("fr:" .. name, { "x" })[1] or 0
    end
    if kept[name] < till then
      kept[name] = till + LIFE
      store.put("fr:" .. name, { "t", head.frame.text, "x", kept[name] })
      store.expire("fr:" .. name, kept[name] - this.now)
    end
  end
end
