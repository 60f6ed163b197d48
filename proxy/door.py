"""One client connection: what its bytes may be between and inside requests, and how it ends.

aiohttp's RequestHandler does the parsing (C parser); what it leaves open is closed here: a timer on the head, a bound
on blank lines in front of it and on the head as a whole, bodies that break, trailers, answers in our own words, no
quoting of a peer's bytes (threats 2.2), and an end that lets the answer arrive.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, _ErrInfo

from .call import Answer, reset
from .errors import REASON, Problem, place_of
from .head import HEAD_BYTES, Authority
from .message import Message

if TYPE_CHECKING:
    from .listener import Listener

_log = logging.getLogger("headgate.listener")

# Blank lines a server should skip before a request line: "at least one" (RFC 9112 section 2.2); eight bytes is four.
_BLANK_BYTES = 8
# Bounds of a head's parts. nginx takes lines of 8 KiB; tokens in a query or a JWT in a field need more; threats A20
# wants 64 KiB URLs and 1,000 fields refused. The two line bounds differ so that the parser's error tells which it was.
MAX_TARGET = 16_384
MAX_FIELD = 32_768
MAX_FIELDS = 256


class Incoming:
    """What aiohttp passes to the handler: as little of its BaseRequest as RequestHandler uses."""

    __slots__ = ("_task", "message", "payload", "protocol", "writer")

    def __init__(
        self,
        message: Message,
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


class _Queue(list[Any]):
    """Parsed requests that wait their turn: at most MAX_MSG_QUEUE_SIZE, and mostly none. An empty deque takes 624
    bytes, for as long as the connection lives."""

    __slots__ = ()

    def popleft(self) -> Any:
        """The first."""
        return self.pop(0)


class Door(web.RequestHandler):
    """One client connection."""

    def __init__(self, server: Listener, *, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(server, loop=loop, **kwargs)
        self._messages = _Queue()  # type: ignore[assignment]
        self.listener = server
        self.client = ""
        """Address of the other end; the connections of one are bounded."""
        self.bound: Authority | None = None
        """The CONNECT authority, once this connection is a decrypted one."""
        self.proxy_fields: tuple[tuple[bytes, bytes], ...] = ()
        self._blank = 0
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._early = b""
        self._body: StreamReader | None = None
        """Body of the request that was parsed last."""
        self._coded = False
        """It is chunked, and its end has not come."""
        self._missing = -1
        """Bytes of that request still to come; negative where that is not known."""
        self._ending = b""
        self._unread = b""
        """What came since the last whole head: the request line of the next one may stand in it."""
        self._last_call = False
        self._parting: asyncio.Transport | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self.lost = False
        """The connection is over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = self.peername
        self.client = peer[0] if isinstance(peer, tuple) else ""
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
        self._end_timer = self._loop.call_later(self.listener.write_idle_seconds, reset, transport)

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
        if not transport.can_write_eof():
            # TLS cannot end one direction, but its close reads on until the client's goodbye
            self._end(transport)
            return
        transport.write_eof()
        transport.resume_reading()
        self._end_timer = self._loop.call_later(self.listener.linger_seconds, self._end, transport)

    def _process_keepalive(self) -> None:
        idle = not self._force_close
        super()._process_keepalive()
        if idle and self._force_close:
            self.listener.on_idle()

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
        if self._last_call:
            return
        if self._parser is None:
            if not data:
                return  # a reader of the body asks for more of it, and it is all there
            self._parser = self._new_parser()
        between = bool(data) and not self._upgraded and self._between_requests()
        begins = between and self._head_bytes == 0 and self._blank == 0
        if between:
            blank = 0
            if self._head_bytes == 0:
                blank = len(data) - len(data.lstrip(b"\r\n"))
                self._blank += blank
                if self._blank > _BLANK_BYTES:
                    self._refuse_head(Problem("bad_request", "too many blank lines before the request", close=True))
                    return
            self._head_bytes += len(data) - blank
        known = len(self._messages)
        whole = self._body is None or self._body.is_eof()
        super().data_received(data)
        unread = self._unread + data if self._unread else data
        if self._coded or len(self._messages) > known:
            self._slim(known, unread)
            self._watch_bodies(known, data)
        self._count(known, data, begins=begins and self._blank == 0, whole=whole)
        self._keep_unread(unread, begun=len(self._messages) > known)
        if not between:
            return
        if not self._between_requests():
            self._blank = self._head_bytes = 0
            self._stop_head_timer()
            if self._keepalive_handle is not None:
                # aiohttp sets another behind the answer; meanwhile it would only take memory
                self._keepalive_handle.cancel()
                self._keepalive_handle = None
        elif self._head_bytes > HEAD_BYTES:
            self._refuse_head(Problem("head_too_large", "the request head is too large", close=True))
        else:
            self._start_head_timer()

    def _slim(self, known: int, unread: bytes) -> None:
        """Of the messages parsed just now, keep what is used. `unread`: the bytes that hold their request lines.

        llhttp takes RTSP for HTTP, and does not tell: such a message gets a version that is spoken nowhere.
        """
        messages, rtsp = self._messages, b" RTSP/" in unread
        for index in range(known, len(messages)):
            message, payload = messages[index]
            if not isinstance(message, _ErrInfo):
                slim = Message(message)
                messages[index] = (slim, payload)  # type: ignore[assignment]
                if rtsp:
                    line = f"{slim.method} {slim.path} RTSP/".encode("utf-8", "surrogateescape")
                    if unread.startswith(line) or b"\n" + line in unread:
                        slim.version = (0, 0)

    def _keep_unread(self, unread: bytes, *, begun: bool) -> None:
        """Of `unread`, keep what may be the beginning of a head. `begun`: a whole head was in it."""
        if self._parser is None or not (self._body is None or self._body.is_eof()):
            self._unread = b""
        else:
            self._unread = (unread.rpartition(b"\r\n\r\n")[2] if begun else unread)[-HEAD_BYTES:]

    def _count(self, known: int, data: bytes, *, begins: bool, whole: bool) -> None:
        """Drop the parser where the bytes so far end with the one request they began with: it keeps every field of a
        request until the next one begins, and a call may be held for minutes. The next bytes bring another.

        `begins`: `data` starts with a request line; `whole`: the body before was complete when `data` came. In doubt
        the parser stays, since it may have read a part of the next head.
        """
        new = len(self._messages) - known
        if new == 0 and not whole and self._missing > 0:
            self._missing -= len(data)
        elif new == 1 and begins and isinstance(message := cast(object, self._messages[known][0]), Message):
            framed = not message.chunked and not message.upgrade and (end := data.find(b"\r\n\r\n")) >= 0
            self._missing = end + 4 + message.length - len(data) if framed else -1
        elif data:
            self._missing = -1
        if self._missing == 0:
            self._missing = -1
            if self._body is not None and self._body.is_eof() and not self._upgraded:
                self._parser = None

    def _watch_bodies(self, known: int, data: bytes) -> None:
        """What aiohttp's parser leaves open about bodies, after it was fed `data`; messages from `known` on are new.

        A body that breaks is queued as an error behind its call, which is not told and would wait. And the last
        trailer of a chunked body is kept and written into the head of the request behind it (threats A10): so a
        chunked body ends its parser, and where bytes stand behind one in the same segment, it ends the connection.
        """
        messages = self._messages
        for index in range(known, len(messages)):
            message, payload = messages[index]
            if isinstance(message, _ErrInfo):
                if self._body is not None and not self._body.is_eof() and self._body.exception() is None:
                    self._body.set_exception(web.RequestPayloadError())
                    self._coded = False
            elif self._coded:
                for _ in range(index, len(messages)):
                    messages.pop()
                self._coded, self._last_call = False, True
                return
            else:
                self._body, self._coded, self._ending = payload, message.chunked, b""
        if not self._coded:
            return
        self._ending = (self._ending + data)[-4:]
        if self._body is not None and self._body.is_eof():
            self._coded = False
            if self._ending == b"\r\n\r\n"[-len(self._ending) :]:
                self._parser = self._new_parser()
            else:
                self._last_call = True

    def _new_parser(self) -> HttpRequestParser:
        """A parser that remembers nothing, with the bounds of the first."""
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )

    @property
    def last_call(self) -> bool:
        """Nothing behind the call that runs now may be read as a request."""
        return self._last_call and not self._messages

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
            self._refuse_head(Problem("head_timeout", "the request head took too long", close=True))

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
