"""Many clients and one upstream in this process, as bare protocols: for the benchmark of held calls."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import Callable, Sequence
from typing import cast

from .nginx import REPLY

_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY) + REPLY.encode()
)
_AT_ONCE = 200
"""Connections opened together: below any listener's backlog."""
_ADDRESSES = 4
"""Loopback addresses the clients come from: one may have 10,000 connections by default (proxy/settings.py)."""
_PATIENCE = 180.0
"""Seconds until what should have come counts as lost."""


def raise_descriptors() -> int:
    """Allow this process, and those it starts, as many open files as it may have; returns how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def in_turns(true: Callable[[], bool], pause: float = 0.02) -> None:
    """Ask again, a turn of the loop and `pause` seconds between, until it is so."""
    async with asyncio.timeout(_PATIENCE):
        while not await asyncio.to_thread(true):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await asyncio.Event().wait()


class _Client(asyncio.Protocol):
    """One call on one connection; counts whether its answer came."""

    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self._crowd, self._request = crowd, request
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._got.endswith(b"}"):
            self._crowd.note(self._got.startswith(b"HTTP/1.1 200 "))
            self._got = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.lost(self)


class Crowd:
    """Clients that each sent one call and keep their connection."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._clients: set[_Client] = set()
        self._waits: tuple[int, asyncio.Future[None]] | None = None
        self.answers = 0
        self.good = 0
        """Answers with status 200."""

    async def send(self, requests: Sequence[bytes]) -> None:
        """Every request on a connection of its own."""
        loop = asyncio.get_running_loop()
        for start in range(0, len(requests), _AT_ONCE):
            opened = [
                loop.create_connection(
                    lambda r=request: _Client(self, r),  # type: ignore[misc]
                    self._host,
                    self._port,
                    local_addr=(f"127.0.0.{2 + number % _ADDRESSES}", 0),
                )
                for number, request in enumerate(requests[start : start + _AT_ONCE])
            ]
            self._clients.update([protocol for _, protocol in await asyncio.gather(*opened)])

    def note(self, good: bool) -> None:
        """An answer came."""
        self.answers += 1
        self.good += good
        if self._waits is not None and self.answers >= self._waits[0] and not self._waits[1].done():
            self._waits[1].set_result(None)

    def lost(self, client: _Client) -> None:
        """A connection ended."""
        self._clients.discard(client)

    async def answered(self, count: int) -> None:
        """Until so many answers came, or the patience is over."""
        self._waits = (count, asyncio.get_running_loop().create_future())
        if self.answers < count:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._waits[1], _PATIENCE)

    def leave(self) -> None:
        """Every client goes, without a goodbye."""
        for client in list(self._clients):
            client.transport.abort()


class _Server(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._missing == 0:
            self._upstream.began()
            head, _, body = data.partition(b"\r\n\r\n")
            lower = head.lower()
            at = lower.index(b"content-length:") + 15
            self._missing = int(lower[at : lower.find(b"\r\n", at) if b"\r\n" in lower[at:] else None]) - len(body)
        else:
            self._missing -= len(data)
        if self._missing == 0:
            self._upstream.asked(self)


class Upstream:
    """Answers at once, or keeps the calls it has until told; says when each came and how long after an answer."""

    def __init__(self) -> None:
        self._holds = False
        self._kept: list[_Server] = []
        self._answered_at: float | None = None
        self._server: asyncio.Server | None = None
        self.arrivals: list[float] = []
        self.gaps: list[float] = []

    async def start(self) -> int:
        """Listen; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Server(self), "127.0.0.1", 0, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.close()

    def hold(self, holds: bool) -> None:
        """Keep what comes from now on; or answer it, and what was kept."""
        self._holds = holds
        if not holds:
            kept, self._kept = self._kept, []
            for server in kept:
                self._answer(server)

    def began(self) -> None:
        """The first bytes of a request."""
        now = time.perf_counter()
        self.arrivals.append(now)
        if self._answered_at is not None:
            self.gaps.append(now - self._answered_at)
            self._answered_at = None

    def asked(self, server: _Server) -> None:
        """A whole request is here."""
        if self._holds:
            self._kept.append(server)
        else:
            self._answer(server)

    def _answer(self, server: _Server) -> None:
        if server.transport.is_closing():
            return
        server.transport.write(_ANSWER)
        self._answered_at = time.perf_counter()

    async def quiet(self, seconds: float) -> None:
        """Let so much time pass."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.Event().wait()
