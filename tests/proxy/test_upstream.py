"""The upstream room against real sockets: every row of replies.py, every code, framing, pooling, leaving."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from proxy.addresses import AddressPolicy
from proxy.faults import (
    AddressDenied,
    UpstreamBroke,
    UpstreamFull,
    UpstreamProblem,
    UpstreamStalled,
    UpstreamTimeout,
)
from proxy.tasks import _running as running_tasks
from proxy.upstream import Target, Timeouts, Upstream
from tests.proxy.replies import CUT, PASSED, REFUSED, ROWS, Row
from tests.raw_server import Peer, RawServer, Script, answering, ok, raw_server

from .sending import HOST, context, target, whole
from .sending import upstream as upstream


def script_of(row: Row, split: Callable[[bytes], list[bytes]]) -> Script:
    """Send a row's bytes, cut as `split` says."""

    async def script(peer: Peer) -> None:
        if await peer.request() is None:
            return
        for piece in split(row.raw):
            await peer.send(piece)
        if not row.end:
            await peer.until_closed()

    return script


def at_lines(raw: bytes) -> list[bytes]:
    """A piece per line; tables of thousands of lines go whole."""
    return raw.splitlines(keepends=True) if len(raw) < 20_000 else [raw]


SPLITS: dict[str, Callable[[bytes], list[bytes]]] = {"whole": lambda raw: [raw], "lines": at_lines}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS.keys())
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_raw_answers(row: Row, split: Callable[[bytes], list[bytes]], upstream: Upstream) -> None:
    """Each raw answer is passed on, refused or cut as its row says, after one send, and nothing is left behind."""
    async with raw_server(script_of(row, split)) as server:
        got: list[bytes] = []
        code: str | None = None
        status: int | str
        try:
            reply = await upstream.send(target(server), row.method, b"/v1/x", HOST, None)
            status = reply.status
            try:
                async for piece in reply:
                    got.append(piece)
                reply.release()
            except UpstreamProblem as problem:
                code = problem.code
        except UpstreamProblem as problem:
            status = problem.code
        assert (status, b"".join(got), code) == (row.becomes, row.body, row.cut)
        assert len(server.requests) == 1


def test_table_is_long_enough() -> None:
    """More than forty raw answers are scripted, of each outcome some."""
    assert len(ROWS) > 90
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert all((PASSED, REFUSED, CUT))


async def test_keep_alive(upstream: Upstream) -> None:
    """Calls after each other share one connection, and the reply says so."""
    async with raw_server(answering(ok())) as server:
        reused = []
        for _ in range(3):
            reply = await upstream.send(target(server), b"GET", b"/", HOST, None)
            assert await whole(reply) == b"ok"
            assert reply.complete
            reply.release()
            reused.append(reply.reused)
        assert reused == [False, True, True]
        assert len(server.connections) == 1


@pytest.mark.parametrize("row", [row for row in PASSED if not row.end], ids=lambda row: row.id)
async def test_which_connections_are_pooled(row: Row, upstream: Upstream) -> None:
    """Only a connection whose answer was whole, kept alive, and followed by nothing carries another call."""

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(row.raw)

    async with raw_server(script) as server:
        for _ in range(2):
            reply = await upstream.send(target(server), row.method, b"/", HOST, None)
            assert await whole(reply) == row.body
            reply.release()
        assert len(server.connections) == (1 if row.pooled else 2)


async def test_unread_body_is_not_pooled(upstream: Upstream) -> None:
    """A reply released before its body arrived closes its connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        await peer.until_closed()

    async with raw_server(script) as server:
        reply = await upstream.send(target(server), b"GET", b"/", HOST, None)
        assert await reply.read(2) == b"he"
        assert not reply.complete
        reply.release()
        await server.connections[0].closed.wait()


async def test_dead_idle_connection_is_not_used(upstream: Upstream) -> None:
    """A pooled connection the upstream has closed meanwhile is noticed before anything is sent on it."""
    async with raw_server(answering(ok(), close=True)) as server:
        for _ in range(3):
            reply = await upstream.send(target(server), b"POST", b"/", HOST, b"{}")
            assert not reply.reused
            reply.release()
            await server.connections[-1].finished.wait()
        assert len(server.requests) == 3


async def test_bytes_on_an_idle_connection_close_it(upstream: Upstream) -> None:
    """An answer to no request is dropped with its connection: the next call never gets it (H4)."""
    spoken = asyncio.Event()
    speak = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"first"))
        await speak.wait()
        await peer.send(ok(b"stale"))
        spoken.set()
        if await peer.request() is not None:
            await peer.send(ok(b"second"))

    async with raw_server(script) as server:
        reply = await upstream.send(target(server), b"GET", b"/", HOST, None)
        reply.release()
        speak.set()
        await spoken.wait()
        later = asyncio.ensure_future(upstream.send(target(server), b"GET", b"/", HOST, None))
        while len(server.connections) < 2:
            await asyncio.get_running_loop().run_in_executor(None, int)
        reply = await later
        assert await whole(reply) == b"first"
        reply.release()


async def test_unanswered_call_is_sent_once(upstream: Upstream) -> None:
    """A connection that closes instead of answering ends the call, for every method; nothing is sent again (H1)."""
    for method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"POST"):

        async def script(peer: Peer) -> None:
            await peer.request()

        async with raw_server(script) as server:
            with pytest.raises(UpstreamBroke) as caught:
                await upstream.send(target(server), method, b"/", HOST, None)
            assert len(server.connections) == 1
            assert (caught.value.reused, caught.value.sent, caught.value.counted) == (False, True, True)


async def test_reused_connection_that_breaks_says_so(upstream: Upstream) -> None:
    """When a kept connection breaks under a call, the caller learns that it was a kept one, and decides."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.request()

    async with raw_server(script) as server:
        (await upstream.send(target(server), b"GET", b"/", HOST, None)).release()
        with pytest.raises(UpstreamBroke) as caught:
            await upstream.send(target(server), b"GET", b"/", HOST, None)
        assert (caught.value.reused, caught.value.answered) == (True, False)
        assert len(server.requests) == 2


async def test_reset_in_mid_stream(upstream: Upstream) -> None:
    """A reset cuts the body: what came before is handed out, then the problem is raised (H3)."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        await go.wait()
        peer.reset()

    async with raw_server(script) as server:
        reply = await upstream.send(target(server), b"GET", b"/", HOST, None)
        assert await anext(reply) == b"hello"
        go.set()
        with pytest.raises(UpstreamBroke) as caught:
            await anext(reply)
        assert caught.value.answered
        assert not reply.complete


async def test_first_byte_limit() -> None:
    """An upstream that never answers ends in upstream_timeout, one that trickles its head too (H7)."""
    upstream = Upstream(addresses=AddressPolicy(), client_context=context, timeouts=Timeouts(first_byte_s=0.05))

    async def silent(peer: Peer) -> None:
        await peer.until_closed()

    async def trickling(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nX: ")
        while not peer.is_closing():
            await peer.send(b"a")
            await asyncio.get_running_loop().run_in_executor(None, int)

    for script in (silent, trickling):
        async with raw_server(script) as server:
            with pytest.raises(UpstreamTimeout) as caught:
                await upstream.send(target(server), b"GET", b"/", HOST, None)
            assert caught.value.counted
    await upstream.close()


async def test_body_idle_limit() -> None:
    """A body that stops arriving is cut after the idle limit; what came is handed out first (H7)."""
    upstream = Upstream(addresses=AddressPolicy(), client_context=context, timeouts=Timeouts(body_idle_s=0.05))

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
        await peer.until_closed()

    async with raw_server(script) as server:
        reply = await upstream.send(target(server), b"GET", b"/", HOST, None)
        assert await anext(reply) == b"hello"
        with pytest.raises(UpstreamStalled):
            await anext(reply)
        await server.connections[0].closed.wait()
    await upstream.close()


async def test_refused() -> None:
    """A port nobody listens on is upstream_refused, and the call cannot have been counted (H12)."""
    upstream = Upstream(addresses=AddressPolicy(), client_context=context)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(UpstreamProblem) as caught:
        await upstream.send(Target("http", "a.test", 80, ("127.0.0.1", port), None, False), b"GET", b"/", HOST, None)
    assert (caught.value.code, caught.value.counted) == ("upstream_refused", False)
    await upstream.close()


async def test_address_denied(upstream: Upstream) -> None:
    """A checked target on a denied address is refused before a packet leaves (C1)."""
    async with raw_server(answering(ok())) as server:
        for host in ("127.0.0.1", "::1", "0x7f000001", "2130706433", "::ffff:127.0.0.1"):
            with pytest.raises(AddressDenied) as caught:
                await upstream.send(Target("http", host, 443), b"GET", b"/", HOST, None)
            assert (caught.value.code, caught.value.counted) == ("address_denied", False)
        assert not server.connections


async def test_pool_limit() -> None:
    """A call waits for a free place in the pool, and is told when none comes; none of it was sent."""
    times = Timeouts(slot_s=0.02)
    upstream = Upstream(addresses=AddressPolicy(), client_context=context, timeouts=times, limit=1)
    async with raw_server(answering(ok())) as server:
        first = await upstream.send(target(server), b"GET", b"/", HOST, None)
        with pytest.raises(UpstreamFull) as caught:
            await upstream.send(target(server), b"GET", b"/", HOST, None)
        assert (caught.value.code, caught.value.counted) == ("overloaded", False)
        first.release()
        (await upstream.send(target(server), b"GET", b"/", HOST, None)).release()
        assert len(server.connections) == 1
    await upstream.close()


@pytest.mark.parametrize("stage", ["head", "body", "upload"])
async def test_cancelled_call_closes_its_connection(stage: str, upstream: Upstream) -> None:
    """A call that is given up closes its connection at once and leaves no task, whatever it waited for."""
    there = asyncio.Event()
    never = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        if stage == "body":
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        there.set()
        await peer.until_closed()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"a"
        await never.wait()

    async def call(server: RawServer) -> None:
        body = stuck() if stage == "upload" else None
        reply = await upstream.send(target(server), b"POST", b"/", HOST, body, chunked=stage == "upload")
        try:
            await whole(reply)
        finally:
            reply.abort()

    async with raw_server(script) as server:
        task = asyncio.ensure_future(call(server))
        await there.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.connections[0].closed.wait()
        assert not running_tasks


async def test_read_in_parts(upstream: Upstream) -> None:
    """A bounded read takes no more than asked, says whether that was all, and leaves the rest for the stream."""
    async with raw_server(answering(ok(b"0123456789"))) as server:
        reply = await upstream.send(target(server), b"GET", b"/", HOST, None)
        assert (await reply.read(4), reply.complete, reply.buffered) == (b"0123", False, True)
        assert [piece async for piece in reply.chunks()] == [b"456789"]
        assert (await reply.read(4), reply.complete) == (b"", True)
        reply.release()
        assert reply.complete


async def test_head_is_kept_as_it_came(upstream: Upstream) -> None:
    """Reason, field order, spelling and bytes reach the caller unchanged; nothing is decoded."""
    raw = (
        b"HTTP/1.1 200 S\xfcper \xe2\x9c\x93\r\nsEt-cOOkie: a\r\nB: \xff\r\nSet-Cookie: c\r\n"
        b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\n!"
    )
    async with raw_server(answering(raw)) as server:
        reply = await upstream.send(target(server), b"GET", b"/", HOST, None)
        assert reply.reason == b"S\xfcper \xe2\x9c\x93"
        assert reply.headers == [
            (b"sEt-cOOkie", b"a"),
            (b"B", b"\xff"),
            (b"Set-Cookie", b"c"),
            (b"Content-Encoding", b"br"),
            (b"Content-Length", b"1"),
        ]
        assert (reply.version, await whole(reply)) == ((1, 1), b"!")
        reply.release()


async def test_problems_quote_no_peer(upstream: Upstream) -> None:
    """No problem's text, nor that of anything it came from, holds a byte the peer sent."""
    async with raw_server(answering(b"HTTP/1.1 200 OK\r\nX: sk-SECRET\x00\r\n\r\n")) as server:
        with pytest.raises(UpstreamProblem) as caught:
            await upstream.send(target(server), b"GET", b"/", HOST, None)
        error: BaseException | None = caught.value
        while error is not None:
            assert "SECRET" not in f"{error!s}{error!r}{error.args}"
            assert error.__context__ is None or error.__suppress_context__
            error = error.__cause__


async def test_dial_for_a_tunnel(upstream: Upstream) -> None:
    """A tunnel's connection is dialled under the same checks and belongs to the caller's protocol."""
    async with raw_server(answering(ok())) as server:
        transport, protocol = await upstream.dial(target(server), asyncio.Protocol)
        assert transport.get_protocol() is protocol
        transport.abort()
        with pytest.raises(AddressDenied):
            await upstream.dial(Target("http", "127.0.0.1", 443), asyncio.Protocol)


async def test_close_ends_running_calls() -> None:
    """Closing the room ends the calls that are still on their way."""
    upstream = Upstream(addresses=AddressPolicy(), client_context=context)
    there = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        there.set()
        await peer.until_closed()

    async with raw_server(script) as server:
        task = asyncio.ensure_future(upstream.send(target(server), b"GET", b"/", HOST, None))
        await there.wait()
        await upstream.close()
        with pytest.raises(UpstreamBroke):
            await task
