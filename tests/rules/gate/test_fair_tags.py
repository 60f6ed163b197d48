"""rules/gate/fair.lua by itself: tags and virtual times to the last digit."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = ("this", "fair")


def test_a_flow_begins_where_it_ended_or_at_the_time_of_its_class(lua: Lua) -> None:
    """Whichever is later; each class has a time of its own, and both are remembered over ticks."""
    program = """
      this.waiting = 1
      fair.begin()
      say(fair.start("c.", "f"), fair.time("c."))
      say(fair.serve("c.", 0, 100))
      fair.remember("c.", "f", 100)
      say(fair.start("c.", "f"), fair.time("c."))
      say(fair.serve("c.", 40, 7), fair.time("c."))
      fair.save()
      fair.begin()
      say(fair.start("c.", "f"), fair.time("c."), fair.start("c.", "g"), fair.start("d.", "f2"))
      say(fair.serve("c.", 100, 30), fair.time("c."))
      fair.save()
      fair.begin()
      say(fair.start("c.", "f"), fair.time("c."), store.zscores("fin:c.", {"f"}))"""
    assert lua(FILES, program) == "0 0 100 100 0 47 40 100 40 40 0 130 100 100 100 false ."


def test_whoever_begins_below_the_time_of_his_class_is_served_at_it(lua: Lua) -> None:
    """A time never goes back, and a tag stops at the largest number."""
    program = """
      this.waiting = 1
      fair.begin()
      say(fair.serve("c.", 50, 1), fair.serve("c.", 20, 5), fair.time("c."), fair.serve("c.", 50, order.FAR))"""
    assert lua(FILES, program) == "51 55 50 9007199254740991"


def test_a_correction_goes_down_to_the_time_of_the_class_and_up_by_all_of_it(lua: Lua) -> None:
    """A tag that is below it already stays; the largest number is the end."""
    program = """
      this.waiting = 1
      fair.begin()
      fair.serve("c.", 50, 1)
      say(fair.corrected("c.", 80, -20), fair.corrected("c.", 80, -30), fair.corrected("c.", 80, -31))
      say(fair.corrected("c.", 50, -1))
      say(fair.corrected("c.", 40, -5), fair.corrected("c.", 40, 1), fair.corrected("c.", 80, order.FAR))"""
    assert lua(FILES, program) == "60 50 50 50 40 41 9007199254740991"


def test_a_flow_whose_credit_brings_it_to_the_time_of_its_class_is_remembered_no_more(lua: Lua) -> None:
    """One above it is, as it is now; and with the time that passes it goes."""
    program = """
      this.waiting = 1
      fair.begin()
      fair.serve("c.", 50, 1)
      fair.remember("c.", "f", 90)
      fair.remember("c.", "g", 51)
      fair.save()
      say(store.zrange("fin:c.", 0, -1))
      fair.begin()
      fair.remember("c.", "f", 50)
      fair.save()
      say(store.zrange("fin:c.", 0, -1))
      fair.begin()
      fair.serve("c.", 51, 1)
      fair.save()
      say(store.zrange("fin:c.", 0, -1), store.numbers("v", {"c."}))"""
    assert lua(FILES, program) == "g 51 f 90 . g 51 . . 51 ."


def test_ten_thousand_flows_of_a_class_are_remembered_and_those_that_have_had_most(lua: Lua) -> None:
    """With the next that which has had least goes, with three too many three. (Of all but nine only the count.)"""
    program = """
      this.waiting = 1
      local plain, more = store.zcount, 9995
      function store.zcount(key, low)
        return plain(key, low) + more
      end
      store.zput("fin:c.", { "f1", 1, "f2", 2, "f3", 3, "f4", 4 })
      for _, flows in ipairs({ { 5 }, { 6 }, { 7, 8 }, { 9 } }) do
        fair.begin()
        more = more + (flows[1] == 9 and 2 or 0)
        for _, i in ipairs(flows) do
          fair.remember("c.", "f" .. order.text(i), i)
        end
        fair.save()
        say(store.zcount("fin:c.", 0), store.zrange("fin:c.", 0, 0))
      end"""
    assert lua(FILES, program) == "10000 f1 1 . 10000 f2 2 . 10000 f4 4 . 10000 f7 7 ."


def test_what_is_kept_of_turns_lives_for_a_day(lua: Lua) -> None:
    """Tags and times alike, from when they were written last; a place that was only looked at is not written."""
    program = """
      this.waiting = 1
      local plain = store.expire
      function store.expire(key, ms)
        say(key, ms)
        plain(key, ms)
      end
      fair.begin()
      local here, there = { class = "c.", enqueued = 1 }, { class = "d.", enqueued = 2 }
      say(fair.before("q", here, there))
      fair.remember("c.", "f", fair.serve("c.", 1, 1))
      fair.advance("p", "c.", 1, 1000)
      fair.save()"""
    assert lua(FILES, program) == "true fin:c. 86400000 v 86400000 up:p 86400000"


@pytest.mark.parametrize(("v", "waiting", "kept"), [(2**52, 0, True), (2**52 + 1, 0, False), (2**52 + 1, 1, True)])
def test_tags_beyond_2_to_the_52_are_thrown_away_when_nobody_waits(lua: Lua, v: int, waiting: int, kept: bool) -> None:
    """Of a class and of a place."""
    program = f"""
      this.waiting = 1
      store.put("v", {{"c.", {v} - 1}})
      fair.begin()
      fair.serve("c.", {v}, 1)
      fair.remember("d.", "f", 1)
      fair.remember("c.", "g", {v} + 9)
      store.put("up:p", {{"U", {v}, "e.", 5}})
      fair.advance("p", "c.", 1, 1000)
      this.waiting = {waiting}
      fair.save()
      say(store.numbers("v", {{"c."}}), store.zcount("fin:c.", 0), store.numbers("up:p", {{"U", "c.", "e."}}))
      say(store.zcount("fin:d.", 0))"""
    kept_says = f"{v} . 1 {v} {v + 1} 5 . 1"
    assert lua(FILES, program) == (kept_says if kept else "false . 0 false false false . 1")


def test_a_class_goes_forward_at_a_place_by_its_share_over_its_weight(lua: Lua) -> None:
    """Rounded up, from the later of its own tag and the place's time, which follows whom it serves."""
    program = """
      this.waiting = 1
      fair.begin()
      fair.advance("p", "a.", 10, 3000)
      fair.advance("p", "a.", 10, 3000)
      fair.advance("p", "b.", 10, 500)
      fair.advance("q", "b.", 5000, 1000)
      fair.save()
      say(store.numbers("up:p", {"U", "a.", "b."}), store.numbers("up:q", {"U", "b."}))
      fair.begin()
      fair.advance("p", "a.", 1, 1000)
      fair.advance("p", "c.", 7, 1000)
      fair.save()
      say(store.numbers("up:p", {"U", "a.", "b.", "c."}))"""
    # a: 0 -> 4 -> 8, b: 4 -> 24, with U 0, 4, 4; then a: 8 -> 9 at U 8, c: 8 -> 15
    assert lua(FILES, program) == "4 8 24 . 0 5000 . 8 9 24 15 ."


BEFORE = """
  this.waiting = 1
  store.put("v", {"a.", 50})
  store.put("up:p", {"U", 10, "a.", 30, "b.", 20, "d.", 5, "e.", 7, "h.", 30})
  fair.begin()
  local function one(class, tag, enqueued, attempt)
    return { class = class, tag = tag, enqueued = enqueued, attempt = attempt }
  end
  local x, y = one(%s), one(%s)
  say(fair.before("p", x, y), fair.before("p", y, x))
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param('"a.", 60, 9, "z"', '"a.", 61, 1, "b"', id="the smaller tag of one class"),
        pytest.param('"a.", 40, 9, "z"', '"a.", 45, 1, "b"', id="below the time of the class the older tag"),
        pytest.param('"a.", 40, 9, "z"', '"a.", 51, 1, "b"', id="a tag below the time counts as it"),
        pytest.param('"a.", 50, 9, "z"', '"a.", 51, 1, "b"', id="a tag at the time"),
        pytest.param('"a.", 45, 1, "z"', '"a.", 45, 2, "b"', id="of equal tags the older call"),
        pytest.param('"a.", 60, 1, "b"', '"a.", 60, 1, "z"', id="of calls of one moment the smaller attempt"),
        pytest.param('"b.", 99, 9, "z"', '"a.", 1, 1, "b"', id="of two classes the smaller tag at the place"),
        pytest.param('"d.", 99, 9, "z"', '"e.", 1, 1, "b"', id="both below the time of the place: the older tag"),
        pytest.param('"new.", 99, 9, "z"', '"d.", 1, 1, "b"', id="a class that never was there"),
        pytest.param('"e.", 99, 9, "z"', '"b.", 1, 1, "b"', id="a class below the time of the place"),
        pytest.param('"a.", 99, 1, "z"', '"h.", 1, 2, "b"', id="classes of equal tags: the older call"),
    ],
)
def test_of_two_in_a_place_the_first_is(lua: Lua, first: str, second: str) -> None:
    """By tag, by the tag's own value, by age, by attempt; whichever is asked about first."""
    assert lua(FILES, BEFORE % (first, second)) == "true false"
    assert lua(FILES, BEFORE % (second, first)) == "false true"


RANK = """
  this.waiting = {waiting}
  store.put("v", {{"c.", 100, "d.", 7}})
  fair.begin()
  fair.remember("c.", "ahead", 130)
  local arrivals = {{}}
  local function comes(n, class, flow, share, weight, enqueued)
    arrivals[#arrivals + 1] = {{
      n = n, class = class, flow = flow, share = share, enqueued = enqueued or 0, attempt = "a" .. n,
      frame = {{ weight = weight }},
    }}
  end
  {comes}
  say(fair.rank(arrivals))
  for _, head in ipairs(arrivals) do
    say(head.n)
  end
"""


@pytest.mark.parametrize(
    ("waiting", "comes", "says"),
    [
        pytest.param(0, "", "false", id="nobody comes"),
        pytest.param(1, "", "true", id="nobody comes and somebody waits"),
        pytest.param(0, 'comes("1", "c.", "f", 1, 1000)', "false 1", id="one comes"),
        pytest.param(
            0,
            'comes("2", "c.", "f", 1, 1000) comes("1", "c.", "f", 1, 1000)',
            "false 2 1",
            id="of one flow in the order they come",
        ),
        pytest.param(
            0,
            'comes("1", "c.", "f", 9, 1000) comes("2", "c.", "f", 9, 1000) comes("3", "c.", "g", 1, 1000)',
            "true 1 3 2",
            id="two flows in turn",
        ),
        pytest.param(
            1,
            'comes("1", "c.", "ahead", 9, 1000) comes("2", "c.", "f", 9, 1000)',
            "true 2 1",
            id="who is ahead of his class comes later",
        ),
        pytest.param(
            0,
            'comes("1", "c.", "f", 10, 1000) comes("2", "c.", "f", 10, 1000) comes("3", "d.", "g", 30, 9000)'
            ' comes("4", "d.", "g", 30, 9000) comes("5", "d.", "g", 30, 9000)',
            "true 1 3 4 5 2",
            id="by how far each is ahead of its own class over its weight",
        ),
        pytest.param(
            0,
            'comes("1", "c.", "f", 1, 1000, 5) comes("2", "c.", "g", 1, 1000, 4)',
            "true 2 1",
            id="of equals the older",
        ),
        pytest.param(
            1,
            'comes("2", "c.", "g", 1, 1000) comes("1", "c.", "f", 1, 1000)',
            "true 1 2",
            id="of equals of one moment the smaller attempt",
        ),
    ],
)
def test_calls_of_one_tick_go_in_turn_where_tags_count(lua: Lua, waiting: int, comes: str, says: str) -> None:
    """They count where somebody waits or several flows come."""
    assert lua(FILES, RANK.format(waiting=waiting, comes=comes)) == says
