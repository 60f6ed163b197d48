"""rules/gate/line.lua: what goes before a call, by what is asked about it; how long is kept who waits."""

from __future__ import annotations

import pytest

from .modules import Lua
from .test_line_marks import BEGIN, FILES

DUE = """
  local plain = store.expire
  local lives = {}
  function store.expire(key, ms)
    lives[#lives + 1] = key .. " " .. order.text(ms)
    plain(key, ms)
  end
  function rivals.due(head, limit, of_key, cost)
    return head.owed + cost + (of_key and 1000 or 0)
  end
  local limit = { amount = 2^30 }
"""


@pytest.mark.parametrize(("waiting", "owed"), [(0, 0), (1, 10), (2, 20)])
def test_what_a_flow_waits_for_goes_before_its_next_call(lua: Lua, waiting: int, owed: int) -> None:
    """Each of its calls, from the first; where nobody waits nothing does."""
    program = f"""
      for n = 1, {waiting} do
        comes(n, "f", "b:one:x")
      end
      next_tick()
      say(line.owed(head(9, "f")), line.ahead(head(9, "f"), limit, false, 7))"""
    # it is alone: what it waits for, and nobody's else
    assert lua(FILES, BEGIN + DUE + program) == f"{owed} {owed}"


def test_what_a_call_is_told_in_the_worst_case_is_what_is_due(lua: Lua) -> None:
    """Whether it keeps a place or not, and whether anybody waits or not."""
    program = """
      for _, keeps in ipairs({ true, false }) do
        say(line.ahead(head(9, "f", { owed = 50, keeps_place = keeps }), limit, false, 7))
        say(line.ahead(head(9, "f", { owed = 50, keeps_place = keeps }), limit, true, 7))
      end"""
    assert lua(FILES, BEGIN + DUE + program) == "57 1057 57 1057"


def test_who_waits_is_kept_for_a_day(lua: Lua) -> None:
    """The flow, its calls and their numbers, and which pools draw on what, from when the last of them came."""
    program = """
      comes(1, "f", "p:P")
      line.save()
      draws.save()
      table.sort(lives)
      say(table.concat(lives, ","))"""
    replica = "replica-00000001"
    kept = [f"d:{replica}", "f:f", "fr:NAME", f"on:{replica}", "pool:P", "pools:k:1", "pools:k:2"]
    said = [one.rpartition(" ") for one in lua(FILES, BEGIN + DUE + program).split(",")]
    assert [one for one, _, _ in said] == kept
    assert {life for one, _, life in said if not one.startswith("fr:")} == {"86400000"}
