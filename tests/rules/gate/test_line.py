"""rules/gate/line.lua: who waits, and where."""

from __future__ import annotations

from tests.redis_server import RedisServer

from .driver import Clock, RedisClockHost, Replica, call, cancel, charge, flying, gauge, grants, window


def test_hundreds_wait_and_leave_in_their_order(a: Replica, clock: Clock) -> None:
    """Longer than any step in which the store is read."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    for _ in range(300):
        clock.now += 1
        a.arrive(call(charge(limit)))
    served = []
    for _ in range(300):
        served += grants(a.tick(gauge(charge(limit), 0)))
    assert served == list(range(2, 302))


def test_calls_of_one_millisecond_go_by_their_number(a: Replica) -> None:
    """Ties are broken by the attempt, not by chance."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    a.tick(*[a.arrival(call(charge(limit))) for _ in range(12)])
    assert [grants(a.tick(gauge(charge(limit), 0)))[0] for _ in range(12)] == list(range(2, 14))


def test_older_calls_entering_later_in_one_tick_stand_in_front(a: Replica, clock: Clock) -> None:
    """Three retries of one tick, named youngest first, are served oldest first, before what already waited."""
    limit = flying(1)
    clock.now += 1000
    a.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)), age=100)
    a.tick(*[a.arrival(call(charge(limit)), age=age) for age in (200, 300, 400)])
    assert [grants(a.tick(gauge(charge(limit), 0)))[0] for _ in range(4)] == [5, 4, 3, 2]


def test_a_call_cancelled_in_the_middle_leaves_the_rest_in_order(a: Replica) -> None:
    """And is never served."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    for _ in range(5):
        a.arrive(call(charge(limit)))
    a.tick(cancel(3), cancel(5), cancel(77))
    assert [grants(a.tick(gauge(charge(limit), 0)))[0] for _ in range(3)] == [2, 4, 6]
    assert a.tick().waiting == 0


def test_what_left_no_longer_counts_as_backlog(a: Replica) -> None:
    """The wait told to the next is that of an empty line."""
    limit = window(1, ms=1000, slices=10)
    for _ in range(5):
        a.arrive(call(charge(limit)))
    a.tick(*[cancel(n) for n in range(2, 6)])
    (refused,) = a.arrive(call(charge(limit), wait=0)).refused
    assert refused.wait_ms == 1100


def test_a_store_keeps_no_more_fields_than_slices(redis_of_gate: RedisServer) -> None:
    """However long a bucket lives, and whatever waited and went."""
    host, clock = RedisClockHost(redis_of_gate), Clock()
    a, limit = Replica(host, clock), window(5, ms=1000, slices=10)
    for _ in range(100):
        clock.now += 130
        a.arrive(call(charge(limit), wait=500))
    fields = host.client.hlen("rl:{s}:w:w:x")
    clock.now += 5000
    a.tick()
    a.tick()
    left = [name for name in host.client.scan_iter() if b":park:" in name or b":d:" in name or b":on:" in name]
    host.close()
    assert isinstance(fields, int)
    assert fields <= 11 + 5
    assert left == []


def test_a_retry_stands_though_its_user_has_his_part_of_the_line_but_not_in_a_full_one(a: Replica) -> None:
    """Nine tenths are his already; the line as a whole has an end for everybody."""
    limit = charge(flying(1))
    a.arrive(call(limit, queue=10))
    for _ in range(12):
        a.arrive(call(limit, queue=10))
    assert a.tick().waiting == 9
    assert a.arrive(call(limit, queue=10), age=500).held
    (refused,) = a.arrive(call(limit, queue=10), age=500).refused
    assert refused.code == "queue_full"
