"""rules/gate/agreed.lua: replicas with different configurations, as in a rolling update."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from rules.gate import wire
from rules.policy import Limit

from .driver import Clock, Replica, bucket, call, charge, flying, gauge, grants, key, quota, refusal, window
from .modules import Lua


def slowly(amount: int) -> Limit:
    """A bucket of `amount` that refills one in ten seconds."""
    return bucket(amount, 1, 10_000, meter="requests")


KINDS: list[Callable[[int], Limit]] = [window, quota, flying, slowly]


def take(replica: Replica, limit: Limit, scope: str = "x") -> bool:
    """One call goes now, or not."""
    return bool(grants(replica.arrive(call(charge(limit, scope=scope), wait=0))))


@pytest.mark.parametrize("kind", KINDS)
def test_the_smaller_amount_holds_while_both_are_about(
    a: Replica, b: Replica, clock: Clock, kind: Callable[[int], Limit]
) -> None:
    """Two replicas name 8 and 3 in turn for seconds on end: three go, whoever asks, and in whichever order."""
    gone = []
    for _ in range(9):
        gone.append(take(a, kind(8)))
        clock.now += 10
        gone.append(take(b, kind(3)))
        clock.now += 10
    assert gone.count(True) == 3


def test_a_replica_alone_raises_its_own_limit_at_once(a: Replica) -> None:
    """There is nobody to agree with."""
    assert [take(a, window(1)), take(a, window(1)), take(a, window(2)), take(a, window(2))] == [
        True,
        False,
        True,
        False,
    ]


def test_a_replica_lowers_the_limit_for_all_at_once(a: Replica, b: Replica) -> None:
    """Also on buckets of the limit it has not touched, and not for another limit."""
    assert take(a, window(5))
    assert not take(b, window(1))
    assert not take(a, window(5))
    assert [take(a, window(5), "y"), take(a, window(5), "y")] == [True, False]
    assert [take(a, window(5, name="v")), take(a, window(5, name="v"))] == [True, True]


def test_a_raise_holds_a_second_after_the_last_replica_named_less(a: Replica, b: Replica, clock: Clock) -> None:
    """Both had 1. One is told 2; the other names 1 for a while, and stops: a call that waits goes by itself."""
    old, new = window(1, ms=60_000, slices=240), window(2, ms=60_000, slices=240)
    assert take(a, old)
    assert not take(b, old)
    assert a.arrive(call(charge(new))).held
    clock.now += 900
    assert not take(b, old)
    clock.now += 900
    reply = a.tick()
    assert not reply.granted
    assert reply.next_ms == 100
    clock.now += 99
    assert not a.tick().granted
    clock.now += 1
    assert grants(a.tick()) == [2]


def test_a_replica_that_named_less_raises_at_once_when_nobody_else_named_it(a: Replica, b: Replica) -> None:
    """The last to be told ends the overlap."""
    assert take(a, window(2))
    assert not take(b, window(1))
    assert not take(a, window(2))
    assert take(b, window(2))
    assert not take(a, window(2))


def test_a_call_that_only_the_larger_amount_holds_waits_for_the_smaller_to_go(
    a: Replica, b: Replica, clock: Clock
) -> None:
    """It fits by its own configuration, so it is not told that it never will; nor does the other's 0 lose it."""
    take(b, window(0))
    assert refusal(a.arrive(call(charge(window(5), 4), wait=0))) == ("wait_too_long", 1000)
    assert refusal(b.arrive(call(charge(window(0), 1)))) == ("never_fits", None)
    assert a.arrive(call(charge(window(5), 4))).held
    clock.now += 1000
    assert grants(a.tick()) == [2]


@pytest.mark.parametrize(("later", "wait"), [(249, 751), (250, 1000)])
def test_a_claim_repeated_holds_anew_from_a_quarter_of_a_second_on(
    a: Replica, b: Replica, clock: Clock, later: int, wait: int
) -> None:
    """Sooner it stands as it was."""
    take(b, window(0))
    clock.now += later
    take(b, window(0))
    assert refusal(a.arrive(call(charge(window(5), 4), wait=0))) == ("wait_too_long", wait)


def test_what_is_named_in_a_tick_holds_for_the_rest_of_it(a: Replica, b: Replica) -> None:
    """One names what the other has named, and more in the same tick: the other alone cannot take it back."""
    assert take(a, window(1))
    b.tick(*[b.arrival(call(charge(limit), wait=0)) for limit in (window(1), window(2))])
    assert not take(a, window(2))


def test_a_share_is_that_of_the_amount_that_holds(a: Replica, b: Replica) -> None:
    """Half of 4, not of 8."""
    take(b, window(4), "elsewhere")
    a.share = 500
    assert [take(a, window(8)) for _ in range(3)] == [True, True, False]


def test_calls_of_a_pool_wait_for_what_holds(a: Replica, b: Replica, clock: Clock) -> None:
    """A key's limit is agreed on like a common one, and the first to wait goes when the smaller is gone."""
    few, many = flying(1), flying(2)
    assert grants(b.arrive(call(keys=[key("k", charge(few))])))
    for n in (1, 2):
        assert a.arrive(call(keys=[key("k", charge(many))], user=f"u{n}")).held
    clock.now += 1000
    assert grants(a.tick()) == [1]


def test_what_several_named_is_not_taken_back_by_the_last_of_them(a: Replica, b: Replica, clock: Clock) -> None:
    """Both had 1, and the one that named it last is the first to be told 2: the other still goes by 1."""
    assert take(a, window(1))
    assert not take(b, window(1))
    assert not take(b, window(2))
    clock.now += 999
    assert not take(b, window(2))
    clock.now += 1
    assert [take(b, window(2)), take(b, window(2))] == [True, False]


def test_what_nobody_names_any_more_makes_room_for_the_next_smallest(a: Replica, b: Replica, clock: Clock) -> None:
    """A replica with 1 has gone; of those that are left the one with 2 decides, not the one with 3."""
    c = Replica(a.host, clock, "c")
    take(b, window(1, ms=60_000))
    clock.now += 1000
    assert take(a, window(2, ms=60_000))
    assert not take(c, window(3, ms=60_000))


def test_a_wait_is_as_long_as_the_larger_amount_makes_it(a: Replica, b: Replica) -> None:
    """By its own amount, too, the window is full for a minute: to come back sooner is no use."""
    limit = window(5, ms=60_000, slices=60)
    assert grants(a.arrive(call(charge(limit, 5))))
    assert not take(b, window(1, ms=60_000, slices=60))
    wait = refusal(a.arrive(call(charge(limit, 5), wait=0)))[1]
    assert wait is not None
    assert wait >= 60_000


@pytest.mark.parametrize("before", KINDS)
@pytest.mark.parametrize("after", KINDS)
def test_a_limit_of_another_kind_begins_empty_and_the_old_one_still_settles(
    a: Replica, before: Callable[[int], Limit], after: Callable[[int], Limit]
) -> None:
    """Another kind is another bucket: what the old one gave counts in it alone, so up to both amounts may go in one
    window. A credit or an excess of the past goes to the old bucket and touches the new one in neither direction."""
    old, new = replace(before(3), id="old"), replace(after(3), id="new")
    (granted,) = a.arrive(call(charge(old, 3), wait=0)).granted
    assert grants(a.arrive(call(charge(new, 3), wait=0)))
    if old.kind == "concurrent":
        a.tick(gauge(charge(old), 0))
    else:
        a.tick(wire.settle(charge(old, 3), granted.slices[0], 5), wire.settle(charge(old, 3), granted.slices[0], -3))
    assert not take(a, new)


@pytest.mark.parametrize("seed", range(4))
def test_no_window_holds_more_than_the_smaller_amount_in_a_long_overlap(
    a: Replica, b: Replica, clock: Clock, seed: int
) -> None:
    """Random calls of both for half a minute, cut differently, settled up and down: never more than 6 in a second."""
    rng = random.Random(seed)
    limits = {a: window(17), b: window(6, slices=25)}
    counted: list[list[int]] = []
    open_calls: list[tuple[Limit, int, int, list[int]]] = []
    take(b, limits[b], "elsewhere")
    for step in range(400):
        clock.now += rng.randint(1, 150)
        replica = b if step % 5 == 0 else rng.choice((a, b))
        if open_calls and rng.random() < 0.4:
            limit, slice_, cost, entry = open_calls.pop(rng.randrange(len(open_calls)))
            entry[1] = rng.randint(0, cost)
            if entry[1] != cost:
                replica.tick(wire.settle(charge(limit, cost), slice_, entry[1] - cost))
        cost = rng.randint(1, 4)
        for granted in replica.arrive(call(charge(limits[replica], cost), wait=0)).granted:
            counted.append([clock.now, cost])
            open_calls.append((limits[replica], granted.slices[0], cost, counted[-1]))
            assert sum(c for at, c in counted if clock.now - at < 1000) <= 6
    assert sum(c for _, c in counted) > 60


def test_what_a_replica_named_is_kept_for_ten_minutes(lua: Lua) -> None:
    """Who named it and when; what nobody named is not written."""
    program = """
      local plain = store.expire
      function store.expire(key, ms)
        say(key, ms)
        plain(key, ms)
      end
      this.now, this.replica = 5000, "a"
      agreed.begin()
      agreed.save()
      agreed.name({ { name = "x", amount = 7 } })
      agreed.save()
      say(store.all("n"))"""
    assert lua(("this", "agreed"), program) == "n 600000 x 7 a 5000 . ."
