"""proxy/gate.py and proxy/line.py: the actor, on the embedded gate and on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from proxy.store import StoreUnavailable
from rules.policy import Limit
from rules.verdict import Block, Candidate, Charge, Grant, Plan, Refuse
from tests.redis_server import RedisServer, free_port, redis_server


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


async def test_a_grant_names_key_group_and_what_was_taken(gate: Gate) -> None:
    """All that the rest of the proxy needs."""
    grant = await granted(gate, plan((REQUESTS, 1), (TOKENS, 100), (FLYING, 1)))
    assert (grant.service, grant.key, grant.group) == ("s", "key", "g")
    assert [(t.charge.limit.name, t.charge.cost) for t in grant.taken] == [
        ("requests", 1),
        ("tokens", 100),
        ("in flight", 1),
    ]
    gate.settle(grant, {})
    assert gate.unfinished == 0


async def test_a_settlement_downwards_is_room_for_the_next(gate: Gate) -> None:
    """900 were charged, 100 were true, so 900 more go."""
    grant = await granted(gate, plan((TOKENS, 900)))
    assert (await refused(gate, plan((TOKENS, 900), wait=0))).code == "wait_too_long"
    gate.settle(grant, {"tokens": 100.0})
    await granted(gate, plan((TOKENS, 900), wait=0))


async def test_a_settlement_upwards_closes_the_window(gate: Gate) -> None:
    """100 were charged, 1,000 were true."""
    grant = await granted(gate, plan((TOKENS, 100)))
    gate.settle(grant, {"tokens": 1000.0, "images": 3.0})
    verdict = await refused(gate, plan((TOKENS, 1), wait=0))
    assert verdict.limit is TOKENS
    assert verdict.retry_after_ms is not None


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -5.0])
async def test_an_amount_that_is_none_keeps_the_estimate(gate: Gate, amount: float) -> None:
    """A broken usage field neither frees nor fills."""
    grant = await granted(gate, plan((TOKENS, 600)))
    gate.settle(grant, {"tokens": amount})
    assert isinstance(await gate.acquire(plan((TOKENS, 401), wait=0)), Refuse)
    await granted(gate, plan((TOKENS, 400), wait=0))


async def test_a_refund_takes_everything_back(gate: Gate) -> None:
    """The upstream cannot have counted it."""
    gate.refund(await granted(gate, plan((REQUESTS, 10), (FLYING, 2))))
    await granted(gate, plan((REQUESTS, 10), (FLYING, 2), wait=0))


ENDS = Limit(
    id="e", name="ends", kind="window", meter="tokens", amount=10, window_ms=60_000, slices=240, count_at="end"
)


async def test_a_call_counted_at_its_end_holds_its_estimate_and_then_counts_what_it_was(gate: Gate) -> None:
    """Of 10 a call holds 9; ended at 3 it leaves 7, and one that was never sent leaves all it held."""
    first = await gate.acquire(plan((ENDS, 9), wait=0))
    assert isinstance(first, Grant)
    assert isinstance(await gate.acquire(plan((ENDS, 2), wait=0)), Refuse)
    gate.settle(first, {"tokens": 3})
    second = await gate.acquire(plan((ENDS, 7), wait=0))
    assert isinstance(second, Grant)
    gate.refund(second)
    third = await gate.acquire(plan((ENDS, 7), wait=0))
    assert isinstance(third, Grant)
    gate.settle(third, {})
    assert isinstance(await gate.acquire(plan((ENDS, 1), wait=0)), Refuse)


async def test_finishing_twice_is_harmless_and_counted(gate: Gate) -> None:
    """Refund after settle gives nothing back."""
    grant = await granted(gate, plan((REQUESTS, 10)))
    gate.settle(grant, {})
    gate.refund(grant)
    gate.settle(grant, {})
    assert gate.double_finishes == 2
    assert isinstance(await gate.acquire(plan((REQUESTS, 1), wait=0)), Refuse)


async def test_a_held_call_goes_when_one_lands(gate: Gate) -> None:
    """In the order of arrival."""
    flying = [await granted(gate, plan((FLYING, 1))) for _ in range(2)]
    held = [asyncio.ensure_future(gate.acquire(plan((FLYING, 1)))) for _ in range(3)]
    await until(lambda: gate.held == 3)
    for i, call in enumerate(held):
        gate.settle(flying[i], {})
        verdict = await call
        assert isinstance(verdict, Grant)
        flying.append(verdict)
        assert [h.done() for h in held] == [True] * (i + 1) + [False] * (2 - i)


async def test_a_held_call_goes_when_the_window_turns(gate: Gate) -> None:
    """The timer looks again at the time the store named."""
    await granted(gate, plan((BRIEF, 1)))
    verdict = await granted(gate, plan((BRIEF, 1)))
    assert verdict.waited_ms >= 100


async def test_a_call_with_room_has_waited_for_nothing_however_long_the_answer_takes() -> None:
    """Only what was held is told as held: the way to the store and back is no waiting for room."""
    hours = iter(range(10_000))
    async with running(Gate(now_ms=lambda: next(hours) * 5.0)) as gate:
        assert (await granted(gate, plan((REQUESTS, 10)))).waited_ms == 0
        assert (await refused(gate, plan((REQUESTS, 1), wait=0))).waited_ms == 0


async def test_a_held_call_expires_at_its_deadline(gate: Gate) -> None:
    """With the limit it waited for; its place goes to the next."""
    first = await granted(gate, plan((FLYING, 2)))
    verdict = await refused(gate, plan((FLYING, 2), wait=60))
    assert (verdict.code, verdict.limit) == ("hold_expired", FLYING)
    assert verdict.waited_ms >= 60
    gate.settle(first, {})
    await granted(gate, plan((FLYING, 2), wait=0))


async def test_a_cancelled_call_leaves_the_line(gate: Gate) -> None:
    """The next takes its turn, and nothing of it remains."""
    first = await granted(gate, plan((FLYING, 2)))
    gone = asyncio.ensure_future(gate.acquire(plan((FLYING, 2))))
    await until(lambda: gate.held == 1)
    stays = asyncio.ensure_future(gate.acquire(plan((FLYING, 1))))
    await until(lambda: gate.held == 2)
    gone.cancel()
    await asyncio.wait([gone])
    gate.settle(first, {})
    assert isinstance(await stays, Grant)
    await granted(gate, plan((FLYING, 1), wait=0))


@pytest.mark.parametrize("steps", range(8))
async def test_a_call_cancelled_at_any_moment_gives_its_place_back(gate: Gate, steps: int) -> None:
    """Cancelled after so many turns of the loop, whatever had happened: afterwards the whole limit is free."""
    call = asyncio.ensure_future(gate.acquire(plan((FLYING, 2), (TOKENS, 1000))))
    for _ in range(steps):
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn
    if not call.cancel():
        verdict = call.result()
        assert isinstance(verdict, Grant)
        gate.refund(verdict)
    else:
        await asyncio.wait([call])
    assert isinstance(await granted(gate, plan((FLYING, 2), (TOKENS, 1000), wait=2000)), Grant)
    assert gate.unfinished == 1


async def test_a_resting_group_is_not_granted(gate: Gate) -> None:
    """What a 429 taught holds for the next call."""
    gate.rest("s", [Block("g", 50_000, "slow_down")])
    verdict = await refused(gate, plan((REQUESTS, 1), wait=0))
    assert verdict.code == "no_key"
    assert verdict.retry_after_ms is not None
    assert 49_000 < verdict.retry_after_ms <= 50_000


async def test_draining_refuses_what_waits_and_what_comes(gate: Gate) -> None:
    """And lets what was granted finish."""
    first = await granted(gate, plan((FLYING, 2)))
    held = asyncio.ensure_future(gate.acquire(plan((FLYING, 1))))
    await until(lambda: gate.held == 1)
    gate.drain()
    verdict = await held
    assert isinstance(verdict, Refuse)
    assert verdict.code == "draining"
    assert (await refused(gate, plan((REQUESTS, 1)))).code == "draining"
    gate.settle(first, {})


async def test_usage_tells_the_fullest_limit(gate: Gate) -> None:
    """For the gauge of the metrics."""
    await granted(gate, plan((REQUESTS, 1), (TOKENS, 900)))
    assert gate.usage("s") == [("tokens", 900, 1000)]
    assert gate.usage("unknown") == []


async def test_many_callers_never_exceed_a_limit(gate: Gate) -> None:
    """Fifty workers, two in flight at most, all served."""
    now, most, served = 0, 0, 0

    async def worker() -> None:
        nonlocal now, most, served
        for _ in range(4):
            grant = await granted(gate, plan((FLYING, 1)))
            now += 1
            most = max(most, now)
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int))])
            now -= 1
            served += 1
            gate.settle(grant, {})

    await asyncio.gather(*[worker() for _ in range(50)])
    assert (most, served) == (2, 200)


async def test_with_room_the_embedded_gate_answers_without_a_pause() -> None:
    """Driving the coroutine by hand, it ends at its first step."""
    async with running(Gate(now_ms=now_ms)) as gate:
        with pytest.raises(StopIteration) as stopped:
            gate.acquire(plan((REQUESTS, 1))).send(None)
        assert isinstance(stopped.value.value, Grant)


async def test_what_arrives_during_a_tick_travels_in_the_next(redis_of_actor: RedisServer) -> None:
    """A hundred callers at once need a handful of ticks, not a hundred."""
    redis_of_actor.command("FLUSHALL")
    redis_of_actor.command("CONFIG", "RESETSTAT")
    async with running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))) as gate:
        big = Limit(id="r", name="r", kind="window", meter="requests", amount=1000, window_ms=60_000, slices=240)
        await asyncio.gather(*[granted(gate, plan((big, 1))) for _ in range(100)])
        stats = redis_of_actor.command("INFO", "commandstats")
    calls = int(stats.split("cmdstat_evalsha:calls=")[1].split(",")[0])
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
