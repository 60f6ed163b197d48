"""A server that sends exactly the bytes a test says, and keeps exactly the bytes it got. Plain TCP or TLS.

async with raw_server(answering(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")) as server:
    ...  # talk to server.port
server.connections[0].received  # what came, byte for byte
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

Script = Callable[["Peer"], Awaitable[None]]
"""Runs once per connection; when it returns the connection is closed."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = bytearray()
        """Everything that was read, byte for byte."""
        self.requests: list[bytes] = []
        """Whole requests, as `request` read them."""
        self.closed = asyncio.Event()
        """The other side closed or reset the connection, as far as somebody read that far."""
        self.finished = asyncio.Event()
        """The script is over and this end is closed."""
        self._reader = reader
        self._writer = writer

    async def read(self, size: int = 65536) -> bytes:
        """What is there, b"" at the end."""
        try:
            data = await self._reader.read(size)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            self.closed.set()
        self.received += data
        return data

    async def head(self) -> bytes | None:
        """One request head; None when the connection ends first."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = await self.read(1)
            if not byte:
                return None
            head += byte
        return head

    async def request(self) -> bytes | None:
        """One request, body included; None when the connection ends first."""
        head = await self.head()
        if head is None:
            return None
        request = head
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        if fields.get(b"transfer-encoding") == b"chunked":
            while not request.endswith(b"\r\n0\r\n\r\n"):
                if not (piece := await self.read(1)):
                    return None
                request += piece
        else:
            end = len(head) + int(fields.get(b"content-length", b"0"))
            while len(request) < end:
                if not (piece := await self.read(end - len(request))):
                    return None
                request += piece
        self.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        """Write and wait until the transport would take more; a connection that is gone is not an error."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._writer.write(data)
            await self._writer.drain()

    async def until_closed(self) -> None:
        """Read on until the other side closes."""
        while await self.read():
            pass

    def end(self) -> None:
        """Send no more; the other direction goes on."""
        self._writer.write_eof()

    def is_closing(self) -> bool:
        """The connection is closed, or about to be."""
        return self._writer.is_closing()

    def reset(self) -> None:
        """Close with a reset instead of an end."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class RawServer:
    """Where it listens, and what came."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections: list[Peer] = []

    @property
    def requests(self) -> list[bytes]:
        """Whole requests of all connections, in the order of their connections."""
        return [request for peer in self.connections for request in peer.requests]


@contextlib.asynccontextmanager
async def raw_server(
    script: Script,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    listening: socket.socket | None = None,
) -> AsyncIterator[RawServer]:
    """Serve `script` on a free port until the block ends; every connection is closed and waited for by then.

    `listening`: a socket that listened before, so that its first connections are accepted late.
    """
    running: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []
    result = RawServer(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        peer = Peer(reader, writer)
        result.connections.append(peer)
        try:
            await script(peer)
        except asyncio.CancelledError:
            writer.transport.abort()
        except BaseException as error:
            failures.append(error)
        finally:
            running.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            peer.finished.set()

    if listening is not None:
        server = await asyncio.start_server(serve, sock=listening, ssl=tls)
    else:
        server = await asyncio.start_server(serve, host, 0, ssl=tls)
    result.port = server.sockets[0].getsockname()[1]
    try:
        yield result
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        if running:
            await asyncio.wait(list(running))
        await server.wait_closed()
        if failures:
            raise failures[0]


def answering(*answers: bytes, close: bool = False) -> Script:
    """Answer the n-th request of a connection with the n-th bytes, the last again and again; `close`: after one."""

    async def script(peer: Peer) -> None:
        turn = 0
        while await peer.request() is not None:
            await peer.send(answers[min(turn, len(answers) - 1)])
            turn += 1
            if close:
                return

    return script


def ok(body: bytes = b"ok", *, fields: bytes = b"") -> bytes:
    """A plain 200 with a Content-Length; `fields` are more header lines, each with its line end."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)
