"""The front door: bytes become a Call, or an answer to what is no call.

aiohttp's low-level server runs the connections (door.py); here each request becomes a Call for the handler, and each
Problem an answer. Reverse, forward and decrypted calls all enter by this door.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import aiohttp.http_parser
from aiohttp import web

from . import headers
from .call import Answer, Bounds, Call, ClientBody, ClientGone
from .door import MAX_FIELD, MAX_FIELDS, MAX_TARGET, Door, Incoming
from .errors import Problem, place_of
from .head import Head, read_head
from .headers import Fields, value_of

_log = logging.getLogger("headgate.listener")

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


class Listener(web.Server):
    """Builds a Door per connection and turns each request into a Call for the handler."""

    def __init__(
        self,
        handler: Handler,
        *,
        render: Callable[[Problem, str], tuple[bytes, Fields]],
        on_refused: Callable[[str, Problem], None],
        on_idle: Callable[[], None] = lambda: None,
        admits: Callable[[], bool] = lambda: True,
        new_id: Callable[[], str],
        wall: Callable[[], float],
        bounds: Bounds,
        max_connections: int,
        max_per_client: int,
        head_seconds: float = HEAD_SECONDS,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        """`wall`: the time of day, in seconds of the epoch, for Date. `on_idle`: an idle connection was closed.
        `admits`: whether a new connection may be taken."""
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
        self._max_per_client = max_per_client
        self._of_client: Counter[str] = Counter()
        self._render = render
        self._wall = wall
        self._on_refused = on_refused
        self.on_idle = on_idle
        self._admits = admits
        self.head_seconds = head_seconds
        self.linger_seconds = linger_seconds
        self.write_idle_seconds = bounds.write_idle_s
        self.draining = False

    def __call__(self) -> Door:
        return Door(self, loop=self._loop, **self._kwargs)

    def count_connection(self, door: Door) -> None:
        """Close a connection beyond the bound at once, with an answer (threats 4.2)."""
        self._of_client[door.client] += 1
        if len(self._connections) > 2 * self._max_connections:
            door.force_close()  # not even the refused may pile up
        elif len(self._connections) > self._max_connections or self._of_client[door.client] > self._max_per_client:
            door._refuse_head(Problem("overloaded", "too many connections", close=True, retry_after_ms=1000))
        elif door.bound is None and not self._admits():
            door._refuse_head(Problem("overloaded", "memory is short", close=True, retry_after_ms=1000))

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        assert isinstance(handler, Door)
        self._uncount(handler)

    def forget(self, door: Door) -> None:
        """The door gave its transport away (a tunnel, or TLS on top of it)."""
        self._connections.pop(door, None)
        self._uncount(door)

    def _uncount(self, door: Door) -> None:
        self._of_client[door.client] -= 1
        if self._of_client[door.client] <= 0:
            del self._of_client[door.client]

    def render(self, problem: Problem, call_id: str) -> tuple[bytes, Fields]:
        """Body and fields of an answer to what never became a call."""
        body, fields = self._render(problem, call_id)
        return body, [headers.date(int(self._wall())), *fields]

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
        # row 12: what follows a declined upgrade may be another protocol's bytes
        answer.keep_alive = not (message.should_close or message.upgrade or self.draining)
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
        unread = message.upgrade or not incoming.payload.is_eof()
        if answer.closes or door.last_call or (unread and not answer.keep_alive):
            answer.keep_alive = False
            door.part()
        return answer

    def _make_call(self, incoming: Incoming, head: Head, answer: Answer, call_id: str) -> Call:
        door, payload = incoming.protocol, incoming.payload
        length: int | None = None
        if not incoming.message.chunked:
            declared = value_of(head.fields, b"content-length")
            length = int(declared) if declared is not None else 0
            if length > self._bounds.body_bytes:
                # told before it is waited for, and before the gate is asked
                raise Problem("body_too_large", f"the body is larger than {self._bounds.body_bytes} bytes", close=True)
        body = answer.body = ClientBody(payload, door, head, self._bounds, length, answer)
        return Call(
            call_id=call_id,
            head=head,
            body=body,
            answer=answer,
            peer=door.client,
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
