"""The front door: bytes become a Call, or an answer to what is no call.

aiohttp's low-level server does the parsing (C parser, required at start); what it leaves open is closed here: a timer
on the head, a bound on blank lines in front of it, answers in our own words, and no quoting of a peer's bytes
(threats 2.2). Reverse, forward and decrypted calls all enter by this door.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp.http_parser
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import StreamReader

from .call import Answer, Bounds, Call, ClientBody, ClientGone
from .errors import REASON, Problem, place_of
from .head import HEAD_BYTES, Authority, Head, read_head
from .headers import Fields, value_of

_log = logging.getLogger("headgate.listener")

# Blank lines a server should skip before a request line: "at least one" (RFC 9112 section 2.2); eight bytes is four.
_BLANK_BYTES = 8
# Bounds of a head's parts. nginx takes lines of 8 KiB; tokens in a query or a JWT in a field need more; threats A20
# wants 64 KiB URLs and 1,000 fields refused. The two line bounds differ so that the parser's error tells which it was.
MAX_TARGET = 16_384
MAX_FIELD = 32_768
MAX_FIELDS = 256
# threats 4.3: request head 10 s, keep-alive 60 s.
HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 60.0
# How long we still read after an answer that closes, so that closing does not reset the answer away (RFC 9112
# section 9.6). nginx waits 5 s for more; a client that obeys "Connection: close" needs one round trip.
LINGER_SECONDS = 3.0
# threats 4.2: 64 KiB, not aiohttp's 256.
READ_BUFFER = 65_536

Handler = Callable[[Call], Awaitable[None]]


class ParserMissing(RuntimeError):
    """aiohttp runs on its pure-Python parser, which disagrees with the C one on bad input (threats 2.1)."""


def require_c_parser() -> None:
    """Raise ParserMissing unless aiohttp's C parser is loaded."""
    if aiohttp.http_parser.HttpRequestParser is aiohttp.http_parser.HttpRequestParserPy:
        raise ParserMissing("aiohttp's C parser is not loaded: reinstall aiohttp with its extensions")


class Incoming:
    """What aiohttp passes to the handler: as little of its BaseRequest as RequestHandler uses."""

    __slots__ = ("_task", "message", "payload", "protocol", "writer")

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: Door,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> None:
        self.message = message
        self.payload = payload
        self.protocol = protocol
        self.writer = writer
        self._task = task

    def _finish(self) -> None:
        """RequestHandler calls this when the answer is done; there is nothing to tidy."""

    def _cancel(self, exc: BaseException) -> None:
        """RequestHandler calls this when the connection is lost."""
        if self.payload.exception() is None:
            self.payload.set_exception(exc)


class Door(web.RequestHandler):
    """One client connection."""

    def __init__(self, server: Listener, *, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(server, loop=loop, **kwargs)
        self.listener = server
        self.bound: Authority | None = None
        """The CONNECT authority, once this connection is a decrypted one."""
        self.proxy_fields: tuple[tuple[bytes, bytes], ...] = ()
        self._blank = 0
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._early = b""
        self._parting: asyncio.Transport | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self.lost = False
        """The connection is over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.listener.count_connection(self)
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True
        self._stop_head_timer()
        super().connection_lost(exc)
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._parting = None

    async def start(self) -> None:
        await super().start()
        if self.transport is not None:
            self._end(self.transport)

    def force_close(self) -> None:
        transport = self.transport or self._parting
        super().force_close()
        if transport is not None and not self.lost:
            self._end(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        """Close; a client that does not take what was written cannot keep the connection."""
        transport.close()
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None
        if transport.get_write_buffer_size():
            self._end_timer = self._loop.call_later(self.listener.write_idle_seconds, transport.abort)

    def part(self) -> None:
        """Send no more, and read on, unheard, until the client closes or LINGER_SECONDS have passed.

        Closing with bytes unread would reset the connection, and the answer with it (RFC 9112 section 9.6).
        """
        transport = self.transport
        if transport is None:
            return
        self._parting, self.transport, self._force_close = transport, None, True
        if self._waiter is not None:
            self._waiter.cancel()
        if transport.can_write_eof():
            transport.write_eof()
        transport.resume_reading()
        self._end_timer = self._loop.call_later(self.listener.linger_seconds, self._end, transport)

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """aiohttp's text may quote a peer's bytes: only the type and the place are told (threats F1, F3)."""
        error = kwargs.get("exc_info")
        _log.error("connection: %s", place_of(error) if isinstance(error, BaseException) else "aiohttp gave up")

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            if not self._force_close and not self.lost:
                # TLS hands over its first bytes before the tunnel can hand over the transport
                self._early += data
            return
        if not data or self._upgraded or not self._between_requests():
            super().data_received(data)
            return
        if self._head_bytes == 0 and data[0] in b"\r\n":
            kept = data.lstrip(b"\r\n")
            self._blank += len(data) - len(kept)
            if self._blank > _BLANK_BYTES:
                self._refuse_head(Problem("bad_request", "too many blank lines before the request", close=True))
                return
            if not kept:
                self._start_head_timer()
                return
            data = kept
        self._head_bytes += len(data)
        super().data_received(data)
        if self._between_requests():
            if self._head_bytes > HEAD_BYTES:
                self._refuse_head(Problem("head_too_large", "the request head is too large", close=True))
            else:
                self._start_head_timer()
        else:
            self._blank = self._head_bytes = 0
            self._stop_head_timer()

    def _between_requests(self) -> bool:
        """True while no request is parsed or handled: what arrives now belongs to a head."""
        waiter = self._waiter
        return self._request_count == 0 if waiter is None else not waiter.done()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            seconds = self.listener.head_seconds
            self._head_timer = self._loop.call_later(seconds, self._head_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self._between_requests():
            self._refuse_head(Problem("request_timeout", "the request head took too long", close=True))

    def _refuse_head(self, problem: Problem) -> None:
        """Answer and close without the parser: there is no request yet."""
        self._stop_head_timer()
        if self.transport is not None:
            answer = Answer(self, "GET", (1, 1), 0)
            answer.keep_alive = False
            body, fields = self.listener.render(problem, "")
            self.transport.write(
                answer.compose(problem.status, REASON[problem.status].encode(), fields, len(body)) + body
            )
        self.listener.note_refused(problem)
        self.part()

    def _make_error_handler(self, err_info: Any) -> Callable[[Any], Awaitable[Any]]:
        """The parser refused a head: answer in our words, not in aiohttp's, which quote the line (threats A11)."""
        error = err_info.exc
        if isinstance(error, LineTooLong):
            code = "target_too_long" if error.args[1] == MAX_TARGET else "head_too_large"
            problem = Problem(code, "a line of the request head is too long", close=True)
        elif isinstance(error, HttpProcessingError) and error.message == "Too many headers received":
            problem = Problem("head_too_large", f"more than {MAX_FIELDS} header fields", close=True)
        else:
            problem = Problem("bad_framing", "this is not a well-formed HTTP request", close=True)

        async def refuse(incoming: Incoming) -> Answer:
            return await self.listener.refuse(self, problem)

        return refuse


class Listener(web.Server):
    """Builds a Door per connection and turns each request into a Call for the handler."""

    def __init__(
        self,
        handler: Handler,
        *,
        render: Callable[[Problem, str], tuple[bytes, Fields]],
        on_refused: Callable[[str, Problem], None],
        new_id: Callable[[], str],
        bounds: Bounds,
        max_connections: int,
        head_seconds: float = HEAD_SECONDS,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        super().__init__(
            self._handle,  # type: ignore[arg-type]  # Incoming and Answer stand in for BaseRequest and StreamResponse
            request_factory=Incoming,  # type: ignore[arg-type]
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=keep_alive_seconds,
            max_line_size=MAX_TARGET,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            read_bufsize=READ_BUFFER,
            auto_decompress=False,
            lingering_time=linger_seconds,
        )
        self._serve = handler
        self._bounds = bounds
        self._new_id = new_id
        self._max_connections = max_connections
        self.render = render
        self._on_refused = on_refused
        self.head_seconds = head_seconds
        self.linger_seconds = linger_seconds
        self.write_idle_seconds = bounds.write_idle_s
        self.draining = False

    def __call__(self) -> Door:
        return Door(self, loop=self._loop, **self._kwargs)

    def count_connection(self, door: Door) -> None:
        """Close a connection beyond the bound at once, with an answer (threats 4.2)."""
        if len(self._connections) > 2 * self._max_connections:
            door.force_close()  # not even the refused may pile up
        elif len(self._connections) > self._max_connections:
            door._refuse_head(Problem("overloaded", "too many connections", close=True, retry_after_ms=1000))

    def forget(self, door: Door) -> None:
        """The door gave its transport away (a tunnel, or TLS on top of it)."""
        self._connections.pop(door, None)

    async def refuse(self, door: Door, problem: Problem) -> Answer:
        """Answer what never became a call."""
        answer = Answer(door, "GET", (1, 1), self._bounds.write_idle_s)
        call_id = self._new_id()
        self._on_refused(call_id, problem)
        await self._answer_problem(answer, problem, call_id)
        door.part()
        return answer

    def note_refused(self, problem: Problem) -> None:
        """Something was answered before there was a request."""
        self._on_refused(self._new_id(), problem)

    async def _handle(self, incoming: Incoming) -> Answer:
        door, message = incoming.protocol, incoming.message
        answer = Answer(door, message.method, tuple(message.version), self._bounds.write_idle_s)  # type: ignore[arg-type]
        answer.keep_alive = not message.should_close and not self.draining
        call_id = self._new_id()
        try:
            head = read_head(message, door.bound)
            await self._serve(self._make_call(incoming, head, answer, call_id))
        except Problem as problem:
            self._on_refused(call_id, problem)
            await self._answer_problem(answer, problem, call_id)
        except ClientGone:
            answer.keep_alive = False
        except Exception as error:
            _log.error("call %s: %s", call_id, place_of(error))
            internal = Problem("internal", "an error of our own; the log names it", close=True)
            self._on_refused(call_id, internal)
            await self._answer_problem(answer, internal, call_id)
        if answer.closes:
            door.part()
        if message.upgrade:
            # row 12: what follows a declined upgrade may be another protocol's bytes
            answer.keep_alive = False
        return answer

    def _make_call(self, incoming: Incoming, head: Head, answer: Answer, call_id: str) -> Call:
        door, payload = incoming.protocol, incoming.payload
        length: int | None = None
        if not incoming.message.chunked:
            declared = value_of(head.fields, b"content-length")
            length = int(declared) if declared is not None else 0
        body = answer.body = ClientBody(payload, door, head, self._bounds, length, answer)
        peer = door.peername
        return Call(
            call_id=call_id,
            head=head,
            body=body,
            answer=answer,
            peer=peer[0] if isinstance(peer, tuple) else "",
            received=self._loop.time(),
            bound=door.bound,
            proxy_fields=door.proxy_fields,
            door=door,
        )

    async def _answer_problem(self, answer: Answer, problem: Problem, call_id: str) -> None:
        if answer.started:
            answer.cut()
            return
        body, fields = self.render(problem, call_id)
        try:
            await answer.problem(problem, fields, body)
        except ClientGone:
            answer.keep_alive = False
