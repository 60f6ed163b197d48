"""rules/gate/place.lua by itself: who stands where, who is next, when to look, and what is kept of it."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = ("this", "ranked", "fair", "place")

BEGIN = """
  this.waiting = 1
  local function begin()
    ranked.begin()
    fair.begin()
    place.begin()
  end
  local function save()
    place.save()
    fair.save()
    ranked.save()
  end
  local function attempt(n)
    return "replica-00000000-" .. string.format("%012.0f", n)
  end
  local function put(name, class, flow, tag, enqueued, n)
    place.put(name, class, place.entry(enqueued, attempt(n), flow), tag)
  end
  local function take_out(name, class, flow, enqueued, n)
    place.take_out(name, class, place.entry(enqueued, attempt(n), flow))
  end
  local function next_in(name, skips)
    local e = place.next(name, skips or {})
    if e then
      say(e.class, e.tag, e.enqueued, e.flow, e.attempt == attempt(e.enqueued % 1000))
      say(e.entry == place.entry(e.enqueued, e.attempt, e.flow))
    else
      say(e)
    end
  end
  begin()
"""


def test_who_is_next_is_the_first_of_each_class_that_is_not_passed_over(lua: Lua) -> None:
    """Within the tick that put them there and in the next; enqueue times of any length."""
    program = """
      put("p", "a.", "f", 10, 1700000000005, 5)
      put("p", "a.", "g", 20, 3, 3)
      put("p", "b.", "h", 1, 9, 9)
      for _ = 1, 2 do
        next_in("p")
        next_in("p", { ["b."] = 1 })
        next_in("p", { ["a."] = 1, ["b."] = 1 })
        next_in("p", { ["a."] = 2, ["b."] = 1 })
        say(place.is_empty("p"), place.is_empty("q"))
        save()
        begin()
      end"""
    once = (
        "b. 1 9 h true true a. 10 1700000000005 f true true a. 20 3 g true true nil false true"
        # between classes age decides until the place has served one of them
    )
    assert lua(FILES, BEGIN + program) == f"{once} {once}"


def test_the_store_knows_which_classes_stand_in_a_place(lua: Lua) -> None:
    """From the first that comes until the last has gone; a class that comes and goes in one tick is not kept."""
    program = """
      put("p", "a.", "f", 1, 1, 1)
      put("p", "a.", "g", 1, 2, 2)
      put("p", "b.", "h", 1, 3, 3)
      put("p", "c.", "i", 1, 4, 4)
      take_out("p", "c.", "i", 4, 4)
      save()
      say(store.zrange("at:p", 0, -1), store.zcount("park:p|a.", 0), store.zcount("park:p|c.", 0))
      begin()
      take_out("p", "a.", "f", 1, 1)
      take_out("p", "b.", "h", 3, 3)
      save()
      say(store.zrange("at:p", 0, -1), store.zcount("park:p|a.", 0), store.zcount("park:p|b.", 0))
      begin()
      take_out("p", "a.", "g", 2, 2)
      save()
      say(store.zrange("at:p", 0, -1))"""
    assert lua(FILES, BEGIN + program) == "a. 0 b. 0 . 2 0 a. 0 . 1 0 ."


def test_where_nobody_waits_a_place_is_empty(lua: Lua) -> None:
    """What the store may hold from before is not read."""
    program = """
      put("p", "a.", "f", 1, 1, 1)
      save()
      this.waiting = 0
      begin()
      say(place.is_empty("p"), place.next("p", {}), #place.due(9))"""
    assert lua(FILES, BEGIN + program) == "true nil 0"


@pytest.mark.parametrize(
    ("one", "behind"),
    [
        pytest.param('"a.", 20, 1, "z", false', True, id="behind a smaller tag of another flow"),
        pytest.param('"a.", 9, 9, "z", false', False, id="before a larger one"),
        pytest.param('"a.", 9, 9, "f", false', True, id="behind its own flow"),
        pytest.param('"a.", 9, 9, "f", true', False, id="leading its own flow"),
        pytest.param('"b.", 9, 3, "z", true', True, id="behind an older call of another class"),
        pytest.param('"b.", 9, 1, "z", true', False, id="before a younger call of another class"),
    ],
)
def test_whoever_comes_is_behind_those_before_him(lua: Lua, one: str, behind: bool) -> None:
    """One stands in the place, of class a., with the tag 10 since 2; another behind him."""
    program = f"""
      put("p", "a.", "f", 10, 2, 2)
      put("p", "a.", "g", 30, 2, 3)
      local function whoever(class, tag, enqueued, flow, leads)
        return {{ class = class, tag = tag, enqueued = enqueued, attempt = attempt(9), flow = flow, leads = leads }}
      end
      local one = whoever({one})
      say(place.is_behind("p", one), place.is_behind("q", one))"""
    assert lua(FILES, BEGIN + program) == f"{str(behind).lower()} false"


def test_whoever_leads_his_flow_is_behind_another_class_too(lua: Lua) -> None:
    """His own flow is passed over, and the next class looked at."""
    program = """
      put("p", "a.", "f", 10, 2, 2)
      put("p", "b.", "g", 10, 1, 1)
      local one = { class = "a.", tag = 10, enqueued = 2, attempt = attempt(9), flow = "f", leads = true }
      say(place.is_behind("p", one))"""
    assert lua(FILES, BEGIN + program) == "true"


@pytest.mark.parametrize(
    ("served", "tags"),
    [
        pytest.param('"a.x", 10, 1000', "40 false false false false", id="one flow of four of its tier"),
        pytest.param('"b.x", 30, 1000', "false 40 false false false", id="three flows of four of its tier"),
        pytest.param('"n.x", 10, 1000', "false false false 40 false", id="a class that does not stand there: one flow"),
        pytest.param('"n.z", 10, 1000', "false false false false 10", id="the only one of its tier"),
        pytest.param('"c.y", 10, 500', "false false 20 false false", id="a tier with one lane: its weight"),
    ],
)
def test_a_tiers_weight_is_divided_among_its_lanes_by_their_flows(lua: Lua, served: str, tags: str) -> None:
    """Where a.x has one flow, b.x three, and c.y of another tier two."""
    program = f"""
      put("p", "a.x", "f1", 10, 1, 1)
      for n = 2, 4 do
        put("p", "b.x", "f" .. n, 10, n, n)
      end
      for n = 5, 6 do
        put("p", "c.y", "f" .. n, 10, n, n)
      end
      save()
      begin()
      place.served("p", {served})
      save()
      say(store.numbers("up:p", {{"U", "a.x", "b.x", "c.y", "n.x", "n.z"}}))"""
    assert lua(FILES, BEGIN + program) == f"0 {tags} ."


def test_a_class_alone_in_a_place_goes_forward_in_no_time_but_its_own(lua: Lua) -> None:
    """Nothing is kept where nobody of another class stands, nor where nobody waits at all."""
    program = """
      put("p", "a.x", "f", 10, 1, 1)
      place.served("p", "a.x", 10, 1000)
      place.served("q", "a.x", 10, 1000)
      put("r", "b.x", "g", 10, 1, 2)
      place.served("r", "a.x", 10, 1000)
      put("s", "b.x", "h", 10, 1, 3)
      this.waiting = 0
      place.served("s", "a.x", 10, 1000)
      this.waiting = 1
      save()
      begin()
      place.served("p", "a.x", 10, 1000)
      save()
      for _, name in ipairs({ "p", "q", "r", "s" }) do
        say(store.numbers("up:" .. name, { "U", "a.x" }))
      end"""
    assert lua(FILES, BEGIN + program) == "false false . false false . 0 10 . false false ."


def test_a_class_whose_flows_have_just_left_counts_as_one(lua: Lua) -> None:
    """The call that is served was its last."""
    program = """
      put("p", "a.x", "f", 10, 1, 1)
      put("p", "b.x", "g", 10, 2, 2)
      save()
      begin()
      take_out("p", "a.x", "f", 1, 1)
      place.served("p", "a.x", 10, 1000)
      save()
      say(store.numbers("up:p", { "a.x" }))"""
    assert lua(FILES, BEGIN + program) == "20 ."


def test_a_place_is_looked_at_by_the_earliest_time_said(lua: Lua) -> None:
    """Unless another is set, or none; those due are told earliest first, and no more than asked for."""
    program = """
      place.wake_by("p", 7)
      place.wake_by("p", 5)
      place.wake_by("p", 6)
      place.wake_by("q", 2)
      place.wake_by("r", 8)
      save()
      say(store.zrange("wake", 0, -1), place.next_wake())
      begin()
      place.wake_by("p", 6)
      place.wake_by("q", 1)
      place.set_wake("r", 9)
      save()
      say(store.zrange("wake", 0, -1), place.next_wake())
      this.now = 5
      say(place.due(9))
      say(place.due(1))
      this.now = 4
      say(place.due(9))
      begin()
      place.set_wake("q", order.FAR)
      save()
      say(store.zrange("wake", 0, -1), place.next_wake())
      place.set_wake("p", order.FAR)
      place.set_wake("r", order.FAR)
      save()
      say(store.zrange("wake", 0, -1), place.next_wake())"""
    says = "q 2 p 5 r 8 . 2 q 1 p 5 r 9 . 1 q p . q . q . p 5 r 9 . 5 . 9007199254740991"
    assert lua(FILES, BEGIN + program) == says


def test_one_flow_bars_a_place_and_all_of_its_places_or_none(lua: Lua) -> None:
    """In the same tick and in those after it, until it lets them go."""
    program = """
      say(place.bar({ "p", "q" }, "f"), place.bar({ "q", "r" }, "g"), place.bar({ "p", "q" }, "f"))
      save()
      say(store.texts("bar", { "p", "q", "r" }))
      begin()
      say(place.bar({ "r", "q" }, "g"), place.bar({ "r" }, "g"))
      save()
      say(store.texts("bar", { "p", "q", "r" }))
      begin()
      place.unbar({ "p", "q" })
      say(place.bar({ "q" }, "h"))
      save()
      say(store.texts("bar", { "p", "q", "r" }))"""
    assert lua(FILES, BEGIN + program) == "true false true f f false . false true f f g . true false h g ."


def test_places_that_are_looked_at_some_time_are_told_by_their_names(lua: Lua) -> None:
    """Those that begin so, the soonest first, while anybody waits."""
    program = """
      for at, name in ipairs({ "p:a", "b:b", "p:c", "b:d", "p:e" }) do
        place.set_wake(name, at)
      end
      save()
      for waiting = 0, 2 do
        this.waiting = waiting
        begin()
        say(place.timed("p:"), place.timed("b:"), place.timed("x:"))
      end"""
    all_ = "p:a p:c p:e . b:b b:d . ."
    assert lua(FILES, BEGIN + program) == f". . . {all_} {all_}"


def test_each_of_many_classes_is_found_in_its_place_and_kept_for_a_day(lua: Lua) -> None:
    """In the tick that put them there, and in the next."""
    program = """
      local lives, plain = {}, store.expire
      function store.expire(key, ms)
        lives[#lives + 1] = key .. " " .. order.text(ms)
        plain(key, ms)
      end
      for n, class in ipairs({ "a.", "b.", "c.", "d." }) do
        put("p", class, "f" .. n, n, n, n)
      end
      place.bar({ "p" }, "f")
      place.set_wake("p", 1)
      place.save()
      table.sort(lives)
      say(lives)
      for _ = 1, 2 do
        next_in("p", { ["a."] = 1, ["b."] = 1, ["c."] = 1 })
        save()
        begin()
      end"""
    once = "d. 4 4 f4 true true"
    assert lua(FILES, BEGIN + program) == f"{'at:p 86400000 ' * 4}bar 86400000 wake 86400000 . {once} {once}"
