"""Relaying a reply: raw upstream, real connector, real client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from proxy.addresses import AddressPolicy
from proxy.call import Call
from proxy.headers import value_of
from proxy.stream import relay
from proxy.upstream import Target, Upstream
from tests.raw_server import Peer, answering, ok, raw_server

from .frontdoor import front_door, talk

GET = b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _relaying(port: int, tapped: bytearray, first: int = 0) -> Callable[[Call], Awaitable[None]]:
    """A handler that sends the call on and relays the reply; `first`: how much of it is read before."""

    async def handle(call: Call) -> None:
        upstream = Upstream(addresses=AddressPolicy(), client_context=lambda _: ssl.create_default_context())
        try:
            target = Target("http", "127.0.0.1", port, checked=False)
            reply = await upstream.send(target, b"GET", b"/", [(b"Host", b"a")], None)
            begun = await reply.read(first) if first else b""
            declared = value_of(reply.headers, b"content-length")
            call.answer.start(reply.status, reply.reason, [], length=int(declared) if declared else None)
            await relay(reply, call.answer, tapped.extend, (begun,) if begun else ())
            reply.release()
        finally:
            await upstream.close()

    return handle


async def test_pieces_arrive_as_they_come_and_the_tap_sees_them_all() -> None:
    """The first event of a stream reaches the client while the upstream still holds the second."""
    second = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"7\r\nfirst, \r\n")
        await second.wait()
        await peer.send(b"6\r\nsecond\r\n0\r\n\r\n")

    tapped = bytearray()
    async with raw_server(script) as server, front_door(_relaying(server.port, tapped)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(GET)
        assert (await reader.readuntil(b"first, \r\n")).endswith(b"\r\n\r\n7\r\nfirst, \r\n")
        second.set()
        assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"
        writer.close()
    assert tapped == b"first, second"


async def test_what_was_read_before_comes_first() -> None:
    """Body bytes that were looked at go out in front of the rest, through the tap too."""
    tapped = bytearray()
    body = bytes(range(256)) * 1000
    async with raw_server(answering(ok(body))) as server, front_door(_relaying(server.port, tapped, 1000)) as front:
        data = await talk(front.port, GET)
    assert data.partition(b"\r\n\r\n")[2] == body == bytes(tapped)


async def test_an_empty_reply_is_whole() -> None:
    """No body, no piece: head and end mark leave together."""
    tapped = bytearray()
    for raw in (ok(b""), CHUNKED + b"0\r\n\r\n"):
        async with raw_server(answering(raw)) as server, front_door(_relaying(server.port, tapped)) as front:
            head, _, body = (await talk(front.port, GET)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert body in (b"", b"0\r\n\r\n")
    assert tapped == b""


async def test_a_reply_that_breaks_off_is_cut() -> None:
    """What came before arrives, the end mark does not (threats H3)."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"5\r\nhello\r\n")

    async with raw_server(script) as server, front_door(_relaying(server.port, bytearray())) as front:
        data = await talk(front.port, GET)
    assert data.endswith(b"\r\n\r\n5\r\nhello\r\n")


async def test_a_slow_client_slows_the_upstream_down() -> None:
    """While the client reads nothing, the upstream cannot send: most of the reply stays with it."""
    size, blocked = 50_000_000, asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sending = asyncio.ensure_future(peer.send(b"x" * size))
        seen = -1
        while not sending.done() and len(tapped) != seen:
            seen = len(tapped)
            await asyncio.wait([sending], timeout=0.2)
        if not sending.done():
            blocked.set()
        await sending

    tapped = bytearray()
    async with raw_server(script) as server, front_door(_relaying(server.port, tapped)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port, limit=1000)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        await blocked.wait()
        assert len(tapped) < size / 2
        taken = 0
        while piece := await reader.read(1 << 20):
            taken += len(piece)
        writer.close()
    assert taken == size == len(tapped)
