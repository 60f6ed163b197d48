"""proxy/gate.py and proxy/ticker.py: the actor and its store, when it is there, goes, stalls and comes back."""

from __future__ import annotations

import asyncio

import pytest

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from proxy.store import StoreUnavailable
from rules.policy import Limit
from rules.verdict import Grant, Refuse
from tests.redis_server import RedisServer, free_port, redis_server

from .gates import FLYING, REQUESTS, granted, now_ms, plan, refused, running, until
from .gates import redis_of_actor as redis_of_actor


async def test_what_arrives_during_a_tick_travels_in_the_next(redis_of_actor: RedisServer) -> None:
    """A hundred callers at once need a handful of ticks, not a hundred."""
    redis_of_actor.command("FLUSHALL")
    redis_of_actor.command("CONFIG", "RESETSTAT")
    async with running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))) as gate:
        big = Limit(id="r", name="r", kind="window", meter="requests", amount=1000, window_ms=60_000, slices=240)
        await asyncio.gather(*[granted(gate, plan((big, 1))) for _ in range(100)])
        stats = redis_of_actor.command("INFO", "commandstats")
    calls = int(stats.split("cmdstat_fcall:calls=")[1].split(",")[0])
    assert calls <= 5


async def test_two_processes_share_a_limit_and_a_line(redis_of_actor: RedisServer) -> None:
    """A place that one gives back goes to the other, by a nudge."""
    redis_of_actor.command("FLUSHALL")
    async with (
        running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))) as one,
        running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))) as other,
    ):
        first = await granted(one, plan((FLYING, 2)))
        held = asyncio.ensure_future(other.acquire(plan((FLYING, 2))))
        await until(lambda: other.held == 1)
        one.settle(first, {})
        verdict = await held
        assert isinstance(verdict, Grant)
        assert (await refused(one, plan((FLYING, 1), wait=0))).code == "wait_too_long"
        other.settle(verdict, {})
        await granted(one, plan((FLYING, 2), wait=1000))


async def test_a_closed_gate_leaves_nothing_in_flight(redis_of_actor: RedisServer) -> None:
    """Its places are free for the others at once, not after the slot's ten seconds."""
    redis_of_actor.command("FLUSHALL")
    async with running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))) as other:
        one = Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))
        await one.start()
        await granted(one, plan((FLYING, 2)))
        await one.close()
        await granted(other, plan((FLYING, 2), wait=0))


async def test_a_store_that_lost_everything_is_told_again(redis_of_actor: RedisServer) -> None:
    """After FLUSHALL what is in flight and what waits is stated anew."""
    redis_of_actor.command("FLUSHALL")
    async with running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))) as gate:
        first = await granted(gate, plan((FLYING, 2)))
        held = asyncio.ensure_future(gate.acquire(plan((FLYING, 2))))
        await until(lambda: gate.held == 1)
        redis_of_actor.command("FLUSHALL")
        assert (await refused(gate, plan((FLYING, 1), wait=0))).code == "wait_too_long"
        gate.settle(first, {})
        assert isinstance(await held, Grant)


async def test_no_store_at_start_is_an_error_unless_fallback_is_asked_for() -> None:
    """With it the gate starts degraded, and says why."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(StoreUnavailable, match="no connection"):
        await Gate(now_ms=now_ms, store=RedisHost(url)).start()
    async with running(Gate(now_ms=now_ms, store=RedisHost(url), fallback=True)) as gate:
        assert gate.degraded
        assert gate.degraded_reason is not None
        served = [await gate.acquire(plan((REQUESTS, 1), wait=0)) for _ in range(10)]
        assert len([v for v in served if isinstance(v, Grant)]) == 8


async def test_a_killed_store_is_replaced_at_once_and_taken_up_again() -> None:
    """Held calls are held on, new ones are served from the share, and what was used meanwhile counts afterwards."""
    with redis_server() as server:
        async with running(Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=1.0))) as gate:
            first = await granted(gate, plan((FLYING, 2)))
            held = asyncio.ensure_future(gate.acquire(plan((FLYING, 1))))
            await until(lambda: gate.held == 1)
            server.kill()
            served = [await gate.acquire(plan((REQUESTS, 1), wait=0)) for _ in range(10)]
            assert gate.degraded
            assert len([v for v in served if isinstance(v, Grant)]) == 8
            gate.settle(first, {})
            assert isinstance(await held, Grant)
            server.start()
            await until(lambda: not gate.degraded)
            again = [await gate.acquire(plan((REQUESTS, 1), wait=0)) for _ in range(4)]
            assert len([v for v in again if isinstance(v, Grant)]) == 2
            assert gate.fallbacks == 1
            in_flight = [await gate.acquire(plan((FLYING, 1), wait=0)) for _ in range(2)]
            assert [type(v) for v in in_flight] == [Grant, Refuse]


async def test_a_stalled_store_delays_nobody_beyond_its_time_out(redis_of_actor: RedisServer) -> None:
    """Five tries, then the embedded gate answers; the stall may last as long as it likes."""
    redis_of_actor.command("FLUSHALL")
    async with running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=0.05))) as gate:
        gate.settle(await granted(gate, plan((REQUESTS, 1))), {})
        redis_of_actor.command("CLIENT", "PAUSE", "1000", "ALL")
        assert isinstance(await gate.acquire(plan((REQUESTS, 1), wait=20_000)), Grant)
        assert gate.degraded
        redis_of_actor.command("CLIENT", "UNPAUSE")


async def test_a_short_stall_does_not_cost_the_store(redis_of_actor: RedisServer) -> None:
    """A machine that is busy for a moment is waited for: the same tick is tried again, and nothing is degraded."""
    redis_of_actor.command("FLUSHALL")
    async with running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=0.2))) as gate:
        gate.settle(await granted(gate, plan((REQUESTS, 1))), {})
        redis_of_actor.command("CLIENT", "PAUSE", "300", "ALL")
        assert isinstance(await gate.acquire(plan((REQUESTS, 1), wait=20_000)), Grant)
        assert not gate.degraded
        assert gate.fallbacks == 0
