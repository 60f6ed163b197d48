"""rules/gate/dispatch.lua by itself: what becomes of an arrival that was promised something, or is refused."""

from __future__ import annotations

import pytest

from .modules import Lua
from .test_tick_exact import FILES as TICK

FAR = 9_007_199_254_740_991
FILES = ("this", TICK[1], 'local decision = room("decision")', "call", "dispatch")
BEGIN = """
  local head = {
    name = "head", again = "mark", enqueued = 700, leads = true, flow = "f", class = "l.t",
    frame = { pool = "P", candidates = { {}, {} }, commons = {} }, costs = {},
  }
  this.now = 1000
  answers["promise.due"], answers["place.due"], answers["bucket.freed"] = {}, {}, {}
  answers["place.timed"], answers["draws.places"], answers["line.leave"] = {}, {}, {}
  answers["decision.decide"] = function()
    return nil, "b:x", 1100, 1
  end
  answers["decision.estimate"] = function()
    return 1200, 3
  end
  answers["decision.latest"] = function()
    return 1500, 40
  end
  answers["promise.tell"] = 1700
  dispatch.begin()
  local function all()
    say(table.concat(notes, ", "), "|")
    notes = {}
  end
"""


def told(lua: Lua, program: str) -> list[str]:
    """What it says, in the parts between bars; each call of another file as its name and what it was given."""
    return [part.strip() for part in lua(FILES, BEGIN + program).split("|")]


@pytest.mark.parametrize(
    ("at", "latest", "again", "asks", "says"),
    [
        (1200, 1500, "mark", "promise.tell head 1500 40", 1700),
        (1600, 1500, "mark", "promise.tell head 1600 40", 1700),
        (FAR, 1500, "mark", "promise.tell head 1500 40", 1700),
        (1200, FAR - 1, "mark", f"promise.tell head {FAR - 1} 40", 1700),
        (1200, FAR, "mark", "", 1200),
        (FAR, FAR, "mark", "", FAR),
        (1200, 1500, "-", "", 1200),
        (1600, 1500, "-", "", 1600),
        (FAR, 1500, "-", "", 1500),
        (FAR - 1, 1500, "-", "", FAR - 1),
    ],
)
@pytest.mark.parametrize("expires", [True, False])
def test_a_refused_call_is_told_a_time_that_holds(
    lua: Lua, at: int, latest: int, again: str, asks: str, says: int, expires: bool
) -> None:
    """The later of what the limits say and what holds in the worst case, as a promise where it may come back; where
    nobody knows the latter, the former."""
    program = f"""
      head.again = "{again}"
      answers["decision.estimate"] = function() return {at}, 3 end
      answers["decision.latest"] = function() return {latest}, 40 end
      answers["decision.turned_away"] = function() return "wait_too_long", 3, {at} end
      if {str(expires).lower()} then
        dispatch.expire(head)
      else
        dispatch.run({{ head }})
      end
      all()"""
    code = "hold_expired" if expires else "wait_too_long"
    parts = ["decision.latest head", *([asks] if asks else []), f"answer.refuse head {code} 3 {says}"]
    assert ", ".join(parts) in told(lua, program)[0]


@pytest.mark.parametrize(("code", "says"), [("queue_full", 1200), ("no_key", 1200)])
def test_a_call_that_is_refused_for_another_reason_is_told_when_its_limits_have_room(
    lua: Lua, code: str, says: int
) -> None:
    """It is seen as one who asks all the same."""
    program = f"""
      answers["decision.turned_away"] = function() return "{code}", 2, 1200 end
      dispatch.run({{ head }})
      all()"""
    said = told(lua, program)[0]
    assert f"rivals.saw head, decision.turned_away head, answer.refuse head {code} 2 {says}" in said


def test_a_call_that_is_held_makes_tags_move(lua: Lua) -> None:
    """It stands where its limit is short, and that is looked at when there may be room."""
    program = """
      answers["decision.turned_away"] = function() return nil, 4, 1200 end
      dispatch.run({ head })
      say(this.ranks, "|")
      all()"""
    ranks, said = told(lua, program)[:2]
    assert ranks == "true"
    held = (
        "rivals.saw head, decision.turned_away head, line.register head b:x, answer.hold head 4, place.wake_by b:x 1100"
    )
    assert said.endswith(held)


@pytest.mark.parametrize(
    ("waiting", "promised", "asked"),
    [(0, 0, False), (1, 0, True), (2, 0, True), (0, 1, True), (0, 2, True), (1, 1, True)],
)
def test_what_was_promised_is_sought_where_anybody_waits_or_was_promised(
    lua: Lua, waiting: int, promised: int, asked: bool
) -> None:
    """And only then is a call that goes at once one who asks."""
    program = f"""
      this.waiting, this.promised = {waiting}, {promised}
      answers["decision.decide"] = 2
      dispatch.run({{ head }})
      all()"""
    said = told(lua, program)[0]
    assert ("rivals.saw head, promise.find head" in said) is asked
    assert "answer.grant head 2" in said


@pytest.mark.parametrize(
    ("state", "stands", "kept", "leaves", "grant"),
    [
        ("r", True, 2, False, "2 true"),
        ("l", True, None, True, "1 nil"),
        ("l", False, None, False, "1 nil"),
        ("w", True, None, False, "1 nil"),
    ],
)
@pytest.mark.parametrize(("enqueued", "kept_place"), [(600, 600), (800, 700)])
def test_a_call_that_comes_back_has_the_place_that_it_was_promised(
    lua: Lua, state: str, stands: bool, kept: int | None, leaves: bool, grant: str, enqueued: int, kept_place: int
) -> None:
    """The older of the two; what stood in line for it goes, and whoever stood behind that looks. With room that was
    kept for it its turn was had."""
    program = f"""
      this.promised = 1
      answers["promise.find"] = {{ name = "p", state = "{state}", head = {{ attempt = "old", enqueued = {enqueued} }} }}
      answers["line.head"] = {'{ name = "stands" }' if stands else "nil"}
      answers["line.leave"] = {{ "b:one", "b:two" }}
      answers["promise.redeem"] = {kept or "nil"}
      answers["decision.decide"] = 1
      answers["answer.grant"] = function(one, index)
        say(index, one.had_turn or "nil", one.enqueued, one.keeps_place, one.is_back, "|")
      end
      dispatch.run({{ head }})
      all()"""
    granted, said = told(lua, program)[:2]
    assert granted == f"{grant} {kept_place} true true"
    assert ("line.leave stands" in said) is leaves
    assert ("place.set_wake b:one" in said) is leaves
    assert "promise.redeem p head" in said


def test_who_was_promised_nothing_keeps_no_place(lua: Lua) -> None:
    """It is one like any other."""
    program = """
      this.promised = 1
      answers["decision.decide"] = 1
      dispatch.run({ head })
      say(head.keeps_place or "-", head.is_back or "-", head.had_turn or "-", head.enqueued, "|")
      all()"""
    fields, said = told(lua, program)[:2]
    assert fields == "- - - 700"
    assert "promise.redeem" not in said


@pytest.mark.parametrize("waiting", [0, 1])
def test_places_that_promises_left_are_looked_at(lua: Lua, waiting: int) -> None:
    """Though nobody else waits; where somebody does, so are those that come, and what was freed."""
    program = f"""
      this.waiting = {waiting}
      answers["promise.due"], answers["place.due"] = {{ "b:one" }}, {{ "b:two" }}
      answers["bucket.freed"], answers["draws.places"] = {{ "id" }}, {{ "p:P" }}
      dispatch.run({{}})
      all()"""
    said = told(lua, program)[0]
    looked = [name for name in ("b:one", "ready", "b:two", "b:id", "p:P") if f"place.next {name} " in said]
    assert looked == ["b:one"] + (["ready", "b:two", "b:id", "p:P"] if waiting else [])
