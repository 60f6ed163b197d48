"""The upstream room against real sockets: every row of replies.py, every code, framing, pooling, streaming, leaving."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from proxy.addresses import AddressPolicy
from proxy.faults import (
    AddressDenied,
    TooLate,
    UpstreamBroke,
    UpstreamFull,
    UpstreamProblem,
    UpstreamTimeout,
    UpstreamTls,
)
from proxy.tasks import _running as running_tasks
from proxy.upstream import Reply, Target, Timeouts, Upstream
from tests.proxy.replies import CUT, PASSED, REFUSED, ROWS, Row
from tests.raw_server import Peer, RawServer, Script, answering, ok, raw_server

HOST = [(b"Host", b"api.test")]


def context(ca: str | None) -> ssl.SSLContext:
    """What certs hands over in production: system roots, and the operator's."""
    made = ssl.create_default_context()
    if ca is not None:
        made.load_verify_locations(cadata=ca)
    return made


def target(server: RawServer, *, scheme: str = "http", ca: str | None = None, host: str = "api.test") -> Target:
    """The server, named as an upstream by the operator."""
    return Target(scheme, host, 443, ("127.0.0.1", server.port), ca, False)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """The room with its defaults; no task of its calls may be left."""
    made = Upstream(addresses=AddressPolicy(), client_context=context)
    yield made
    await made.close()
    assert not running_tasks


async def whole(reply: Reply) -> bytes:
    """The whole body."""
    return b"".join([piece async for piece in reply])


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
        with pytest.raises(UpstreamTimeout):
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


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A root nobody trusts but by name."""
    return trustme.CA()


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """A server's context for these names."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(made)
    return made


def pem(authority: trustme.CA) -> str:
    """The root as an operator writes it."""
    return authority.cert_pem.bytes().decode()


async def test_tls(authority: trustme.CA, upstream: Upstream) -> None:
    """Over TLS the certificate is checked against the target's host, whatever was dialled, and connections are kept."""
    async with raw_server(answering(ok()), tls=server_tls(authority, "api.test")) as server:
        where = target(server, scheme="https", ca=pem(authority))
        for expected in (False, True):
            reply = await upstream.send(where, b"POST", b"/", HOST, b"{}")
            assert (await whole(reply), reply.reused) == (b"ok", expected)
            reply.release()


@pytest.mark.parametrize("kind", ["wrong name", "unknown root", "plain server", "server that closes"])
async def test_tls_failures(kind: str, authority: trustme.CA, upstream: Upstream) -> None:
    """No trusted handshake, no request: upstream_tls, and not a byte of the call was sent (D6)."""

    async def closing(peer: Peer) -> None:
        peer.reset()

    tls = server_tls(authority, "other.test" if kind == "wrong name" else "api.test")
    plain = kind in ("plain server", "server that closes")
    script = closing if kind == "server that closes" else answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def answer_plainly(peer: Peer) -> None:
        await peer.read()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    if kind == "plain server":
        script = answer_plainly
    async with raw_server(script, tls=None if plain else tls) as server:
        where = target(server, scheme="https", ca=None if kind == "unknown root" else pem(authority))
        with pytest.raises(UpstreamTls) as caught:
            await upstream.send(where, b"POST", b"/", [*HOST, (b"Authorization", b"Bearer sk-secret")], b"{}")
        assert not caught.value.counted
        assert not any(b"sk-secret" in peer.received for peer in server.connections)


async def test_tls_timeout(authority: trustme.CA) -> None:
    """A server that accepts and says nothing ends the handshake in upstream_tls."""
    upstream = Upstream(addresses=AddressPolicy(), client_context=context, timeouts=Timeouts(tls_s=0.05))

    async def silent(peer: Peer) -> None:
        await peer.until_closed()

    async with raw_server(silent) as server:
        with pytest.raises(UpstreamTls):
            await upstream.send(target(server, scheme="https"), b"GET", b"/", HOST, None)
        await server.connections[0].closed.wait()
    await upstream.close()


async def test_whether_a_call_may_go_is_asked_when_the_handshake_is_over(
    authority: trustme.CA, upstream: Upstream
) -> None:
    """A server accepts late: the call that may not go by then sends nothing, and the next one uses its connection."""
    asked: list[bool] = []
    accepted = False

    def may_go() -> bool:
        asked.append(accepted)
        return False

    listening = socket.create_server(("127.0.0.1", 0))
    where = Target("https", "api.test", 443, listening.getsockname(), pem(authority), False)
    late = asyncio.ensure_future(upstream.send(where, b"POST", b"/", HOST, b"{}", may_go=may_go))
    # the kernel has connected it; nobody speaks TLS there yet
    await asyncio.get_running_loop().run_in_executor(None, select.select, [listening], [], [])
    accepted = True
    tls = server_tls(authority, "api.test")
    async with raw_server(answering(ok()), tls=tls, listening=listening) as server:
        with pytest.raises(TooLate):
            await late
        assert asked == [True]
        reply = await upstream.send(where, b"GET", b"/next", HOST, None)
        assert await whole(reply) == b"ok"
        reply.release()
        (peer,) = server.connections
        assert peer.received.startswith(b"GET /next ")


async def test_connections_are_not_shared_between_trusts(authority: trustme.CA, upstream: Upstream) -> None:
    """Host, roots, way of dialling and checking are all part of the pool key (CVE-2026-54275)."""
    tls = server_tls(authority, "api.test", "b.test")
    async with raw_server(answering(ok()), tls=tls) as server:
        root = pem(authority)
        routes = [
            target(server, scheme="https", ca=root),
            target(server, scheme="https", ca=root, host="b.test"),
            target(server, scheme="https", ca=root + "\n"),
            Target("https", "api.test", 444, ("127.0.0.1", server.port), root, False),
        ]
        for count, where in enumerate([*routes, *routes], start=1):
            reply = await upstream.send(where, b"GET", b"/", HOST, None)
            assert reply.reused == (count > len(routes))
            reply.release()
        assert len(server.connections) == len(routes)


async def test_large_answer_over_tls_to_a_slow_reader(authority: trustme.CA, upstream: Upstream) -> None:
    """Bytes that wait in a paused TLS connection when the upstream closes are not lost."""
    size = 8 << 20

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
        await peer.send(b"x" * size)

    async with raw_server(script, tls=server_tls(authority, "api.test")) as server:
        where = target(server, scheme="https", ca=pem(authority))
        reply = await upstream.send(where, b"GET", b"/", HOST, None)
        total = 0
        async for piece in reply:
            total += len(piece)
            await asyncio.get_running_loop().run_in_executor(None, int)
        assert (total, reply.complete) == (size, True)
        reply.release()


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
