"""rules/gate/gauge.lua: calls in flight, a part per replica."""

from __future__ import annotations

from rules.verdict import Plan

from .driver import Clock, Replica, TablesHost, ack, call, charge, flying, gauge, grants, key, refusal


def test_no_more_than_the_amount_are_in_flight(a: Replica, b: Replica) -> None:
    """The limit is shared by the replicas."""
    limit = flying(3)
    served = [bool(grants(r.arrive(call(charge(limit), wait=0)))) for r in (a, b, a, b)]
    assert served == [True, True, True, False]


def test_nobody_knows_when_a_call_in_flight_ends(a: Replica) -> None:
    """A refusal for concurrency tells no time before one has."""
    limit = flying(1)
    a.arrive(call(charge(limit), wait=0))
    assert refusal(a.arrive(call(charge(limit), wait=0))) == ("wait_too_long", None)


def test_a_stated_gauge_frees_what_landed(a: Replica, b: Replica) -> None:
    """After a says that nothing of it is in flight, b may go."""
    limit = flying(1)
    a.arrive(call(charge(limit), wait=0))
    a.tick(gauge(charge(limit), 0))
    assert grants(b.arrive(call(charge(limit), wait=0)))


def test_a_gauge_repeated_or_lost_heals_with_the_next(a: Replica, b: Replica) -> None:
    """Gauges are absolute: saying 1 twice is 1."""
    limit = flying(3)
    for _ in range(3):
        a.arrive(call(charge(limit), wait=0))
    a.tick(gauge(charge(limit), 1))
    a.tick(gauge(charge(limit), 1))
    assert grants(b.arrive(call(charge(limit), wait=0)))
    assert grants(b.arrive(call(charge(limit), wait=0)))
    assert not grants(b.arrive(call(charge(limit), wait=0)))


def test_a_gauge_stated_before_a_pushed_grant_was_seen_does_not_erase_its_place(a: Replica, b: Replica) -> None:
    """b's tick grants a's call; until a acknowledges it, a's own gauge leaves it standing."""
    limit = flying(1)
    b.arrive(call(charge(limit), wait=0))
    a.arrive(call(charge(limit)))
    b.tick(gauge(charge(limit), 0))
    reply = a.tick(gauge(charge(limit), 0))
    assert [(g.n, g.pushed) for g in reply.granted] == [(1, True)]
    assert not grants(b.arrive(call(charge(limit), wait=0)))
    assert grants(a.tick(ack(1), gauge(charge(limit), 1))) == []
    assert not grants(b.arrive(call(charge(limit), wait=0)))
    a.tick(gauge(charge(limit), 0))
    assert grants(b.arrive(call(charge(limit), wait=0)))


def test_a_gauge_above_the_limit_stands_and_stops_grants(a: Replica, b: Replica) -> None:
    """What a replica says it has is true, even above the limit (limiter 12)."""
    limit = flying(2)
    a.tick(gauge(charge(limit), 5))
    assert not grants(b.arrive(call(charge(limit), wait=0)))
    a.tick(gauge(charge(limit), 1))
    assert grants(b.arrive(call(charge(limit), wait=0)))


def test_a_silent_replica_gives_its_places_back_after_ten_seconds(a: Replica, b: Replica, clock: Clock) -> None:
    """Its concurrency returns with the first tick after the TTL, and not before."""
    limit = flying(1)
    a.arrive(call(charge(limit), wait=0))
    for _ in range(9):
        clock.now += 1000
        b.tick()
    assert not grants(b.arrive(call(charge(limit), wait=0)))
    clock.now += 1000
    b.tick()
    assert grants(b.arrive(call(charge(limit), wait=0)))


def test_after_everybody_was_silent_nobody_is_reaped_for_ten_seconds(a: Replica, b: Replica, clock: Clock) -> None:
    """The first one back must not reap the others, who could not speak either."""
    limit = flying(1)
    a.arrive(call(charge(limit), wait=0))
    clock.now += 60_000
    for _ in range(9):
        assert not grants(b.arrive(call(charge(limit), wait=0)))
        clock.now += 1000
    a.tick()
    clock.now += 1000
    b.tick()
    assert not grants(b.arrive(call(charge(limit), wait=0)))


def test_a_pushed_grant_takes_its_cost_of_each_limit_until_it_is_seen_and_stated(a: Replica, b: Replica) -> None:
    """2 of 4 of all and 3 of 4 of the key: what is left is 2 and 1, before a sees it and after."""
    shared, own = flying(4, name="all"), flying(4, name="key")
    b.arrive(call(charge(shared, 4), keys=[key("k", charge(own, 4))]))
    a.arrive(call(charge(shared, 2), keys=[key("k", charge(own, 3))]))
    b.tick(gauge(charge(shared), 0), gauge(charge(own), 0))
    for seen in (False, True):
        if seen:
            assert grants(a.tick(ack(1), gauge(charge(shared), 2), gauge(charge(own), 3))) == []
        reply = b.tick(*[b.arrival(call(charge(shared), wait=0)) for _ in range(3)])
        assert len(reply.granted) == 2
        reply = b.tick(*[b.arrival(call(charge(own), wait=0)) for _ in range(3)])
        assert len(reply.granted) == 1
        b.tick(gauge(charge(shared), 0), gauge(charge(own), 0))


def test_an_acknowledgement_twice_in_one_tick_counts_once(a: Replica, b: Replica) -> None:
    """The other grant that a has not seen yet keeps its place."""
    limit = flying(2)
    b.tick(*[b.arrival(call(charge(limit))) for _ in range(2)])
    a.tick(*[a.arrival(call(charge(limit))) for _ in range(2)])
    b.tick(gauge(charge(limit), 0))
    a.tick(ack(1), ack(1), gauge(charge(limit), 1))
    assert not grants(b.arrive(call(charge(limit), wait=0)))
    a.tick(ack(2), gauge(charge(limit), 1))
    assert grants(b.arrive(call(charge(limit), wait=0)))


def test_a_grant_nobody_saw_is_gone_with_the_replica_that_restarts(a: Replica, b: Replica) -> None:
    """Its place is free again, and it is told no more."""
    limit = flying(1)
    b.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)))
    b.tick(gauge(charge(limit), 0))
    a.restart()
    assert grants(a.tick()) == []
    assert grants(b.arrive(call(charge(limit), wait=0)))


def test_a_grant_nobody_saw_is_gone_with_the_replica_that_falls_silent(a: Replica, b: Replica, clock: Clock) -> None:
    """After ten seconds its place is free again."""
    limit = flying(1)
    b.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)))
    b.tick(gauge(charge(limit), 0))
    for _ in range(10):
        assert not grants(b.arrive(call(charge(limit), wait=0)))
        clock.now += 1000
    b.tick()
    assert grants(b.arrive(call(charge(limit), wait=0)))


def test_a_landing_on_a_replica_that_forgets_it_serves_who_waits(a: Replica, b: Replica) -> None:
    """a restarts with nothing in flight: b's waiting call goes in that tick."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    b.arrive(call(charge(limit)))
    a.restart()
    a.tick()
    assert grants(b.tick()) == [1]


def test_two_services_in_one_process_hold_their_own(clock: Clock) -> None:
    """A replica has calls of both in flight, on limits of one name."""
    host, limit = TablesHost(), flying(2)
    s, t = Replica(host, clock), Replica(host, clock, service="t")
    assert grants(s.arrive(call(charge(limit))))
    assert [bool(grants(t.arrive(call(charge(limit), wait=0)))) for _ in range(3)] == [True, True, False]
    t.tick(gauge(charge(limit), 1))
    assert [bool(grants(t.arrive(call(charge(limit), wait=0)))) for _ in range(2)] == [True, False]


def test_what_waits_for_a_call_to_end_is_counted(a: Replica) -> None:
    """In units of cost, in this tick and the next."""
    limit = flying(3)
    assert a.explain(call(charge(limit))).rooms[0].ahead == 0
    a.arrive(call(charge(limit), wait=0))
    assert a.arrive(call(charge(limit, 3))).held
    a.arrive(call(charge(limit), wait=0))
    assert a.explain(call(charge(limit))).rooms[0].ahead == 3


def test_a_gauge_that_is_stated_again_and_again_is_kept(clock: Clock) -> None:
    """A call of half an hour is in flight for all of it."""
    host, limit = TablesHost(), flying(1)
    a = Replica(host, clock)
    a.arrive(call(charge(limit)))
    for _ in range(300):
        clock.now += 6000
        a.tick(gauge(charge(limit), 1))
        host.engine.sweep(clock.now)
    assert not grants(a.arrive(call(charge(limit), wait=0)))


def test_a_bucket_that_was_forgotten_is_never_less_than_empty(clock: Clock) -> None:
    """What the replica then lets go of was not counted there any more."""
    host, limit, other = TablesHost(), flying(1), flying(9, name="other")
    a = Replica(host, clock)
    a.arrive(call(charge(limit)))
    for _ in range(200):
        clock.now += 6000
        a.tick(gauge(charge(other), 1))
        host.engine.sweep(clock.now)
    assert "g:c:x" not in str(host.contents())
    a.tick(gauge(charge(limit), 0))
    assert [bool(grants(a.arrive(call(charge(limit), wait=0)))) for _ in range(2)] == [True, False]


def test_a_replica_that_has_nothing_in_flight_leaves_nothing(clock: Clock) -> None:
    """Its part goes, or a limit per user would leave one for every user."""
    host, limit = TablesHost(), flying(1)
    a = Replica(host, clock)
    a.arrive(call(charge(limit)))
    assert ":1/r:" + a.id.decode() + "/c:x=1" in str(host.contents())
    a.tick(gauge(charge(limit), 0))
    assert ":1/r:" + a.id.decode() not in str(host.contents())


def told(a: Replica, plan: Plan) -> int | None:
    """When a refused call should come back."""
    code, wait = refusal(a.arrive(plan))
    assert code == "wait_too_long"
    return wait


def test_a_refused_call_is_told_when_a_call_in_flight_is_expected_to_end(a: Replica, clock: Clock) -> None:
    """By how long they last: two slots, one of which comes back every second; nothing is known before one did."""
    limit = flying(2)
    plan = call(charge(limit), wait=0)
    a.arrive(plan)
    a.arrive(plan)
    assert told(a, plan) is None
    for _ in range(200):
        clock.now += 1000
        a.tick(gauge(charge(limit), 1))
        assert a.arrive(plan).granted
    assert told(a, plan) == 1000
    clock.now += 1000
    a.tick(gauge(charge(limit), 0))
    assert a.arrive(plan).granted


def test_what_calls_lasted_long_ago_is_forgotten(a: Replica, clock: Clock) -> None:
    """Calls of ten seconds, then of one: after some hundred the time told is that of the short ones."""
    limit = flying(1)
    plan = call(charge(limit), wait=0)
    for last in [10_000] * 200 + [1000] * 600:
        assert a.arrive(plan).granted
        clock.now += last
        a.tick(gauge(charge(limit), 0))
    a.arrive(plan)
    wait = told(a, plan)
    assert wait is not None
    assert 1000 <= wait < 1050


def test_a_slot_that_stands_idle_is_no_long_call(a: Replica, clock: Clock) -> None:
    """An hour in which nothing is in flight does not count."""
    limit = flying(1)
    plan = call(charge(limit), wait=0)
    for _ in range(3):
        assert a.arrive(plan).granted
        clock.now += 500
        a.tick(gauge(charge(limit), 0))
        for _ in range(10):
            clock.now += 360_000
            a.tick()
    a.arrive(plan)
    assert told(a, plan) == 500
