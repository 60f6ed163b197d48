"""rules/gate/line.lua and place.lua: a flow sent from limit to limit becomes the barrier of all its limits (Q2)."""

from __future__ import annotations

from rules.verdict import Charge, Plan

from .driver import Clock, Replica, call, cancel, charge, flying, gauge, grants, window

ONE, TWO, THREE = (charge(flying(1, name=name)) for name in ("one", "two", "three"))
PAIR = charge(flying(2, name="pair"))


def of(user: str, *limits: Charge) -> Plan:
    """A call on these limits."""
    return call(*limits, user=user)


def free(replica: Replica, *limits: Charge) -> list[int]:
    """Nothing is in flight there any more; who goes."""
    return grants(replica.tick(*[gauge(limit, 0) for limit in limits]))


def bar(a: Replica, user: str, first: Charge, second: Charge, *, large: Charge | None = None) -> int:
    """`user` is sent from the first limit to the second and back; both are full before, the second is free after.

    Returns his call's number. `large`: takes the second limit whole.
    """
    a.arrive(of(user + "'s first rival", first))
    a.arrive(of(user, first, second))
    n = a.count
    a.arrive(of(user + "'s second rival", large or second))
    assert free(a, first) == []
    assert grants(a.arrive(of(user + "'s third rival", first)))
    assert free(a, second) == []
    return n


def test_a_barrier_keeps_both_its_limits(a: Replica) -> None:
    """One is free, and later calls wait there behind it; when the other is free too it goes, and they after it."""
    n = bar(a, "both", ONE, TWO)
    assert not grants(a.arrive(of("late", TWO)))
    assert free(a, ONE) == [n]
    assert free(a, ONE, TWO) == [n + 3]


def test_a_flow_that_moved_once_bars_nothing(a: Replica) -> None:
    """It waits at the second limit; whoever needs the first alone takes it."""
    a.arrive(of("r1", ONE))
    a.arrive(of("both", ONE, TWO))
    a.arrive(of("r2", TWO))
    assert free(a, ONE) == []
    assert [grants(a.arrive(of(f"late{i}", ONE))) + free(a, ONE) for i in range(3)] == [[4], [5], [6]]


def test_whoever_waits_behind_a_barrier_goes_with_it(a: Replica) -> None:
    """Its grant leaves room on the limit where they stand: they go in the same tick, not at the next event there."""
    n = bar(a, "both", ONE, PAIR, large=charge(PAIR.limit, 2))
    assert not grants(a.arrive(of("late", PAIR)))
    assert free(a, ONE) == [n, n + 3]


def test_a_barrier_that_is_cancelled_frees_both_its_limits(a: Replica) -> None:
    """Who waits behind it goes at once."""
    n = bar(a, "both", ONE, TWO)
    assert not grants(a.arrive(of("late", TWO)))
    assert grants(a.tick(cancel(n))) == [n + 3]


def test_a_barrier_that_is_late_frees_both_its_limits(a: Replica, clock: Clock) -> None:
    """Its deadline passes, and who waits behind it goes."""
    n = bar(a, "both", ONE, TWO)
    late = call(TWO, user="late", wait=100_000)
    assert not grants(a.arrive(late))
    clock.now += 60_000
    assert free(a, ONE) == [n + 3]


def test_one_limit_has_one_barrier(a: Replica) -> None:
    """A second flow that needs it waits there, and keeps nobody from its other limits."""
    a.arrive(of("r1", ONE))
    a.arrive(of("x", ONE, TWO))
    a.arrive(of("r2", TWO))
    a.arrive(of("y", TWO, THREE))
    a.arrive(of("r3", THREE))
    free(a, TWO)  # y goes to three
    assert grants(a.arrive(of("r2", TWO)))
    free(a, ONE)  # x goes to two
    assert grants(a.arrive(of("r1", ONE)))
    free(a, TWO)  # x bars one and two
    free(a, THREE)  # y is sent back to two, which has its barrier
    assert grants(a.arrive(of("late", THREE)))
    assert not grants(a.arrive(of("late", TWO)))


def test_when_a_barrier_has_gone_the_next_may_bar_the_same_limits(a: Replica) -> None:
    """And keeps them like the first."""
    n = bar(a, "x", ONE, TWO)
    assert free(a, ONE) == [n]
    free(a, ONE, TWO)
    n = bar(a, "y", ONE, TWO)
    assert not grants(a.arrive(of("late", TWO)))
    assert free(a, ONE) == [n]


def test_the_next_call_of_a_barrier_begins_anew(a: Replica) -> None:
    """Sent to the other limit once, it waits there alone: the first is for who needs only that."""
    n = bar(a, "both", ONE, TWO)
    a.arrive(of("both", ONE, TWO))
    assert free(a, ONE) == [n]
    assert free(a, ONE) == []
    assert grants(a.arrive(of("late", ONE)))


def test_a_barrier_survives_from_tick_to_tick_and_from_replica_to_replica(a: Replica, b: Replica) -> None:
    """It is known to whoever ticks: another replica's call waits behind it, and its landing serves it."""
    n = bar(a, "both", ONE, TWO)
    assert not grants(b.arrive(of("late", TWO)))
    a.tick(gauge(ONE, 0))
    assert a.tick(gauge(ONE, 1), gauge(TWO, 1)).waiting == 1
    assert grants(b.tick()) == []
    a.tick(gauge(ONE, 0), gauge(TWO, 0))
    assert grants(b.tick()) == [1]
    assert n == 2


def test_between_two_limits_the_earlier_turn_goes_first(a: Replica) -> None:
    """Both become free at once; y stands at one and came first, x at the other and has had less: x goes."""
    a.arrive(of("holder", TWO))
    for _ in range(2):
        a.arrive(of("y", ONE, TWO))
    assert free(a, TWO) == [2]
    assert not grants(a.arrive(of("x", ONE, TWO)))
    assert free(a, ONE, TWO) == [4]
    assert free(a, ONE, TWO) == [3]


def test_between_two_limits_the_older_of_two_lanes_goes_first(a: Replica, clock: Clock) -> None:
    """Tags of two lanes do not compare; both need a third limit, which has room for one."""
    third = charge(flying(3, name="third"))
    a.arrive(of("r1", ONE, third))
    a.arrive(of("r2", TWO, third))
    assert not grants(a.arrive(of("y", TWO, third)))
    clock.now += 1
    assert not grants(a.arrive(of("x", ONE, third)))
    assert grants(a.tick(gauge(ONE, 0), gauge(TWO, 0))) == [3]


def test_a_call_that_moves_to_a_window_is_looked_at_when_that_has_room(a: Replica, clock: Clock) -> None:
    """It waited for a place, which was freed when the window was full."""
    limit = charge(window(1))
    a.arrive(of("r1", ONE))
    assert a.arrive(of("both", ONE, limit)).next_ms is None
    a.arrive(of("r2", limit))
    reply = a.tick(gauge(ONE, 0))
    assert (grants(reply), reply.next_ms) == ([], 1100)
    clock.now += 1100
    assert grants(a.tick()) == [2]


def test_who_waits_elsewhere_and_can_go_goes_before_who_comes_now(a: Replica, clock: Clock) -> None:
    """x waited for one limit and needs another too, which y asks for in the tick that frees the first."""
    a.arrive(of("r1", ONE))
    assert not grants(a.arrive(of("x", ONE, TWO)))
    clock.now += 10
    reply = a.tick(gauge(ONE, 0), a.arrival(of("y", TWO)))
    assert (grants(reply), [n for n, _ in reply.held]) == ([2], [3])


def test_who_comes_now_but_is_older_goes_before_who_waits_elsewhere(a: Replica, clock: Clock) -> None:
    """A retry that entered the proxy before x."""
    a.arrive(of("r1", ONE))
    assert not grants(a.arrive(of("x", ONE, TWO)))
    clock.now += 10
    assert grants(a.tick(gauge(ONE, 0), a.arrival(of("y", TWO), age=500))) == [3]
    assert free(a, TWO) == [2]
