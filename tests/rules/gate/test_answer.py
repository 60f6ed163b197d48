"""rules/gate/answer.lua: what a tick says of its calls."""

from __future__ import annotations

import pytest

from rules.gate import wire
from tests.redis_server import RedisServer

from .driver import (
    Clock,
    RedisClockHost,
    Replica,
    TablesHost,
    ack,
    bucket,
    call,
    charge,
    flying,
    gauge,
    grants,
    key,
    window,
)


@pytest.mark.parametrize(
    ("amounts", "costs", "fullest"),
    [([], [], 0), ([5, 100], [4, 8], 1), ([100, 5], [8, 4], 2), ([5, 5], [0, 0], 1), ([5, 5, 5], [1, 2, 2], 2)],
)
def test_a_grant_names_the_bucket_that_is_fullest_for_its_size(
    a: Replica, amounts: list[int], costs: list[int], fullest: int
) -> None:
    """The first of equals; none where the call takes nothing of any."""
    limits = [window(amount, name=f"w{i}") for i, amount in enumerate(amounts)]
    charges = [charge(limit, cost) for limit, cost in zip(limits, costs, strict=True)]
    (granted,) = a.arrive(call(*charges)).granted
    assert (granted.fullest, granted.uses) == (fullest, tuple(costs))


def test_a_call_without_a_key_is_told_of_no_limit_and_no_time(a: Replica) -> None:
    """There is nothing to wait for."""
    (refused,) = a.arrive(call(charge(window(5)), keys=[])).refused
    assert (refused.code, refused.position, refused.wait_ms) == ("no_key", 0, None)


def test_a_bucket_that_drains_has_room_now(a: Replica) -> None:
    """Five of ten are used, one is asked for."""
    limit = bucket(10, 1, 1000)
    assert grants(a.arrive(call(charge(limit, 5))))
    (room,) = a.explain(call(charge(limit))).rooms
    assert (room.used, room.amount, room.fits_ms, room.paced) == (5, 10, 0, False)


def pushed(a: Replica, b: Replica, *charges: object, seat: object) -> wire.Granted:
    """b's landing grants what a waits for; as a is told."""
    b.arrive(call(seat))  # type: ignore[arg-type]
    assert a.arrive(call(seat, *charges)).held  # type: ignore[arg-type]
    b.tick(gauge(seat, 0))  # type: ignore[arg-type]
    (granted,) = a.tick().granted
    return granted


def test_a_pushed_grant_is_told_to_the_last_digit(a: Replica, b: Replica) -> None:
    """2^53 - 2 units, and when their slice began."""
    most = 2**53 - 2
    granted = pushed(a, b, charge(window(most + 1), most), seat=charge(flying(1)))
    assert (granted.n, granted.candidate, granted.fullest, granted.pushed) == (1, 0, 1, True)
    assert (granted.slices, granted.uses) == ((0, 1_000_000), (1, most))


def test_only_what_is_in_flight_is_noted_with_a_pushed_grant(clock: Clock) -> None:
    """Its acknowledgement touches no window, and leaves nothing of it."""
    host = TablesHost()
    a, b = Replica(host, clock, "a"), Replica(host, clock, "b")
    seat, late = charge(flying(1)), charge(window(9, count_at="end", name="late"))
    pushed(a, b, charge(window(9)), charge(bucket(9, 1, 1000)), late, seat=seat)
    assert ";c:x 1 late:x 1;" in str(host.contents())
    a.tick(ack(1), gauge(seat, 1), gauge(late, 1))
    contents = str(host.contents())
    assert "/g:c:x/used=1" in contents
    assert "/g:late:x/used=1" in contents
    assert "/g:w:x" not in contents
    assert "/g:b:x" not in contents
    assert ":1/u:" not in contents
    assert ":1/meta/pushed=0" in contents


def test_whoever_is_granted_something_by_another_is_nudged(redis_of_gate: RedisServer, clock: Clock) -> None:
    """On the channel of its own, with the service's keys; nobody else is."""
    host = RedisClockHost(redis_of_gate)
    a, b = Replica(host, clock, "a"), Replica(host, clock, "b")
    listener = host.client.pubsub()  # type: ignore[no-untyped-call]
    listener.psubscribe("*")
    assert listener.get_message(timeout=5) is not None
    pushed(a, b, seat=charge(flying(1)))
    host.client.publish("end", b"")
    heard = []
    while (message := listener.get_message(timeout=5)) is not None and message["channel"] != b"end":
        heard.append((message["channel"], message["data"]))
    listener.close()
    host.close()
    assert heard == [(b"rl:nudge:" + a.id, b"rl:{s}:")]


def test_what_goes_before_a_question_on_the_limit_of_a_key_is_its_own_lanes(a: Replica) -> None:
    """Who waits with a limit more is no rival there."""
    own, other = charge(window(1)), charge(window(100, name="other"))
    keys = [key("k", own)]
    assert grants(a.arrive(call(keys=keys)))
    assert a.arrive(call(other, keys=keys, user="x")).held
    assert [room.ahead for room in a.explain(call(keys=keys, user="y")).rooms] == [0]
    assert [room.ahead for room in a.explain(call(other, keys=keys, user="y")).rooms] == [1, 1]
