"""How proxy/gate.py dates a grant, so that none is used late (limiter.md Q10); tests/proxy/test_departure.py uses them.

Both clocks are the test's: the store's and the replica's. They differ by an hour, because neither may be trusted
against the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from proxy.store import StoreUnavailable
from rules import gate as lua
from rules.verdict import Grant
from tests.redis_server import RedisServer, redis_server
from tests.rules.gate.driver import CLOCK_IN_ARGUMENTS

from .gates import FLYING, REQUESTS, granted, plan, running, until

LIBRARY = lua.redis_library(CLOCK_IN_ARGUMENTS)
HOUR = 3_600_000
ONE = replace(REQUESTS, amount=1)
"""One request, J = 500 ms: a call may be on its way for 250 ms."""


class Time:
    """The store's clock and, an hour behind it, the replica's."""

    def __init__(self) -> None:
        self.now = 10_000_000

    def own(self) -> float:
        """What the replica's clock says."""
        return float(self.now - HOUR)


class Store(RedisHost):
    """A real Redis whose clock is the test's. No nudge arrives."""

    def __init__(self, server: RedisServer, time: Time) -> None:
        super().__init__(server.url, library=LIBRARY, try_timeout=5.0)
        self.time = time
        self.before: list[Callable[[], None]] = []
        """What happens on the way there, try by try."""
        self.after: list[Callable[[], None]] = []
        """What happens on the way back."""

    async def tick(self, key: bytes, args: Sequence[bytes | int]) -> bytes:
        """One try."""
        if self.before:
            self.before.pop(0)()
        answer = await super().tick(key, [*args, self.time.now])
        if self.after:
            self.after.pop(0)()
        return answer

    async def listen(self, replica: str, on_nudge: Callable[[bytes], None]) -> None:
        """Every nudge is lost."""
        await asyncio.get_running_loop().create_future()


@pytest.fixture(scope="module")
def redis_of_lateness() -> Iterator[RedisServer]:
    """One Redis for the module."""
    with redis_server() as server:
        yield server


@pytest.fixture
def time(redis_of_lateness: RedisServer) -> Time:
    """Clocks of an empty store."""
    redis_of_lateness.command("FLUSHALL")
    return Time()


@contextlib.asynccontextmanager
async def replica(server: RedisServer, time: Time) -> AsyncIterator[tuple[Gate, Store]]:
    """A gate on the store; its own timers never fire."""
    store = Store(server, time)

    def later(delay: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay if delay == 0 else HOUR, callback, *args)

    async with running(Gate(now_ms=time.own, store=store, call_later=later)) as gate:
        yield gate, store


def passes(time: Time, ms: int) -> Callable[[], None]:
    """Time passes."""

    def pass_() -> None:
        time.now += ms

    return pass_


def is_lost() -> None:
    """The words are lost on their way."""
    raise StoreUnavailable("Redis at a test's address cannot be used: it does not answer in time", "slow")


def and_then(*steps: Callable[[], None]) -> Callable[[], None]:
    """One after the other."""

    def all_() -> None:
        for step in steps:
            step()

    return all_


@pytest.mark.parametrize(("age", "late"), [(250, False), (251, True)])
async def test_a_pushed_grant_whose_nudge_was_lost_is_as_old_as_its_charge(
    redis_of_lateness: RedisServer, time: Time, age: int, late: bool
) -> None:
    """It is found with the next tick, and may be used for what is left of half the jitter since it was charged."""
    async with replica(redis_of_lateness, time) as (one, _), replica(redis_of_lateness, time) as (other, _):
        first = await granted(one, plan((ONE, 1)))
        held = asyncio.ensure_future(other.acquire(plan((ONE, 1), wait=90_000)))
        await until(lambda: other.held == 1)
        one.refund(first)
        await until(lambda: redis_of_lateness.command("HLEN", f"rl:{{s}}:grant:{other.replica}") == "1")
        time.now += age
        later = asyncio.ensure_future(other.acquire(plan((ONE, 1), wait=90_000)))
        verdict = await held
        assert isinstance(verdict, Grant)
        assert (time.own() > verdict.valid_until_ms) is late
        later.cancel()
        await asyncio.wait([later])


@pytest.mark.parametrize(
    ("there", "back", "late"),
    [
        ([], [passes(Time(), 0)], False),
        ([], ["250"], False),
        ([], ["251"], True),
        ([], ["251 lost"], True),
        ([], ["100 lost", "151"], True),
        (["251 lost"], [], False),
    ],
    ids=["at once", "in time", "a stalled loop", "a lost reply", "both", "a lost request"],
)
async def test_a_grant_is_as_old_as_the_way_of_its_reply(
    redis_of_lateness: RedisServer, time: Time, there: list[str], back: list[str], late: bool
) -> None:
    """A reply that comes late or is asked for again makes it older; a request that was lost does not."""

    def step(words: str | Callable[[], None]) -> Callable[[], None]:
        if not isinstance(words, str):
            return words
        ms, _, lost = words.partition(" ")
        return and_then(passes(time, int(ms)), is_lost) if lost else passes(time, int(ms))

    async with replica(redis_of_lateness, time) as (gate, store):
        gate.settle(await granted(gate, plan((FLYING, 1))), {})
        await until(lambda: not gate._ticker.line("s").busy)
        store.before, store.after = [step(words) for words in there], [step(words) for words in back]
        grant = await granted(gate, plan((ONE, 1)))
        assert (time.own() > grant.valid_until_ms) is late
        assert not gate.degraded


@pytest.mark.parametrize("when", ["before the reply", "between the reply and the caller"])
async def test_a_call_cancelled_while_its_grant_is_on_the_way_gives_it_back_once(
    redis_of_lateness: RedisServer, time: Time, when: str
) -> None:
    """Whether the actor or the caller had the grant at that moment."""
    async with replica(redis_of_lateness, time) as (gate, store):
        call = asyncio.ensure_future(gate.acquire(plan((ONE, 1), (FLYING, 2))))

        def leaves() -> None:
            # the turn of the loop that reads the reply also resolves the call: what is called soon comes in between
            if when == "before the reply":
                call.cancel()
            else:
                asyncio.get_running_loop().call_soon(call.cancel)

        store.after = [leaves]
        with pytest.raises(asyncio.CancelledError):
            await call
        assert gate.unfinished == 0
        assert gate.double_finishes == 0
        await granted(gate, plan((ONE, 1), (FLYING, 2)))


async def test_a_reply_from_before_all_was_stated_anew_grants_nothing(
    redis_of_lateness: RedisServer, time: Time
) -> None:
    """The store was left and taken up again meanwhile: the call waits there once, and no ghost of it stands in line."""
    async with replica(redis_of_lateness, time) as (gate, store):
        gate.refund(await granted(gate, plan((ONE, 1))))
        line = gate._ticker.line("s")
        await until(lambda: not line.busy)

        def leaves_and_returns() -> None:
            gate._ticker.go_offline("Redis at a test's address cannot be used: a test says so")
            gate._ticker._go_online()

        store.after = [leaves_and_returns]
        call = asyncio.ensure_future(gate.acquire(plan((ONE, 1), wait=90_000)))
        await until(lambda: line.waiting_everywhere == 1)
        assert (call.done(), gate.unfinished, gate.waiting("s")) == (False, 0, 1)
        call.cancel()
        await asyncio.wait([call])
        await until(lambda: line.waiting_everywhere == 0)
