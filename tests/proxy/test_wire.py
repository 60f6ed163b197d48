"""One upstream connection without an upstream: what the wire makes of bytes, ends and silences, in any segmentation."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp.http_parser import HttpResponseParser
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from proxy.faults import UpstreamBroke, UpstreamProblem, UpstreamProtocol, UpstreamStalled
from proxy.framing import judge
from proxy.wire import MAX_HEAD, READ_BUFFER, Wire
from tests.proxy.replies import ROWS, Row


class Transport(asyncio.Transport):
    """Keeps what is written, and closes when told."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        self.written = b""
        self.reading = True
        self.held = 0
        self.end: str | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.end is not None

    def get_write_buffer_size(self) -> int:
        return self.held

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self._finish("closed")

    def abort(self) -> None:
        self._finish("aborted")

    def _finish(self, how: str) -> None:
        if self.end is None:
            self.end = how
            asyncio.get_running_loop().call_soon(self.wire.connection_lost, None)


def connected() -> tuple[Wire, Transport]:
    """A wire with a call on it whose request is out."""
    wire = Wire(asyncio.get_running_loop())
    transport = Transport(wire)
    wire.connection_made(transport)
    wire.begin(head_request=False)
    wire.request_sent = True
    return wire, transport


def give(wire: Wire, data: bytes) -> None:
    """Bytes from the peer, unless the connection is gone."""
    if wire.transport is not None and not wire.transport.is_closing():
        wire.data_received(data)


@pytest.mark.parametrize("row", [row for row in ROWS if len(row.raw) < 20_000], ids=lambda row: row.id)
async def test_byte_by_byte(row: Row) -> None:
    """An answer that arrives byte by byte becomes what it becomes in one piece."""
    wire, transport = connected()
    wire.begin(head_request=row.method == b"HEAD")
    wire.request_sent = True
    for position in range(len(row.raw)):
        give(wire, row.raw[position : position + 1])
    if row.end and not transport.is_closing():
        wire.eof_received()
        transport.close()
    if isinstance(row.becomes, str):
        with pytest.raises(UpstreamProblem) as caught:
            judge((await wire.answer())[0])
        assert caught.value.code == row.becomes
        return
    message, payload = await wire.answer()
    judge(message)
    assert message.code == row.becomes
    body = b""
    while not payload.at_eof():
        body += await payload.readany()
    # a fault after the last byte that matters shows when the connection goes
    assert (body, wire.fault.code if wire.fault else None) == (row.body, row.cut)
    wire.finish()
    assert wire.should_close == (not row.pooled)


async def test_endless_head_is_not_collected() -> None:
    """A head of many small fields that never ends is refused at 64 KiB, not when it ends (H5)."""
    wire, transport = connected()
    wire.data_received(b"HTTP/1.1 200 OK\r\n")
    given = 0
    while not transport.is_closing() and given < 2 * MAX_HEAD:
        wire.data_received(b"A: " + b"a" * 1019 + b"\r\n")
        given += 1024
    assert MAX_HEAD - 1024 <= given <= MAX_HEAD + 1024
    with pytest.raises(UpstreamProtocol):
        await wire.answer()


async def test_quiet_before_the_loop_has_seen_it() -> None:
    """An end or a byte that waits in the kernel is seen at once, though the loop has not read it."""
    loop = asyncio.get_running_loop()
    for ending in (True, False):
        ours, theirs = socket.socketpair()
        _, wire = await loop.create_connection(lambda: Wire(loop), sock=ours)
        assert wire.is_connected()
        assert wire.is_quiet()
        if ending:
            theirs.close()
        else:
            theirs.send(b"x")
        assert wire.is_connected()
        assert not wire.is_quiet()
        closed = wire.closed
        wire.abort()
        theirs.close()
        assert closed is not None
        await closed


async def test_idle_wire_closes_on_any_byte() -> None:
    """Between calls a single byte closes the wire."""
    wire, transport = connected()
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    wire.finish()
    assert not wire.should_close
    wire.data_received(b"H")
    assert transport.end == "aborted"
    assert wire.should_close


async def test_idle_wire_is_closed_in_order() -> None:
    """The pool closes an idle wire with a goodbye, a busy one without."""
    wire, transport = connected()
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    wire.finish()
    wire.close()
    assert transport.end == "closed"
    busy, transport = connected()
    busy.close()
    assert transport.end == "aborted"


async def test_unsent_request_is_not_pooled() -> None:
    """A wire that still holds bytes of a request, or was not given all of it, is not used again."""
    for unsent in ("in the transport", "in the iterator"):
        wire, transport = connected()
        wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        if unsent == "in the transport":
            transport.held = 1
        else:
            wire.request_sent = False
        wire.finish()
        assert wire.should_close


async def test_back_pressure_pauses_the_socket() -> None:
    """A body nobody reads pauses the transport at twice the read buffer, and reading resumes it."""
    wire, transport = connected()
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 20))
    _, payload = await wire.answer()
    while transport.reading:
        wire.data_received(b"x" * READ_BUFFER)
    assert payload.total_bytes <= 3 * READ_BUFFER
    stood = len(await payload.read(READ_BUFFER))
    while stood < payload.total_bytes:
        stood += len(await payload.read(READ_BUFFER))
    wire.data_received(b"x")
    assert (transport.is_reading(), await payload.read(1)) == (True, b"x")


async def test_own_silence_is_not_the_peers() -> None:
    """While we don't read, the idle limit waits; once we do, the peer's silence ends the call."""
    wire, transport = connected()
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 20))
    _, payload = await wire.answer()
    while transport.reading:
        wire.data_received(b"x" * READ_BUFFER)
    wire.arm(0.01)
    fired = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, fired.set)
    await fired.wait()
    during = wire.fault
    received = payload.total_bytes
    total = 0
    while total < received:
        total += len(await payload.read(READ_BUFFER))
    assert await payload.readany() == b""
    assert (during, type(wire.fault)) == (None, UpstreamStalled)
    assert transport.end == "aborted"


async def test_complete_answer_outlives_its_timer() -> None:
    """A whole answer that waits for a slow client is not timed out."""
    wire, _ = connected()
    wire.arm(0.01)
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    fired = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, fired.set)
    await fired.wait()
    assert wire.fault is None
    assert wire.complete
    wire.close()


async def test_trickling_body_is_left_alone() -> None:
    """Each byte of a body starts the idle limit anew (H7)."""
    wire, _ = connected()
    loop = asyncio.get_running_loop()
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    wire.arm(0.2)
    begun = loop.time()
    for turn in range(10):
        due = asyncio.Event()
        loop.call_at(begun + 0.05 * (turn + 1), due.set)
        await due.wait()
        assert wire.fault is None
        wire.data_received(b"x")
    assert wire.complete
    wire.close()


async def test_lost_connection_wakes_every_waiter() -> None:
    """Whoever waits for the head gets the problem when the connection goes, with what is known about the call."""
    wire, _ = connected()
    waiting = asyncio.ensure_future(wire.answer())
    wire.connection_lost(ConnectionResetError("sk-SECRET"))
    with pytest.raises(UpstreamBroke) as caught:
        await waiting
    assert (caught.value.sent, caught.value.answered, caught.value.reused) == (True, False, False)
    assert "SECRET" not in repr(caught.value)


async def test_reset_does_not_end_a_body_that_runs_until_close() -> None:
    """A body without a length ends with an orderly close only; a reset cuts it."""
    for error, fault in ((None, None), (ConnectionResetError(), "upstream_broke")):
        wire, _ = connected()
        wire.data_received(b"HTTP/1.1 200 OK\r\n\r\nhello")
        wire.connection_lost(error)
        assert (wire.fault.code if wire.fault else None) == fault
        assert wire.complete == (fault is None)


async def test_parser_gives_what_the_wire_relies_on() -> None:
    """aiohttp's parser is the C one, keeps raw fields, hands out an empty payload for HEAD, and decodes no content."""
    assert HttpResponseParser.__module__ == "aiohttp._http_parser"
    wire, _ = connected()
    wire.data_received(b"HTTP/1.1 200 OK\r\nX-a: B \r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok")
    message, payload = await wire.answer()
    assert message.raw_headers == ((b"X-a", b"B"), (b"Content-Encoding", b"gzip"), (b"Content-Length", b"2"))
    assert isinstance(payload, StreamReader)
    assert payload.at_eof() is False
    assert payload.read_nowait(-1) == b"ok"
    wire.finish()
    wire.begin(head_request=True)
    wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    _, payload = await wire.answer()
    assert payload is EMPTY_PAYLOAD
    wire.close()
