"""Request bodies as the upstream room writes them: whole, streamed, refused, slowed by a slow peer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.upstream import Upstream
from tests.raw_server import Peer, answering, ok, raw_server

from .sending import HOST, target, whole
from .sending import upstream as upstream


async def test_request_bytes(upstream: Upstream) -> None:
    """The request goes out with its fields byte for byte in order, and one Content-Length."""
    fields = [(b"hOsT", b"api.test"), (b"X-A", b"\xff  b "), (b"x-a", b"")]
    async with raw_server(answering(ok())) as server:
        (await upstream.send(target(server), b"POST", b"/a//b?c=%2F&d", fields, b"{}")).release()
        assert server.requests == [
            b"POST /a//b?c=%2F&d HTTP/1.1\r\nhOsT: api.test\r\nX-A: \xff  b \r\nx-a: \r\nContent-Length: 2\r\n\r\n{}"
        ]


@pytest.mark.parametrize(
    ("method", "body", "line"),
    [
        (b"GET", None, b""),
        (b"GET", b"", b""),
        (b"DELETE", b"", b""),
        (b"POST", None, b""),
        (b"POST", b"", b"Content-Length: 0\r\n"),
        (b"PUT", b"", b"Content-Length: 0\r\n"),
        (b"GET", b"ab", b"Content-Length: 2\r\n"),
    ],
)
async def test_missing_framing(method: bytes, body: bytes | None, line: bytes, upstream: Upstream) -> None:
    """A Content-Length is added where the request has content, and an empty POST says that it is empty."""
    async with raw_server(answering(ok())) as server:
        (await upstream.send(target(server), method, b"/", HOST, body)).release()
        assert server.requests == [method + b" / HTTP/1.1\r\nHost: api.test\r\n" + line + b"\r\n" + (body or b"")]


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    """A streamed body."""
    for piece in given:
        yield piece


@pytest.mark.parametrize(
    ("raw_target", "fields", "body", "chunked"),
    [
        (b"/", [(b"A", b"b\r\nX: y")], None, False),
        (b"/", [(b"A", b"b\nX: y")], None, False),
        (b"/", [(b"A", b"b\rc")], None, False),
        (b"/", [(b"A\r\nB", b"c")], None, False),
        (b"/", [(b"A", b"sk-key\n")], None, False),
        (b"/", [(b"A", b"b\0c")], None, False),
        (b"/a b", [], None, False),
        (b"", [], None, False),
        (b"/ HTTP/1.1\r\nX: y", [], None, False),
        (b"/", [(b"Content-Length", b"3")], b"ab", False),
        (b"/", [(b"Content-Length", b"3")], None, False),
        (b"/", [(b"Content-Length", b"2"), (b"content-length", b"2")], b"ab", False),
        (b"/", [(b"Content-Length", b"+2")], b"ab", False),
        (b"/", [(b"Transfer-Encoding", b"chunked")], b"ab", False),
        (b"/", [(b"Transfer-Encoding", b"gzip")], "stream", True),
        (b"/", [(b"Transfer-Encoding", b"chunked")], "stream", False),
        (b"/", [(b"Content-Length", b"2")], "stream", True),
        (b"/", [], "stream", False),
    ],
)
async def test_requests_that_must_not_be_written(
    raw_target: bytes, fields: list[tuple[bytes, bytes]], body: bytes | str | None, chunked: bool, upstream: Upstream
) -> None:
    """A line end in a value, a target that is two words, or framing that contradicts the body is never sent."""
    async with raw_server(answering(ok())) as server:
        given = pieces(b"ab") if isinstance(body, str) else body
        with pytest.raises(ValueError, match=" ") as caught:
            await upstream.send(target(server), b"POST", raw_target, fields, given, chunked=chunked)
        assert "sk-key" not in str(caught.value)
        assert not server.connections


async def test_chunked_body(upstream: Upstream) -> None:
    """A stream of unknown length goes out in chunks of our making, empty pieces left out."""
    async with raw_server(answering(ok())) as server:
        for fields in (HOST, [*HOST, (b"Transfer-Encoding", b"chunked")]):
            reply = await upstream.send(
                target(server), b"POST", b"/", fields, pieces(b"abc", b"", b"d" * 17), chunked=True
            )
            reply.release()
        expected = (
            b"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n11\r\n" + b"d" * 17 + b"\r\n0\r\n\r\n"
        )
        assert server.requests == [expected, expected]
        assert len(server.connections) == 1


async def test_streamed_body_with_length(upstream: Upstream) -> None:
    """A stream whose length is known goes out under that length, and the connection stays usable."""
    fields = [*HOST, (b"Content-Length", b"6")]
    async with raw_server(answering(ok())) as server:
        for _ in range(2):
            (await upstream.send(target(server), b"POST", b"/", fields, pieces(b"abc", b"def"))).release()
        assert [request[-6:] for request in server.requests] == [b"abcdef", b"abcdef"]
        assert len(server.connections) == 1


@pytest.mark.parametrize("given", [(b"abc",), (b"abc", b"defg")])
async def test_streamed_body_of_wrong_length(given: tuple[bytes, ...], upstream: Upstream) -> None:
    """A stream shorter or longer than its Content-Length ends the connection: the message would have two meanings."""
    closed = False

    async def watched() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            for piece in given:
                yield piece
        finally:
            closed = True

    fields = [*HOST, (b"Content-Length", b"6")]
    async with raw_server(answering(ok())) as server:
        with pytest.raises(ValueError, match="Content-Length"):
            await upstream.send(target(server), b"POST", b"/", fields, watched())
        assert closed
        await server.connections[0].closed.wait()
        assert not server.requests


class ClientLeft(Exception):
    pass


async def test_body_that_fails(upstream: Upstream) -> None:
    """What the body's iterator raises comes out of send, and the upstream gets no end of the message."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ClientLeft

    async with raw_server(answering(ok())) as server:
        with pytest.raises(ClientLeft):
            await upstream.send(target(server), b"POST", b"/", HOST, failing(), chunked=True)
        await server.connections[0].closed.wait()
        assert b"0\r\n\r\n" not in server.connections[0].received


async def test_large_body_of_bytes(upstream: Upstream) -> None:
    """A body of megabytes arrives whole."""
    body = bytes(range(256)) * 8192
    async with raw_server(answering(ok())) as server:
        reply = await upstream.send(target(server), b"POST", b"/", HOST, body)
        assert await reply.read(10) == b"ok"
        reply.release()
        assert server.requests[0].endswith(body)
        assert b"Content-Length: 2097152\r\n" in server.requests[0]


async def test_early_answer_stops_the_body(upstream: Upstream) -> None:
    """A final answer before the whole body was sent is returned, the body is stopped, the connection is not pooled."""
    closed = asyncio.Event()
    never = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"x" * 1000
            await never.wait()
        finally:
            closed.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.until_closed()

    async with raw_server(script) as server:
        reply = await upstream.send(target(server), b"POST", b"/", HOST, endless(), chunked=True)
        assert closed.is_set()
        assert (reply.status, await whole(reply)) == (413, b"big")
        reply.release()
        await server.connections[0].closed.wait()
        assert not server.connections[0].received.endswith(b"0\r\n\r\n")


async def test_early_answer_to_large_bytes(upstream: Upstream) -> None:
    """An upstream that answers without reading gets no more of the body than the buffers hold."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await peer.until_closed()

    body = b"x" * (64 << 20)
    async with raw_server(script) as server:
        reply = await upstream.send(target(server), b"POST", b"/", HOST, body)
        reply.release()
        await server.connections[0].closed.wait()
        assert reply.status == 401
        assert len(server.connections[0].received) < len(body)


async def test_slow_upstream_slows_the_body(upstream: Upstream) -> None:
    """While the upstream does not read, the body's iterator is not asked for more than buffers hold."""
    given = 0
    go = asyncio.Event()
    stuck = asyncio.Event()

    async def counted() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(1024):
            given += 1
            yield b"x" * 65536

    async def script(peer: Peer) -> None:
        await peer.head()
        before = -1
        while before != given:
            # the iterator no longer moves although the loop has turned: everything is full
            before = given
            for _ in range(200):
                await asyncio.get_running_loop().run_in_executor(None, int)
        stuck.set()
        await go.wait()
        while not peer.received.endswith(b"\r\n0\r\n\r\n"):
            await peer.read()
        await peer.send(ok())

    async with raw_server(script) as server, asyncio.TaskGroup() as group:
        call = group.create_task(upstream.send(target(server), b"POST", b"/", HOST, counted(), chunked=True))
        await stuck.wait()
        assert 0 < given < 1024
        go.set()
        (await call).release()
        assert given == 1024


async def test_slow_client_slows_the_upstream(upstream: Upstream) -> None:
    """An answer nobody reads is not collected: the upstream stands still until pieces are taken, then all arrives."""
    size = 64 << 20
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.send(b"x" * 65536)
            sent += 65536
        await peer.until_closed()

    async with raw_server(script) as server:
        reply = await upstream.send(target(server), b"GET", b"/", HOST, None)
        before = -1
        while before != sent:
            before = sent
            for _ in range(200):
                await asyncio.get_running_loop().run_in_executor(None, int)
        assert sent < size
        assert reply._payload.total_bytes < 1 << 20
        assert sum([len(piece) async for piece in reply]) == size
        assert reply.complete
        reply.release()
