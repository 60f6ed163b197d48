"""rules/gate/bucket.lua by itself: what it asks of the files for each kind of limit, and makes of the answers."""

from __future__ import annotations

import pytest

from .modules import Lua

FAR = 9_007_199_254_740_991
FILES = (
    "this",
    """
    local notes = {}
    local function note(...)
      local words = {}
      for i = 1, select("#", ...) do
        local one = select(i, ...)
        words[i] = type(one) == "number" and order.text(one) or type(one) == "table" and one.id or tostring(one)
      end
      notes[#notes + 1] = table.concat(words, " ")
    end
    local function noting(name, answer)
      return function(...)
        note(name, ...)
        return answer
      end
    end
    this.now, this.replica = 1000, "me"
    local begun = {}
    local agreed = { amount = function(limit) return limit.agreed or limit.amount, limit.till end }
    local learned = {
      begin = noting("learned.begin"), save = noting("learned.save"), cut = noting("cut"),
      amount = function(_, limit, used) return limit.n + used end,
    }
    local announced = { say = noting("say", true) }
    function announced.amount(id)
      if id == "told" then return 30, 5000 end
    end
    local window = { charge = noting("window.charge", 17), settle = noting("window.settle", true) }
    window.save = noting("window.save")
    function window.load(id) return { id = id, slices = {}, sum = 10, q = 5999 } end
    function window.earliest(b, need, amount) return this.now + 10 * need + amount end
    local pace = { give_back = noting("pace.give_back"), queue = noting("pace.queue"), charge = noting("pace.charge") }
    function pace.fits(b, limit, amount, used, cost) note("pace.fits", amount, used, cost) return true end
    function pace.earliest(b, limit, amount, used, cost, ahead) return 100 * amount + 10 * used + cost + ahead end
    local gauge = { begin = noting("gauge.begin"), add = noting("gauge.add", true), state = noting("state", true) }
    gauge.save, gauge.save_parts = noting("gauge.save"), noting("gauge.save_parts")
    function gauge.load(id) return { id = id, used = id == "empty" and 0 or 6, q = 0 } end
    function gauge.lasts(b) return b.id ~= "unknown" and 7 or nil end
    function gauge.parts(kind, replica) return replica == "gone" and { { kind .. "x", 3 } } or {} end
    local twin = { drain = noting("drain"), charge = noting("twin.charge", 18), settle = noting("twin.settle", true) }
    twin.told, twin.save, twin.give_back = noting("twin.told"), noting("twin.save"), noting("twin.give_back", true)
    function twin.load(id) return { id = id, den = 1, used = 8, q = 0 } end
    function twin.earliest(b, need, amount) return this.now + need + amount end
    local quota = { charge = noting("quota.charge", 19), settle = noting("quota.settle", true) }
    quota.told, quota.save = noting("quota.told"), noting("quota.save")
    function quota.load(id) return { id = id, periods = {}, q = 4 } end
    function quota.waiting(b) return b.q + 2000 end
    function quota.used() return 9 end
    function quota.earliest(b, limit, need, amount) return this.now + 2 * need + amount end
    local others = { told = noting("others.told") }
    """,
    "bucket",
)
BEGIN = """
  bucket.begin()
  notes = {}
  local function limit(kind, with)
    local out = { id = kind, kind = kind, amount = 40, w = 3, length = 12 }
    for name, value in pairs(with or {}) do
      out[name] = value
    end
    return out
  end
  local w, e, c, t, q = limit("w"), limit("e"), limit("c"), limit("t"), limit("q")
"""


def told(lua: Lua, program: str) -> list[str]:
    """What it says, in the parts between bars."""
    return [part.strip() for part in lua(FILES, BEGIN + program).split("|")]


def test_the_amount_is_the_least_of_what_is_agreed_learned_and_told(lua: Lua) -> None:
    """Until when another holds it down is that of the least; a part of it on a host by itself."""
    program = """
      local function amount(...)
        local most, till = bucket.amount(limit(...))
        say(most, till or "-", "|")
      end
      amount("w")
      amount("w", { agreed = 35, till = 70 })
      amount("w", { learned = true, n = 5 })
      amount("w", { learned = true, n = 35 })
      amount("w", { id = "told" })
      amount("w", { id = "told", agreed = 30, till = 70 })
      amount("w", { id = "told", agreed = 31, till = 70 })
      amount("w", { id = "told", learned = true, n = 7 })
      this.share = 300
      amount("w", { id = "told" })"""
    says = ["40 -", "35 70", "15 -", "40 -", "30 5000", "30 70", "30 5000", "17 -", "9 5000"]
    assert told(lua, program) == [*says, ""]


def test_only_a_call_larger_than_what_is_learned_widens_it(lua: Lua) -> None:
    """And then by itself alone; any other must fit beside what is used."""
    program = """
      local one = limit("w", { learned = true, n = 5 })
      for _, cost in ipairs({ 5, 6, 15, 16, 41 }) do
        say(bucket.fits(one, cost), "|", table.concat(notes, ","), "|")
        notes = {}
      end
      say(bucket.fits(w, 30), "|", table.concat(notes, ","), "|", bucket.fits(w, 31))"""
    fitting = ["true", "pace.fits 15 10 5", "false", "", "false", "", "false", "", "false", ""]
    assert told(lua, program) == [*fitting, "true", "pace.fits 40 10 30", "false"]


@pytest.mark.parametrize(
    ("asks", "at"),
    [
        ("w, 40, 3", max(1000 + 10 * 43 + 40, 100 * 40 + 10 * 10 + 43)),
        ("w, 41, 0", FAR),
        ('limit("w", { amount = 0 }), 0, 0', FAR),
        ("e, 34, 3", max(1000 + 10 * 37 + 34, 100 * 40 + 10 * 16 + 37)),
        ("e, 35, 0", FAR),
        ("t, 40, 3", 1000 + 43 + 40),
        ("t, 41, 0", FAR),
        ("q, 40, 3", 1000 + 2 * 43 + 40),
        ("c, 30, 4", 1000),
        ("c, 30, 5", FAR),
        ('limit("c", { amount = 0 }), 0, 0', FAR),
        ('limit("t", { agreed = 30, till = 1033 }), 3, 0', 1033),
        ('limit("t", { agreed = 30, till = 1032 }), 3, 0', 1033),
        ('limit("t", { agreed = 30, till = 1043 }), 31, 0', 1071),
        ('limit("t", { agreed = 30, till = 1072 }), 31, 0', 1072),
        ('limit("t", { agreed = 0, till = 1042 }), 3, 0', 1043),
    ],
)
def test_a_cost_fits_when_its_kind_says_so(lua: Lua, asks: str, at: int) -> None:
    """Behind what goes before it; where a smaller amount holds for a while, that of then or the limit's own after."""
    assert told(lua, f"say(bucket.earliest({asks}))") == [str(at)]


@pytest.mark.parametrize(
    ("asks", "at"),
    [
        ("t, 40, 3", 1083),
        ("c, 30, 4", 1000),
        ("c, 30, 5", 1000 + 7 // 40),
        ("c, 40, 40", 1000 + 46 * 7 // 40),
        ('limit("c", { id = "unknown" }), 30, 5', FAR),
        ('limit("c", { id = "unknown" }), 30, 4', 1000),
        ("c, 41, 0", FAR),
        ('limit("c", { amount = 0 }), 0, 0', FAR),
        ('limit("c", { amount = 0, id = "empty" }), 0, 0', FAR),
        ('limit("c", { amount = 1 }), 1, 0', 1000 + 6 * 7),
        ('limit("c", { amount = 1 }), 1, 2^60', FAR),
    ],
)
def test_of_calls_in_flight_it_is_expected_when_so_many_have_ended(lua: Lua, asks: str, at: int) -> None:
    """Each lasts 7 ms of 40 at a time; of what never fits, or of which nothing is known, nothing is expected."""
    assert told(lua, f"say(bucket.expected({asks}))") == [str(at)]


def test_what_comes_back_in_a_millisecond(lua: Lua) -> None:
    """Of a window the whole by its length; of a bucket its rate by its amount, or by one where it has none."""
    program = """
      local function returns(...)
        say(bucket.returns(limit(...)))
      end
      returns("w", { length = 1 })
      returns("e", { length = 4 })
      returns("t", { w = 3, length = 2, amount = 16 })
      returns("t", { w = 3, length = 2, amount = 1 })
      returns("t", { w = 3, length = 2, amount = 0 })
      returns("c", { length = 1 })
      returns("q", { length = 1 })"""
    whole = 2**30
    assert told(lua, program) == [f"{whole} {whole // 4} {whole * 3 // 32} {whole * 3 // 2} {whole * 3 // 2} 0 0"]


def test_it_is_the_pace_where_the_window_alone_would_fit_earlier(lua: Lua) -> None:
    """The window has what is not held by calls in flight."""
    program = """
      local at = 1000 + 10 * 5 + 40
      say(bucket.is_pace(w, 2, 3, at), bucket.is_pace(w, 2, 3, at + 1))
      say(bucket.is_pace(e, 2, 3, at - 6), bucket.is_pace(e, 2, 3, at - 5))
      say(bucket.is_pace(t, 2, 3, at) and 1 or 0)"""
    assert told(lua, program) == ["false true false true 0"]


def test_what_waits_is_counted_in_thousandths(lua: Lua) -> None:
    """And told in whole units; never below nothing, and as much as can be counted."""
    program = """
      say(bucket.queued(w), bucket.queued(q), "|")
      bucket.queue(w, -999)
      say(bucket.queued(w), bucket.open(w).q, "|")
      bucket.queue(w, -5001)
      say(bucket.open(w).q, "|")
      bucket.queue(w, order.FAR)
      bucket.queue(w, 5)
      say(bucket.open(w).q, "|")
      bucket.queue(q, 1)
      bucket.queue(c, 1)
      say(bucket.open(q).q, bucket.open(c).q, "|", table.concat(notes, ","))"""
    says = ["5 2", "5 5000", "0", str(FAR), "2005 1", "pace.queue w w,pace.queue w w,pace.queue w w,pace.queue w w"]
    assert told(lua, program) == says


@pytest.mark.parametrize(
    ("kind", "name", "notes"),
    [
        ("w", 17, "pace.charge w w 40 10 5,window.charge w 5"),
        ("e", 0, "pace.charge e e 40 16 5,gauge.add r: me e 5"),
        ("t", 18, "drain t 3 12 nil,twin.charge t 5"),
        ("q", 19, "quota.charge q q 5"),
        ("c", 0, "gauge.add r: me c 5"),
    ],
)
def test_a_charge_is_named_by_its_kind(lua: Lua, kind: str, name: int, notes: str) -> None:
    """For another replica it is one that is not seen yet."""
    program = f"""
      say(bucket.charge({kind}, 5, "me"), "|", table.concat(notes, ","), "|")
      notes = {{}}
      bucket.charge({kind}, 5, "other")
      say(table.concat(notes, ","))"""
    other = notes.replace("drain t 3 12 nil,", "").replace("r: me", "u: other")
    assert told(lua, program) == [str(name), notes, other]


@pytest.mark.parametrize(
    ("kind", "slice_", "notes"),
    [
        ("w", 9, "window.settle w 9 -5,pace.give_back w w 5"),
        ("e", 9, "gauge.add u: other e -5,pace.give_back e e 5"),
        ("t", 9, "drain t 3 12 nil,twin.give_back t 3 12 9 5"),
        ("q", 8, "quota.settle q 0 8 -5"),
        ("q", 9, "quota.settle q 12 9 -5"),
        ("q", 7, "quota.settle q 12 7 -5"),
        ("c", 9, "gauge.add u: other c -5"),
    ],
)
def test_what_was_kept_is_given_back_to_where_it_was_taken(lua: Lua, kind: str, slice_: int, notes: str) -> None:
    """Others look only where they may have the room, and once."""
    program = f"""
      bucket.give_back({kind}, 5, {slice_}, "other", false)
      say(table.concat(notes, ","), "|", bucket.freed(), "|")
      bucket.give_back({kind}, 5, {slice_}, "other", true)
      bucket.give_back({kind}, 5, {slice_}, "other", true)
      say(bucket.freed())"""
    assert told(lua, program) == [notes, ".", f"{kind} ."]


def test_what_upstreams_say_goes_to_its_kind(lua: Lua) -> None:
    """A part of it on a host by itself; what a refusal says, with what the window holds."""
    program = """
      this.share = 300
      bucket.told("t", "t", 3, 12, 61, 62, 63, 100, 65, 200, 67)
      bucket.told("q", "q", 3, 12, 61, 62, 63, 100, 65, 200, 67)
      bucket.told("w", "w", 3, 12, 61, 62, 63, 100, 65, 200, 67)
      bucket.told("e", "e", 3, 12, 61, 62, 63, 100, 65, 200, 67)
      bucket.refused("w", 3, 12, 66)
      bucket.announce("w", 70, 71)
      say(table.concat(notes, ","), "|", bucket.freed())"""
    twin, quota = "drain t 3 12 true,twin.told t 3 12 61 30", "quota.told q 61 30"
    window = "others.told w 61 62 63 30 65 60 67 0,others.told e 61 62 63 30 65 60 67 6"
    assert told(lua, program) == [f"{twin},{quota},{window},cut w 12 10 66,say w 70 71", "w ."]


def test_a_bucket_that_lost_use_is_named_once(lua: Lua) -> None:
    """In the order of the loss; where no room was made it is not."""
    program = """
      bucket.settle("w", "w", 3, 12, 9, 5, -1)
      bucket.settle("t", "t", 3, 12, 9, 5, -1)
      bucket.settle("w", "w", 3, 12, 9, 5, -1)
      twin.settle = noting("twin.settle", false)
      bucket.settle("t", "other", 3, 12, 9, 5, -1)
      bucket.settle("q", "q", 3, 12, 9, 5, -1)
      say(bucket.freed(), "|", table.concat(notes, ","))"""
    notes = ["window.settle w 9 -1", "drain t 3 12 true", "twin.settle t 3 12 9 5 -1", "window.settle w 9 -1"]
    notes += ["drain other 3 12 true", "twin.settle other 3 12 9 5 -1", "quota.settle q 12 9 -1"]
    assert told(lua, program) == ["w t q .", ",".join(notes)]


def test_a_replica_is_forgotten_with_all_that_it_had(lua: Lua) -> None:
    """It is told whether that was anything."""
    program = """
      say(bucket.forget("gone"), bucket.forget("none"), "|", table.concat(notes, ","), "|", bucket.freed())"""
    assert told(lua, program) == ["true false", "gauge.add r: gone r:x -3,gauge.add u: gone u:x -3", "r:x u:x ."]


def test_what_changed_is_saved_by_its_kind_and_all_begins_anew(lua: Lua) -> None:
    """And what replicas hold, and what was learned, in each tick."""
    program = """
      for _, one in ipairs({ w, e, t, q, c, limit("w", { id = "same" }) }) do
        bucket.open(one).changed = one.id ~= "same"
      end
      notes = {}
      bucket.save()
      say(table.concat(notes, ","), "|")
      notes = {}
      bucket.begin()
      bucket.save()
      say(table.concat(notes, ","))"""
    saved = "window.save w,window.save e,twin.save t,quota.save q,gauge.save c"
    ends = "gauge.save_parts,learned.save"
    assert told(lua, program) == [f"{saved},{ends}", f"gauge.begin,learned.begin,{ends}"]
