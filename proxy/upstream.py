"""Sends a call to its upstream, once, and hands back the answer as it comes.

The law: one send (threats 2.3 row 1). Nothing here retries: whether an unanswered call may go again is the corridor's
decision, and it needs a new grant. The answer's head is judged before the caller sees it; its fields keep their order,
spelling and bytes. Redirects are answers like any other (C9, H11), content codings are never touched.

What a request's head may look like is framing.py's, the connection below a call wire.py's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from aiohttp.connector import Connection
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from .addresses import AddressPolicy
from .dialer import Dialer, Lookup, Place
from .faults import TooLate, UpstreamBroke, UpstreamProblem
from .framing import declared, framing, judge, write_head
from .pool import Pool, wire_of
from .tasks import spawn
from .websocket import judge_switch
from .wire import READ_BUFFER, Wire

Body = bytes | AsyncIterator[bytes] | None

# asyncio's high-water mark of a transport: more than this is written piece by piece, so that an early answer stops it.
PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; threats 4.3."""

    dns_s: float = 3.0
    connect_s: float = 5.0
    tls_s: float = 10.0
    first_byte_s: float = 300.0
    body_idle_s: float = 120.0
    keepalive_s: float = 15.0
    slot_s: float = 5.0
    """For a free place in the pool: to the caller the same wait as connecting."""


DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a call is for, and how to get there. Equal targets share connections, others never do.

    `host` and `port` are the checked authority: what Host and SNI say. IPv6 is written without brackets. `connect_to`
    is dialled instead, where the operator said so. `ca` is PEM text of extra roots. `checked` is False when the
    operator named the place (`upstream:`, `connect_to:`): then it may be any but what is reserved for ourselves.
    """

    scheme: str
    host: str
    port: int
    connect_to: tuple[str, int] | None = None
    ca: str | None = None
    checked: bool = True

    @property
    def place(self) -> Place:
        host, port = self.connect_to or (self.host, self.port)
        return Place(host, port, self.checked)

    @property
    def server_name(self) -> str | None:
        return self.host if self.scheme == "https" else None


class Reply:
    """An answer: its judged head, and its body while it arrives. Must be released or aborted once."""

    __slots__ = (
        "_complete", "_connection", "_payload", "_taken", "_wire", "headers", "reason", "reused", "status", "version",
    )  # fmt: skip

    def __init__(self, message: RawResponseMessage, payload: StreamReader, connection: Connection) -> None:
        self._complete = False
        self._connection = connection
        self._payload = payload
        self._taken = 0
        self._wire = wire_of(connection)
        self.status: int = message.code
        self.reason: bytes = message.reason.encode("utf-8", "surrogateescape")
        self.headers: list[tuple[bytes, bytes]] = list(message.raw_headers)
        """As received: order, spelling, hop-by-hop fields included."""
        self.version: tuple[int, int] = (message.version[0], message.version[1])
        self.reused: bool = self._wire.calls > 1
        """The connection had served another call before."""

    def __repr__(self) -> str:
        return f"<Reply {self.status}{' reused' if self.reused else ''}{' complete' if self.complete else ''}>"

    @property
    def complete(self) -> bool:
        """The whole body arrived and has been taken out of here."""
        return self._complete or (self._payload.at_eof() and self._wire.fault is None)

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes of the body: all of it when it is shorter. `complete` says which; the rest stays.

        Raises as iteration does, and what had arrived is lost then.
        """
        pieces: list[bytes] = []
        wanted = limit
        while wanted > 0 and (piece := await self._take(min(wanted, READ_BUFFER))):
            pieces.append(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def buffered(self) -> bool:
        """Some of the body, or its end, is here: the next piece will not be waited for."""
        return self._payload.is_eof() or self._payload.total_bytes > self._taken

    def chunks(self) -> Reply:
        """The body's pieces, for `async for`."""
        return self

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the body as it arrived, transfer coding removed.

        Raises UpstreamBroke, UpstreamProtocol (bad chunk) or UpstreamStalled once what arrived before has been handed
        out: the client's stream must then be cut, not ended. The connection is closed by then.
        """
        piece = await self._take(-1)
        if not piece:
            raise StopAsyncIteration
        return piece

    def release(self) -> None:
        """The call is over: the connection goes back to the pool when it is clean, and is closed else."""
        if self._connection.protocol is not None:
            self._complete = self.complete
            self._wire.finish()
            self._connection.release()

    def switch(self) -> tuple[asyncio.Transport, bytes]:
        """Of a 101: the connection itself, which does not read, and what came behind the head. `abort` then gives back
        its place. Raises UpstreamBroke."""
        switched = self._wire.switch()
        if switched is None:
            raise UpstreamBroke(answered=True)
        self._complete = True
        return switched

    def abort(self) -> None:
        """Close the connection, whatever its state."""
        if self._connection.protocol is not None:
            self._complete = self.complete
            self._connection.close()

    async def _take(self, limit: int) -> bytes:
        payload = self._payload
        piece = b""
        if not payload.at_eof():
            piece = await (payload.readany() if limit < 0 else payload.read(limit))
        if not piece and not self._complete and (fault := self._wire.fault) is not None:
            self.abort()
            raise fault
        self._taken += len(piece)
        return piece


class Upstream:
    """The upstream room: a pool of connections and the one way to use it. Made inside the running loop."""

    def __init__(
        self,
        *,
        addresses: AddressPolicy,
        client_context: Callable[[str | None], ssl.SSLContext],
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        limit: int = 2000,
        limit_per_host: int = 1000,
        lookup: Lookup | None = None,
    ) -> None:
        """`client_context`: extra roots as PEM text (or None) -> the context to trust.

        `limit`, `limit_per_host`: connections in use at once, in all and for one target (settings.Ceilings); the gate,
        not the pool, is what paces calls.
        """
        self._timeouts = timeouts
        self._dialer = Dialer(addresses, dns_s=timeouts.dns_s, connect_s=timeouts.connect_s, lookup=lookup)
        self._pool = Pool(
            self._dialer,
            client_context,
            limit=limit,
            limit_per_host=limit_per_host,
            keepalive_s=timeouts.keepalive_s,
            tls_s=timeouts.tls_s,
            budget_s=timeouts.slot_s + timeouts.dns_s + timeouts.connect_s + timeouts.tls_s,
        )

    @property
    def addresses(self) -> AddressPolicy:
        """Which addresses may be dialled; may be replaced at any time."""
        return self._dialer.addresses

    @addresses.setter
    def addresses(self, addresses: AddressPolicy) -> None:
        self._dialer.addresses = addresses

    async def send(
        self,
        target: Target,
        method: bytes,
        raw_target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: Body,
        *,
        chunked: bool = False,
        websocket: bytes | None = None,
        may_go: Callable[[], bool] = lambda: True,
    ) -> Reply:
        """Send one request and return its answer as soon as the head has arrived.

        `headers` are the fields as they go out, Host among them, byte for byte. Framing is checked against the body
        and completed where it is missing: `None` is no body; `bytes` get a Content-Length; an iterator is sent with
        the Content-Length of the list, which it must keep, or, `chunked`, in chunks of our making. An Expect of the
        list is not waited for: the body is sent at once.

        An answer that comes before the body is sent ends the sending; the iterator is closed before this returns.
        What the iterator raises comes out of here as it is, after the connection was closed.

        `websocket` is the key of a WebSocket's handshake, and only then the answer can be a 101 (`Reply.switch`).

        `may_go` is asked when the connection is open, right before the first byte is written. If it says no, TooLate
        is raised, the iterator has not been touched, and the connection is pooled.

        Raises any fault of proxy/faults.py, and ValueError for a request that must not be written.
        """
        length, coded = declared(headers)
        head = write_head(method, raw_target, headers, framing(method, body, length, coded, chunked))
        connection = await self._pool.take(target)
        wire = wire_of(connection)
        if not may_go():
            connection.release()
            raise TooLate
        writer = None
        try:
            wire.begin(head_request=method == b"HEAD", switching=websocket is not None)
            if body is None or (isinstance(body, bytes) and len(body) <= PIECE):
                wire.write(head + body if body else head)
                wire.request_sent = True
            else:
                wire.write(head)
                if isinstance(body, bytes):
                    length, body = len(body), _slices(body)
                coroutine = self._write_body(wire, body, length)
                writer = spawn(coroutine, name="request body")
            wire.arm(self._timeouts.first_byte_s)
            message, payload = await wire.answer()
            if writer is not None:
                await _stop(writer)
            if websocket is not None and message.code == 101:
                judge_switch(message, websocket)
                return Reply(message, payload, connection)
            judge(message)
        except BaseException as error:
            connection.close()
            if writer is not None:
                failure = await _stop(writer)
                if failure is not None and isinstance(error, UpstreamProblem):
                    raise failure from None
            raise
        if not payload.is_eof():
            wire.arm(self._timeouts.body_idle_s)
        return Reply(message, payload, connection)

    async def dial(
        self, target: Target, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """A plain connection for a tunnel, to an address checked as `send` checks it. Raises as Dialer.dial does."""
        sock = await self._dialer.dial(target.place)
        try:
            return await asyncio.get_running_loop().create_connection(factory, sock=sock)
        except BaseException:
            sock.close()
            raise

    async def close(self) -> None:
        """Close every connection, those with a call on them too."""
        await self._pool.close()
        await self._dialer.close()

    async def _write_body(self, wire: Wire, body: AsyncIterator[bytes], length: int | None) -> Exception | None:
        """Write the body as fast as the upstream takes it; return what the iterator raised."""
        written = 0
        try:
            async for piece in body:
                written += len(piece)
                if length is not None and written > length:
                    raise ValueError("the body is longer than its Content-Length")
                if not piece:
                    continue
                if length is None:
                    wire.write_chunk(piece)
                else:
                    wire.write(piece)
                # the answer cannot be due before the request has been taken
                wire.arm(self._timeouts.first_byte_s)
                if not await wire.drained():
                    return None
            if length is None:
                wire.write(b"0\r\n\r\n")
            elif written < length:
                raise ValueError("the body is shorter than its Content-Length")
            wire.request_sent = True
            wire.arm(self._timeouts.first_byte_s)
        except Exception as error:
            wire.fail(UpstreamBroke(reused=wire.calls > 1))
            return error
        finally:
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()
        return None


async def _stop(writer: asyncio.Task[Exception | None]) -> Exception | None:
    """End the body's writer, and wait until the iterator is nobody's."""
    if not writer.done():
        writer.cancel()
        await asyncio.wait((writer,))
    return None if writer.cancelled() else writer.result()


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]
