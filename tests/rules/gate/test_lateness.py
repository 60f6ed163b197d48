"""rules/gate/lateness.py, and how tick.lua tells the age of what it says again."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rules.gate import wire
from rules.gate.lateness import longest_way_ms
from rules.verdict import Charge

from .driver import Clock, Replica, bucket, call, charge, flying, gauge, key, quota, window


@pytest.mark.parametrize(
    ("charges", "most"),
    [
        ([charge(window(5, jitter=500))], 250),
        ([charge(window(5, jitter=500)), charge(bucket(100, 1, 1000, jitter=100)), charge(quota(5, jitter=2000))], 50),
        ([charge(window(5, jitter=500)), charge(bucket(100, 1, 1000, jitter=100), 0)], 250),
        ([charge(flying(2)), charge(window(5, jitter=0))], math.inf),
        ([charge(replace(window(5, jitter=500), count_at="end"))], math.inf),
        ([], math.inf),
    ],
    ids=["one", "smallest", "not charged", "none allows for any", "counted at the end", "free"],
)
def test_a_call_may_be_on_its_way_for_half_the_smallest_jitter_it_was_charged_with(
    charges: list[Charge], most: float
) -> None:
    """Calls in flight and limits without jitter set no bound."""
    assert longest_way_ms(charges) == most


def test_a_grant_is_dated_by_its_charge_and_the_observed_one_is_not() -> None:
    """Observed calls are never held back."""
    own = key("k", charge(window(5, jitter=500), scope="g"))
    granted = wire.Granted(1, 0, 0, (1, 2), (1, 1), False)
    grant = granted.grant(call(charge(window(5, jitter=100)), keys=[own]), "a", 0, 1000.0)
    assert grant.valid_until_ms == 1050.0
    seen = granted.grant(call(charge(window(5, jitter=100)), keys=[own], observe=True), "a", 0, 1000.0)
    assert seen.valid_until_ms == math.inf


def test_a_repeated_reply_tells_its_age(a: Replica, clock: Clock) -> None:
    """By the store's clock, and only what was said before: the next tick is new again."""
    assert a.arrive(call(charge(window(2)))).age_ms == 0
    clock.now += 700
    assert a.again().age_ms == 700
    clock.now += 100
    assert a.again().age_ms == 800
    assert a.tick().age_ms == 0


def test_a_pushed_grant_tells_its_age(a: Replica, b: Replica, clock: Clock) -> None:
    """However late it is fetched, and in a repeated reply both ages count."""
    limit = flying(1)
    b.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)))
    b.tick(gauge(charge(limit), 0))
    clock.now += 300
    (granted,) = a.tick().granted
    assert (granted.pushed, granted.age_ms) == (True, 300)
    clock.now += 40
    repeated = a.again()
    assert (repeated.age_ms, repeated.granted[0].age_ms) == (40, 300)
    (granted,) = a.tick().granted
    assert granted.age_ms == 340


def test_a_clock_that_steps_back_makes_nothing_younger_than_new(a: Replica, clock: Clock) -> None:
    """The store's time stands still meanwhile, and an age is never negative."""
    a.arrive(call(charge(window(2))))
    clock.now -= 5000
    assert a.again().age_ms == 0
