"""rules/gate/draws.lua: room in a bucket of keys wakes who waits for the pools that draw on it."""

from __future__ import annotations

from rules.gate import wire
from rules.verdict import Plan

from .driver import Clock, Host, Replica, call, cancel, charge, flying, gauge, grants, key

LIMIT = flying(1)


def plan(*names: str, wait: int = 60_000) -> Plan:
    """A call that any of these keys may serve, one call in flight each."""
    return call(keys=[key(name, charge(LIMIT, 1, name)) for name in names], wait=wait)


def is_indexed(host: Host, name: str) -> bool:
    """The store has an index of the pools of this key."""
    contents = host.contents()
    assert isinstance(contents, bytes | dict)
    key_ = f"pools:{LIMIT.id}:{name}".encode()
    # of the tables, a member of it: they keep the expiry of a set that has none
    return key_ + b"/" in contents if isinstance(contents, bytes) else b"rl:{s}:" + key_ in contents


def test_room_on_one_key_wakes_who_waits_for_a_pool_that_has_it(a: Replica, b: Replica) -> None:
    """Another replica's release of the second key serves the call."""
    a.arrive(plan("x"))
    a.arrive(plan("y"))
    assert b.arrive(plan("x", "y")).held
    assert grants(a.tick(gauge(charge(LIMIT, 1, "y"), 0))) == []
    (granted,) = b.tick().granted
    assert (granted.n, granted.candidate, granted.pushed) == (1, 1, True)


def test_a_pool_that_nobody_waits_for_is_forgotten(a: Replica, host: Host) -> None:
    """The next release while somebody waits elsewhere finds its place empty, and drops it."""
    for name in ("x", "y"):
        a.arrive(plan(name))
        assert a.arrive(plan(name)).held
    a.tick(cancel(2))
    assert is_indexed(host, "x")
    a.tick(gauge(charge(LIMIT, 1, "x"), 0))
    assert not is_indexed(host, "x")
    assert is_indexed(host, "y")


def test_a_pool_is_indexed_anew_when_its_entry_is_an_hour_old(a: Replica, clock: Clock) -> None:
    """It is written once in that time, and still wakes who waits."""
    a.arrive(plan("x"))
    assert a.arrive(plan("x", wait=9_000_000)).held
    for _ in range(9):
        clock.now += 480_000
        assert a.tick(gauge(charge(LIMIT, 1, "x"), 1)).status == wire.DONE
    assert a.arrive(plan("x")).held
    assert grants(a.tick(gauge(charge(LIMIT, 1, "x"), 0))) == [2]
