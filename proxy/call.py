"""A call as the corridor sees it: its judged head, its body still on the wire, and the answer it will get.

The body is read only when somebody asks (a held call leaves its bytes to TCP), within the bounds of threats 4.2 and
4.3. The answer is written to the transport by us, head bytes as given: aiohttp's own writer would drop bytes it does
not like.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from .errors import REASON, Problem
from .head import Authority, Head
from .headers import Fields
from .websocket import SWITCH

if TYPE_CHECKING:
    from .tunnel import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long and how much a client may send, and how slowly it may read (threats 4.2, 4.3)."""

    body_idle_s: float = 15.0
    body_min_rate: int = 1024
    """Bytes per second, averaged over the time we waited for the client, once that is more than body_idle_s."""
    body_total_s: float = 600.0
    body_bytes: int = 1 << 30
    """A gigabyte: twice the largest request a catalogue service takes (512 MB of images, provider-facts 2.5)."""
    write_idle_s: float = 120.0


class ClientGone(Exception):
    """The client closed its connection: nobody is left to answer. `code` is what the log says."""

    code = "client_gone"


class ClientStalled(ClientGone):
    """It took nothing of its answer for as long as it may."""

    code = "client_stalled"


_READ: tuple[bytes, ...] = ()
"""What stands where a payload kept its bytes, once there will be no more: whoever adds to it fails."""


class ClientBody:
    """The request body, read once."""

    __slots__ = ("_answer", "_bounds", "_payload", "_protocol", "_read", "_waited", "length", "uninvited")

    def __init__(
        self,
        payload: StreamReader,
        protocol: web.RequestHandler,
        head: Head,
        bounds: Bounds,
        length: int | None,
        answer: Answer,
    ) -> None:
        self._payload = payload
        self._protocol = protocol
        self._bounds = bounds
        self._answer = answer
        self._read = 0
        self._waited = 0.0
        self.uninvited = head.expect_continue and length != 0
        """The client holds the body back until we ask for it, and we have not."""
        self.length = length
        """Content-Length; None for a chunked body, 0 without a body."""

    @property
    def empty(self) -> bool:
        return self.length == 0

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises Problem (body_too_large, body_timeout, bad_framing) or ClientGone."""
        if self.length == 0:
            return b""
        if self.length is not None and self.length > limit:
            raise Problem("body_too_large", f"the body is larger than {limit} bytes", close=True)
        pieces = []
        async for piece in self:
            pieces.append(piece)
            if self._read > limit:
                raise Problem("body_too_large", f"the body is larger than {limit} bytes", close=True)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def begun(self, size: int) -> None:
        """Wait until so much of the body, or all of it, has come; nothing is taken, and a body that waits to be invited
        is not waited for. Raises as `read` does."""
        payload, loop = self._payload, asyncio.get_running_loop()
        if self.uninvited:
            return
        try:
            # the least rate that holds for a body holds for its beginning
            async with asyncio.timeout(self._bounds.body_idle_s):
                while payload.total_bytes < size and not payload.is_eof():
                    if (broken := payload.exception()) is not None:
                        # it broke before anybody waited, and wakes nobody
                        raise broken
                    asked = loop.time()
                    await payload._wait("begun")
                    self._waited += loop.time() - asked
        except TimeoutError:
            raise Problem("body_timeout", "the body did not begin in time", close=True) from None
        except (HttpProcessingError, web.RequestPayloadError):
            raise self._broken() from None
        except (ConnectionError, OSError):
            raise ClientGone from None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces as they arrive. Raises as `read` does."""
        payload, bounds, now = self._payload, self._bounds, asyncio.get_running_loop().time
        started = now()
        self._invite()
        while True:
            try:
                piece = payload.read_nowait(-1) if payload.total_bytes else b""
                if not piece:
                    if payload.is_eof():
                        # an empty deque takes 624 bytes, and the call may be held for minutes
                        payload._buffer = _READ  # type: ignore[assignment]
                        return
                    asked = now()
                    async with asyncio.timeout(bounds.body_idle_s):
                        piece = await payload.readany()
                    self._waited += now() - asked
                    if not piece:
                        return
            except TimeoutError:
                raise Problem("body_timeout", "the body stopped arriving", close=True) from None
            except (HttpProcessingError, web.RequestPayloadError):
                raise self._broken() from None
            except (ConnectionError, OSError):
                raise ClientGone from None
            self._read += len(piece)
            self._check_pace(now() - started)
            yield piece

    def _check_pace(self, elapsed: float) -> None:
        bounds = self._bounds
        if self._read > bounds.body_bytes:
            raise Problem("body_too_large", f"the body is larger than {bounds.body_bytes} bytes", close=True)
        if elapsed > bounds.body_total_s:
            raise Problem("body_timeout", "the body took too long", close=True)
        # a body that we, or the upstream, were slow to take is not a slow client's
        if self._waited > bounds.body_idle_s and self._read < bounds.body_min_rate * self._waited:
            raise Problem("body_timeout", "the body came too slowly", close=True)

    def _broken(self) -> Problem | ClientGone:
        if self._protocol.transport is None:
            return ClientGone()
        return Problem("bad_framing", "the body does not follow its own framing", close=True)

    def _invite(self) -> None:
        """The one 100 Continue, when we start to read the body (RFC 9110 section 10.1.1)."""
        if self.uninvited and not self._answer.started:
            self.uninvited = False
            if self._protocol.transport is not None:
                self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class Answer:
    """One reply to the client. Also what aiohttp's RequestHandler expects of a response: `prepare`, `write_eof`,
    `keep_alive`, all of them done with by then."""

    __slots__ = (
        "_chunked",
        "_head",
        "_protocol",
        "_until_close",
        "_write_idle_s",
        "body",
        "closes",
        "keep_alive",
        "method",
        "sent",
        "started",
        "version",
    )

    def __init__(
        self, protocol: web.RequestHandler, method: str, version: tuple[int, int], write_idle_s: float
    ) -> None:
        self._protocol = protocol
        self._chunked = False
        self._head: bytes | None = None
        self._until_close = False
        self._write_idle_s = write_idle_s
        self.body: ClientBody | None = None
        """What the client sends on the same connection."""
        self.closes = False
        """A Problem was answered after which nothing more may be read."""
        self.method = method
        self.version = version
        self.keep_alive = True
        """May be set to False until `start`."""
        self.started = False
        """The head is on its way: no other answer can be given."""
        self.sent = 0

    async def prepare(self, request: object) -> None:
        """For aiohttp: everything has been written by the time it asks."""

    async def write_eof(self) -> None:
        """For aiohttp: everything has been written by the time it asks."""

    def start(self, status: int, reason: bytes, fields: Fields, *, length: int | None) -> None:
        """Compose the head; it leaves with the first piece, or with `flush`. Until then `start` may be called again.

        `fields` hold no framing and no connection fields; `length` None means unknown: chunked for HTTP/1.1, until
        close for HTTP/1.0 (RFC 9112 section 6.3).
        """
        if self.body is not None and self.body.uninvited:
            # whatever comes next may be the body that was held back, or may not (RFC 9110 section 10.1.1)
            self.keep_alive = False
        self._head = self.compose(status, reason, fields, length)

    def compose(self, status: int, reason: bytes, fields: Fields, length: int | None) -> bytes:
        """The bytes of the head `start` keeps for the first write."""
        self._chunked = self._until_close = False
        parts = [b"HTTP/1.1 %d %s\r\n" % (status, reason)]
        parts += [b"%s: %s\r\n" % field for field in fields]
        if status == 204 or status < 200:
            pass  # RFC 9110 section 8.6: no Content-Length here
        elif length is not None:
            parts.append(b"Content-Length: %d\r\n" % length)
        elif self.method == "HEAD" or status == 304:
            pass
        elif self.version == (1, 1):
            self._chunked = True
            parts.append(b"Transfer-Encoding: chunked\r\n")
        else:
            self._until_close = True
            self.keep_alive = False
        if status == 101:
            parts += [b"%b: %b\r\n" % field for field in SWITCH]
        elif not self.keep_alive:
            parts.append(b"Connection: close\r\n")
        elif self.version == (1, 0):
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    async def write(self, piece: bytes) -> None:
        """Send a piece of the body and wait while the client reads slowly. Raises ClientGone."""
        if not piece:
            return  # an empty chunk would be the end mark
        if self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        await self._send(piece)

    async def flush(self) -> None:
        """Send the head now: the first piece is not here yet. Raises ClientGone."""
        if self._head is not None:
            await self._send(b"")

    async def end(self, last: bytes = b"") -> None:
        """Send the last piece, and the end mark where the framing has one. Raises ClientGone."""
        if self._chunked:
            last = b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n"
        if last or self._head is not None:
            await self._send(last)

    def cut(self) -> None:
        """End visibly unfinished: the client must not take what it has for the whole (threats H3).

        A length or chunks that are not complete say so by themselves, and the bytes before the cut still arrive; a
        body that lasts until the close can only be cut by a reset.
        """
        self.keep_alive = False
        transport = self._protocol.transport
        if transport is None:
            return
        if self._until_close:
            reset(transport)
        self._protocol.force_close()

    async def problem(self, problem: Problem, fields: Fields, body: bytes) -> None:
        """Send an answer of our own, whole."""
        if problem.close:
            self.keep_alive = False
            self.closes = True
        status = problem.status
        self.start(status, REASON[status].encode(), fields, length=len(body))
        await self.end(b"" if self.method == "HEAD" else body)

    async def _send(self, data: bytes) -> None:
        protocol = self._protocol
        transport = protocol.transport
        if transport is None:
            raise ClientGone
        if self._head is not None:
            data, self._head = self._head + data, None
            self.started = True
        self.sent += len(data)
        transport.write(data)
        if protocol.writing_paused:
            try:
                async with asyncio.timeout(self._write_idle_s):
                    await protocol._drain_helper()
            except ConnectionError:
                self.keep_alive = False
                raise ClientGone from None
            except TimeoutError:
                # closing would wait for a reader that does not read
                reset(transport)
                self.keep_alive = False
                raise ClientStalled from None


def reset(transport: asyncio.Transport) -> None:
    """Close, and let the kernel forget what it still has to send: to a peer that does not read it would try for
    minutes, with megabytes that are no process's."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Call:
    """One request passing through us."""

    __slots__ = ("answer", "body", "bound", "door", "head", "id", "peer", "proxy_fields", "received", "tunnel")

    def __init__(
        self,
        *,
        call_id: str,
        head: Head,
        body: ClientBody,
        answer: Answer,
        peer: str,
        received: float,
        bound: Authority | None,
        proxy_fields: tuple[tuple[bytes, bytes], ...],
        door: web.RequestHandler,
    ) -> None:
        self.id = call_id
        self.head = head
        self.body = body
        self.answer = answer
        self.peer = peer
        """Address of the client's end of the connection."""
        self.received = received
        """Loop time when the head was complete, in seconds."""
        self.bound = bound
        """The CONNECT authority, on a decrypted connection."""
        self.proxy_fields = proxy_fields
        """Fields of the CONNECT that opened the tunnel: who asked for it."""
        self.door = door
        """The connection itself; only the tunnel needs it."""
        self.tunnel: Pair | None = None
        """The room that is kept for the WebSocket it asks for."""

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.head.entrance} {self.head.method}>"
