"""Calls of an observed service: they go whatever their limits say, and what they would have been told is said too."""

from __future__ import annotations

import dataclasses

import pytest

from rules.verdict import Observed, Plan

from .driver import Clock, Host, Replica, block, bucket, call, charge, flying, grants, key, quota, window

COUNTED = (b"meta", b"rep:", b"hb", b"w:", b"g:", b"t:", b"q:", b"k")
"""Where a store keeps what is used, whom it knows and which key came last; all else is the line's."""


def observed(a: Replica, plan: Plan, *, age: int = 0) -> Observed | None:
    """What was said beside the grant of this call, entering now as one of an observed service."""
    watched = dataclasses.replace(plan, observe=True)
    (granted,) = a.arrive(watched, age=age).granted
    return granted.grant(watched, "a-1", 0).observed


def line_of(host: Host) -> object:
    """What the store holds of flows, heads, places and tags."""
    found = host.contents()
    if isinstance(found, dict):
        return {name: value for name, value in found.items() if not name.split(b"}:")[1].startswith(COUNTED)}
    assert isinstance(found, bytes)
    return [entry for entry in found.split(b";") if not entry.split(b"/")[1].startswith(COUNTED)]


def test_a_call_that_fits_is_told_nothing(a: Replica) -> None:
    """It is a grant like any other."""
    limit = window(2)
    plan = call(charge(limit), keys=[key("k", charge(flying(2)))])
    assert [observed(a, plan) for _ in range(2)] == [None, None]
    assert observed(a, plan) is not None


def test_the_limit_and_the_wait_are_those_of_an_enforced_call(a: Replica) -> None:
    """Held, where its patience is long enough; else wait_too_long."""
    limit = window(1, slices=10)
    a.arrive(call(charge(limit), observe=True))
    assert observed(a, call(charge(limit), wait=1100)) == Observed(code="held", limit=limit, wait_ms=1100)
    assert observed(a, call(charge(limit), wait=1099)) == Observed(code="wait_too_long", limit=limit, wait_ms=1100)


def test_a_cost_that_never_fits_is_said_and_charged(a: Replica) -> None:
    """No wait would have helped; the use stands above the limit."""
    limit = window(5)
    assert observed(a, call(charge(limit, 7))) == Observed(code="never_fits", limit=limit)
    assert a.explain(call(charge(limit))).rooms[0].used == 7


def test_keys_that_rest_are_said(a: Replica) -> None:
    """The one that rests least serves, and an enforced call would have had no key in time, or would have waited."""
    keys = [key("x"), key("y")]
    a.tick(block("x", 9000), block("y", 4000))
    (granted,) = a.arrive(call(keys=keys, observe=True, wait=3999)).granted
    assert granted.candidate == 1
    assert granted.observed is not None
    assert (granted.observed.code, granted.observed.wait_ms) == ("no_key", 4000)
    assert observed(a, call(keys=keys, wait=4000)) == Observed(code="held", wait_ms=4000)


def test_a_line_that_is_full_is_said(a: Replica) -> None:
    """As it would have refused."""
    limit = window(1)
    a.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)))
    said = observed(a, call(charge(limit), queue=1))
    assert said is not None
    assert (said.code, said.limit) == ("queue_full", limit)


def test_the_part_of_a_replica_alone_is_what_would_bind(a: Replica) -> None:
    """Four tenths of ten."""
    a.share = 400
    limit = window(10)
    assert observed(a, call(charge(limit, 5))) == Observed(code="store_unavailable", limit=limit)


def test_charges_are_real(a: Replica, clock: Clock) -> None:
    """The upstream counts the calls, so the use goes above the limit, and the limit has room when it has aged."""
    limit = window(2)
    plan = call(charge(limit), wait=0)
    for _ in range(5):
        observed(a, plan)
    assert a.explain(plan).rooms[0].used == 5
    clock.now += 1099
    assert not grants(a.arrive(plan))
    clock.now += 1
    assert grants(a.arrive(plan))


def test_nobody_stands_in_line_and_no_tag_moves(host: Host, a: Replica, clock: Clock) -> None:
    """Not even beside calls that wait from a time when the service was enforced, from users old and new."""
    limit = window(2)
    plan = call(charge(limit), user="waits")
    for _ in range(4):
        a.arrive(plan)
    before = line_of(host)
    assert before
    watched = [call(charge(limit), user=user, observe=True, priority=9) for user in ("waits", "new", "newer")]
    for _ in range(3):
        assert len(grants(a.tick(*[a.arrival(each) for each in watched]))) == 3
    assert line_of(host) == before
    clock.now += 1100
    assert grants(a.tick()) == [3, 4]


def test_of_calls_that_come_at_once_each_sees_those_before_it(a: Replica) -> None:
    """Two fit, the third would have waited, whoever brings it."""
    limit = window(2)
    ops = [a.arrival(call(charge(limit), user=user, observe=True)) for user in ("u", "v", "w")]
    reply = a.tick(*ops)
    assert [granted.observed is None for granted in reply.granted] == [True, True, False]


@pytest.mark.parametrize("wait", [0, 700, 60_000])
@pytest.mark.parametrize("cost", [1, 3, 9])
def test_observing_says_what_explaining_says(a: Replica, clock: Clock, cost: int, wait: int) -> None:
    """For windows, buckets, quotas and calls in flight, with a choice of keys, call after call: one and the same
    decision."""
    r, t, d = window(6, name="r", burst=3), bucket(8, 4, 1000, name="t"), quota(20, name="d")
    keys = [key(name, charge(t, cost, name), charge(flying(4), 1, name), group=name) for name in ("x", "y")]
    plan = call(charge(r), charge(d, cost), keys=keys, wait=wait)
    told = set()
    for _ in range(12):
        asked = a.explain(plan)
        said = observed(a, plan)
        if asked.verdict == "go":
            assert said is None
        else:
            code = asked.code if asked.verdict == "refuse" else "held"
            limit = asked.binds.limit if asked.binds is not None else None
            assert said == Observed(code=str(code), limit=limit, wait_ms=asked.wait_ms)
        told.add(said.code if said is not None else "go")
        clock.now += 70
    assert len(told) > 1 or "never_fits" in told
