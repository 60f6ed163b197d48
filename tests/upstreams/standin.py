"""A provider on loopback: a real HTTP/1.1 server, over TLS where asked, in a thread of its own.

Laws: it records every request as it came (raw target, raw headers, body bytes before any decoding), and a streamed
reply waits for the test before each piece when the test asks for that, so that "piece n was with the client before
piece n + 1 was sent" is a fact of the order of events and not of a clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

PATIENCE = 30.0
"""Seconds a test waits for something that must happen: long enough for a loaded machine, below pytest's own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as the upstream got it."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the only header of that name; None where there is none. Two of them fail the test."""
        values = [value for key, value in self.headers if key.lower() == name.lower().encode()]
        assert len(values) <= 1, f"the upstream got {name} {len(values)} times"
        return values[0].decode("latin-1") if values else None

    def contains(self, secret: str) -> bool:
        """Whether the secret stands anywhere in the request: target, any header's name or value, body."""
        needle = secret.encode()
        places = [self.target.encode(), self.body, *(part for header in self.headers for part in header)]
        return any(needle in place for place in places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the stand-in answers: bytes with a Content-Length, or pieces with chunked coding."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | tuple[bytes, ...] = b""


Answer = Callable[[Seen], Reply]
Rule = Callable[[Seen], Reply | None]


class StandIn:
    """One provider. `rules` are asked before the provider's own answer: the first that is not None is sent."""

    def __init__(self, answer: Answer, *, context: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.rules: list[Rule] = []
        self.port = 0
        self._answer = answer
        self._context = context
        self._arrived = threading.Condition()
        self._steps: asyncio.Semaphore | None = None
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="stand-in", daemon=True)
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens, by address."""
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE), "the stand-in did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the stand-in did not stop"

    def forget(self) -> None:
        """Start a test with nothing seen and no rule."""
        with self._arrived:
            self.seen.clear()
        self.rules.clear()

    def wait_seen(self, count: int) -> list[Seen]:
        """The requests so far, once there are at least `count`."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.seen) >= count, PATIENCE), (
                f"the upstream saw {len(self.seen)} requests, {count} were expected"
            )
            return list(self.seen)

    @contextlib.contextmanager
    def stepped(self) -> Iterator[Callable[[], None]]:
        """Streamed replies send one piece for each call of what this yields; leaving lets everything flow."""
        steps = asyncio.Semaphore(0)
        self._steps = steps
        try:
            yield lambda: self._in_loop(steps.release)
        finally:
            self._steps = None
            for _ in range(1000):
                self._in_loop(steps.release)

    def _in_loop(self, function: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(function)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = Seen(
            method=request.method,
            target=request.raw_path,
            headers=tuple(request.raw_headers),
            body=await request.read(),
        )
        with self._arrived:
            self.seen.append(seen)
            self._arrived.notify_all()
        reply = next((said for rule in list(self.rules) if (said := rule(seen)) is not None), None) or self._answer(
            seen
        )
        if isinstance(reply.body, bytes):
            response = web.Response(status=reply.status, body=reply.body)
            response.headers.extend(reply.headers)
            return response
        return await self._stream(request, reply, reply.body)

    async def _stream(self, request: web.BaseRequest, reply: Reply, pieces: Sequence[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status)
        response.headers.extend(reply.headers)
        response.enable_chunked_encoding()
        steps = self._steps
        await response.prepare(request)
        for piece in pieces:
            if steps is not None:
                await steps.acquire()
            await response.write(piece)
        await response.write_eof()
        return response
