"""proxy/departure.py in the corridor: a call leaves while its grant is valid, or asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.raw_server import Peer, raw_server

from .corridor import corridor, service, used
from .gates import until
from .test_lateness import Time, passes

DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


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
