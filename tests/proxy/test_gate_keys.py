"""proxy/gate.py: keys that rest or are turned off, on both hosts, over replicas, and while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from rules.gate.resting import KeyRest
from rules.verdict import Block, Candidate, Grant, Plan
from tests.redis_server import redis_server

from .gates import gate as gate
from .gates import granted, now_ms, plan, refused, running, until
from .gates import make as make
from .gates import redis_of_actor as redis_of_actor

MINUTE = 60_000
DEAD = Block("x", MINUTE, "dead", 401, "a-1", None, MINUTE, False)


def calls(*keys: str, replayable: bool = False) -> Plan:
    """A call for which these keys may serve."""
    made = plan(wait=0)
    made.candidates = tuple([Candidate(key, key, (key,), ()) for key in keys])
    made.replayable = replayable
    return made


async def test_a_grant_that_tries_a_key_names_what_it_tries(gate: Gate) -> None:
    """Lifting that ends the rest; a grant of a sound key names nothing."""
    gate.rest("s", [Block("x", 0, "dead", 401, "a-1", None, MINUTE, False)])
    tried = await granted(gate, calls("x", "y", replayable=True))
    assert (tried.key, tried.tries) == ("x", ("x",))
    assert (await granted(gate, calls("x", "y", replayable=True))).tries == ()
    gate.lift("s", tried.tries)
    served = [await granted(gate, calls("x", "y")) for _ in range(2)]
    assert {(one.key, one.tries) for one in served} == {("x", ()), ("y", ())}
    for one in served:
        gate.settle(one, {})


async def test_what_one_replica_learns_the_other_is_told(make: Callable[[], Gate]) -> None:
    """With its next word to the store; each change once."""
    heard: list[Sequence[KeyRest]] = []
    one, other = make(), make()
    async with running(one), running(other):
        if one._store is None:  # embedded gates share nothing
            other = one
        other._ticker._on_rests = lambda line: heard.append(line.words.rests)
        one.rest("s", [DEAD])
        await granted(one, calls("y"))
        await granted(other, calls("y"))
        await until(lambda: heard)
        ((rest,),) = heard
        assert (rest.scope, rest.state, rest.status, rest.key) == ("x", "error", 401, "a-1")
        assert (await refused(other, calls("x"))).code == "no_key"


async def test_an_order_is_done_when_the_host_has_it(gate: Gate) -> None:
    """The next call knows."""
    await gate.turn("s", "x", on=False)
    assert (await refused(gate, calls("x"))).code == "no_key"
    await gate.turn("s", "x", on=True)
    assert (await granted(gate, calls("x"))).key == "x"


async def test_what_rests_and_what_is_off_holds_while_the_store_is_away_and_afterwards() -> None:
    """The fallback is told what the store said last; what is ordered meanwhile the store is told when it is back."""
    with redis_server() as server:
        async with running(Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=1.0))) as gate:
            gate.rest("s", [DEAD])
            await gate.turn("s", "off", on=False)
            await gate.look_at_rests("s")
            server.kill()
            assert (await granted(gate, calls("x", "off", "z"))).key == "z"
            assert gate.degraded
            assert (await refused(gate, calls("x", "off"))).code == "no_key"
            await gate.turn("s", "z", on=False)
            await gate.turn("s", "off", on=True)
            server.start()
            await until(lambda: not gate.degraded)
            assert isinstance(await gate.acquire(calls("off")), Grant)
            assert (await refused(gate, calls("x", "z"))).code == "no_key"


async def test_a_store_that_lost_everything_is_told_what_rests() -> None:
    """What an operator turned off is another matter: he may have turned it on through another replica."""
    with redis_server() as server:
        async with running(Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=5.0))) as gate:
            gate.rest("s", [DEAD])
            await granted(gate, calls("y"))
            await until(lambda: gate._ticker.line("s").words.rests)
            server.command("FLUSHALL")
            await granted(gate, calls("y"))
            verdicts = await asyncio.gather(*[gate.acquire(calls("x")) for _ in range(3)])
            assert not any(isinstance(verdict, Grant) for verdict in verdicts)
