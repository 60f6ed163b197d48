-- What replies and operators say of keys and of limits that are found out: the operations for it. Law: whoever waits
-- for what comes back by this looks in the same tick.
--
--   B scope ms                                      rest a scope
--   R scope ms every known state status key model   rest a scope of a key of a pool, and say why (rests.say)
--   U count scopes..                                what only a success could end has ended
--   O scope on                                      an operator turns a key on (1) or off (0)
--   X bucket w L ago                                a call sent so many ms ago was refused: learn (bucket.refused)
--   H bucket amount span L                          headers name the amount of such a window (learned.give)
local told = {}
do
  local takes = {
    B = function(argv, at)
      rests.block(argv[at + 1], tonumber(argv[at + 2]))
      return at + 3
    end,
    R = function(argv, at)
      rests.say(argv[at + 1], tonumber(argv[at + 2]), {
        every = tonumber(argv[at + 3]), known = tonumber(argv[at + 4]) == 1, state = tonumber(argv[at + 5]),
        status = tonumber(argv[at + 6]), key = argv[at + 7], model = argv[at + 8],
      })
      return at + 9
    end,
    U = function(argv, at)
      local last = at + 1 + tonumber(argv[at + 1])
      if rests.lift({ unpack(argv, at + 2, last) }) then
        dispatch.wake_pools()
      end
      return last + 1
    end,
    O = function(argv, at)
      rests.turn(argv[at + 1], tonumber(argv[at + 2]) == 0)
      dispatch.wake_pools()
      return at + 3
    end,
    X = function(argv, at)
      bucket.refused(argv[at + 1], tonumber(argv[at + 2]), tonumber(argv[at + 3]), tonumber(argv[at + 4]))
      return at + 5
    end,
    H = function(argv, at)
      learned.give(argv[at + 1], tonumber(argv[at + 2]), tonumber(argv[at + 3]), tonumber(argv[at + 4]))
      return at + 5
    end,
  }

  -- The operation at `at`; returns where the next one is.
  function told.take(op, argv, at)
    local take = takes[op]
    if not take then
      error("unknown operation")
    end
    return take(argv, at)
  end
end
