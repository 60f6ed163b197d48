"""CONNECT: intercept with our CA, or relay blindly. Which of the two is decided in `exchange`, never here.

An intercepted tunnel ends in TLS with a leaf for the CONNECT authority; what is decrypted enters by the listener's
own door again, bound to that authority (threats D). A blind tunnel passes bytes unread.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from .call import Call, ClientGone
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


class Tunnels:
    """Opens tunnels, and knows how many are open."""

    def __init__(
        self,
        *,
        leaf_context: Callable[[str], ssl.SSLContext],
        dial: Dial,
        metrics: Metrics,
        max_open: int,
        idle_seconds: float = IDLE_SECONDS,
        life_seconds: float = LIFE_SECONDS,
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._leaf_context = leaf_context
        self._dial = dial
        self._metrics = metrics
        self._max_open = max_open
        self._idle_seconds = idle_seconds
        self._life_seconds = life_seconds
        self._handshake_seconds = handshake_seconds
        self._open: set[_Pair] = set()

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
            raise ClientGone from None
        if secured is None or inner.lost:
            # the client went in the very turn of the loop that ended the handshake
            raise ClientGone
        inner.connection_made(secured)

    async def relay(self, call: Call, target: Target) -> None:
        """Dial, answer 200, pass bytes both ways until both ends have closed. Raises Problem where it can't."""
        if len(self._open) >= self._max_open:
            raise Problem("overloaded", "too many tunnels are open", close=True, retry_after_ms=1000)
        door = call.door
        assert isinstance(door, Door)
        pair = _Pair(self._metrics, self._idle_seconds, self._life_seconds)
        # counted while it is dialled: a slow upstream is no way round the bound
        self._open.add(pair)
        self._metrics.tunnels.inc()
        try:
            await self._dial(target, lambda: pair.far)
            if pair.closed.done():
                raise Problem("draining", "this Headgate is shutting down", close=True, retry_after_ms=1000)
            early = bytes(door._message_tail)
            near = self._take(call, door)
            near.write(_ESTABLISHED)
            near.set_protocol(pair.near)
            pair.near.connection_made(near)
            if early:
                pair.near.data_received(early)
            pair.near.take_over()
            # the door stops reading when much comes before the answer
            near.resume_reading()
            await pair.closed
        finally:
            pair.close()
            self._open.discard(pair)
            self._metrics.tunnels.dec()

    def drain(self) -> None:
        """From now on a tunnel that is silent for DRAIN_IDLE_SECONDS is closed."""
        for pair in list(self._open):
            pair.shorten(DRAIN_IDLE_SECONDS)

    def close_all(self) -> None:
        """Close every tunnel; the drain is over."""
        for pair in list(self._open):
            pair.close()

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

    def __init__(self, pair: _Pair, direction: str) -> None:
        self._pair = pair
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
        if self.other._ended and self.transport.can_write_eof():
            self.transport.write_eof()

    def eof_received(self) -> bool:
        # a half-close is passed on, and the other direction goes on (threats D12)
        self._ended = True
        other = self.other.transport
        if other is not None and other.can_write_eof():
            other.write_eof()
        if self.other._ended:
            self._pair.close()  # what is still to be written goes out first
        return True

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
            self._last_timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._last_timer is not None:
            self._last_timer.cancel()
        self._pair.close()


class _Pair:
    def __init__(self, metrics: Metrics, idle_seconds: float, life_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.metrics = metrics
        self.near, self.far = _End(self, "up"), _End(self, "down")
        self.near.other, self.far.other = self.far, self.near
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._idle_seconds = idle_seconds
        self._last = loop.time()
        self._idle_timer: asyncio.TimerHandle = loop.call_later(idle_seconds, self._look)
        self._life_timer = loop.call_later(life_seconds, self.close)

    def touch(self) -> None:
        self._last = self._loop.time()

    def shorten(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._idle_timer.cancel()
        self._look()

    def close(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self._idle_timer.cancel()
        self._life_timer.cancel()
        for end in (self.near, self.far):
            end.finish()

    def _look(self) -> None:
        left = self._last + self._idle_seconds - self._loop.time()
        if left <= 0:
            self.close()
        else:
            self._idle_timer = self._loop.call_later(left, self._look)
