"""rules/gate/leaving.lua: calls that leave the line together."""

from __future__ import annotations

import pytest

from rules.verdict import Plan

from .driver import Clock, Host, Replica, call, cancel, charge, flying, gauge, grants, key, window

SEAT = charge(flying(1))


def of(user: str, *, cost: int = 1) -> Plan:
    """A call that needs the seat, and room on a key's limit or another's."""
    limits = [charge(window(100, name=f"w{name}"), cost, name) for name in "12"]
    keys = [key(name, limit) for name, limit in zip("12", limits, strict=True)]
    return call(SEAT, charge(window(50, name="u"), cost, user), user=user, keys=keys)


def crowd(a: Replica, clock: Clock) -> None:
    """Call 1 has the seat; 2 to 19 wait for it, of three users."""
    for n in range(19):
        a.arrive(of("xyz"[n % 3], cost=1 + n % 4))
        clock.now += 1


@pytest.mark.parametrize(
    "gone", [[2, 3, 4], [4, 2, 3, 4, 99], [19, 18, 5, 2, 8, 11, 14, 17], [n for n in range(19, 1, -1) if n % 3 != 1]]
)
def test_who_leaves_together_leaves_the_line_as_one_after_another_would(
    host: Host, a: Replica, clock: Clock, gone: list[int]
) -> None:
    """The first of their users or the last, some of a user's or all: the rest is served in the same order."""
    other = Replica(host, clock, "b", service="t")
    for replica in (a, other):
        crowd(replica, clock)
    clock.now += 10
    a.tick(*[cancel(n) for n in gone])
    for n in gone:
        other.tick(cancel(n))
    told = []
    for replica in (a, other):
        waiting, explained = replica.tick().waiting, replica.explain(of("z", cost=3))
        served = [grants(replica.tick(gauge(SEAT, 0))) for _ in range(waiting)]
        assert replica.tick().waiting == 0
        told.append((waiting, explained, served))
    assert told[0] == told[1]
    assert told[0][0] == 18 - len(set(gone) - {99})


def test_calls_that_leave_between_others_words_leave_once(a: Replica, clock: Clock) -> None:
    """A cancel before a statement and the same behind it; who goes with the seat is the first that is left."""
    crowd(a, clock)
    assert grants(a.tick(cancel(2), gauge(SEAT, 0), cancel(2), cancel(3))) == [4]
    assert a.tick().waiting == 15


def test_a_dead_replicas_calls_leave_the_line_together(a: Replica, b: Replica, clock: Clock) -> None:
    """Nothing of theirs is counted any more, and the living are served: the seat is free, and then free again."""
    crowd(a, clock)
    for user in ("new", "newer"):
        b.arrive(of(user))
        clock.now += 1
    served = []
    for _ in range(12):
        clock.now += 1000
        served += grants(b.tick())
    assert served == [1]
    assert grants(b.tick(gauge(SEAT, 0))) == [2]
    last = b.tick(gauge(SEAT, 0))
    assert last.waiting == 0
    seat = b.explain(of("x")).rooms[0]
    assert (seat.used, seat.ahead) == (0, 0)
