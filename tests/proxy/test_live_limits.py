"""proxy/exchange.py: a configuration that comes into force while calls wait or are on their way."""

from __future__ import annotations

import asyncio

from tests.raw_server import Peer, answering, ok, raw_server

from .corridor import CHAT, KEYS, Answered, Corridor, corridor, service
from .gates import until
from .test_exchange import DONE, SLOW_DOWN, keys_of

ONE_KEY = "[{name: a, env: KEY_A}]"
HOLD = ", hold: {max_wait: 10m}"


async def holding(front: Corridor, count: int = 1) -> list[asyncio.Task[Answered]]:
    """So many calls that wait."""
    calls = [asyncio.ensure_future(front.ask()) for _ in range(count)]
    await until(lambda: front.gate.waiting("openai") == count)
    return calls


async def test_calls_that_wait_go_when_the_limit_is_raised_and_are_refused_when_it_becomes_nothing() -> None:
    """Two of three go by a larger limit; the last is told that 0 lets nothing through."""

    def limited(amount: int) -> str:
        return service(upstream, f", limits: [{{requests: {amount}, window: 60}}]{HOLD}", keys=ONE_KEY)

    async with raw_server(answering(*[DONE] * 3)) as upstream, corridor(limited(1)) as front:
        assert (await front.ask()).status == 200
        calls = await holding(front, 3)
        front.reload(limited(3))
        await until(lambda: front.gate.waiting("openai") == 1)
        front.reload(limited(0))
        replies = await asyncio.gather(*calls)
        assert sorted(reply.status for reply in replies) == [200, 200, 413]
        (refused,) = [reply for reply in replies if reply.status == 413]
        assert refused.reason == "never_fits"
        assert b"0 requests per 60s per group lets nothing through" in refused.body
        assert (await front.ask()).status == 413
    assert len(upstream.requests) == 3


async def test_a_call_that_waits_takes_the_keys_and_costs_of_the_new_configuration() -> None:
    """The pool is another one, and the model counts five times: the call leaves with the new key, charged for five."""
    old = ", limits: [{requests: 6, window: 60, per: []}]" + HOLD
    new = ", limits: [{requests: 6, window: 61, per: []}], costMapping: {gpt-4o: 5}" + HOLD
    async with raw_server(answering(*[DONE] * 7)) as upstream, corridor(service(upstream, old, keys=ONE_KEY)) as front:
        for _ in range(6):
            assert (await front.ask()).status == 200
        (call,) = await holding(front)
        front.reload(service(upstream, new, keys="[{name: b, env: KEY_B}]"))
        assert (await call).status == 200
        assert front.gate.usage("openai") == [("6 requests per 61s", 5, 6)]
    assert keys_of(upstream)[-1] == f"Bearer {KEYS['KEY_B']}"


async def test_a_call_between_two_sendings_is_planned_by_the_configuration_in_force_then() -> None:
    """The upstream says slow down, and meanwhile the key has been replaced: the second sending carries the new one."""
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def once_told(peer: Peer) -> None:
        assert await peer.request() is not None
        arrived.set()
        await answer.wait()
        await peer.send(SLOW_DOWN)
        if await peer.request() is not None:
            await peer.send(DONE)

    async with raw_server(once_told) as upstream, corridor(service(upstream, keys=ONE_KEY)) as front:
        call = asyncio.ensure_future(front.ask())
        await arrived.wait()
        front.reload(service(upstream, keys="[{name: b, env: KEY_B}]"))
        answer.set()
        assert (await call).status == 200
    assert keys_of(upstream) == [f"Bearer {KEYS[name]}" for name in ("KEY_A", "KEY_B")]


async def test_a_call_whose_body_was_on_its_way_meets_the_limits_in_force_when_it_asks() -> None:
    """A slow upload does not bring back the limits of the day it began."""

    async def slowly() -> object:
        yield CHAT[:10]
        front.reload(service(upstream, ", limits: [{requests: 0, window: 60}]"))
        yield CHAT[10:]

    async with raw_server(answering(DONE)) as upstream, corridor(service(upstream)) as front:
        reply = await front.ask(body=slowly())
        assert (reply.status, reply.reason) == (413, "never_fits")


async def test_a_service_that_is_taken_out_lets_its_waiting_calls_end_as_they_began() -> None:
    """There is no plan to replace theirs: they go when the old limit has room, with the old key."""
    gone, named = asyncio.Event(), ", hosts: [api.example.com], limits: [{concurrent: 1}]"

    async def one_after_the_other(peer: Peer) -> None:
        while await peer.request() is not None:
            await gone.wait()
            await peer.send(ok(b"{}"))

    async with (
        raw_server(one_after_the_other) as upstream,
        corridor(service(upstream, named, keys=ONE_KEY, name="mine")) as front,
    ):
        calls = [asyncio.ensure_future(front.ask("/mine/v1/things")) for _ in range(2)]
        await until(lambda: front.gate.waiting("mine") == 1)
        front.reload("services: {}\n")
        gone.set()
        assert [reply.status for reply in await asyncio.gather(*calls)] == [200, 200]
    assert keys_of(upstream) == [f"Bearer {KEYS['KEY_A']}"] * 2


async def test_a_cost_beyond_all_counting_never_fits() -> None:
    """A client asks for more tokens than there are: refused at once, like any call larger than its limit."""
    body = b'{"model": "gpt-4o", "max_tokens": 9%s, "messages": []}' % (b"0" * 40)
    async with (
        raw_server(answering()) as upstream,
        corridor(service(upstream, ", limits: [{tokens: 1000000000, window: 60}]")) as front,
    ):
        reply = await front.ask(body=body)
        assert (reply.status, reply.reason) == (413, "never_fits")
