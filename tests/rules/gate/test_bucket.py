"""rules/gate/bucket.lua: what all kinds of limits have in common."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rules.gate import wire
from rules.policy import Limit

from .driver import Replica, call, charge, flying, grants, key, quota, refusal, window

KINDS: list[Callable[[int], Limit]] = [window, quota, flying]


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_of_nothing_never_fits(a: Replica, kind: Callable[[int], Limit]) -> None:
    """At once, however long the call may wait, also where every host has a share of nothing."""
    for a.share in (1000, 400):
        assert refusal(a.arrive(call(charge(kind(0))))) == ("never_fits", None)


@pytest.mark.parametrize("kind", KINDS)
def test_observed_calls_go_where_a_limit_lets_nothing_through(a: Replica, kind: Callable[[int], Limit]) -> None:
    """They are counted only: by the common limit and by the key's."""
    plan = call(charge(kind(0)), keys=[key("k", charge(kind(0), scope="y"))], observe=True)
    for n in (1, 2):
        (granted,) = a.arrive(plan).granted
        assert (granted.fullest, granted.uses[0]) == (1, n)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("share", "amount", "part"), [(400, 1, 1), (400, 2, 1), (400, 999, 399), (400, 2999, 1199), (999, 1000, 999)]
)
def test_a_host_on_its_own_uses_its_share_rounded_down_and_one_at_least(
    a: Replica, kind: Callable[[int], Limit], share: int, amount: int, part: int
) -> None:
    """In thousandths."""
    a.share = share
    if part > 1:
        assert grants(a.arrive(call(charge(kind(amount), part - 1), wait=0)))
    assert [bool(grants(a.arrive(call(charge(kind(amount)), wait=0)))) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("share", [1000, 400])
def test_a_key_that_lets_nothing_through_leaves_the_call_to_the_others(a: Replica, share: int) -> None:
    """One group is closed; the call goes with the other's key, and waits for it when that is busy."""
    a.share = share
    keys = [key("k", charge(flying(0), scope="y")), key("l", charge(flying(1), scope="z"))]
    assert [one.candidate for one in a.arrive(call(keys=keys)).granted] == [1]
    assert a.arrive(call(keys=keys)).held


def test_a_large_charge_is_settled_to_the_last_unit(a: Replica) -> None:
    """2^53 - 2 were charged, 2^53 - 3 were true: two more go, not three."""
    limit, most = window(2**53 - 1), 2**53 - 2
    slice_ = a.arrive(call(charge(limit, most), wait=0)).granted[0].slices[0]
    a.tick(wire.settle(charge(limit, most), slice_, -1))
    assert [bool(grants(a.arrive(call(charge(limit), wait=0)))) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("amount", [10**9, 180_000_000, 2**53 - 1])
def test_large_amounts_are_counted_to_the_last_unit(a: Replica, kind: Callable[[int], Limit], amount: int) -> None:
    """All but one, then one, then none; with a share of 400 per mille that much of it, never more."""
    limit = kind(amount)
    assert grants(a.arrive(call(charge(limit, amount - 1), wait=0)))
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert not grants(a.arrive(call(charge(limit), wait=0)))
    a.share = 400
    part = amount * 400 // 1000
    assert not grants(a.arrive(call(charge(limit, part + 1, scope="y"), wait=0)))
    assert grants(a.arrive(call(charge(limit, part, scope="y"), wait=0)))
    assert not grants(a.arrive(call(charge(limit, scope="y"), wait=0)))


def test_a_key_that_is_too_small_for_a_call_is_not_waited_for(a: Replica) -> None:
    """Its window of 1 s would be empty sooner than the other's, and never large enough."""
    small, large = window(5, name="small"), window(9, ms=2000, name="large")
    keys = [key("k", charge(small, 6, "k")), key("l", charge(large, 6, "l"))]
    assert grants(a.arrive(call(keys=keys)))
    assert a.arrive(call(keys=keys)).next_ms == 2200


def test_what_waits_for_one_of_three_keys_is_no_whole_unit_of_any(a: Replica) -> None:
    """Of a cost of 1 each group is asked for a third, rounded down; four such make one of each."""
    keys = [key(name, charge(flying(1), 1, name)) for name in "xyz"]
    for _ in range(4):
        a.arrive(call(keys=keys))
    assert a.explain(call(keys=keys)).rooms[0].ahead == 0
    for _ in range(3):
        a.arrive(call(keys=keys))
    assert a.explain(call(keys=keys)).rooms[0].ahead == 1


def test_no_more_goes_before_a_call_than_all_that_waits(a: Replica) -> None:
    """Of a tier four times as heavy one waits, and one only."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    assert a.arrive(call(charge(limit), user="gold", tier="gold", weight=4)).held
    assert a.explain(call(charge(limit), user="free", tier="free")).rooms[0].ahead == 1
