"""Gates for the tests of the actor: on the embedded gate and on a real Redis, with calls on a few limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from rules.policy import Limit
from rules.verdict import Candidate, Charge, Grant, Plan, Refuse
from tests.redis_server import RedisServer, redis_server


def now_ms() -> float:
    """Milliseconds of a clock that never steps back."""
    return time.monotonic() * 1000


@pytest.fixture(scope="module")
def redis_of_actor() -> Iterator[RedisServer]:
    """One Redis for the module."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["embedded", "redis"])
def make(request: pytest.FixtureRequest) -> Callable[[], Gate]:
    """Makes gates on each host in turn; on Redis they share one store, emptied before."""
    if request.param == "embedded":
        return lambda: Gate(now_ms=now_ms)
    server: RedisServer = request.getfixturevalue("redis_of_actor")
    server.command("FLUSHALL")
    return lambda: Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=5.0))


@asynccontextmanager
async def running(gate: Gate) -> AsyncIterator[Gate]:
    """A started gate, closed at the end."""
    await gate.start()
    try:
        yield gate
    finally:
        await gate.close()


@pytest.fixture
async def gate(make: Callable[[], Gate]) -> AsyncIterator[Gate]:
    """A running gate."""
    async with running(make()) as started:
        yield started


REQUESTS = Limit(
    id="r",
    name="requests",
    kind="window",
    meter="requests",
    amount=10,
    window_ms=60_000,
    jitter_ms=500,
    slices=240,
)
TOKENS = Limit(
    id="t", name="tokens", kind="window", meter="tokens", amount=1000, window_ms=60_000, jitter_ms=500, slices=240
)
BRIEF = Limit(id="b", name="brief", kind="window", meter="requests", amount=1, window_ms=100, slices=10)
FLYING = Limit(id="f", name="in flight", kind="concurrent", meter="concurrent", amount=2)


def plan(*charges: tuple[Limit, int], wait: int = 30_000, scope: str = "g", service: str = "s") -> Plan:
    """A call on limits of one key."""
    taken = tuple([Charge(f"{limit.id}:{scope}", limit, cost) for limit, cost in charges])
    return Plan(
        service=service,
        endpoint="e",
        model=None,
        flow="u",
        charges=(),
        candidates=(Candidate("key", scope, (scope,), taken),),
        max_wait_ms=wait,
        max_queue=10_000,
    )


async def granted(gate: Gate, what: Plan) -> Grant:
    """The grant of a call that must go."""
    verdict = await gate.acquire(what)
    assert isinstance(verdict, Grant), verdict
    return verdict


async def refused(gate: Gate, what: Plan) -> Refuse:
    """The refusal of a call that must not."""
    verdict = await gate.acquire(what)
    assert isinstance(verdict, Refuse), verdict
    return verdict


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so; the test's own time-out is the bound."""
    while not condition():
        tick = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.005, tick.set_result, None)
        await tick
