"""rules/gate/tick.lua to the millisecond: who is taken for dead, what is kept of whom, and for how long."""

from __future__ import annotations

import lupa.lua51
import pytest
import redis

from rules.gate import wire

from .driver import Clock, Replica, TablesHost, ack, block, call, charge, flying, gauge, grants, window

SEAT = charge(flying(1))
DAY = 86_400_000


def kept(host: TablesHost, key: str) -> dict[str, str]:
    """The fields of a hash of the service as the store holds them."""
    entries = [entry.partition(f"}}:1/{key}/")[2] for entry in str(host.contents()).rstrip("'").split(";")]
    return dict(entry.split("=", 1) for entry in entries if entry)


def dies(host: TablesHost, key: str) -> int:
    """When a key of the service dies."""
    return int(str(host.contents()).rstrip("'").partition(f"}}:3/{key}=")[2].partition(";")[0])


def free(b: Replica) -> bool:
    """The seat is free; it is given back at once."""
    return bool(grants(b.arrive(call(SEAT, wait=0)))) and b.tick(gauge(SEAT, 0)).status == wire.DONE


def test_a_replica_is_dead_after_ten_seconds_of_silence(a: Replica, b: Replica, clock: Clock) -> None:
    """Not a millisecond before."""
    a.arrive(call(SEAT))
    for _ in range(9):
        clock.now += 1000
        b.tick()
    clock.now += 999
    assert not free(b)
    clock.now += 1
    assert free(b)


@pytest.mark.parametrize(("gap", "dead"), [(2000, True), (2001, False)])
def test_where_all_were_silent_for_more_than_two_seconds_nobody_is_dead_for_ten(
    a: Replica, b: Replica, clock: Clock, gap: int, dead: bool
) -> None:
    """Counted from the first that speaks again."""
    a.arrive(call(SEAT))
    for _ in range(8):
        clock.now += 1000
        b.tick()
    clock.now += gap
    assert free(b) == dead
    if not dead:
        for _ in range(9):
            clock.now += 1000
            b.tick()
        clock.now += 999
        assert not free(b)
        clock.now += 1
        assert free(b)


@pytest.mark.parametrize(("count", "statuses"), [(500, [wire.DONE]), (501, [wire.RESYNC, wire.DONE])])
def test_five_hundred_calls_are_forgotten_in_a_tick(a: Replica, count: int, statuses: list[int]) -> None:
    """With one more the replica is asked to state itself once more."""
    a.arrive(call(SEAT))
    a.tick(*[a.arrival(call(SEAT, queue=10_000)) for _ in range(count)])
    told = list[int]()
    while not told or told[-1] != wire.DONE:
        a.restart()
        told.append(a.tick().status)
    assert told == statuses
    assert a.tick().waiting == 0


def test_a_dead_replica_with_many_calls_is_forgotten_over_several_ticks(a: Replica, b: Replica, clock: Clock) -> None:
    """Five hundred in each."""
    a.arrive(call(SEAT))
    a.tick(*[a.arrival(call(SEAT, queue=10_000)) for _ in range(501)])
    for _ in range(9):
        clock.now += 1000
        b.tick()
    clock.now += 1000
    assert [b.tick().waiting for _ in range(2)] == [1, 0]
    assert free(b)
    assert a.tick().status == wire.RESYNC


def test_whoever_waited_behind_calls_that_are_forgotten_is_looked_at(a: Replica, b: Replica) -> None:
    """Though the tick that forgot them had more to forget and did nothing else."""
    limit, other = window(100), flying(1, name="other")
    a.arrive(call(charge(limit, 50)))
    a.arrive(call(charge(limit, 90)))
    b.arrive(call(charge(limit, 10), user="u"))
    a.arrive(call(charge(other)))
    a.tick(*[a.arrival(call(charge(other), queue=10_000, user="v")) for _ in range(600)])
    a.restart()
    assert a.tick().status == wire.RESYNC
    assert grants(b.tick()) == [1]


def test_a_replica_that_had_nothing_goes_on_after_a_silence(a: Replica, b: Replica, clock: Clock) -> None:
    """There is nothing it would have to state anew."""
    a.tick()
    for _ in range(11):
        clock.now += 1000
        b.tick()
    assert b.tick().replicas == 1
    assert a.tick().status == wire.DONE
    assert b.tick().replicas == 2


def test_a_grant_nobody_saw_is_reason_to_resync_after_a_silence(a: Replica, b: Replica, clock: Clock) -> None:
    """Though nothing else of the replica was there."""
    limit = window(1)
    b.arrive(call(charge(limit)))
    assert a.arrive(call(charge(limit))).held
    for _ in range(11):
        clock.now += 1000
        b.tick()
    assert a.tick().status == wire.RESYNC


def two_pushed(a: Replica, b: Replica) -> None:
    """b's landings grant two calls of a."""
    of = charge(flying(2))
    b.tick(*[b.arrival(call(of)) for _ in range(2)])
    a.tick(*[a.arrival(call(of)) for _ in range(2)])
    b.tick(gauge(of, 0))


def test_grants_that_nobody_has_seen_are_counted(clock: Clock) -> None:
    """Until each is acknowledged, or its replica is forgotten."""
    host = TablesHost()
    a, b = Replica(host, clock, "a"), Replica(host, clock, "b")
    a.tick()
    assert kept(host, "meta")["pushed"] == "0"
    two_pushed(a, b)
    counts = [kept(host, "meta")["pushed"]]
    for n in (1, 1, 77, 2):
        a.tick(ack(n))
        counts.append(kept(host, "meta")["pushed"])
    assert counts == ["2", "1", "1", "1", "0"]
    a.tick(gauge(charge(flying(2)), 0))
    two_pushed(a, b)
    a.tick(ack(3))
    a.restart()
    assert grants(a.tick()) == []
    assert kept(host, "meta")["pushed"] == "0"
    assert kept(host, "grant:" + a.id.decode()) == {}


def test_what_is_known_of_the_service_and_of_a_replica_is_kept_up_once_a_minute(clock: Clock) -> None:
    """Half an hour and a quarter of one; longer where something rests for longer."""
    host = TablesHost()
    a, start = Replica(host, clock, "a"), clock.now
    rep = "rep:" + a.id.decode()
    a.tick()
    assert [dies(host, key) - start for key in ("meta", rep, "hb")] == [1_800_000, 900_000, 900_000]
    clock.now += 60_000
    a.tick()
    assert [dies(host, key) - start for key in ("meta", rep, "hb")] == [1_800_000, 900_000, 900_000]
    assert (kept(host, "meta")["x"], kept(host, rep)["x"]) == (str(start), str(start))
    clock.now += 1
    a.tick()
    assert [dies(host, key) - start for key in ("meta", rep, "hb")] == [1_860_001, 960_001, 960_001]
    assert (kept(host, "meta")["x"], kept(host, rep)["x"]) == (str(start + 60_001), str(start + 60_001))
    a.tick(block("k", 20 * DAY))
    clock.now += 60_001
    a.tick()
    assert dies(host, "meta") - clock.now == 2 * (20 * DAY - 60_001)


def test_a_store_begins_a_life_of_its_own(a: Replica, clock: Clock) -> None:
    """Named after its first tick: the time, the replica's number, and never 0 nor 2^53."""
    clock.now = 2**40 + 5
    assert a.tick().epoch == 5 * 4096 + a.incarnation + 1


def test_a_new_incarnation_begins_with_its_first_number(a: Replica) -> None:
    """With any other it is asked to state itself."""
    a.tick()
    a.incarnation += 1
    assert a.tick().status == wire.RESYNC
    a.seq, a.epoch = 0, 0
    assert a.tick().status == wire.DONE


def test_where_nobody_waits_there_is_no_time_and_no_rank(a: Replica, b: Replica) -> None:
    """Where somebody does, each replica has one: the longest silent first."""
    a.tick()
    reply = b.tick()
    assert (reply.next_ms, reply.rank, reply.waiting) == (None, 0, 0)
    a.arrive(call(charge(window(1))))
    reply = a.arrive(call(charge(window(1))))
    assert (reply.next_ms, reply.rank, reply.waiting) == (1100, 0, 1)
    assert (b.tick().rank, a.tick().rank) == (1, 0)


def test_an_operation_nobody_knows_fails_the_tick(a: Replica) -> None:
    """It is a fault of ours, and nothing takes effect."""
    with pytest.raises((lupa.lua51.LuaError, redis.ResponseError), match="unknown operation"):
        a.tick([b"Z", 1, 1], a.arrival(call(SEAT)))
    a.seq -= 1
    assert a.tick().status in (wire.DONE, wire.RESYNC)
    assert free(a)


def test_each_operation_is_read_to_its_end(a: Replica, clock: Clock) -> None:
    """In one tick one of every kind, whatever comes behind it."""
    limit = window(10)
    plan = call(charge(limit, 2))
    (granted,) = a.arrive(plan).granted
    reply = a.tick(
        wire.settle(charge(limit, 2), granted.slices[0], -1),
        gauge(SEAT, 1),
        wire.correct(wire.arrival(plan).standing, 5),
        ack(99),
        block("g", 50),
        wire.correct(wire.arrival(plan).standing, -5),
        wire.settle(charge(limit, 2), granted.slices[0], 4),
        a.arrival(call(SEAT, wait=0)),
        a.arrival(call(charge(limit, 5), wait=0)),
        a.arrival(call(charge(limit), wait=0)),
    )
    assert (grants(reply), [refused.n for refused in reply.refused]) == ([3], [2, 4])


@pytest.mark.parametrize(
    ("first", "second", "goes"),
    [((0, 0), (4, 0), 2), ((0, 300), (4, 0), 2), ((0, 0), (0, 300), 2), ((0, 300), (0, 0), 1), ((0, 9), (0, 9), 1)],
)
def test_of_one_users_calls_in_a_tick_the_most_urgent_goes_then_the_oldest(
    a: Replica, first: tuple[int, int], second: tuple[int, int], goes: int
) -> None:
    """Priority and age of each; of equals the first named."""
    limit = charge(window(1))
    ops = [a.arrival(call(limit, wait=0, priority=priority), age=age) for priority, age in (first, second)]
    assert grants(a.tick(*ops)) == [goes]


def test_a_grant_that_another_has_not_seen_stays_when_one_replica_is_forgotten(
    a: Replica, b: Replica, clock: Clock
) -> None:
    """a restarts; c is still told."""
    c, of = Replica(a.host, clock, "c"), charge(flying(2))
    b.tick(*[b.arrival(call(of)) for _ in range(2)])
    for replica in (a, c):
        assert replica.arrive(call(of)).held
    b.tick(gauge(of, 0))
    a.restart()
    assert grants(a.tick()) == []
    assert grants(c.tick()) == [1]


def test_what_one_replica_has_seen_another_is_told(a: Replica, b: Replica, clock: Clock) -> None:
    """Calls of one number."""
    c, of = Replica(a.host, clock, "c"), charge(flying(2))
    b.tick(*[b.arrival(call(of)) for _ in range(2)])
    for replica in (a, c):
        assert replica.arrive(call(of)).held
    b.tick(gauge(of, 0))
    assert grants(a.tick(ack(1))) == []
    assert grants(c.tick()) == [1]


def test_calls_of_one_age_go_by_their_numbers_though_an_older_one_comes_last(a: Replica) -> None:
    """Twelve of one user."""
    ops = [a.arrival(call(charge(window(20)), wait=0), age=age) for age in (*[0] * 11, 5)]
    assert grants(a.tick(*ops)) == [12, *range(1, 12)]
