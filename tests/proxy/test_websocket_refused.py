"""Upgrades that are none: 101s that lie, handshakes that are not, other protocols, and answers that decline."""

from __future__ import annotations

import pytest

from tests.raw_server import answering, ok, raw_server

from .corridor import corridor, service
from .handshakes import ACCEPT, HANDSHAKE, KEY, SWITCHED, raw

LIES = {
    "no accept": "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "another's accept": SWITCHED.replace("s3p", "S3p") + "\r\n",
    "two accepts": SWITCHED + f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n",
    "no upgrade": SWITCHED.replace("Upgrade: websocket\r\n", "") + "\r\n",
    "another protocol": SWITCHED.replace("websocket", "h2c") + "\r\n",
    "no connection": SWITCHED.replace("Connection: Upgrade\r\n", "") + "\r\n",
    "a length": SWITCHED + "Content-Length: 5\r\n\r\n",
    "a coding": SWITCHED + "Transfer-Encoding: chunked\r\n\r\n",
    "a control byte": SWITCHED + "X: \x07\r\n\r\n",
    "HTTP/1.0": SWITCHED.replace("HTTP/1.1", "HTTP/1.0") + "\r\n",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_101_that_does_not_answer_the_handshake_is_no_upgrade(lie: str) -> None:
    """502, a close, and what the client sent behind its head goes nowhere."""
    script = answering(lie.encode() + b"GET /inner HTTP/1.1\r\n\r\n")
    async with raw_server(script) as upstream, corridor(service(upstream)) as front:
        reader, writer = await raw(front, *HANDSHAKE, behind=b"GET /openai/v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"X-Headgate-Reason: upstream_protocol\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert len(upstream.connections) == 1
    assert b"smuggled" not in upstream.connections[0].received


@pytest.mark.parametrize("status", [b"200 OK", b"426 Upgrade Required", b"404 Not Found"])
async def test_a_declined_upgrade_is_an_answer_and_the_end(status: bytes) -> None:
    """The reply arrives whole, both connections end, and nothing behind the handshake is served (threats A17)."""
    reply = b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nnope"
    async with raw_server(answering(reply)) as upstream, corridor(service(upstream)) as front:
        reader, writer = await raw(front, *HANDSHAKE, behind=b"GET /openai/v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await upstream.connections[0].finished.wait()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert body == b"nope"
    assert b"Connection: close" in head
    assert b"pgrade:" not in head.replace(b"Upgrade Required", b"")
    assert b"smuggled" not in upstream.connections[0].received


BAD = {
    "no key": HANDSHAKE[:2],
    "a short key": (*HANDSHAKE[:2], "Sec-WebSocket-Key: dGhl"),
    "no base64": (*HANDSHAKE[:2], "Sec-WebSocket-Key: !!!!"),
    "two keys": (*HANDSHAKE, f"Sec-WebSocket-Key: {KEY}"),
    "a length": (*HANDSHAKE, "Content-Length: 5"),
    "a coding": (*HANDSHAKE, "Transfer-Encoding: chunked"),
    "two upgrades": (*HANDSHAKE, "Upgrade: h2c"),
}


@pytest.mark.parametrize("lines", BAD.values(), ids=BAD)
async def test_a_handshake_that_is_none_is_refused_here(lines: tuple[str, ...]) -> None:
    """400 and a close; the upstream hears nothing."""
    async with raw_server(answering(ok())) as upstream, corridor(service(upstream)) as front:
        reader, writer = await raw(front, *lines, behind=b"5\r\nhello\r\n0\r\n\r\nGET /openai/x HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert upstream.connections == []


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        ("Connection: Upgrade", "Upgrade: websocket, h2c"),
        ("Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}"),
        ("Connection: Upgrade", "Upgrade: TLS/1.0"),
    ],
)
async def test_any_other_upgrade_is_left_out(lines: tuple[str, ...]) -> None:
    """The call goes as an ordinary one, and a 101 to it is a lie."""
    async with raw_server(answering(ok())) as upstream, corridor(service(upstream)) as front:
        reader, writer = await raw(front, *lines, "Connection: close")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"pgrade" not in bytes(upstream.connections[0].received)
    async with raw_server(answering(f"{SWITCHED}\r\n".encode())) as liar, corridor(service(liar)) as front:
        reader, writer = await raw(front, *lines, "Connection: close")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 502 ")
