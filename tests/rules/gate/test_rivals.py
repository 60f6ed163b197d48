"""rules/gate/rivals.lua: how much goes before a call that comes now."""

from __future__ import annotations

import pytest

from .driver import Clock, Replica, call, charge, key, window
from .modules import Lua

FILES = ("this", "local bucket = { queued = function(limit) return limit.queued end }", "rivals")


def test_a_light_user_is_told_his_own_wait_not_the_hog_s(a: Replica) -> None:
    """Behind 500 calls of one user, a newcomer with no patience is told the next window, and is held if he has any."""
    limit = charge(window(10, ms=1000, slices=10))
    for _ in range(510):
        a.arrive(call(limit, user="hog", queue=10_000))
    (refused,) = a.arrive(call(limit, user="light", wait=0)).refused
    assert refused.wait_ms == 1100
    assert a.arrive(call(limit, user="light", wait=1100)).held
    (refused,) = a.arrive(call(limit, user="hog", wait=0)).refused
    assert refused.wait_ms is not None
    assert refused.wait_ms > 45_000


def test_the_wait_told_counts_the_weights_of_the_tiers(a: Replica) -> None:
    """Against a backlog of a tier four times as heavy, the third waiting call of a light one is told 15 places."""
    limit = charge(window(5, ms=1000, slices=10))
    for _ in range(60):
        a.arrive(call(limit, user="gold", tier="gold", weight=4, queue=10_000, wait=500_000))
    for _ in range(2):
        a.arrive(call(limit, user="free", tier="free", wait=500_000))
    (refused,) = a.arrive(call(limit, user="free", tier="free", wait=0)).refused
    assert refused.wait_ms == 1100 + 2 * 1000


def test_a_rival_of_another_lane_counts_on_a_limit_of_all(a: Replica) -> None:
    """Behind one who waits with another key, a newcomer is told a turn more."""
    shared = charge(window(1, ms=1000, slices=10))
    a.arrive(call(shared, keys=[key("kx")]))
    for _ in range(3):
        a.arrive(call(shared, keys=[key("kx")], user="x"))
    (refused,) = a.arrive(call(shared, keys=[key("ky")], user="y", wait=0)).refused
    assert refused.wait_ms == 1100 + 1000


def test_on_the_limit_of_a_key_only_the_own_lane_counts(a: Replica) -> None:
    """Who waits with a limit more is no rival there: a newcomer is told the key's next room."""
    own, other = charge(window(1, ms=1000, slices=10)), charge(window(100, name="other"))
    keys = [key("k", own)]
    a.arrive(call(keys=keys))
    for _ in range(3):
        a.arrive(call(other, keys=keys, user="x"))
    (refused,) = a.arrive(call(keys=keys, user="y", wait=0)).refused
    assert refused.wait_ms == 1100


def test_one_who_keeps_his_place_is_told_the_wait_of_his_place(a: Replica, clock: Clock) -> None:
    """Nobody is ahead of a retry that entered before all who wait; a newcomer has them before him."""
    limit = charge(window(1, ms=1000, slices=10))
    clock.now += 1000
    a.arrive(call(limit))
    for _ in range(3):
        a.arrive(call(limit))
    assert [refused.wait_ms for refused in a.arrive(call(limit, wait=0), age=500).refused] == [1100]
    assert [refused.wait_ms for refused in a.arrive(call(limit, wait=0)).refused] == [4100]


@pytest.mark.parametrize(
    ("asks", "ahead"),
    [
        pytest.param('"l.t", 1, 4', 35, id="two flows of three eighths, and three and two times as heavy rivals"),
        pytest.param('"l.t", 1, 4, true', 17, id="of the own lane the rival of twice the weight"),
        pytest.param('"l.t", 1, 0', 17, id="a flow that does not wait yet is one more"),
        pytest.param('"l.t", 2, 4', 20, id="whoever is twice as heavy has half the rivals"),
        pytest.param('"n.t", 1, 0', 6, id="a class nobody waits in: one flow"),
        pytest.param('"n.t", 1, 0, true', 0, id="alone in its lane nobody goes before it"),
    ],
)
def test_what_goes_before_a_call_is_its_flows_wait_as_often_as_there_are_rivals(
    lua: Lua, asks: str, ahead: int
) -> None:
    """Shares of an eighth each, on a limit of 8; `owed` in eighths and a half. No more than all that waits."""
    program = f"""
      this.waiting = 1
      store.put("rivals", {{"l.t", "2 1000", "m.t", "1 3000", "l.u", "1 2000"}})
      local eighth = 2^27
      local function ahead(class, weight, owed, of_key)
        local head = {{ class = class, share = eighth, frame = {{ weight = weight * 1000 }} }}
        rivals.begin()
        say(rivals.ahead(head, owed * eighth / 2, {{ amount = 8, queued = 1000000 }}, of_key))
        say(rivals.ahead(head, owed * eighth / 2, {{ amount = 8, queued = 5 }}, of_key))
        say(rivals.ahead(head, owed * eighth / 2, {{ amount = 8, queued = 1 }}, of_key))
        say(rivals.ahead(head, owed * eighth / 2, {{ amount = 8, queued = 0 }}, of_key))
      end
      ahead({asks})"""
    assert lua(FILES, program) == f"{ahead} {min(5, ahead)} {min(1, ahead)} 0"


def test_a_class_is_a_rival_while_a_flow_of_it_waits(lua: Lua) -> None:
    """Each is kept with its number of flows and its latest weight, until nobody waits at all."""
    program = """
      this.waiting = 1
      rivals.begin()
      rivals.count("a.", 1000, 1)
      rivals.count("b.", 500, 1)
      rivals.count("a.", 2000, 1)
      rivals.save()
      say(store.all("rivals"))
      rivals.begin()
      rivals.count("a.", 2000, -1)
      rivals.count("b.", 500, -1)
      rivals.count("b.", 500, -1)
      rivals.count("c.", 1000, 1)
      rivals.count("d.", 4000, 1)
      say(rivals.ahead({ class = "b.", share = 2^27, frame = { weight = 1000 } }, 0, { amount = 8, queued = 99 }))
      rivals.save()
      say(store.all("rivals"))
      rivals.begin()
      rivals.count("b.", 500, 1)
      rivals.save()
      say(store.all("rivals"))
      rivals.begin()
      rivals.save()
      this.waiting = 0
      rivals.begin()
      rivals.count("a.", 2000, -1)
      say(rivals.ahead({ class = "b.", share = 2^27, frame = { weight = 1000 } }, 0, { amount = 8, queued = 99 }))
      rivals.save()
      say(store.all("rivals"))"""
    a, c_and_d = "a. 1 2000 .", "c. 1 1000 . d. 1 4000 ."
    assert lua(FILES, program) == f"a. 2 2000 . b. 1 500 . . 7 {a} {c_and_d} . {a} b. 1 500 . {c_and_d} . 0 ."
