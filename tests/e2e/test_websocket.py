"""WebSockets of clients that are not ours, through a real headgate to a TLS server, by every entrance."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme
from openai import AsyncOpenAI
from openai.types.websocket_connection_options import WebSocketConnectionOptions
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.headgate_process import Headgate, serving

from .conftest import CANARIES, POOLED, TOKEN

SAID = {"type": "session.created", "event_id": "e1", "session": {"type": "realtime", "model": "gpt-realtime"}}


class Realtime:
    """Stands in for OpenAI's realtime API: it speaks first, and says back what it hears."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []

    async def talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        head = {name.lower(): value for name, value in connection.request.headers.raw_items()}
        self.heads.append(head | {":path": connection.request.path})
        with contextlib.suppress(ConnectionClosed):
            await connection.send(json.dumps(SAID))
            async for said in connection:
                await connection.send(said)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """Who signed the upstream, and its PEM file."""
    found = trustme.CA()
    path = tmp_path_factory.mktemp("upstream") / "ca.pem"
    found.cert_pem.write_to_path(str(path))
    return found, path


@pytest.fixture
async def realtime(authority: tuple[trustme.CA, Path]) -> AsyncIterator[tuple[Realtime, int]]:
    """Listens with TLS as api.openai.com."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("api.openai.com").configure_cert(context)
    found = Realtime()
    async with serve(found.talk, "127.0.0.1", 0, ssl=context) as server:
        yield found, next(iter(server.sockets)).getsockname()[1]


@pytest.fixture
def headgate(realtime: tuple[Realtime, int], authority: tuple[trustme.CA, Path], tmp_path: Path) -> Iterator[Headgate]:
    """In front of it."""
    config = f"""
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    connect_to: 127.0.0.1:{realtime[1]}
    upstream_ca: {authority[1]}
"""
    starting = serving(tmp_path / "headgate", config, "--drain", "2", more=POOLED, canaries=CANARIES)
    with starting as started:
        yield started


def _check(head: dict[str, str]) -> None:
    assert head["authorization"] == f"Bearer {POOLED['KEY_OPENAI']}"
    assert head["host"] == "api.openai.com"
    assert head[":path"].startswith("/v1/realtime?model=")
    assert TOKEN not in str(head)


@pytest.mark.parametrize("entrance", ["reverse", "forward", "intercept"])
async def test_openais_realtime_client_works_through_every_entrance(
    entrance: str, realtime: tuple[Realtime, int], headgate: Headgate
) -> None:
    """Its SDK hears the first event, and what it says comes back; the upstream sees the pool's key alone."""
    port = headgate.proxy.rpartition(":")[2]
    options: WebSocketConnectionOptions = {}
    base = f"ws://127.0.0.1:{port}/openai/v1"
    if entrance == "intercept":
        base = "wss://api.openai.com/v1"
        # the SDK names few of them and hands all to the library below it
        options["proxy"] = headgate.proxy  # type: ignore[typeddict-unknown-key]
        options["ssl"] = ssl.create_default_context(cafile=str(headgate.ca))  # type: ignore[typeddict-unknown-key]
    if entrance == "forward":
        # such a client tunnels to port 80 as well; an absolute target is written by hand
        await _forward(int(port))
    else:
        client = AsyncOpenAI(api_key=TOKEN, websocket_base_url=base)
        connection = client.realtime.connect(model="gpt-realtime", websocket_connection_options=options)
        async with client, connection as session:
            assert (await session.recv()).type == "session.created"
            await session.send({"type": "response.cancel", "event_id": "mine"})
            assert b"mine" in await session.recv_bytes()
    (head,) = realtime[0].heads
    _check(head)


async def _forward(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [
        "GET http://api.openai.com/v1/realtime?model=gpt-realtime HTTP/1.1",
        "Host: api.openai.com",
        f"Authorization: Bearer {TOKEN}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert json.dumps(SAID).encode() in await reader.readuntil(b'"gpt-realtime"}}')
    writer.close()


async def test_an_unknown_path_is_declined_in_the_upstreams_words(
    realtime: tuple[Realtime, int], headgate: Headgate
) -> None:
    """What is no handshake to the upstream comes back as its own answer, without our reason."""
    port = headgate.proxy.rpartition(":")[2]
    with pytest.raises(InvalidStatus) as declined:
        async with connect(
            f"ws://127.0.0.1:{port}/openai/v1/realtime",
            additional_headers={"Authorization": f"Bearer {TOKEN}", "Sec-WebSocket-Version": "12"},
        ):
            pass
    assert declined.value.response.status_code in (400, 426)
    assert "X-Headgate-Reason" not in declined.value.response.headers


async def test_sigterm_closes_what_is_idle_and_exits(realtime: tuple[Realtime, int], headgate: Headgate) -> None:
    """A conversation that is silent does not hold the drain until its end."""
    port = headgate.proxy.rpartition(":")[2]
    async with connect(
        f"ws://127.0.0.1:{port}/openai/v1/realtime", additional_headers={"Authorization": f"Bearer {TOKEN}"}
    ) as client:
        assert json.loads(await client.recv()) == SAID
        headgate.terminate()
        await client.wait_closed()
    await asyncio.to_thread(headgate.stop)
