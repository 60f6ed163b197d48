"""proxy/gate.py and proxy/line.py: the actor, on the embedded gate and on a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from proxy.gate import Gate
from rules.policy import Limit
from rules.verdict import Block, Grant, Refuse

from .gates import BRIEF, FLYING, REQUESTS, TOKENS, granted, now_ms, plan, refused, running, until
from .gates import gate as gate
from .gates import make as make
from .gates import redis_of_actor as redis_of_actor


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
    first = await granted(gate, plan((BRIEF, 1)))
    verdict = await granted(gate, plan((BRIEF, 1)))
    assert verdict.waited_ms > 0
    assert now_ms() - first.made_ms >= 100


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
