"""The upstream of the threat tests: h11 reads what Headgate sends, and the bytes themselves are kept beside it.

What h11 does not accept is a finding: one HTTP parser more that would have read the message otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import h11

from tests.raw_server import Peer, raw_server

MAX_HEAD = 1 << 20


@dataclass(frozen=True)
class Message:
    """One request as h11 read it."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    """Spelling and order as sent."""
    body: bytes
    head: bytes
    """The head's own bytes."""

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a field."""
        return [value for field_name, value in self.fields if field_name.lower() == name]


@dataclass
class Origin:
    """Where it listens and what it has read since the last `take`."""

    port: int = 0
    messages: list[Message] = field(default_factory=list)
    unread: list[bytes] = field(default_factory=list)
    """What h11 refused, one text for each connection that it ended."""
    connections: int = 0
    half: int = 0
    """Messages that began and did not end before their connection did."""

    def take(self) -> list[Message]:
        """The messages so far; forgets them."""
        messages, self.messages = self.messages, []
        return messages

    def clear(self) -> None:
        """Forget what a test before left behind."""
        self.messages.clear()
        self.unread.clear()


@contextlib.asynccontextmanager
async def origin(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    """Serve until the block ends. Each answer's body is the target that was asked for."""
    here = Origin()

    async def script(peer: Peer) -> None:
        here.connections += 1
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        start = 0  # of the message that is read now, in what the peer has sent
        try:
            while (message := await _read(reader, peer, start, here)) is not None:
                here.messages.append(message)
                reply = reader.send(
                    h11.Response(status_code=200, headers=[("Content-Length", str(len(message.target)))])
                )
                data = b"" if message.method == b"HEAD" else reader.send(h11.Data(data=message.target))
                await peer.send((reply or b"") + (data or b"") + (reader.send(h11.EndOfMessage()) or b""))
                if reader.our_state is not h11.DONE or reader.their_state is not h11.DONE:
                    return
                start = len(peer.received) - len(reader.trailing_data[0])
                reader.start_next_cycle()
        except h11.RemoteProtocolError as error:
            here.unread.append(str(error).encode() + b" | " + bytes(peer.received[start:]))

    async with raw_server(script, tls=tls) as server:
        here.port = server.port
        yield here


async def _read(reader: h11.Connection, peer: Peer, start: int, here: Origin) -> Message | None:
    request: h11.Request | None = None
    body = b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            data = await peer.read()
            if not data:
                here.half += peer.received[start:] != b""
                return None
            reader.receive_data(data)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            fields = (*request.headers.raw_items(), *event.headers.raw_items())
            head = bytes(peer.received[start:]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            return Message(request.method, request.target, tuple(fields), body, head)
        else:
            return None


async def turn() -> None:
    """Let the loop run once: what was closed is seen to be closed."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(done.set_result, None)
    await done
