"""rules/gate/window.lua by itself: slices that are added and looked at, and what is kept for how long."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = ("this", "window")
BEGIN = """
  local plain = store.expire
  function store.expire(key, ms)
    say(key, ms)
    plain(key, ms)
  end
  store.put("w:x", { "h", "12 48 51 100 0 1 2 3 4 5 6 7", "47", 90, "48", 3, "49", 4, "51", 5, "52", 70 })
  local b = window.load("x", 100, 1000, 5150)
"""
"""Slices 48 to 51 are live: 3, 4, nothing and 5. What stands beside them is none of theirs."""


def test_an_empty_window_has_spent_nothing_yet(lua: Lua) -> None:
    """Its pace begins with nothing; it is kept for ten minutes, or for twice its length."""
    program = """
      for _, length in ipairs({ 1000, 300000, 300001 }) do
        local b = window.load("new", 100, length, 5150)
        window.save(b)
        say(store.all("w:new"))
        store.delete("w:new")
      end"""
    kept = f"h 0 -1 -1 100 0 {'0 ' * 7}. ."
    lives = [600_000, 600_000, 600_002]
    assert lua(FILES, BEGIN + program) == " ".join(f"w:new {life} {kept}" for life in lives)


@pytest.mark.parametrize(
    ("how", "put_off"),
    [
        ("", True),
        ('store.put("w:y", { "51", 2 })', False),
        ('store.put("w:y", { "51", 2 })\nqueued = true', True),
        ('store.put("w:y", { "51", 2 })\nslice = 50', True),
    ],
)
def test_its_end_is_put_off_once_a_slice(lua: Lua, how: str, put_off: bool) -> None:
    """And where somebody waits for it, or it is cut otherwise than the limit says."""
    program = f"""
      local slice, queued = 100, false
      store.put("w:y", {{ "h", "2 51 51 100 0 1 2 3 4 5 6 7" }})
      {how}
      local b = window.load("y", slice, 1000, 5150)
      b.queued = queued
      window.save(b)
      say("saved", b.w, b.current)"""
    assert lua(FILES, BEGIN + program) == ("w:y 600000 " if put_off else "") + "saved 100 51"


@pytest.mark.parametrize(
    ("i", "stands", "lo", "hi"),
    [(48, 9, 48, 51), (49, 10, 48, 51), (50, 6, 48, 51), (51, 11, 48, 51), (47, 6, 47, 51), (52, 6, 48, 52)],
)
def test_units_are_added_to_what_stands_in_their_slice(lua: Lua, i: int, stands: int, lo: int, hi: int) -> None:
    """Where that is live; else they begin it."""
    program = f"""
      window.add(b, {i}, 6)
      say(b.slices[{i}], b.sum, b.lo, b.hi, b.marked[{i}], b.changed)"""
    assert lua(FILES, BEGIN + program) == f"{stands} 18 {lo} {hi} true true"


def test_units_begin_an_empty_window(lua: Lua) -> None:
    """In any slice."""
    program = """
      local b = window.load("new", 100, 1000, 5150)
      say(window.between(b, 0, 99))
      window.walk(b, function() say("seen") end)
      window.add(b, 49, 6)
      window.add(b, 51, 7)
      say(b.sum, b.lo, b.hi, window.between(b, 49, 49), window.between(b, 40, 50), window.between(b, 0, 99))"""
    assert lua(FILES, BEGIN + program) == "0 13 49 51 6 6 13"


def test_only_live_slices_are_looked_at(lua: Lua) -> None:
    """What they hold from one to another, and in how many milliseconds each that was charged leaves."""
    program = """
      say(window.between(b, 0, 99), window.between(b, 49, 50), window.between(b, 51, 99), window.between(b, 52, 99))
      window.walk(b, function(units, leaves_in) say(units, leaves_in) end)"""
    assert lua(FILES, BEGIN + program) == "12 4 5 0 3 750 4 850 5 1050"


def test_what_others_use_is_kept_beside_it(lua: Lua) -> None:
    """Where there is something to keep."""
    program = """
      window.charge(b, 2)
      window.save(b)
      say(store.texts("w:x", { "x", "51" }), "|")
      b.extra = "49 4"
      window.save(b)
      say(store.texts("w:x", { "h", "x", "51" }))"""
    assert lua(FILES, BEGIN + program) == "false 7 . | 14 48 51 100 0 1 2 3 4 5 6 7 49 4 7 ."
