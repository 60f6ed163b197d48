"""proxy/sight.py, proxy/ticker.py: what goes while the store is away, and right after, never exceeds a limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.gate import Gate
from proxy.line import MOST_OPS, Line, Waiting
from proxy.redis_host import RedisHost
from proxy.session import Session
from proxy.sight import MOST_SEEN, Sight
from rules.gate import wire
from rules.verdict import Charge, Grant, Plan, Taken
from tests.redis_server import RedisServer, redis_server

from .gates import FLYING, REQUESTS, TOKENS, granted, now_ms, plan, running, until
from .test_lateness import Time, replica
from .test_line import MONTHLY, SLOWLY


@pytest.fixture(scope="module")
def redis_of_lateness() -> Iterator[RedisServer]:
    """One Redis for the module."""
    with redis_server() as server:
        yield server


async def admitted(gate: Gate, what: Plan, most: int = 10) -> int:
    """How many of these calls go at once."""
    verdicts = [await gate.acquire(what) for _ in range(most)]
    return len([verdict for verdict in verdicts if isinstance(verdict, Grant)])


async def test_replicas_that_lose_the_store_share_what_was_left_and_not_the_whole() -> None:
    """7 of 10 are used; two replicas, each with its share of 4, may add 3 together. Their shares alone would be 8."""
    now = plan((REQUESTS, 1), wait=0)
    with redis_server() as server:
        async with (
            running(Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=1.0))) as one,
            running(Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=1.0))) as other,
        ):
            assert (await admitted(one, now, 3), await admitted(other, now, 3), await admitted(one, now, 1)) == (
                3,
                3,
                1,
            )
            server.kill()
            assert [await admitted(gate, now) for gate in (one, other)] == [1, 1]
            assert one.degraded
            assert other.degraded


async def test_what_a_replica_begins_the_fallback_with_is_not_told_to_the_store_as_its_own() -> None:
    """Nobody waited when the store was lost; when it is back, what was really granted counts, and no more."""
    with redis_server() as server:
        async with running(Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=1.0))) as gate:
            assert await admitted(gate, plan((TOKENS, 500), wait=0), 1) == 1
            server.kill()
            gate.settle(await granted(gate, plan((FLYING, 1), service="another")), {})
            assert gate.degraded
            server.start()
            await until(lambda: not gate.degraded)
            # the store forgot the 500 with everything else: what is left shows what it was told since
            assert await admitted(gate, plan((TOKENS, 100), wait=0), 11) == 10


async def test_a_replica_that_is_back_leaves_the_others_their_shares_until_they_are_too(
    redis_of_lateness: RedisServer,
) -> None:
    """Of two, the first that returns takes 6 of 10 while the other may be using 4; soon after, it takes the rest."""
    redis_of_lateness.command("FLUSHALL")
    time = Time()
    now = plan((REQUESTS, 1), wait=0)
    async with replica(redis_of_lateness, time) as (one, _), replica(redis_of_lateness, time) as (other, _):
        for gate in (other, one):
            gate.settle(await granted(gate, plan((FLYING, 1))), {})
        one._ticker.go_offline("Redis at a test's address cannot be used: a test says so")
        one._ticker._go_online()
        assert await admitted(one, now) == 6
        time.now += 2499
        assert await admitted(one, now) == 0
        time.now += 1
        assert await admitted(one, now) == 4


def test_the_last_sight_of_each_bucket_counts_in_the_share_given() -> None:
    """Rounded up; a quota in its period, anything else now. Calls in flight are stated otherwise."""
    sight, here = Sight(), Session()
    charges = [Charge(f"{limit.id}:g", limit, 1) for limit in (REQUESTS, SLOWLY, MONTHLY, FLYING)]
    slices = (77, 1000, 2_000_000, 0)
    taken = [Taken(charge, at) for charge, at in zip(charges, slices, strict=True)]
    sight.note(taken, (9, 90, 9, 2), 0.0)
    sight.note(taken[:1], (7,), 10.0)
    sight.add(charges[0], 1)
    sight.add(charges[0], -5)
    sight.begin(here, 400, 60_500.0)
    found = {key[0]: (key[2], delta) for key, (_, delta) in here.settles.items()}
    assert found == {"r:g": (-1, 4), "tb:g": (-1, 36), "q:g": (2_000_000, 4)}
    again = Session()
    sight.begin(again, 400, 60_500.0)
    assert again.settles == {}


def test_what_has_left_the_window_is_no_longer_in_sight() -> None:
    """One L after the last grant all of it is gone."""
    sight, here = Sight(), Session()
    sight.note([Taken(Charge("r:g", REQUESTS, 1), 77)], (9,), 0.0)
    sight.begin(here, 400, 60_500.0 + 1)
    assert here.settles == {}


def test_the_buckets_of_the_latest_grants_are_kept() -> None:
    """A hostile number of users fills no memory."""
    sight, here = Sight(), Session()
    for n in range(MOST_SEEN + 10):
        sight.note([Taken(Charge("r:first", REQUESTS, 1), 1), Taken(Charge(f"r:{n}", REQUESTS, 1), 1)], (1, 1), 0.0)
    sight.begin(here, 1000, 0.0)
    kept = {key[0] for key in here.settles}
    assert len(kept) == MOST_SEEN
    assert {"r:first", f"r:{MOST_SEEN + 9}"} <= kept
    assert "r:0" not in kept


def test_no_call_goes_into_a_tick_before_all_that_was_used_is_told() -> None:
    """More settlements than one tick carries, most of which came to nothing: the calls travel with the last of them."""
    session = Session()
    line = Line("s", b"a" * 16, session)
    for n in range(MOST_OPS + 1):
        session.settle(Charge(f"r:{n}", REQUESTS, 1), -1, n // MOST_OPS)
    what = plan((REQUESTS, 1))
    line.enter(Waiting(1, what, wire.arrival(what), 0.0, 30_000.0, 0.0))
    assert b"A" not in line.take(0.0, 400).args
    assert line.has_work
    assert b"A" in line.take(0.0, 400).args


async def test_a_call_that_used_more_than_it_was_charged_is_in_sight() -> None:
    """The grant saw 1 token used, the answer 999: the share of 800 is taken."""
    with redis_server() as server:
        async with running(Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=1.0))) as gate:
            grant = await granted(gate, plan((TOKENS, 1)))
            gate.settle(grant, {"tokens": 999.0})
            server.kill()
            assert await admitted(gate, plan((TOKENS, 1), wait=0), 3) == 0
