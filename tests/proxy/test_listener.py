"""Connections, times and answers of the front door, over real sockets."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.call import Bounds, Call
from proxy.errors import Problem
from proxy.listener import require_c_parser

from .frontdoor import CUTS, PROBE, at_line_ends, front_door, replies, talk

# connections


async def test_pipelined_calls_are_answered_in_order() -> None:
    """40 calls in one write, the first of them held: 40 answers, each to its own (threats A16)."""
    async with front_door() as front:
        ask = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\n%02d"
        answers = await front.ask(b"".join(ask % number for number in range(40)) + PROBE)
    assert [answer.body for answer in answers] == [b"%02d" % number for number in range(40)] + [b""]


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_nothing_behind_a_declined_upgrade_is_served(protocol: bytes) -> None:
    """The call is answered without the upgrade, and the connection ends there (threats A17)."""
    ask = b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: " + protocol
    ask += b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    for cut in CUTS:
        async with front_door(cut=cut) as front:
            answers = await front.ask(ask + PROBE)
            assert [answer.status for answer in answers] == [200]
            assert [answer.closes for answer in answers] == [True]


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close", False),
        (b"1.0", b"close", False),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
    ],
)
async def test_keep_alive(version: bytes, connection: bytes, kept: bool) -> None:
    """HTTP/1.1 stays unless told to close, HTTP/1.0 closes unless told to stay, and the answer says which."""
    line = b"Connection: " + connection + b"\r\n" if connection else b""
    ask = b"GET /svc/x HTTP/" + version + b"\r\nHost: a.test\r\n" + line + b"\r\n"
    async with front_door() as front:
        answers = await front.ask(ask + PROBE)
    assert len(answers) == 1 + kept
    assert answers[0].closes is not kept
    assert (answers[0].fields.get("connection") == "keep-alive") is (kept and version == b"1.0")


async def test_draining_closes_after_each_answer() -> None:
    """While draining, every answer says close."""
    async with front_door() as front:
        front.listener.draining = True
        (answer,) = await front.ask(b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\n" + PROBE)
    assert (answer.status, answer.closes) == (200, True)


async def test_a_connection_beyond_the_bound_is_told_so() -> None:
    """503 overloaded with Retry-After, and the connections inside the bound are not touched."""
    async with front_door(max_connections=1) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        (answer,) = await front.ask(PROBE)
        assert (answer.status, answer.code, answer.fields["retry-after"]) == (503, "overloaded", "1")
        writer.write(PROBE)
        assert [reply.status for reply in replies(await reader.read())] == [200]
        writer.close()


async def test_no_connection_is_taken_while_memory_is_short() -> None:
    """503 overloaded before a byte is read, and those that are open are served on."""
    short = False
    async with front_door(admits=lambda: not short) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        short = True
        (answer,) = await front.ask(PROBE)
        assert (answer.status, answer.code, answer.closes) == (503, "overloaded", True)
        writer.write(PROBE)
        assert [reply.status for reply in replies(await reader.read())] == [200]
        writer.close()


async def test_one_address_cannot_take_every_connection() -> None:
    """The bound of one client is its own, and what it closes it may open again."""
    async with front_door(max_per_client=1) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        (answer,) = await front.ask(PROBE)
        assert (answer.status, answer.code) == (503, "overloaded")
        other = await asyncio.open_connection("127.0.0.1", front.port, local_addr=("127.0.0.2", 0))
        other[1].write(PROBE)
        assert [reply.status for reply in replies(await other[0].read())] == [200]
        writer.write(PROBE)
        assert [reply.status for reply in replies(await reader.read())] == [200]
        writer.close()
        other[1].close()
        (again,) = await front.ask(PROBE)
        assert again.status == 200


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/2.0\r\n\r\n", b"\r\n" * 9, b"GET / HTTP/1.1\r\nHost: a\x07\r\n\r\n", b"x" * 70_000]
)
async def test_what_is_refused_without_a_call_is_dated(raw: bytes) -> None:
    """Date by the clock that was given, however early the answer is made (RFC 9110 section 6.6.1)."""
    async with front_door() as front:
        (answer,) = await front.ask(raw)
    assert answer.fields["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


# time


@pytest.mark.parametrize("raw", [b"G", b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n", b"\r\n"])
async def test_a_head_that_does_not_end_is_408(raw: bytes) -> None:
    """The timer of the head runs from its first byte, blank lines included (row 19)."""
    async with front_door(head_seconds=0.02) as front:
        (answer,) = await front.ask(raw)
        assert (answer.status, answer.code, answer.closes) == (408, "head_timeout", True)
        assert front.refused == ["head_timeout"]


async def test_a_head_begun_behind_a_call_ends_with_the_keep_alive() -> None:
    """Half a head in the segment of a call is not waited for longer than an idle connection."""
    async with front_door(keep_alive_seconds=0.02) as front:
        answers = await front.ask(b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\nGET /svc/y HT")
    assert [answer.status for answer in answers] == [200]


async def test_bytes_that_trickle_do_not_put_off_the_head_timer() -> None:
    """A byte now and then does not restart the clock."""
    async with front_door(head_seconds=0.05) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        answer = asyncio.ensure_future(reader.read())
        writer.write(b"GET /svc/")
        while not front.refused:
            writer.write(b"a")
            await asyncio.wait([answer], timeout=0.002)
        assert [reply.code for reply in replies(await answer)] == ["head_timeout"]
        writer.close()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """Without an answer, since nothing was asked; it is counted."""
    async with front_door(keep_alive_seconds=0.02) as front:
        assert await talk(front.port, b"") == b""
        assert front.idled == 1


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhell",
        b"Content-Length: 5\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhell",
        b"Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\nhello",
    ],
    ids=["short", "nothing", "chunk", "16 chunk of 2^63"],
)
async def test_a_body_that_stops_is_408(body: bytes) -> None:
    """A body that stops arriving is answered and the connection ends (rows 16 and 18)."""
    async with front_door(bounds=Bounds(body_idle_s=0.02)) as front:
        (answer,) = await front.ask(b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\n" + body)
    assert (answer.status, answer.code, answer.closes, front.seen) == (408, "body_timeout", True, [])


async def test_a_body_that_trickles_is_408() -> None:
    """Bytes that keep coming below the minimum rate are no excuse (row 18)."""
    async with front_door(bounds=Bounds(body_idle_s=0.05, body_min_rate=1 << 30)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n")
        answer = asyncio.ensure_future(reader.read())
        while not front.refused:
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.005)
        assert [reply.code for reply in replies(await answer)] == ["body_timeout"]
        writer.close()


async def test_a_body_beyond_the_bound_is_413() -> None:
    """By its pieces, whatever its framing."""
    async with front_door(bounds=Bounds(body_bytes=1000)) as front:
        for framing in (b"Content-Length: 2000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n"):
            ask = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\n" + framing
            (answer,) = await front.ask(ask + b"x" * 2000)
            assert (answer.status, answer.code) == (413, "body_too_large")


# answers and bodies


async def test_an_early_refusal_reaches_a_client_that_is_still_sending() -> None:
    """A large body nobody reads does not reset the answer away."""

    async def refuse(call: Call) -> None:
        raise Problem("body_too_large", "too large", close=True)

    size = 20_000_000
    async with front_door(refuse) as front:
        ask = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size
        (answer,) = await front.ask(ask + b"x" * size)
    assert (answer.status, answer.closes) == (413, True)


async def test_a_client_that_never_closes_is_closed_after_the_linger() -> None:
    """Reading on after a refusal ends by itself."""
    async with front_door(linger_seconds=0.02) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET / HTTP/3.0\r\n\r\n")
        assert [reply.status for reply in replies(await reader.read())] == [400]
        await front.parted.wait()
        writer.close()


async def test_an_unread_body_is_passed_over_and_the_connection_serves_on() -> None:
    """An answer that does not close leaves the connection at the next request."""

    async def ignore(call: Call) -> None:
        call.answer.start(429, b"Too Many Requests", [], length=0)
        await call.answer.end()

    async with front_door(ignore) as front:
        ask = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\n"
        answers = await front.ask(ask + b"x" * 300_000 + PROBE)
    assert [answer.status for answer in answers] == [429, 429]


async def test_a_bad_body_nobody_reads_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Broken chunks behind an answer end the connection; what they said is told nowhere (threats F1)."""

    async def ignore(call: Call) -> None:
        call.answer.start(200, b"OK", [], length=0)
        await call.answer.end()

    async with front_door(ignore, cut=at_line_ends) as front:
        ask = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nCANARY\r\n"
        data = await talk(front.port, ask)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert "CANARY" not in caplog.text


async def test_an_error_of_ours_is_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """The answer is generic, the log line names type and place only (threats F3)."""

    async def break_down(call: Call) -> None:
        raise RuntimeError("CANARY")

    with caplog.at_level(logging.ERROR):
        async with front_door(break_down) as front:
            (answer,) = await front.ask(PROBE)
    assert (answer.status, answer.code, answer.closes) == (500, "internal", True)
    assert b"CANARY" not in answer.body
    assert "CANARY" not in caplog.text
    assert "RuntimeError at test_listener.py" in caplog.text


EXPECT = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize("body", [b"", b"he", b"hello"])
async def test_expect_gets_one_100_when_the_body_is_read(body: bytes) -> None:
    """Whatever part of the body came early, one 100 and the body once (threats A18)."""
    async with front_door() as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(EXPECT + body)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello"[len(body) :] + PROBE)
        answers = replies(await reader.read())
        writer.close()
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"hello"), (200, b"")]


async def test_a_body_nobody_asked_for_ends_the_connection() -> None:
    """The final answer says close: what follows might be the body that was held back, or might not."""

    async def ignore(call: Call) -> None:
        seen.append(call.head.target)
        call.answer.start(429, b"Too Many Requests", [], length=0)
        await call.answer.end()

    seen: list[str] = []
    async with front_door(ignore) as front:
        (answer,) = await front.ask(EXPECT)
    assert (answer.status, answer.closes, seen) == (429, True, ["/x"])


async def test_expect_of_http_1_0_gets_no_100() -> None:
    """HTTP/1.0 knows no 100 (RFC 9110 section 10.1.1)."""
    async with front_door() as front:
        answers = await front.ask(EXPECT.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"hello")]


async def test_expect_without_a_body_changes_nothing() -> None:
    """Nothing is held back, so nothing is asked for and the connection stays."""
    async with front_door() as front:
        answers = await front.ask(EXPECT.replace(b"Content-Length: 5", b"Content-Length: 0") + PROBE)
    assert [answer.status for answer in answers] == [200, 200]


async def test_the_c_parser_is_there() -> None:
    """The start-up check passes where it must, and names what to do where it does not."""
    require_c_parser()
