"""proxy/gate.py: what the gate says to a call that only asks, on the embedded gate and on a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from proxy.store import StoreUnavailable
from rules.verdict import Explained
from tests.redis_server import redis_server

from .gates import FLYING, REQUESTS, TOKENS, granted, now_ms, plan, refused, running, until
from .gates import gate as gate
from .gates import make as make
from .gates import redis_of_actor as redis_of_actor


async def test_asking_takes_nothing(gate: Gate) -> None:
    """However often: all of the limit is there for the call that comes."""
    whole = plan((REQUESTS, 10), (FLYING, 2), wait=0)
    for _ in range(3):
        said = await gate.explain(whole)
        assert (said.verdict, said.key, said.group, said.wait_ms) == ("go", "key", "g", 0)
    await granted(gate, whole)
    assert (gate.granted, gate.unfinished) == (1, 1)


async def test_the_refusal_is_foretold(gate: Gate) -> None:
    """Code, limit and time, as `acquire` then says them."""
    await granted(gate, plan((TOKENS, 900)))
    said = await gate.explain(plan((TOKENS, 200), wait=1000))
    verdict = await refused(gate, plan((TOKENS, 200), wait=1000))
    assert (said.verdict, said.code, said.binds and said.binds.limit) == ("refuse", verdict.code, verdict.limit)
    assert said.wait_ms is not None
    assert verdict.retry_after_ms is not None
    assert 0 <= said.wait_ms - verdict.retry_after_ms < 1000
    assert (said.rooms[0].used, said.rooms[0].room) == (900, 100)


async def test_who_waits_is_counted_and_goes_first(gate: Gate) -> None:
    """A question stands behind the held call and does not hold the next one up."""
    first = await granted(gate, plan((FLYING, 2)))
    held = asyncio.ensure_future(gate.acquire(plan((FLYING, 1))))
    await until(lambda: gate.held == 1)
    said = await gate.explain(plan((FLYING, 2)))
    assert (said.verdict, said.waiting, said.wait_ms, said.rooms[0].ahead) == ("wait", 1, None, 1)
    gate.settle(first, {})
    await held
    assert (await gate.explain(plan((FLYING, 1)))).verdict == "go"
    assert (await gate.explain(plan((FLYING, 2)))).verdict == "wait"


async def test_asking_makes_no_line(gate: Gate) -> None:
    """A service nobody has called stays one that nobody has called."""
    assert (await gate.explain(plan((REQUESTS, 1), service="other"))).verdict == "go"
    assert gate.services == []


async def test_what_the_embedded_gate_was_told_last_is_counted() -> None:
    """A settlement that waits for the next tick is no longer use to who asks."""
    async with running(Gate(now_ms=now_ms)) as gate:
        gate.settle(await granted(gate, plan((TOKENS, 1000))), {"tokens": 10.0})
        assert (await gate.explain(plan((TOKENS, 990)))).verdict == "go"


async def test_a_gate_that_drains_says_so() -> None:
    """As it says to calls."""
    async with running(Gate(now_ms=now_ms)) as gate:
        gate.drain()
        assert await gate.explain(plan((REQUESTS, 1))) == Explained(verdict="refuse", code="draining")


async def test_another_process_sees_the_shared_use_and_leaves_no_trace() -> None:
    """Who only asks is no replica, and its coming and going changes nothing in the store."""
    with redis_server() as server:
        gate, asker = (Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=5.0)) for _ in range(2))
        async with running(gate):
            await granted(gate, plan((REQUESTS, 4)))
            keys = server.command("DBSIZE")
            async with running(asker):
                assert (await asker.explain(plan((REQUESTS, 1)))).rooms[0].used == 4
            assert server.command("DBSIZE") == keys
            assert server.command("EXISTS", f"rl:{{s}}:rep:{asker.replica}") == "0"


async def test_a_store_that_is_away_is_said_and_costs_nothing_else() -> None:
    """The asker is told; the gate stays with the store until a call finds it gone."""
    with redis_server() as server:
        async with running(Gate(now_ms=now_ms, store=RedisHost(server.url))) as gate:
            await granted(gate, plan((REQUESTS, 4)))
            server.kill()
            with pytest.raises(StoreUnavailable):
                await gate.explain(plan((REQUESTS, 1), service="other"))
            assert not gate.degraded
