"""CONNECT: intercept with our CA, or relay blindly. Which of the two is decided in `exchange`, never here.

An intercepted tunnel ends in TLS with a leaf for the CONNECT authority; what is decrypted enters by the listener's
own door again, bound to that authority (threats D). A blind tunnel passes bytes unread, and so does a WebSocket once
its handshake is over (websocket.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator

from prometheus_client import Gauge

from .call import Call, ClientGone, reset
from .door import Door
from .errors import Problem
from .head import Authority
from .metrics import Metrics
from .upstream import Target

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
# threats 4.3: TLS to the client 10 s; a tunnel idle 300 s, living 1 h.
HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS = 300.0
LIFE_SECONDS = 3600.0
# While draining, a second of silence counts as idle: whoever still talks does so more often.
DRAIN_IDLE_SECONDS = 1.0
# A tunnel that ends still delivers what was written to it, as long as the TLS stack of asyncio waits for a goodbye.
FLUSH_SECONDS = 30.0

Dial = Callable[[Target, Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.Transport, asyncio.Protocol]]]


class HandshakeFailed(ClientGone):
    """The client of an intercepted tunnel did not speak TLS with us, or not in time."""

    code = "client_tls"


class Tunnels:
    """Opens tunnels, and knows how many are open."""

    def __init__(
        self,
        *,
        leaf_context: Callable[[str], ssl.SSLContext],
        dial: Dial,
        metrics: Metrics,
        max_open: int,
        max_websockets: int,
        idle_seconds: float = IDLE_SECONDS,
        life_seconds: float = LIFE_SECONDS,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._leaf_context = leaf_context
        self._dial = dial
        self._metrics = metrics
        self._max_open = max_open
        self._max_websockets = max_websockets
        self._idle_seconds = idle_seconds
        self._life_seconds = life_seconds
        self._handshake_seconds = handshake_seconds
        self._open: set[Pair] = set()
        self._websockets: set[Pair] = set()

    async def intercept(self, call: Call, authority: Authority) -> None:
        """Answer 200, speak TLS as `authority`, and hand the decrypted connection to a new door.

        The transport changes hands between the answer and the first byte of the handshake without a turn of the
        event loop in between, so no byte of the client's can be lost.
        """
        door = call.door
        assert isinstance(door, Door)
        try:
            context = self._leaf_context(authority.host)
        except ValueError:
            raise Problem("bad_target", "no certificate can be made for this host", close=True) from None
        if door._message_tail:
            # a ClientHello before our 200 could not be fed to the handshake: close rather than lose it (threats D2)
            raise Problem("bad_framing", "bytes came before the tunnel was open", close=True)
        transport = self._take(call, door)
        inner = door.listener()
        inner.bound = authority
        inner.proxy_fields = call.head.fields
        transport.write(_ESTABLISHED)
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, inner, context, server_side=True, ssl_handshake_timeout=self._handshake_seconds
            )
        except (OSError, ssl.SSLError, TimeoutError):
            # not TLS, a certificate that was refused, or silence: nobody is left to answer (threats D8, D9)
            transport.abort()
            raise HandshakeFailed from None
        if secured is None or inner.lost:
            # the client went in the very turn of the loop that ended the handshake
            raise ClientGone
        inner.connection_made(secured)

    async def relay(self, call: Call, target: Target) -> str | None:
        """Dial, answer 200, pass bytes both ways until both ends have closed. Raises Problem where it can't.

        Returns the code of the time-out that ended it."""
        if len(self._open) >= self._max_open:
            raise Problem("overloaded", "too many tunnels are open", close=True, retry_after_ms=1000)
        # counted while it is dialled: a slow upstream is no way round the bound
        with self._room(self._open, self._metrics.tunnels) as pair:
            await self._dial(target, lambda: pair.far)
            await self._pass(call, pair, _ESTABLISHED)
        return pair.code

    @contextlib.contextmanager
    def websocket(self, call: Call) -> Iterator[None]:
        """Keep room for the WebSocket that a call asks for, until the block ends. Raises Problem: overloaded.

        Kept from before the call waits: what was granted must not fail for want of room here.
        """
        if len(self._websockets) >= self._max_websockets:
            raise Problem("overloaded", "too many WebSockets are open", close=True, retry_after_ms=1000)
        with self._room(self._websockets, self._metrics.websockets) as call.tunnel:
            yield

    async def switch(self, call: Call, head: bytes, upstream: asyncio.Transport, early: bytes) -> None:
        """Send the head of the 101, then pass bytes both ways until both ends have closed. `early`: what the upstream
        said behind its own head; it does not read yet."""
        pair = call.tunnel
        assert pair is not None
        upstream.set_protocol(pair.far)
        pair.far.connection_made(upstream)
        if early:
            pair.far.data_received(early)
        upstream.resume_reading()
        await self._pass(call, pair, head)

    def drain(self) -> None:
        """From now on a tunnel that is silent for DRAIN_IDLE_SECONDS is closed."""
        for pair in self._every():
            pair.shorten(DRAIN_IDLE_SECONDS)

    def close_all(self) -> None:
        """Close every tunnel; the drain is over."""
        for pair in self._every():
            pair.close()

    def _every(self) -> list[Pair]:
        return [*self._open, *self._websockets]

    @contextlib.contextmanager
    def _room(self, kept: set[Pair], gauge: Gauge) -> Iterator[Pair]:
        pair = Pair(self._metrics, self._idle_seconds, self._life_seconds)
        kept.add(pair)
        gauge.inc()
        try:
            yield pair
        finally:
            pair.close()
            kept.discard(pair)
            gauge.dec()

    async def _pass(self, call: Call, pair: Pair, head: bytes) -> None:
        """The far end is connected: tell the client, and join the two until both have closed."""
        if pair.closed.done():
            raise Problem("draining", "this Headgate is shutting down", close=True, retry_after_ms=1000)
        door = call.door
        assert isinstance(door, Door)
        early = bytes(door._message_tail)
        near = self._take(call, door)
        pair.start()
        near.write(head)
        near.set_protocol(pair.near)
        pair.near.connection_made(near)
        if early:
            pair.near.data_received(early)
        pair.near.take_over()
        # the door stops reading when much comes before the answer
        near.resume_reading()
        await pair.closed

    def _take(self, call: Call, door: Door) -> asyncio.Transport:
        """The client's transport, no longer the door's."""
        transport = door.transport
        if transport is None:
            raise ClientGone
        door.transport = None
        door.listener.forget(door)
        call.answer.keep_alive = False
        call.answer.started = True
        return transport


class _End(asyncio.Protocol):
    """One side of a blind tunnel: what comes in here goes out at the other."""

    def __init__(self, pair: Pair, direction: str) -> None:
        self._pair = pair
        self.passed = 0
        """Bytes that came in here."""
        self._bytes = pair.metrics.tunnel_bytes.labels(direction)
        self.other: _End
        self.transport: asyncio.Transport | None = None
        self._ended = False
        self._last_timer: asyncio.TimerHandle | None = None
        self._waiting = b""
        """What the other side said before this end was here: some servers speak first."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclass

    def data_received(self, data: bytes) -> None:
        self._pair.touch()
        self._bytes.inc(len(data))
        self.passed += len(data)
        if self.other.transport is not None:
            self.other.transport.write(data)
        else:
            self.other._waiting += data

    def take_over(self) -> None:
        """This end is the client's and has its 200: what the other side said or ended in the meantime is passed on."""
        assert self.transport is not None
        if self._waiting:
            self.transport.write(self._waiting)
            self._waiting = b""
        if self.other._ended:
            self.other._pass_end(self.transport)

    def eof_received(self) -> bool:
        self._ended = True
        if self.other.transport is not None:
            self._pass_end(self.other.transport)
        return True

    def _pass_end(self, to: asyncio.Transport) -> None:
        """A half-close is passed on, and the other direction goes on (threats D12); TLS can only close whole."""
        if self.other._ended or not to.can_write_eof():
            self._pair.close()  # what is still to be written goes out first
        else:
            to.write_eof()

    def pause_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.resume_reading()

    def finish(self) -> None:
        """Close when what was written has been taken, or when FLUSH_SECONDS have passed."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self._last_timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, reset, self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._last_timer is not None:
            self._last_timer.cancel()
        self._pair.close()


class Pair:
    """The two ends of a tunnel, and what ends it."""

    def __init__(self, metrics: Metrics, idle_seconds: float, life_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.metrics = metrics
        self.near, self.far = _End(self, "up"), _End(self, "down")
        self.near.other, self.far.other = self.far, self.near
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._idle_seconds, self._life_seconds = idle_seconds, life_seconds
        self._last = loop.time()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._life_timer: asyncio.TimerHandle | None = None
        self.code: str | None = None
        """The time-out that ended it."""

    def start(self) -> None:
        """Both ends are there: from now on it may be idle, and grow old."""
        self._last = self._loop.time()
        self._idle_timer = self._loop.call_later(self._idle_seconds, self._look)
        self._life_timer = self._loop.call_later(self._life_seconds, self._end, "tunnel_life")

    def touch(self) -> None:
        self._last = self._loop.time()

    def shorten(self, idle_seconds: float) -> None:
        """It may be silent for less from now on."""
        self._idle_seconds = idle_seconds
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._look()

    def close(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        for timer in (self._idle_timer, self._life_timer):
            if timer is not None:
                timer.cancel()
        for end in (self.near, self.far):
            end.finish()

    def _look(self) -> None:
        left = self._last + self._idle_seconds - self._loop.time()
        if left <= 0:
            self._end("tunnel_idle")
        else:
            self._idle_timer = self._loop.call_later(left, self._look)

    def _end(self, code: str) -> None:
        self.code = code
        self.close()
