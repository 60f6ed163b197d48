"""rules/gate/twin.lua where rates change: other limits, two replicas that differ, and a host with a share."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rules.gate import wire

from .driver import Clock, Replica, bucket, call, charge, grants, refusal
from .test_twin import serve


def test_a_fraction_of_a_unit_is_that_of_any_rate(a: Replica, clock: Clock) -> None:
    """999 ms of one a second are 0.9 of one each 10 ms, rounded down, and no 99 of them."""
    assert serve(a, bucket(50, 1, 1000), 50)
    clock.now += 999
    assert not serve(a, bucket(50, 1, 1000), 1)
    a.tick(wire.settle(charge(bucket(50, 1, 1000), 1), -1, 1))
    assert refusal(a.arrive(call(charge(bucket(50, 1, 10), 1), wait=0)))[1] == 11


def test_another_capacity_or_rate_takes_effect_at_once_and_rewrites_nothing(a: Replica, clock: Clock) -> None:
    """What was used stays used: 15 of 20 are 15 of 30 and of 10, and drain at the new rate from then on."""
    assert serve(a, bucket(20, 1, 1000), 15)
    assert not serve(a, bucket(10, 1, 1000), 1)
    assert serve(a, bucket(30, 1, 1000), 10)
    assert not serve(a, bucket(30, 10, 1000), 15)
    clock.now += 1000
    assert serve(a, bucket(30, 10, 1000), 15)
    assert refusal(a.arrive(call(charge(bucket(30, 10, 1000), 1), wait=0)))[1] == 100


def test_the_share_of_a_host_on_its_own_bounds_capacity_and_rate(a: Replica, clock: Clock) -> None:
    """With 400 per mille of 10 and ten a second, four go at once and then four a second."""
    a.share = 400
    limit = bucket(10, 1, 100)
    assert sum(bool(serve(a, limit, 1)) for _ in range(10)) == 4
    start, served = clock.now, 0
    for clock.now in range(start, start + 5001, 50):
        served += bool(serve(a, limit, 1))
    assert served == 20


@pytest.mark.parametrize("rate", [(3, 1000), (1, 333)])
def test_of_two_rates_the_slower_drains_however_often_both_ask(
    a: Replica, b: Replica, clock: Clock, rate: tuple[int, int]
) -> None:
    """In a rolling update one replica names 3 a second and one 1: after ten seconds of both, ten are free again."""
    fast, slow = bucket(20, *rate), bucket(20, 1, 1000)
    assert grants(a.arrive(call(charge(fast, 20), wait=0)))
    for _ in range(99):
        clock.now += 50
        assert not grants(b.arrive(call(charge(slow, 20), wait=0)))
        clock.now += 50
        assert not grants(a.arrive(call(charge(fast, 11), wait=0)))
    clock.now += 100
    assert not grants(a.arrive(call(charge(fast, 11), wait=0)))
    assert grants(a.arrive(call(charge(fast, 10), wait=0)))


def test_the_fraction_of_a_unit_survives_two_rates(a: Replica, b: Replica, clock: Clock) -> None:
    """Rates written in different fractions ask in turn every 5 ms: what drains of a unit between two looks adds up, but
    for what is rounded down (a sixth at most, of one that takes 600 ms)."""
    one, other = bucket(2, 167, 100_000), bucket(2, 1, 599)
    assert grants(a.arrive(call(charge(one, 2), wait=0)))
    for _ in range(70):
        clock.now += 5
        a.arrive(call(charge(one, 2), wait=0))
        clock.now += 5
        b.arrive(call(charge(other, 2), wait=0))
    assert grants(a.arrive(call(charge(one, 1), wait=0)))


def test_a_rate_that_is_changed_alone_says_nothing_new_about_the_past(a: Replica, clock: Clock) -> None:
    """Raised, the ten seconds before drain at the rate they had; lowered, at the new one, which is the stricter."""
    slow, fast = bucket(100, 1, 1000), bucket(100, 9, 1000)
    assert grants(a.arrive(call(charge(slow, 100), wait=0)))
    clock.now += 10_000
    assert not grants(a.arrive(call(charge(fast, 11), wait=0)))
    assert grants(a.arrive(call(charge(fast, 10), wait=0)))
    clock.now += 1000
    assert grants(a.arrive(call(charge(fast, 9), wait=0)))
    clock.now += 3000
    assert not grants(a.arrive(call(charge(slow, 4), wait=0)))
    assert grants(a.arrive(call(charge(slow, 3), wait=0)))


def test_a_settlement_that_brings_a_rate_of_the_past_drains_nothing_by_it(a: Replica, clock: Clock) -> None:
    """The limit was lowered to 1 a second while a call charged at 9 was on its way for ten seconds."""
    slow, fast = bucket(100, 1, 1000), bucket(100, 9, 1000)
    at = a.arrive(call(charge(fast, 50), wait=0)).granted[0].slices[0]
    assert grants(a.arrive(call(charge(slow, 50), wait=0)))
    clock.now += 10_000
    a.tick(wire.settle(charge(fast, 50), at, 5))
    assert not grants(a.arrive(call(charge(slow, 6), wait=0)))
    assert grants(a.arrive(call(charge(slow, 5), wait=0)))
    clock.now += 5000
    a.tick(wire.settle(charge(fast, 50), at, 5))
    clock.now += 5000
    assert not grants(a.arrive(call(charge(slow, 6), wait=0)))
    assert grants(a.arrive(call(charge(slow, 5), wait=0)))


def test_a_settlement_that_brings_a_slower_rate_leaves_the_present_one(a: Replica, clock: Clock) -> None:
    """The limit was raised from 1 a second to 10: a charge of before drains one second at it, and no more."""
    slow, fast = bucket(100, 1, 1000), bucket(100, 1, 100)
    at = a.arrive(call(charge(slow, 50), wait=0)).granted[0].slices[0]
    assert grants(a.arrive(call(charge(fast, 50), wait=0)))
    clock.now += 1000
    a.tick(wire.settle(charge(slow, 50), at, 5))
    clock.now += 10_000
    assert not grants(a.arrive(call(charge(fast, 97), wait=0)))
    assert grants(a.arrive(call(charge(fast, 96), wait=0)))


def test_the_largest_rate_is_shared_without_losing_a_digit(a: Replica) -> None:
    """10^14 units a millisecond, of which a host on its own has 400 per mille."""
    a.share = 400
    limit = bucket(10**15, 10**14, 1)
    assert serve(a, limit, 4 * 10**14)
    assert refusal(a.arrive(call(charge(limit, 2 * 10**14 + 1), wait=0)))[1] == 6


@pytest.mark.parametrize(
    ("units", "ms", "share"),
    [
        (1000, 1000, 333),
        (2500, 70_000, 400),
        (2500, 7, 400),
        (999, 1000, 333),
        (7, 3, 400),
        (1001, 10, 1),
        (3, 1, 999),
        (7, 1_000_000, 333),
        (7, 1_000_001, 333),
    ],
)
def test_the_rate_of_a_share_is_never_above_it_and_a_thousandth_below_at_most(
    a: Replica, units: int, ms: int, share: int
) -> None:
    """Whether the rate counts in many units or few, in long times or short."""
    a.share = share
    limit = bucket(10**9, units, ms)
    assert serve(a, limit, 10**6 * share)
    wait = refusal(a.arrive(call(charge(limit, 10**5), wait=0)))[1]
    assert wait is not None
    true = Fraction(10**5 * ms * 1000, units * share)
    assert true <= wait <= true * Fraction(1001, 1000) + 1
