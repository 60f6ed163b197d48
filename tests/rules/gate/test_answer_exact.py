"""rules/gate/answer.lua by itself: every number of what a tick says, and who is told of a grant."""

from __future__ import annotations

import pytest

from .modules import Lua

FILES = (
    "this",
    """
    local notes = {}
    local function note(...)
      local words = {}
      for i = 1, select("#", ...) do
        local one = select(i, ...)
        words[i] = type(one) == "number" and order.text(one) or type(one) == "table" and (one.id or one.n) or one
      end
      notes[#notes + 1] = table.concat(words, " ")
    end
    this.now, this.replica = 1000, "me"
    local rests, bucket, line, place, pool, promise = {}, {}, {}, {}, {}, { OWNER = "promised" }
    local rested, tried, size = 0, false, 0
    function rests.stands() return rested, false, false end
    function rests.try() return tried end
    function bucket.charge(limit, cost, owner) note("charge", limit, cost, owner) return 100 + cost end
    function bucket.used(limit) return limit.used end
    function bucket.amount(limit) return limit.amount end
    function bucket.earliest(limit, cost, ahead) return limit.at + ahead end
    function bucket.is_pace(limit) return limit.paced end
    function line.ahead(head, limit, of_key, cost) return (of_key and 10 or 0) + cost end
    function line.flow() return { size = size, start = 55 } end
    function line.serve(head, start) note("serve", head, start) end
    function place.served(name, class, share, weight) note("served", name, class, share, weight) end
    function pool.granted(frame, candidate) note("granted", frame, candidate) end
    function pool.earliest() return 2 end
    function promise.keep(head, index, slices) note("keep", head, index, table.concat(slices, "+")) end
    """,
    "answer",
)
BEGIN = """
  local plain = store.expire
  function store.expire(key, ms)
    note("expire", key, ms)
    plain(key, ms)
  end
  function store.nudge(owner)
    note("nudge", owner)
  end
  local function limit(id, kind, used, amount, at, paced)
    return { id = id, kind = kind, used = used, amount = amount, at = at, paced = paced }
  end
  local a, b, c = limit("a", "c", 3, 4, 1007, true), limit("b", "w", 9, 10, 990, true), limit("c", "e", 1, 2, order.FAR)
  local frame = {
    id = "frame", pool = "P", weight = 2000, commons = { a, b },
    candidates = { { id = "k1", limits = { c }, from = 2 }, { id = "k2", limits = {}, from = 3 } },
  }
  local function head(owner, with)
    local out = {
      n = 7, owner = owner or "me", frame = frame, costs = { 1, 2, 3 }, class = "l.t", share = 30, tag = 44,
    }
    for name, value in pairs(with or {}) do
      out[name] = value
    end
    return out
  end
  local function told()
    say(table.concat(answer.all(), " "), "|", table.concat(notes, ","), "|")
    notes = {}
    answer.begin()
  end
  answer.begin()
"""
GRANT = "1 7 1 2 3 101 3 102 9 103 1"
"""n, candidate, the fullest bucket (nine tenths), how many; slice and use of each."""


def told(lua: Lua, program: str) -> list[str]:
    """What it says, in the parts between bars."""
    return [part.strip() for part in lua(FILES, BEGIN + program).split("|")]


def test_a_refusal_has_a_code_a_place_and_a_wait(lua: Lua) -> None:
    """Of no place 0; -1 where nobody knows when, 0 where that has passed. The same of a call that is only observed."""
    program = """
      answer.refuse(head(), "wait_too_long", 3, 1004)
      answer.refuse(head(), "never_fits", nil, nil)
      answer.refuse(head(), "queue_full", 1, order.FAR)
      answer.refuse(head(), "no_key", 0, 990)
      answer.refuse(head(), "store_unavailable", 2)
      answer.refuse(head(), "hold_expired", 2, order.FAR - 1)
      answer.observe(head(), "no_key", 2, 1009)
      answer.observe(head(), nil, nil, nil)
      answer.hold(head(), 5)
      say(unpack(answer.all()))"""
    codes = "2 7 1 3 4 2 7 2 0 -1 2 7 3 1 -1 2 7 4 0 0 2 7 5 2 -1 2 7 6 2 9007199254739990"
    assert told(lua, program) == [f"{codes} 6 7 4 2 9 6 7 0 0 -1 4 7 5"]


@pytest.mark.parametrize(
    ("owner", "tries", "ranks", "size", "with_", "says"),
    [
        ("me", False, False, 0, "", GRANT),
        ("me", True, False, 0, "", f"7 7 {GRANT}"),
        ("me", False, True, 0, "", f"{GRANT} serve 44"),
        ("me", False, True, 1, "", f"{GRANT} serve 55"),
        ("me", False, True, 1, "observed = true", GRANT),
        ("me", False, True, 1, "had_turn = true", GRANT),
    ],
)
def test_a_grant_charges_all_it_names_and_is_a_turn(
    lua: Lua, owner: str, tries: bool, ranks: bool, size: int, with_: str, says: str
) -> None:
    """Of its flow, which begins at its tag if it waits no more, and of its class in every place; not of one that is
    observed or had it. It may be one that tries a key out."""
    program = f"""
      tried, size, this.ranks = {str(tries).lower()}, {size}, {str(ranks).lower()}
      answer.refuse(head(), "no_key")
      answer.grant(head("{owner}", {{ {with_} }}), 1)
      told()"""
    numbers, _, start = says.partition(" serve ")
    charged = "charge a 1 me,charge b 2 me,charge c 3 me,granted frame k1"
    if start:
        served = [f"served {place} l.t 30 2000" for place in ("b:a", "b:b", "p:P")]
        charged += f",serve 7 {start},{','.join(served)}"
    assert told(lua, program) == [f"2 7 4 0 -1 {numbers}", charged, ""]


def test_a_grant_of_another_replicas_call_is_kept_for_it_and_it_is_nudged(lua: Lua) -> None:
    """With what it holds in flight, for a quarter of an hour; one that tries a key out says so there."""
    program = """
      answer.grant(head("b"), 1)
      tried = true
      answer.grant(head("b", { n = 8 }), 2)
      answer.grant(head("c", { n = 9 }), 1)
      notes = {}
      say(#answer.all(), this.pushed)
      answer.save()
      say(store.all("grant:b"), store.all("grant:c"), "|", table.concat(notes, ","), "|")
      answer.begin()
      notes = {}
      answer.save()
      say(#notes)"""
    first, second = f"1000 3 {GRANT[2:]};a 1 c 3", "1000 7 8 3 8 2 2 2 101 3 102 9;a 1"
    kept = f"0 3 7 {first} . 8 {second} . . 9 1000 7 9 3 9 1 2 3 101 3 102 9 103 1;a 1 c 3 . ."
    saved = "expire grant:b 900000,nudge b,expire grant:c 900000,nudge c"
    assert told(lua, program) == [kept, saved, "0"]


def test_a_grant_to_a_call_that_stands_for_a_promise_keeps_its_charges(lua: Lua) -> None:
    """By name, and nobody is told."""
    program = """
      answer.grant(head("promised"), 1)
      told()
      answer.save()
      say(table.concat(notes, ","), this.pushed)"""
    charged = "charge a 1 promised,charge b 2 promised,charge c 3 promised,granted frame k1"
    assert told(lua, program) == ["", f"{charged},keep 7 1 101+102+103", "0"]


@pytest.mark.parametrize(("rests", "rest"), [(0, 0), (1000, 0), (1009, 9)])
def test_how_things_stand_is_told_of_each_limit(lua: Lua, rests: int, rest: int) -> None:
    """Used, amount, what goes before, when it fits behind that, and whether its pace decides; of the candidate asked
    for, or the one that fits earliest, and how long it rests."""
    program = f"""
      rested = {rests}
      answer.see(head(), 1, 1005)
      told()
      answer.see(head(), nil, order.FAR)
      told()
      frame.commons[2].amount, frame.commons[1].at = 1, order.FAR - 1
      answer.see(head(), 2, 990)
      told()"""
    commons = "3 4 1 8 1 9 10 2 0 1"
    says = [f"5 7 1 {rest} 5 3 {commons} 1 2 13 -1 0", f"5 7 2 {rest} -1 2 {commons}"]
    assert told(lua, program)[:5:2] == [*says, f"5 7 2 {rest} 0 2 3 4 1 -1 0 9 1 2 -1 0"]
