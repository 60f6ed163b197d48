"""Answers and bodies of a call, as they stand on the wire."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.call import Bounds, Call, ClientGone
from proxy.errors import Problem

from .frontdoor import PROBE, front_door, replies, talk

GET = b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
OLD = b"GET /svc/x HTTP/1.0\r\nHost: a.test\r\n\r\n"
HEAD = b"HEAD /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello"


async def _pieces(call: Call) -> None:
    """Five bytes of unknown length, in pieces, an empty one among them."""
    call.answer.start(200, b"Fine", [(b"X-b", b"1"), (b"X-b", b"\xff")], length=None)
    for piece in (b"he", b"", b"l"):
        await call.answer.write(piece)
    await call.answer.end(b"lo")


async def test_an_unknown_length_is_chunked() -> None:
    """Head bytes as given, a chunk per piece, no chunk for an empty one, and the connection stays."""
    async with front_door(_pieces) as front:
        data = await talk(front.port, GET + PROBE)
    assert data.startswith(
        b"HTTP/1.1 200 Fine\r\nX-b: 1\r\nX-b: \xff\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\n\r\nHTTP/1.1 200 Fine\r\n"
    )


async def test_an_unknown_length_lasts_until_the_close_for_http_1_0() -> None:
    """HTTP/1.0 knows no chunks: the end of the connection is the end of the body."""
    async with front_door(_pieces) as front:
        data = await talk(front.port, OLD)
    assert data == b"HTTP/1.1 200 Fine\r\nX-b: 1\r\nX-b: \xff\r\nConnection: close\r\n\r\nhello"


@pytest.mark.parametrize(
    ("raw", "status", "length", "expected"),
    [
        (HEAD, 200, 5, b"Content-Length: 5"),
        (HEAD, 200, None, b""),
        (GET, 204, None, b""),
        (GET, 204, 0, b""),
        (GET, 304, 5, b"Content-Length: 5"),
        (GET, 304, None, b""),
        (GET, 200, 0, b"Content-Length: 0"),
    ],
)
async def test_answers_without_a_body(raw: bytes, status: int, length: int | None, expected: bytes) -> None:
    """HEAD, 204 and 304 carry no body and no coding, and the connection stays (RFC 9110 section 8.6, RFC 9112 6.3)."""

    async def bare(call: Call) -> None:
        call.answer.start(status, b"X", [], length=length)
        await call.answer.end()

    async with front_door(bare) as front:
        first, _, rest = (await talk(front.port, raw + PROBE)).partition(b"\r\n\r\n")
    assert first == (b"HTTP/1.1 %d X\r\n" % status + expected).rstrip()
    assert rest.startswith(b"HTTP/1.1 %d X\r\n" % status)


async def test_a_refused_head_has_a_length_and_no_body() -> None:
    """The answer to HEAD says how long the body would be."""

    async def refuse(call: Call) -> None:
        raise Problem("never_fits", "no")

    async with front_door(refuse) as front:
        (answer,) = replies(
            await talk(front.port, HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")), heads_only=True
        )
    assert (answer.status, answer.code) == (413, "never_fits")
    assert int(answer.fields["content-length"]) > 0


@pytest.mark.parametrize(
    ("raw", "length"), [(GET, None), (GET, 10), (OLD, 10)], ids=["chunked", "length", "1.0 length"]
)
async def test_a_cut_is_visible_and_what_came_before_arrives(raw: bytes, length: int | None) -> None:
    """The bytes before the cut are there, the end of the message is not (threats H3)."""

    async def cut(call: Call) -> None:
        call.answer.start(200, b"OK", [], length=length)
        await call.answer.write(b"hello")
        call.answer.cut()

    async with front_door(cut) as front:
        data = await talk(front.port, raw)
    assert b"hello" in data
    assert not data.endswith(b"0\r\n\r\n")
    if length is not None:
        assert len(data.partition(b"\r\n\r\n")[2]) < length


async def test_a_cut_of_a_body_that_lasts_until_the_close_is_a_reset() -> None:
    """A plain close would look like the end."""

    async def cut(call: Call) -> None:
        call.answer.start(200, b"OK", [], length=None)
        await call.answer.write(b"hello")
        await until_read.wait()
        call.answer.cut()

    until_read = asyncio.Event()
    async with front_door(cut) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(OLD)
        assert (await reader.readuntil(b"hello")).endswith(b"hello")
        until_read.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_problem_after_the_head_left_cuts() -> None:
    """There is one answer to a call: the second is never written behind the first."""

    async def late(call: Call) -> None:
        call.answer.start(200, b"OK", [], length=None)
        await call.answer.write(b"hello")
        raise Problem("internal", "no")

    async with front_door(late) as front:
        data = await talk(front.port, GET)
    assert data.endswith(b"5\r\nhello\r\n")
    assert data.count(b"HTTP/1.1") == 1


async def test_a_problem_before_the_head_left_is_told() -> None:
    """A head that was composed and not sent gives way to the problem, framing included."""

    async def early(call: Call) -> None:
        call.answer.start(200, b"OK", [], length=None)
        raise Problem("upstream_broke", "no")

    for raw in (GET + PROBE, OLD):
        async with front_door(early) as front:
            answers = await front.ask(raw)
            assert {(answer.status, answer.code) for answer in answers} == {(502, "upstream_broke")}


def _deaf(port: int) -> socket.socket:
    """A client with a small receive buffer that reads nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(GET)
    return sock


async def test_a_client_that_does_not_read_is_cut() -> None:
    """The write time-out ends the call and the connection, although bytes are unsent (threats G1)."""

    async def pour(call: Call) -> None:
        call.answer.start(200, b"OK", [], length=None)
        try:
            while True:
                await call.answer.write(b"x" * 65536)
        except ClientGone:
            gone.set()
            raise

    gone = asyncio.Event()
    async with front_door(pour, bounds=Bounds(write_idle_s=0.02)) as front:
        sock = await asyncio.to_thread(_deaf, front.port)
        await gone.wait()
        await front.parted.wait()
        sock.close()


async def test_a_client_that_does_not_read_the_end_is_cut_too() -> None:
    """Closing with bytes unsent does not wait for ever."""

    async def pour(call: Call) -> None:
        call.answer.keep_alive = False
        call.answer.start(200, b"OK", [], length=20_000_000)
        call.door.transport.write(b"x" * 20_000_000)  # type: ignore[union-attr]  # an open door has one

    async with front_door(pour, bounds=Bounds(write_idle_s=0.02)) as front:
        sock = await asyncio.to_thread(_deaf, front.port)
        await front.parted.wait()
        sock.close()


async def test_a_client_that_leaves_cancels_its_call() -> None:
    """Nobody works for a client that is gone (threats G6)."""

    async def hold(call: Call) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    began, cancelled = asyncio.Event(), asyncio.Event()
    async with front_door(hold) as front:
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(GET)
        await began.wait()
        writer.transport.abort()
        await cancelled.wait()


async def test_a_client_that_leaves_while_it_sends_is_gone() -> None:
    """Half a body and a close: the handler ends, and nothing is answered or logged as refused."""
    async with front_door() as front:
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(POST[:-2])
        writer.write_eof()
        await front.parted.wait()
        writer.close()
        assert (front.seen, front.refused) == ([], [])


@pytest.mark.parametrize("limit", [5, 4])
async def test_a_body_is_read_whole_up_to_a_limit(limit: int) -> None:
    """Exactly the limit passes; one byte more is 413, by length and by chunks."""

    async def read(call: Call) -> None:
        bodies.append(await call.body.read(limit))
        call.answer.start(200, b"OK", [], length=0)
        await call.answer.end()

    chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked").replace(
        b"hello", b"5\r\nhello\r\n0\r\n\r\n"
    )
    for raw in (POST, chunked):
        bodies: list[bytes] = []
        async with front_door(read) as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(raw)
            status = (await reader.readuntil(b"\r\n"))[9:12]
            writer.close()
        assert (status, bodies) == ((b"200", [b"hello"]) if limit == 5 else (b"413", []))


async def test_a_slow_taker_is_not_a_slow_client() -> None:
    """The minimum rate counts the time we waited for the client, not the time the upstream took (threats 4.3)."""

    async def slowly(call: Call) -> None:
        loop = asyncio.get_running_loop()
        taken = 0
        async for piece in call.body:
            taken += len(piece)
            done = loop.create_future()
            loop.call_later(0.05, done.set_result, None)
            await done
        call.answer.start(200, b"OK", [], length=0)
        await call.answer.end()
        sizes.append(taken)

    sizes: list[int] = []
    async with front_door(slowly, bounds=Bounds(body_idle_s=0.04, body_min_rate=1 << 40)) as front:
        ask = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n"
        (answer,) = await front.ask(ask + b"x" * 300_000)
    assert (answer.status, sizes) == (200, [300_000])
