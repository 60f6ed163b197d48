"""rules/gate/fair.lua: several calls of one tick go in the order of the tags they would have."""

from __future__ import annotations

import pytest

from rules.verdict import Plan

from .driver import Clock, Replica, call, charge, flying, gauge, grants, key, window

SEAT = charge(flying(1))


def of(user: str, *, tier: str = "", weight: float = 1) -> Plan:
    """A call that needs the seat."""
    return call(SEAT, user=user, tier=tier, weight=weight)


def landed(a: Replica) -> list[int]:
    """The call in flight has ended; who goes."""
    return grants(a.tick(gauge(SEAT, 0)))


def test_users_of_one_tick_with_equal_turns_go_in_the_order_they_came(a: Replica) -> None:
    """Twelve of them, room for five: the first five."""
    limit = charge(window(5))
    ops = [a.arrival(call(limit, user=f"u{(7 * i) % 12}")) for i in range(12)]
    assert grants(a.tick(*ops)) == [1, 2, 3, 4, 5]


def test_the_older_of_one_tick_goes_first(a: Replica) -> None:
    """By the time it entered the proxy, not by its number."""
    limit = charge(window(1))
    ops = [a.arrival(call(limit, user="x")), a.arrival(call(limit, user="y"), age=300)]
    assert grants(a.tick(*ops)) == [2]


def test_tiers_of_one_tick_share_the_room_by_their_weights(a: Replica) -> None:
    """Three of gold for one of the others, though those came first."""
    limit = charge(window(4))
    plans = [call(limit, user="f", tier="free")] * 6 + [call(limit, user="g", tier="gold", weight=3)] * 6
    served = grants(a.tick(*[a.arrival(plan) for plan in plans]))
    assert sorted(n > 6 for n in served) == [False, True, True, True]


@pytest.mark.parametrize("together", [False, True])
def test_what_was_served_while_nobody_waited_costs_no_turn(a: Replica, clock: Clock, *, together: bool) -> None:
    """x had five calls alone; when he must wait he still stands before who comes later."""
    seats = charge(flying(5))
    ops = [a.arrival(call(seats, user="x")) for _ in range(5)]
    for tick in [ops] if together else [[op] for op in ops]:
        a.tick(*tick)
    a.arrive(call(seats, user="x"))
    clock.now += 1
    a.arrive(call(seats, user="new"))
    assert [grants(a.tick(gauge(seats, 4))) for _ in range(2)] == [[6], [7]]


def behind(a: Replica) -> None:
    """x has had one call more than V, and nobody waits."""
    a.arrive(of("holder"))
    for _ in range(2):
        a.arrive(of("x"))
    assert [landed(a), landed(a)] == [[2], [3]]


def test_of_two_in_one_tick_the_one_who_had_less_goes(a: Replica) -> None:
    """Though the other came first."""
    behind(a)
    reply = a.tick(gauge(SEAT, 0), a.arrival(of("x")), a.arrival(of("new")))
    assert grants(reply) == [5]


def test_each_call_of_one_tick_counts_in_the_turn_of_its_users_next(a: Replica) -> None:
    """Two of x, then two of y, room for two: one each."""
    limit = charge(window(2))
    ops = [a.arrival(call(limit, user=user)) for user in "xxyy"]
    assert grants(a.tick(*ops)) == [1, 3]


def test_how_far_a_class_has_come_is_no_part_of_its_turn(a: Replica) -> None:
    """One class has waited and was served, the other never: of their newcomers the first goes."""
    behind(a)
    new = [a.arrival(of("y")), a.arrival(of("z", tier="other"))]
    assert grants(a.tick(gauge(SEAT, 0), *new)) == [4]


@pytest.mark.parametrize("of_key", [False, True], ids=["common", "key"])
def test_tiers_that_wait_are_served_by_their_weights_from_the_first(a: Replica, *, of_key: bool) -> None:
    """Of eight turns six are gold's."""

    def plan(tier: str, weight: float) -> Plan:
        return call(*([] if of_key else [SEAT]), keys=[key("k", *([SEAT] if of_key else []))], tier=tier, weight=weight)

    a.arrive(plan("first", 1))
    for _ in range(8):
        a.arrive(plan("free", 1))
        a.arrive(plan("gold", 3))
    served = [landed(a)[0] for _ in range(8)]
    assert sum(n % 2 for n in served) == 6


def test_lanes_that_meet_take_turns_whatever_their_own_tags_are(a: Replica, clock: Clock) -> None:
    """One lane has been served many times elsewhere: where it meets another, that one has every second turn."""
    own = charge(flying(1, name="own"))
    long = call(own, SEAT, user="x")
    a.arrive(long)
    for _ in range(14):
        a.arrive(long)
    for _ in range(5):
        a.tick(gauge(own, 0), gauge(SEAT, 0))
    for _ in range(4):
        a.arrive(call(SEAT, user="y"))
    served = [grants(a.tick(gauge(own, 0), gauge(SEAT, 0)))[0] for _ in range(6)]
    assert sum(n > 15 for n in served) == 3
