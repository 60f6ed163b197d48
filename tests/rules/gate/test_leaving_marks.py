"""rules/gate/leaving.lua by itself: what is done once for all calls that leave together."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = ("this", "call", "local line, bucket = {}, {}", "leaving")

REPLICA = "replica-00000001"
BEGIN = f"""
  local replica, heads = "{REPLICA}", {{}}
  local function waits(n, id, asks, places, candidates)
    local frame = {{ candidates = {{}}, pool = "P" .. order.text(n) }}
    for i = 1, candidates do
      frame.candidates[i] = i
    end
    heads[call.attempt(replica, n)] = {{ n = n, limit = {{ id = id }}, asks = asks, places = places, frame = frame }}
    store.zput("on:" .. replica, {{ string.format("%012.0f", n), n }})
  end
  function line.read(of, fields) say("read", of == replica, fields) end
  function line.head(attempt) return heads[attempt] end
  function line.leave(head, crowd)
    crowd.count(head.limit, head.asks)
    crowd.flows[#crowd.flows + 1] = head.n
    return head.places
  end
  function line.show_again(flows) say("again", flows) end
  function bucket.queue(limit, change) say(limit.id, change) end
  waits(3, "k", 100, {{ "b:x" }}, 1)
  waits(4, "l", 20, {{}}, 2)
  waits(5, "k", 7, {{ "b:y", "b:z" }}, 3)
"""
NUMBERS = {n: f"{n:012}" for n in (3, 4, 5, 6, 9)}


def test_what_is_cancelled_leaves_at_once_and_each_limit_is_told_once(lua: Lua) -> None:
    """A number named twice leaves once, one that is unknown not at all; pools of several keys are looked at too."""
    read = f"read true {NUMBERS[4]} {NUMBERS[9]} {NUMBERS[5]} {NUMBERS[4]} {NUMBERS[3]} ."
    says = f"{read} again 4 5 3 . l -20 k -107 b:y b:z b:x P4 P5 ."
    program = """
      local places = leaving.cancel(replica, { 4, 9, 5, 4, 3 })
      for i, name in ipairs(places) do
        places[i] = string.gsub(name, "^p:", "")
      end
      say(places)"""
    assert lua(FILES, BEGIN + program) == says


@pytest.mark.parametrize(
    ("most", "says"),
    [
        (1, f"{NUMBERS[3]} . again 3 . k -100 b:x . false true"),
        (2, f"{NUMBERS[3]} {NUMBERS[4]} . again 3 4 . k -100 l -20 b:x . false true"),
        (3, f"{NUMBERS[3]} {NUMBERS[4]} {NUMBERS[5]} . again 3 4 5 . k -107 l -20 b:x b:y b:z . true true"),
        (4, f"{NUMBERS[3]} {NUMBERS[4]} {NUMBERS[5]} . again 3 4 5 . k -107 l -20 b:x b:y b:z . true true"),
    ],
)
def test_of_a_replica_that_is_forgotten_so_many_leave_in_one_tick(lua: Lua, most: int, says: str) -> None:
    """The oldest first; it is told whether none is left."""
    program = f"say(leaving.forget(replica, {most}))"
    assert lua(FILES, BEGIN + program) == f"read true {says}"


def test_a_replica_without_calls_leaves_nothing(lua: Lua) -> None:
    """Nothing is read of it; a number whose call is gone is not looked for again."""
    program = """
      heads[call.attempt(replica, 4)] = nil
      local places, finished, had = leaving.forget(replica, 9)
      say(places, finished, had, store.zrange("on:" .. replica, 0, -1))
      say(leaving.forget("replica-00000002", 9))"""
    read = f"read true {NUMBERS[3]} {NUMBERS[4]} {NUMBERS[5]} . again 3 5 . k -107 b:x b:y b:z . true true"
    assert lua(FILES, BEGIN + program) == f"{read} {NUMBERS[3]} 3 {NUMBERS[5]} 5 . again . . true false"
