"""rules/gate/decision.lua: what keeps a call, and what it is told."""

from __future__ import annotations

import pytest

from rules.policy import Limit

from .driver import Clock, Replica, block, call, charge, flying, grants, key, window

LONG, SHORT, SEAT = window(1, ms=5000, name="long"), window(1, ms=1000, name="short"), flying(1, name="seat")


def told(a: Replica, *charges: object, **options: object) -> tuple[str, int, int | None]:
    """Code, place of the limit and wait of a refusal."""
    (refused,) = a.arrive(call(*charges, **options)).refused  # type: ignore[arg-type]
    return refused.code, refused.position, refused.wait_ms


@pytest.mark.parametrize(
    ("limits", "next_ms"),
    [
        ([LONG, SHORT], 5500),
        ([SHORT, LONG], 5500),
        ([SEAT, SHORT], 1100),
        ([SHORT, SEAT], 1100),
        ([SEAT, SHORT, LONG], 5500),
        ([LONG, SEAT, SHORT], 5500),
        ([LONG, SHORT, SEAT], 5500),
    ],
)
def test_a_call_short_of_several_limits_waits_for_the_latest_time_that_is_known(
    a: Replica, limits: list[Limit], next_ms: int
) -> None:
    """In whatever order they stand: a wake before it would be for nothing."""
    charges = [charge(limit) for limit in limits]
    assert grants(a.arrive(call(*charges)))
    assert a.arrive(call(*charges)).next_ms == next_ms


def test_a_cost_beyond_a_limit_is_told_with_its_place(a: Replica) -> None:
    """Among the service's, and among the keys' behind them: the first of each that never fits."""
    small = window(5, name="small")
    assert told(a, charge(window(9)), charge(small, 6)) == ("never_fits", 2, None)
    keys = [key(name, charge(window(9), 1, name), charge(small, cost, name)) for name, cost in (("k", 6), ("l", 7))]
    assert told(a, charge(window(9)), keys=keys) == ("never_fits", 3, None)
    assert told(a, charge(window(9)), charge(small, 6), keys=keys) == ("never_fits", 2, None)
    keys.append(key("m", charge(window(9), 1, "m"), charge(small, 5, "m")))
    assert [one.candidate for one in a.arrive(call(charge(window(9)), keys=keys)).granted] == [2]


def test_a_cost_that_only_the_whole_store_can_hold_is_told_so(a: Replica) -> None:
    """By a host with 400 per mille: 5 of 10 would fit once the others are back; 11 never."""
    a.share = 400
    limit, other = window(10), window(10, name="other")
    assert told(a, charge(other, 4), charge(limit, 5)) == ("store_unavailable", 2, None)
    assert told(a, charge(other, 5), charge(limit, 5)) == ("store_unavailable", 2, None)
    assert told(a, charge(other, 5), charge(limit, 11)) == ("never_fits", 2, None)
    costs = {"never": (11, 1), "later": (1, 5), "now": (4, 4)}
    never, later, now = [
        key(name, charge(limit, one, name), charge(other, two, name)) for name, (one, two) in costs.items()
    ]
    assert told(a, charge(other), keys=[never, later]) == ("store_unavailable", 5, None)
    assert told(a, charge(other), keys=[later, never]) == ("store_unavailable", 3, None)
    assert told(a, charge(other), keys=[never, never]) == ("never_fits", 2, None)
    assert grants(a.arrive(call(charge(other), keys=[never, now])))


def test_whose_keys_rest_no_longer_than_he_waits_is_told_of_his_limit(a: Replica) -> None:
    """To the millisecond."""
    full = key("x", charge(window(1)), group="X")
    assert grants(a.arrive(call(keys=[full])))
    a.tick(block("X", 1000))
    assert told(a, keys=[full], wait=1000) == ("wait_too_long", 1, 1100)
    assert told(a, keys=[full], wait=999) == ("no_key", 0, 1000)


def test_who_waits_for_his_turn_alone_waits_for_no_limit(a: Replica, clock: Clock) -> None:
    """A retry that keeps its place, where all it asks for is there but another stands before it."""
    limit = window(4)
    assert grants(a.arrive(call(charge(limit, 2), user="u")))
    assert a.arrive(call(charge(limit, 3), user="v")).held == ((2, 1),)
    clock.now += 10
    assert a.arrive(call(charge(limit), user="w"), age=5).held == ((3, 0),)
