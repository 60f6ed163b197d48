"""rules/gate/tick.lua: a tick takes effect exactly once."""

from __future__ import annotations

from rules.gate import wire

from .driver import Clock, Host, Replica, ack, call, cancel, charge, flying, gauge, grants, window


def test_a_repeated_tick_gets_the_same_answer_and_charges_once(a: Replica) -> None:
    """The reply was lost, the tick was not."""
    limit = window(2)
    first = a.arrive(call(charge(limit), wait=0))
    assert a.again() == first
    assert a.again() == first
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert not grants(a.arrive(call(charge(limit), wait=0)))


def test_a_gap_in_the_numbers_asks_to_resync_and_changes_nothing(a: Replica) -> None:
    """Redis lost writes: nothing runs until the replica has stated itself."""
    limit = window(1)
    a.tick()
    a.seq += 1
    assert a.arrive(call(charge(limit), wait=0)).status == wire.RESYNC
    a.restart()
    assert grants(a.arrive(call(charge(limit), wait=0)))


def test_an_old_number_is_stale(a: Replica) -> None:
    """A tick that was overtaken has no effect."""
    limit = window(1)
    a.tick()
    a.tick()
    a.seq = 0
    assert a.arrive(call(charge(limit), wait=0)).status == wire.STALE
    a.seq = 2
    assert grants(a.arrive(call(charge(limit), wait=0)))


def test_an_old_incarnation_is_stale(a: Replica) -> None:
    """After a restart the former self is not heard."""
    a.incarnation = 5
    a.tick()
    a.incarnation, a.seq = 4, 0
    assert a.tick().status == wire.STALE


def test_an_emptied_store_asks_to_resync_and_a_restatement_rebuilds_it(host: Host, a: Replica, clock: Clock) -> None:
    """After FLUSHALL the replica states gauge and waiting calls, and they count."""
    limit = flying(2)
    for _ in range(3):
        a.arrive(call(charge(limit)))
    host.empty()
    assert a.tick().status == wire.RESYNC
    a.restart()
    waiting = wire.arrive(3, 500, 60_000, wire.arrival(call(charge(limit)), keeps_place=True))
    assert grants(a.tick(gauge(charge(limit), 2), waiting)) == []
    assert grants(a.tick(gauge(charge(limit), 1))) == [3]


def test_another_life_of_the_store_is_noticed_by_its_epoch(host: Host, a: Replica, clock: Clock) -> None:
    """A replica at seq 1 would not notice the loss by its numbers."""
    a.tick()
    host.empty()
    clock.now += 5
    assert a.again().status == wire.DONE
    a.seq, epoch = 1, a.epoch
    host.empty()
    clock.now += 5
    a.last[4] = epoch
    assert a.again().status == wire.RESYNC


def test_a_resync_replaces_what_the_replica_had(a: Replica, b: Replica) -> None:
    """Heads, gauges and unseen grants of the former incarnation are gone; what it states now counts."""
    limit = flying(3)
    for _ in range(4):
        a.arrive(call(charge(limit)))
    a.restart()
    a.tick(gauge(charge(limit), 1))
    assert [len(grants(b.arrive(call(charge(limit), wait=0)))) for _ in range(3)] == [1, 1, 0]
    assert b.tick().waiting == 0


def test_a_resync_of_many_waiting_calls_takes_several_ticks(a: Replica, b: Replica) -> None:
    """At most 500 are forgotten in a tick; the replica is asked again until all are."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    for _ in range(3):
        a.tick(*[a.arrival(call(charge(limit), queue=10_000)) for _ in range(400)])
    statuses = []
    for _ in range(3):
        a.restart()
        statuses.append(a.tick(gauge(charge(limit), 0)).status)
    assert statuses == [wire.RESYNC, wire.RESYNC, wire.DONE]
    assert a.tick().waiting == 0
    assert grants(b.arrive(call(charge(limit), wait=0)))


def test_a_grant_pushed_by_another_replica_is_told_until_it_is_acknowledged(a: Replica, b: Replica) -> None:
    """A lost nudge or reply loses no grant, and the acknowledgement ends it."""
    limit = flying(1)
    b.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)))
    b.tick(gauge(charge(limit), 0))
    assert grants(a.tick()) == [1]
    assert grants(a.tick()) == [1]
    assert grants(a.tick(ack(1), gauge(charge(limit), 1))) == []
    assert grants(a.tick()) == []


def test_an_acknowledgement_of_an_unknown_grant_changes_nothing(a: Replica) -> None:
    """It may come twice, or after a failover."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    a.tick(ack(1), ack(77))
    assert not grants(a.arrive(call(charge(limit), wait=0)))


def test_a_cancel_that_crosses_a_pushed_grant_still_tells_the_grant(a: Replica, b: Replica) -> None:
    """The replica then gives it back."""
    limit = flying(1)
    b.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)))
    b.tick(gauge(charge(limit), 0))
    assert grants(a.tick(cancel(1))) == [1]


def test_a_silent_replica_loses_its_waiting_calls(a: Replica, b: Replica, clock: Clock) -> None:
    """They are dropped with it; the line goes on, and the replica is asked to resync when it returns."""
    limit = flying(1)
    b.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)))
    for _ in range(10):
        clock.now += 1000
        b.tick()
    b.tick(gauge(charge(limit), 0))
    assert grants(b.arrive(call(charge(limit), wait=0)))
    assert a.tick().status == wire.RESYNC


def test_silent_replicas_are_reaped_one_per_tick(host: Host, a: Replica, clock: Clock) -> None:
    """Two of them give back their places in two ticks."""
    limit = flying(2)
    for name in ("x", "y"):
        Replica(host, clock, name).arrive(call(charge(limit), wait=0))
    for _ in range(9):
        clock.now += 1000
        a.tick()
    assert not grants(a.arrive(call(charge(limit), wait=0)))
    clock.now += 1000
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert a.tick().replicas == 1


def test_services_share_nothing(host: Host, clock: Clock) -> None:
    """The same bucket name in two services is two buckets."""
    s, t = Replica(host, clock, service="s"), Replica(host, clock, service="t")
    limit = window(1)
    assert grants(s.arrive(call(charge(limit), wait=0)))
    assert grants(t.arrive(call(charge(limit), wait=0, service="t")))
    assert not grants(s.arrive(call(charge(limit), wait=0)))


def test_replicas_seen_within_the_slot_ttl_are_counted(a: Replica, b: Replica, clock: Clock) -> None:
    """The share of a fallback is computed from it."""
    a.tick()
    assert b.tick().replicas == 2
    clock.now += 10_001
    assert b.tick().replicas == 1
