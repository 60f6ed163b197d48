"""A real Listener on a free port whose handler keeps what a call held and sends its body back.

Also the client's side: raw bytes out, everything that comes back until the connection ends, and a strict reading of
the answers. Every exchange ends by the server's close, never by a wait of the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from proxy.call import Bounds, Call
from proxy.door import Door
from proxy.errors import Problem
from proxy.head import Authority, Head
from proxy.headers import Fields
from proxy.listener import Handler, Listener

Cut = Callable[[bytes], Iterable[bytes]]

# The last request of a connection: the server closes after it.
PROBE = b"GET /probe/last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


def whole(data: bytes) -> Iterable[bytes]:
    """One segment."""
    return (data,)


def at_line_ends(data: bytes) -> Iterable[bytes]:
    """A segment per line, and one between its CR and its LF."""
    return (piece for line in data.splitlines(keepends=True) for piece in (line[:-1], line[-1:]) if piece)


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    """Segments of one byte."""
    return (data[index : index + 1] for index in range(len(data)))


CUTS: tuple[Cut, ...] = (whole, at_line_ends, byte_by_byte)


@dataclass(frozen=True)
class Seen:
    """What the handler saw of one call."""

    head: Head
    body: bytes
    peer: str


@dataclass(frozen=True)
class Answered:
    """One answer as it stood on the wire."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The code of an answer of our own."""
        return self.fields.get("x-headgate-reason")

    @property
    def closes(self) -> bool:
        """It says that the connection ends here."""
        return self.fields.get("connection") == "close"


@dataclass
class FrontDoor:
    """Where it listens, what the handler saw, and the codes of what was refused."""

    listener: Listener
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    parted: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection was lost."""
    idled: int = 0
    """Connections that were closed for want of a call."""

    def idle(self) -> None:
        """One more."""
        self.idled += 1

    async def ask(self, raw: bytes) -> list[Answered]:
        """Send raw bytes, read until the connection ends."""
        return replies(await talk(self.port, raw))


class CutDoor(Door):
    """A door that meets what arrives in other segments than TCP made of it, with turns of the loop in between."""

    listener: CutListener

    def data_received(self, data: bytes) -> None:
        if not data or self.listener.cut is whole or self.transport is None:
            # without a transport the bytes are kept, and come again
            super().data_received(data)
            return
        waiting = self.__dict__.setdefault("waiting", [])
        waiting.extend(self.listener.cut(data))
        if not self.__dict__.get("pumping"):
            self.__dict__["pumping"] = True
            self._pump()

    def _pump(self) -> None:
        waiting = self.__dict__["waiting"]
        if not waiting or self.lost:
            self.__dict__["pumping"] = False
            return
        super().data_received(waiting.pop(0))
        self._loop.call_soon(self._pump)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self.listener.front is not None:
            self.listener.front.parted.set()


class CutListener(Listener):
    """Builds the doors above, bound to an authority when the test plays a decrypted connection."""

    cut: Cut = whole
    bound: Authority | None = None
    front: FrontDoor | None = None

    def __call__(self) -> Door:
        door = CutDoor(self, loop=self._loop, **self._kwargs)
        door.bound = self.bound
        return door


@contextlib.asynccontextmanager
async def front_door(
    handler: Handler | None = None,
    *,
    bounds: Bounds | None = None,
    cut: Cut = whole,
    bound: Authority | None = None,
    max_connections: int = 1000,
    max_per_client: int = 1000,
    head_seconds: float = 10.0,
    keep_alive_seconds: float = 60.0,
    linger_seconds: float = 3.0,
    admits: Callable[[], bool] = lambda: True,
) -> AsyncIterator[FrontDoor]:
    """Serve until the block ends. Without a handler: keep what the call held, send its body back."""

    async def echo(call: Call) -> None:
        body = b"".join([piece async for piece in call.body])
        front.seen.append(Seen(call.head, body, call.peer))
        call.answer.start(200, b"OK", [], length=len(body))
        await call.answer.end(b"" if call.head.method == "HEAD" else body)

    listener = CutListener(
        handler or echo,
        render=render,
        on_refused=lambda _, problem: front.refused.append(problem.code),
        on_idle=lambda: front.idle(),
        admits=admits,
        new_id=lambda: "call-1",
        wall=lambda: 784111777.5,
        bounds=bounds or Bounds(),
        max_connections=max_connections,
        max_per_client=max_per_client,
        head_seconds=head_seconds,
        keep_alive_seconds=keep_alive_seconds,
        linger_seconds=linger_seconds,
    )
    front = FrontDoor(listener)
    listener.front, listener.cut, listener.bound = front, cut, bound
    server = await asyncio.get_running_loop().create_server(listener, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()
        await listener.shutdown(timeout=1.0)


def render(problem: Problem, call_id: str) -> tuple[bytes, Fields]:
    """An answer in the plain shape, as the app renders it."""
    return problem.body("plain", call_id), [*problem.headers(), (b"Content-Type", b"application/json")]


async def talk(port: int, raw: bytes) -> bytes:
    """Send, then read until the connection ends. Raises ConnectionResetError when it ends in a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def replies(data: bytes, *, heads_only: bool = False) -> list[Answered]:
    """The answers in `data`, which must hold nothing else. `heads_only`: they answer HEAD."""
    found = []
    while data:
        head, blank, data = data.partition(b"\r\n\r\n")
        assert blank, "an answer without an end of its head"
        line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = {}
        for text in lines:
            name, _, value = text.partition(": ")
            assert name.lower() not in fields, f"{name} stands twice"
            fields[name.lower()] = value
        body = b""
        if fields.get("transfer-encoding") == "chunked":
            while size := int(data[: data.index(b"\r\n")], 16):
                start = data.index(b"\r\n") + 2
                body += data[start : start + size]
                assert data[start + size : start + size + 2] == b"\r\n"
                data = data[start + size + 2 :]
            assert data.startswith(b"0\r\n\r\n")
            data = data[5:]
        elif "content-length" in fields and not heads_only:
            length = int(fields["content-length"])
            assert len(data) >= length, "an answer that is cut short"
            body, data = data[:length], data[length:]
        elif int(status) >= 200 and not heads_only and int(status) not in (204, 304):
            body, data = data, b""
        found.append(Answered(int(status), fields, body))
    return found
