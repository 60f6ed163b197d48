"""No grant is used late: proxy/departure.py, and how proxy/gate.py dates a grant (limiter.md Q10).

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
from tests.raw_server import Peer, raw_server
from tests.redis_server import RedisServer, redis_server
from tests.rules.gate.driver import CLOCK_IN_ARGUMENTS

from .corridor import corridor, service, used
from .test_gate import FLYING, REQUESTS, granted, plan, running, until

DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SCRIPT = lua.SCRIPT_HEADER + "\n".join([*(lua.text(name) for name in lua.REDIS_FILES[:-1]), CLOCK_IN_ARGUMENTS])
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
        super().__init__(server.url, script=SCRIPT, try_timeout=5.0)
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
    raise StoreUnavailable("Redis at a test's address cannot be used: it does not answer in time", slow=True)


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


# the corridor


class Names:
    """Resolves every name to this machine, once the test lets it; time may pass meanwhile."""

    def __init__(self, slow: Callable[[], None] = lambda: None) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self._slow = slow

    async def __call__(self, name: str) -> list[str]:
        """One name."""
        self.asked += 1
        await self.go.wait()
        self._slow()
        return ["127.0.0.1"]


async def answers(peer: Peer) -> None:
    """An upstream that keeps its connections."""
    while await peer.request() is not None:
        await peer.send(DONE)


def named(port: int, more: str) -> str:
    """A service that is reached by a name."""
    return service(port, more).replace("127.0.0.1", "upstream.test")


@pytest.mark.parametrize("streamed", [False, True], ids=["read", "streamed"])
async def test_a_call_whose_connection_took_too_long_asks_again_and_goes_over_it(streamed: bool) -> None:
    """It is sent once, whole, over the connection it opened; its charge moved to where it is now."""
    time = Time()
    names = Names(passes(time, 251))
    names.go.set()
    path, body = ("/openai/v1/files", b"x" * 100_000) if streamed else ("/openai/v1/models", None)
    async with (
        raw_server(answers) as upstream,
        corridor(named(upstream.port, ", limits: [{requests: 1, window: 1}]"), now_ms=time.own, lookup=names) as front,
    ):
        assert (await front.ask(path, body)).status == 200
        (request,) = upstream.requests
        assert request.endswith(body or b"\r\n\r\n")
        assert (len(upstream.connections), names.asked) == (1, 1)
        assert front.sample("headgate_late_grants_total", service="openai") == 1
        assert front.lines()[0]["attempts"] == 1
        # 1,250 ms after the first charge, 999 after the one that was used: the limit is still taken
        time.now += 999
        assert (await front.ask(x_headgate_max_wait="0")).status == 429
        assert used(front.gate, "1 requests") == 1


async def test_a_call_in_time_is_sent_with_its_first_grant() -> None:
    """A connection that took just half the jitter is no reason to ask again."""
    time = Time()
    names = Names(passes(time, 250))
    names.go.set()
    async with (
        raw_server(answers) as upstream,
        corridor(named(upstream.port, ", limits: [{requests: 1, window: 1}]"), now_ms=time.own, lookup=names) as front,
    ):
        assert (await front.ask()).status == 200
        assert front.sample("headgate_late_grants_total", service="openai") == 0


@pytest.mark.parametrize(("most", "late"), [("0", 2), ("3", 5)])
async def test_a_call_that_is_always_late_is_held_no_longer_than_it_may(most: str, late: int) -> None:
    """At a clock that steps a second at each look nothing is ever in time; one that may not wait has one more try."""
    time = Time()

    def steps() -> float:
        time.now += 500
        return time.own()

    async with (
        raw_server(answers) as upstream,
        corridor(service(upstream, ", limits: [{requests: 9, window: 60}]"), now_ms=steps) as front,
    ):
        answer = await front.ask(x_headgate_max_wait=most)
        assert (answer.status, answer.reason) == (429, "hold_expired")
        assert upstream.requests == []
        assert len(upstream.connections) == 1
        assert 2 <= front.sample("headgate_late_grants_total", service="openai") <= late
        assert front.lines()[0]["attempts"] == 0


async def test_an_observed_call_goes_however_late_it_is() -> None:
    """It is counted, and neither held nor refused."""
    time = Time()
    names = Names(passes(time, 5000))
    names.go.set()
    more = ", mode: observe, limits: [{requests: 1, window: 60}]"
    async with (
        raw_server(answers) as upstream,
        corridor(named(upstream.port, more), now_ms=time.own, lookup=names) as front,
    ):
        assert (await front.ask()).status == 200
        assert front.sample("headgate_late_grants_total", service="openai") == 0


async def test_a_client_that_leaves_while_the_connection_is_opened_is_never_sent_and_costs_nothing() -> None:
    """Its only request is free for the next call."""
    names = Names()
    async with (
        raw_server(answers) as upstream,
        corridor(named(upstream.port, ", limits: [{requests: 1, window: 60}]"), lookup=names) as front,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /openai/v1/gone HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: names.asked)
        writer.close()
        await front.quiet()
        names.go.set()
        assert (await front.ask("/openai/v1/next", None, x_headgate_max_wait="0")).status == 200
        (request,) = upstream.requests
        assert b"/v1/next" in request
