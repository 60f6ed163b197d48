"""rules/gate/gauge.lua by itself: how long a unit is held, as it is counted and kept."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = ("this", "gauge")
BEGIN = """
  local plain = store.expire
  function store.expire(key, ms)
    say(key, ms)
    plain(key, ms)
  end
  gauge.begin()
  local function shows(key)
    say(store.numbers(key, { "used", "a", "t", "n", "q" }))
  end
"""
MOST = 2**50


@pytest.mark.parametrize(
    ("area", "held", "used", "back", "kept"),
    [
        (1000, 50, 3, 63, (1150, 63)),
        (1000, 50, 3, 64, (575, 32)),
        (1001, 50, 3, 65, (575, 32)),
        (MOST - 1, 0, 3, 1, (MOST - 1, 1)),
        (MOST - 1, 1, 1, 1, (MOST, 1)),
        (MOST - 1, 2, 1, 1, (MOST, 1)),
        (MOST, 1000, 1, 1, (MOST, 1)),
    ],
)
def test_what_was_held_and_came_back_is_halved_when_much_has(
    lua: Lua, area: int, held: int, used: int, back: int, kept: tuple[int, int]
) -> None:
    """Unit milliseconds until now, as far as can be counted, and units."""
    program = f"""
      store.put("g:x", {{ "used", {used}, "a", {area}, "t", 5000, "n", {back} }})
      gauge.save(gauge.load("x", {5000 + held}))
      shows("g:x")"""
    assert lua(FILES, BEGIN + program) == f"g:x 900000 {used} {kept[0]} {5000 + held} {kept[1]} false ."


def test_a_new_one_has_held_nothing(lua: Lua) -> None:
    """And is kept for a quarter of an hour; what waits for it where somebody does."""
    program = """
      local b = gauge.load("x", 5000)
      say(b.used, b.q, b.area, b.back, gauge.lasts(b) or "-")
      b.queued, b.q = true, 7
      gauge.save(b)
      shows("g:x")"""
    assert lua(FILES, BEGIN + program) == "0 0 0 0 - g:x 900000 0 0 5000 0 7 ."


@pytest.mark.parametrize(("back", "lasts"), [(0, "-"), (1, "600"), (2, "300")])
def test_a_unit_lasts_as_long_as_those_that_came_back_did(lua: Lua, back: int, lasts: str) -> None:
    """On average; of none nothing is known."""
    program = f"""
      store.put("g:x", {{ "used", 2, "a", 500, "t", 5000, "n", {back} }})
      say(gauge.lasts(gauge.load("x", 5050)) or "-")"""
    assert lua(FILES, BEGIN + program) == lasts


def test_what_a_replica_holds_is_kept_for_a_quarter_of_an_hour(lua: Lua) -> None:
    """Under its own name, and what it holds no more is taken out."""
    program = """
      local b = gauge.load("x", 5000)
      say(gauge.add("r:", "a", b, 3), gauge.add("u:", "a", b, 2), gauge.add("u:", "a", b, -5), b.used, b.back)
      gauge.save_parts()
      say(store.all("r:a"), store.all("u:a"))"""
    says = lua(FILES, BEGIN + program)
    assert says == "false false true 3 2 r:a 900000 x 3 . . ."
