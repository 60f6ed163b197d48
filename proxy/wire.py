"""One connection to an upstream: the protocol below a call.

What is taken from aiohttp 3.14.5: `BaseProtocol` (write flow control), `HttpResponseParser` (llhttp) and the
`StreamReader` it feeds. What these need of each other is semi-private, so aiohttp is pinned exactly, only this file and
pool.py lean on it, and each reliance has a test in tests/proxy/test_wire.py and test_pool.py.

The law: a wire carries one call at a time, and goes back to the pool only if the request was written whole, the answer
was read whole, and not a byte came after it. A byte that arrives while no call is on the wire closes it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Iterable

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpResponseParser, RawResponseMessage
from aiohttp.streams import StreamReader

from .faults import UpstreamBroke, UpstreamProblem, UpstreamProtocol, UpstreamStalled, UpstreamTimeout

# threats 4.2: 64 KiB instead of aiohttp's 256 KiB. The reader pauses the socket at twice this.
READ_BUFFER = 64 * 1024
# nginx allows a head of 8 pages, Node 16 KiB; threats H5 wants 100 KiB and 2,000 fields refused.
MAX_HEAD = 64 * 1024
MAX_FIELDS = 256
# aiohttp's own limit on a line; a reason phrase has no business being longer.
MAX_STATUS_LINE = 8190
# 102 Processing, sent every 20 s (RFC 2518 section 10.1), makes 15 within the first-byte limit of 300 s.
MAX_INFORMATIONAL = 16


class Wire(BaseProtocol):
    """The protocol of one upstream connection. Times are seconds."""

    __slots__ = (
        "_answer", "_closed", "_due", "_fault", "_head_size", "_idle_limit", "_informational", "_keep", "_lost",
        "_message", "_payload", "_poll", "_switching", "_tail", "_timer", "_touched", "calls", "offered",
        "request_sent",
    )  # fmt: skip

    _parser: HttpResponseParser | None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.calls = 0
        self.offered = False
        """A call could have used it. One that came too late leaves it unused, to grow old like any other."""
        self.request_sent = True
        self._answer: asyncio.Future[tuple[RawResponseMessage, StreamReader]] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._due = 0.0
        self._fault: UpstreamProblem | None = None
        self._head_size = 0
        self._idle_limit = 0.0
        self._informational = 0
        self._keep = True
        self._lost = False
        self._message: RawResponseMessage | None = None
        self._payload: StreamReader | None = None
        self._poll: select.poll | None = None
        self._switching = False
        self._tail: bytearray | None = None
        """What came behind a 101, which is no HTTP."""
        self._timer: asyncio.TimerHandle | None = None
        self._touched = 0.0

    # --- what the pool asks (BaseConnector)

    def is_connected(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    @property
    def closed(self) -> asyncio.Future[None] | None:
        """Done when the connection is gone; None when it already was."""
        if self._closed is None and not self._lost:
            self._closed = self._loop.create_future()
        return self._closed

    @property
    def should_close(self) -> bool:
        """True unless `finish` found the wire fit for another call."""
        return self._parser is not None or not self._keep or self.transport is None

    def close(self) -> None:
        """Close an idle wire in order, and one with a call on it at once: nothing more may leave it."""
        transport, self.transport = self.transport, None
        if transport is None:
            return
        self._stop_timer()
        if self._parser is None:
            transport.close()
        else:
            transport.abort()

    def abort(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            self._stop_timer()
            transport.abort()

    # --- what a call asks

    @property
    def complete(self) -> bool:
        """The answer's body arrived whole."""
        return self._fault is None and self._payload is not None and self._payload.is_eof()

    @property
    def fault(self) -> UpstreamProblem | None:
        return self._fault

    def is_quiet(self) -> bool:
        """True when the kernel holds neither bytes nor an end for us: the loop may not have seen them yet."""
        if self.transport is None:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poll.poll(0)

    def begin(self, *, head_request: bool, switching: bool = False) -> None:
        """Get ready for the answer to one request. `switching`: one that asks for another protocol."""
        self.calls += 1
        self.request_sent = False
        self._parser = HttpResponseParser(
            self,
            self._loop,
            READ_BUFFER,
            response_with_body=not head_request,
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=MAX_STATUS_LINE,
            max_field_size=MAX_HEAD,
            max_headers=MAX_FIELDS,
        )
        self._answer = self._loop.create_future()
        self._message = self._payload = None
        self._head_size = self._informational = 0
        self._switching = switching
        if switching:
            # whatever it says, the upstream may believe that it has switched (threats 1.1, "200 taken for an upgrade")
            self._keep = False

    def switch(self) -> tuple[asyncio.Transport, bytes] | None:
        """After a 101: the transport, which is not the wire's any more and does not read, and what came behind the
        head. None: the connection is gone."""
        transport, self.transport = self.transport, None
        self._stop_timer()
        if transport is None:
            return None
        # whoever waits for this wire's end need not
        self._lost = True
        self._parser = None
        return transport, bytes(self._tail or b"")

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport. After a lost connection this does nothing: `answer` tells."""
        if self.transport is not None:
            self.transport.write(data)

    def write_chunk(self, data: bytes) -> None:
        """One chunk of a chunked body (RFC 9112 section 7.1)."""
        if self.transport is not None:
            self.transport.writelines((b"%x\r\n" % len(data), data, b"\r\n"))

    async def drained(self) -> bool:
        """Return True when the transport will take more, False when the connection is gone."""
        try:
            await self._drain_helper()
        except ConnectionError:
            return False
        return True

    async def answer(self) -> tuple[RawResponseMessage, StreamReader]:
        """The head of the final answer and its body's reader. Raises the fault that ended the call."""
        assert self._answer is not None
        return await self._answer

    def fail(self, fault: UpstreamProblem) -> None:
        """End the call on this wire with a fault: whoever waits for head or body gets it, and nothing is sent on."""
        if self._fault is None:
            self._fault = fault
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(self._fault)
            # a caller that was cancelled at this moment never looks at it
            self._answer.exception()
        if self._payload is not None and not self._payload.is_eof():
            # an end, not an exception: bytes that arrived before the fault are still handed out, then `fault` is met
            self._payload.feed_eof()
        if self.transport is not None:
            self.transport.abort()

    def arm(self, limit_s: float) -> None:
        """From now on the peer must do something at least every `limit_s`. Else the call fails: UpstreamTimeout before
        the head of the answer, UpstreamStalled after it.

        Until the head is complete bytes of it do not count as doing something, so a trickled head ends in time too.
        """
        now = self._loop.time()
        self._idle_limit, self._touched = limit_s, now
        # one timer a wire, moved only when the new end comes before it: re-arming per byte would cost more
        if self._timer is None or self._due > now + limit_s:
            if self._timer is not None:
                self._timer.cancel()
            self._due = now + limit_s
            self._timer = self._loop.call_at(self._due, self._on_due)

    def finish(self) -> None:
        """The call is over. If the wire is clean it is idle from here on, and any byte from the peer closes it."""
        self._idle_limit = 0.0
        # what the transport still holds of a request that was answered early would go out before the next one
        unsent = not self.request_sent or (self.transport is not None and self.transport.get_write_buffer_size())
        if self._keep and self.complete and not unsent:
            self._parser = None
            self._answer = self._message = self._payload = None

    # --- what the transport tells

    def data_received(self, data: bytes) -> None:
        if self._tail is not None:
            self._tail += data
            return
        if self._parser is None or self._fault is not None:
            if data:
                # nobody asked: an answer to no request, or the rest of one that was given up
                self.abort()
            return
        try:
            if self._message is None:
                self._feed_head(self._parser, data)
            else:
                self._touched = self._loop.time()
                self._take(self._parser.feed_data(data))
        except Exception:
            # HttpProcessingError and its kin quote the peer's bytes: their text ends here (threats 2.3)
            self._broken_framing()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lost = True
        self._stop_timer()
        parser, self._parser = self._parser, None
        if exc is None and parser is not None and self._payload is not None and not self._payload.is_eof():
            try:
                # ends a body that runs until the connection closes; every other body is short, and that raises
                parser.feed_eof()
            except Exception:
                self.fail(self._broke())
        if self._answer is not None and not self.complete:
            self.fail(self._broke())
        self._poll = None
        super().connection_lost(exc)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def resume_reading(self, resume_parser: bool = True) -> None:
        # StreamReader calls this after every read, and at every end of a body
        if self._reading_paused:
            self._touched = self._loop.time()
            super().resume_reading(resume_parser)

    # --- inside

    def _feed_head(self, parser: HttpResponseParser, data: bytes) -> None:
        while self._message is None and data:
            # A head is fed alone: the parser loses a whole message when garbage follows it in the same piece (H4).
            end = data.find(b"\r\n\r\n") + 4
            head, data = (data[:end], data[end:]) if end > 3 else (data, b"")
            self._head_size += len(head)
            self._take(parser.feed_data(head))
            if self._message is None and self._head_size > MAX_HEAD:
                raise UpstreamProtocol
        if self._tail is not None:
            self._tail += data
        elif data:
            self._take(parser.feed_data(data))

    def _take(self, fed: tuple[Iterable[tuple[RawResponseMessage, StreamReader]], bool, bytes]) -> None:
        messages, upgraded, _ = fed
        for message, payload in messages:
            if self._message is not None:
                # a second answer behind the first: dropped with the wire (threats H4)
                self._keep = False
                continue
            if 100 <= message.code < 200 and message.code != 101:
                self._informational += 1
                if self._informational > MAX_INFORMATIONAL:
                    raise UpstreamProtocol
                continue
            self._message, self._payload = message, payload
            if message.code == 101 and self._switching:
                self._tail = bytearray()
                if self.transport is not None:
                    self.transport.pause_reading()
            if message.should_close or upgraded:
                self._keep = False
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((message, payload))

    def _broken_framing(self) -> None:
        if self.complete:
            # garbage behind a whole answer: the answer stands, the wire goes
            self._keep = False
            self._idle_limit = 0.0
            if self.transport is not None:
                self.transport.abort()
            return
        self.fail(UpstreamProtocol())

    def _broke(self) -> UpstreamBroke:
        return UpstreamBroke(reused=self.calls > 1, answered=self._message is not None)

    def _on_due(self) -> None:
        self._timer = None
        if not self._idle_limit:
            return
        now = self._loop.time()
        if self._reading_paused:
            # the silence is ours
            self._touched = now
        due = self._touched + self._idle_limit
        if now < due:
            self._due = due
            self._timer = self._loop.call_at(due, self._on_due)
        elif not self.complete:
            self.fail(UpstreamTimeout() if self._message is None else UpstreamStalled())

    def _stop_timer(self) -> None:
        self._idle_limit = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
