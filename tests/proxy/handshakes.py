"""WebSocket handshakes written by hand: RFC 6455's own example, and what answers it."""

from __future__ import annotations

import asyncio

from .corridor import TOKEN, Corridor

PATH = "/openai/v1/realtime?model=gpt-realtime"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # both of RFC 6455 section 1.3
SWITCHED = f"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n"


HANDSHAKE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)


async def raw(front: Corridor, *lines: str, behind: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A handshake as written here, with further field lines."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    head = [f"GET {PATH} HTTP/1.1", "Host: a.test", f"Authorization: Bearer {TOKEN}", *lines, "", ""]
    writer.write("\r\n".join(head).encode() + behind)
    return reader, writer
