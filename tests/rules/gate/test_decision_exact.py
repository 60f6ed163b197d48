"""rules/gate/decision.lua by itself: what it asks of the other files, and what it makes of their answers."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = (
    "this",
    """
    local bucket, line, place, pool, promise = {}, {}, {}, {}, {}
    this.now = 1000
    function line.owed(head) return 70 end
    function line.ahead(head, limit, of_key, cost)
      return (head.owed or 7) + (head.theirs or 0) + (of_key and 9000 or 0) + cost
    end
    function promise.owed(flow) return flow == "f" and 30 or 0 end
    function promise.of_others(flow) return flow == "f" and 3 or 0 end
    function bucket.expected(limit, cost, ahead) return this.now + limit.per * ahead end
    function bucket.earliest(limit, cost, ahead) return this.now + 2 * limit.per * ahead end
    function pool.earliest() return nil, this.now, 0 end
    """,
    "decision",
)


@pytest.mark.parametrize(
    ("keeps_place", "is_back", "owed"), [(False, False, 100), (True, False, 30), (False, True, 70), (True, True, 0)]
)
def test_the_latest_time_is_behind_what_the_flow_waits_for_and_was_promised(
    lua: Lua, keeps_place: bool, is_back: bool, owed: int
) -> None:
    """But not behind itself: a call in its place is behind no other, one that comes back behind no promise. Others
    have three; two shares of 40 and more are so many turns. Afterwards the call is one like any other."""
    program = f"""
      local head = {{
        flow = "f", share = 40, keeps_place = {str(keeps_place).lower()}, is_back = {str(is_back).lower()},
        costs = {{ 5 }}, frame = {{ commons = {{ {{ id = "w", per = 3 }} }} }},
      }}
      say(decision.latest(head))
      say(head.waits, head.theirs, head.owed or "-", decision.estimate(head))"""
    wait = 3 * (owed + 120 + 5)
    turn = wait * 40 // (owed + 40)
    assert lua(FILES, program) == f"{1000 + wait} {turn} 70 120 - {1000 + 6 * (7 + 120 + 5)} 1"


@pytest.mark.parametrize(
    ("out", "at", "deadline", "says"),
    [
        (True, "1002", 5000, "no_key 0 4000"),
        (False, "1002", 999, "wait_too_long 0 1002"),
        (False, "1002", 1000, "wait_too_long 0 1002"),
        (False, "1002", 1001, "wait_too_long 0 1002"),
        (False, "1002", 1002, "- 0 1002"),
        (False, "order.FAR", 1000, "wait_too_long 0 9007199254740991"),
        (False, "order.FAR", 1001, "- 0 9007199254740991"),
    ],
)
def test_a_call_is_turned_away_where_no_key_is_or_its_time_does_not_suffice(
    lua: Lua, out: bool, at: str, deadline: int, says: str
) -> None:
    """It is 1000 now. All keys are out until 4000, or it would go at 1002, or nobody knows when."""
    program = f"""
      function pool.is_out() return {str(out).lower()} end
      function pool.all_rest_until() return {"4000" if out else "nil"} end
      function pool.earliest() return nil, {at}, 0 end
      function line.stand() end
      function line.has_room() return true end
      local head = {{ deadline = {deadline}, costs = {{}}, frame = {{ commons = {{}} }} }}
      local code, position, at = decision.turned_away(head)
      say(code or "-", position, at)"""
    assert lua(FILES, program) == says
