"""rules/gate/pool.lua by itself: rests, turns, and what the calls of a pool's line hold."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = ("this", "local bucket, line = {}, {}", "call", "fair", "rests", "pool")

BEGIN = """
  this.waiting, this.now = 1, 1000
  local function begin()
    fair.begin()
    rests.begin()
    pool.begin()
  end
  local function save()
    rests.save()
    pool.save()
    fair.save()
  end
  local function one(tag, n)
    return { class = "a.", tag = tag, enqueued = n, attempt = "at-" .. order.text(n) }
  end
  local function held(id)
    for _, h in ipairs(pool.held(id)) do
      say(h.index, h.class, h.tag, h.enqueued, h.attempt)
    end
    say(".")
  end
  local function set(of)
    local out = {}
    for i = 1, 9 do
      if of[i] then
        out[#out + 1] = i
      end
    end
    say(out)
  end
  -- x and y share a bucket; z and w have their own
  local frame = call.frame("P 4 0 a. 1 N x g 0 1 1 s1 k:1 c 4 0 0 y g 0 2 1 s1 s2 k:1 c 4 0 0"
    .. " z h 0 0 1 k:2 c 4 0 0 w h 0 0 0")
  begin()
"""


def test_what_is_held_is_kept_in_its_order(lua: Lua) -> None:
    """Within the tick and after it; a pool nobody held anything of has nothing."""
    program = """
      held("P")
      pool.hold("P", 1, 3, one(30, 1))
      pool.hold("P", 2, 1, one(20, 2))
      held("P")
      save()
      begin()
      held("P")
      held("Q")"""
    says = "3 a. 30 1 at-1 1 a. 20 2 at-2 ."
    assert lua(FILES, BEGIN + program) == f". {says} {says} ."


def test_whoever_holds_anew_decides_anew_what_stands_behind_him(lua: Lua) -> None:
    """And nobody holds behind a place that is empty, nor beyond the eighth."""
    program = """
      for n = 1, 9 do
        pool.hold("P", n, 1, one(n, n))
      end
      say(#pool.held("P"))
      save()
      begin()
      say(#pool.held("P"))
      pool.hold("P", 6, 2, one(6, 60))
      save()
      begin()
      held("P")
      pool.hold("P", 8, 3, one(8, 80))
      say(#pool.held("P"))"""
    first = " ".join(f"1 a. {n} {n} at-{n}" for n in range(1, 6))
    assert lua(FILES, BEGIN + program) == f"8 8 {first} 2 a. 6 60 at-60 . 6"


def test_of_a_line_that_grew_shorter_only_the_first_hold(lua: Lua) -> None:
    """What is trimmed is forgotten in the store too."""
    program = """
      for n = 1, 4 do
        pool.hold("P", n, n, one(n, n))
      end
      save()
      begin()
      pool.trim("P", 4)
      say(#pool.held("P"))
      pool.trim("P", 2)
      say(#pool.held("P"))
      pool.trim("P", 1)
      save()
      begin()
      held("P")
      pool.trim("P", 0)
      save()
      begin()
      held("P")"""
    assert lua(FILES, BEGIN + program) == "4 2 1 a. 1 1 at-1 . ."


def test_who_comes_later_leaves_alone_what_is_held_and_what_shares_a_bucket_with_it(lua: Lua) -> None:
    """The first holds w, the second y: the third may use z alone; whoever comes between them all but w."""
    program = """
      pool.hold("P", 1, 4, one(10, 1))
      pool.hold("P", 2, 2, one(20, 2))
      pool.hold("P", 3, 9, one(30, 3))
      for count = 0, 4 do
        set(pool.taken(frame, count))
      end
      for tag = 5, 35, 10 do
        set(pool.taken_before(frame, one(tag, 9)))
      end"""
    assert lua(FILES, BEGIN + program) == ". 4 . 1 2 4 . 1 2 4 . 1 2 4 . . 4 . 1 2 4 . 1 2 4 ."


def test_all_rest_until_the_first_wakes(lua: Lua) -> None:
    """If all of them do."""
    program = """
      local two = call.frame("P 2 0 a. 1 N x g 0 1 0 s1 y g 0 1 0 s2")
      say(pool.all_rest_until(two))
      rests.block("s1", 50)
      say(pool.all_rest_until(two))
      rests.block("s2", 20)
      say(pool.all_rest_until(two))"""
    assert lua(FILES, BEGIN + program) == "nil nil 1020"


TURNS = """
  local full = {}
  function bucket.fits(limit) return not full[limit.id] end
  local function grant(of, without)
    local index = pool.choose(of, {}, without or {})
    say(index)
    if index then
      pool.granted(of, of.candidates[index])
    end
  end
"""


def test_the_group_granted_longest_ago_goes_first_and_in_it_the_key(lua: Lua) -> None:
    """Over ticks; a candidate that is held, full or resting is passed over."""
    program = """
      for _ = 1, 3 do
        grant(frame)
      end
      save()
      begin()
      for _ = 1, 3 do
        grant(frame)
      end
      grant(frame, { [1] = true })
      full["k:1"] = true
      grant(frame)
      grant(frame)
      rests.block("s1", 5)
      full["k:1"] = false
      grant(frame)
      grant(frame, { [3] = true, [4] = true })
      say(this.grants, store.numbers("k", { "kx", "ky", "kz", "kw", "gg", "gh", "kv" }))"""
    says = "1 3 2 4 1 3 2 4 3 4 nil 10 1 3 2 false 3 2 false ."
    assert lua(FILES, BEGIN + TURNS + program) == says


def test_a_caller_s_own_key_has_no_turn(lua: Lua) -> None:
    """It goes when it fits, and nothing is kept of it."""
    program = """
      local own = call.frame("P 1 0 a. 1 N x g 0 1 1 s1 k:1 c 4 0 0")
      grant(own)
      grant(own, { true })
      full["k:1"] = true
      grant(own)
      full["k:1"] = false
      rests.block("s1", 5)
      grant(own)
      save()
      say(this.grants, store.numbers("k", { "kx", "gg" }))"""
    assert lua(FILES, BEGIN + TURNS + program) == "1 nil nil nil 0 false false ."


@pytest.mark.parametrize(
    ("behind", "without", "says"),
    [
        ("nil", "{}", "4 1000 0"),
        ("nil", "{ [4] = true }", "3 1020 3"),
        ("nil", "{ [3] = true, [4] = true }", "1 1030 1"),
        ("nil", "{ true, true, true, true }", "nil nil nil"),
        ("{ 5 }", "{ [4] = true }", "3 1025 3"),
    ],
)
def test_the_candidate_that_fits_earliest_is_told_with_when_and_what_it_waits_for(
    lua: Lua, behind: str, without: str, says: str
) -> None:
    """Position of the limit that binds, 0 where none does; what goes before a call that waits counts too."""
    program = f"""
      local when = {{ ["k:1"] = 30, ["k:2"] = 20 }}
      function bucket.earliest(limit, cost, ahead) return this.now + when[limit.id] + ahead + cost end
      function line.ahead(head, limit, of_key) return of_key and head[1] or 99 end
      say(pool.earliest(frame, {{ 0, 0, 0 }}, {without}, {behind}))"""
    assert lua(FILES, BEGIN + program) == says.replace("nil nil nil", "nil nil nil")


def test_a_candidate_that_rests_waits_for_no_limit_that_has_room_sooner(lua: Lua) -> None:
    """Its time is the later of both; a limit with room now binds nothing."""
    program = """
      local when = { ["k:1"] = 30, ["k:2"] = 0 }
      function bucket.earliest(limit, cost) return this.now + when[limit.id] + cost end
      say(pool.earliest(frame, { 0, 0, 0 }, { true, true, false, true }))
      rests.block("s1", 31)
      say(pool.earliest(frame, { 0, 0, 0 }, { false, true, true, true }))
      say(pool.earliest(frame, { 2, 0, 0 }, { false, true, true, true }))"""
    assert lua(FILES, BEGIN + program) == "3 1000 0 1 1031 0 1 1032 1"
