"""Clients that take their time: half a head, half a body, an answer that is not read.

Shared with tests/bench/slow.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from tests.raw_server import Peer

PAUSE_S = 0.2
"""Between two bytes of whoever trickles, where nothing else is said."""
LARGE = "/openai/v1/models?large"
"""A target whose answer does not fit what lies between an upstream and a client."""


async def slow_head(port: int, pause_s: float = PAUSE_S) -> str:
    """A byte of a head now and then; what ended it."""
    return await _trickle(port, b"GET /openai/v1/models HTTP/1.1\r\nHost: a.test\r\nX: ", b"x", pause_s)


async def slow_body(port: int, pause_s: float = PAUSE_S) -> str:
    """A byte of a body now and then."""
    return await _trickle(
        port, b"POST /openai/v1/files HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n", b"x", pause_s
    )


async def slow_reader(port: int, pause_s: float = PAUSE_S) -> str:
    """Asks for much and reads nothing until the other side gives up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(f"GET {LARGE} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    # a paused transport is not told of an end, and its socket is
    ended = select.poll()
    ended.register(transport.get_extra_info("socket").fileno(), 0)
    while not ended.poll(0):
        await pause(pause_s)
    transport.abort()
    return "cut"


async def _trickle(port: int, start: bytes, more: bytes, pause_s: float) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(start)
    answer = asyncio.ensure_future(reader.read())
    with contextlib.suppress(ConnectionError):
        while not answer.done():
            writer.write(more)
            await asyncio.wait([answer], timeout=pause_s)
    writer.close()
    try:
        head = (await answer).decode("latin-1")
    except ConnectionError:
        return "reset"
    return head.partition("X-Headgate-Reason: ")[2].partition("\r\n")[0] or head[:12] or "closed"


async def pause(seconds: float) -> None:
    """Let so much time go by."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_future()


async def crowd(peer: Callable[[int], Coroutine[Any, Any, str]], port: int, count: int) -> Counter[str]:
    """So many of them at once; how each ended."""
    waiting = asyncio.Semaphore(200)  # connecting at once: fewer than a line of connections holds

    async def one() -> str:
        async with waiting:
            started = asyncio.ensure_future(peer(port))
            await asyncio.wait([started], timeout=0.001)
        return await started

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def large(peer: Peer) -> None:
    """The upstream's answer to LARGE: 32 MiB, as it is taken."""
    size, piece = 32 << 20, bytes(1 << 16)
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    for _ in range(size // len(piece)):
        if peer.is_closing():
            return
        await peer.send(piece)
