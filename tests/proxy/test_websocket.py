"""A WebSocket through the whole corridor, between a client and a server that are not ours, and raw ones that lie."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from proxy.tasks import spawn
from tests.raw_server import Peer, raw_server

from .corridor import KEYS, TOKEN, Corridor, corridor, service, used
from .handshakes import HANDSHAKE, PATH, SWITCHED, raw

TOKENS = "clients: {anonymous: nobody, tokens: [{name: ann, env: TOKEN_ANN}]}\n"
ONE = ", limits: [{concurrent: 1, per: [group]}]"
ONE_KEY = "[{name: a, env: KEY_A}]"


class Speaker:
    """A server that says what it hears in capitals, and keeps the heads it got."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.codes: asyncio.Queue[int | None] = asyncio.Queue()
        self.open: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.heads.append({name.lower(): value for name, value in connection.request.headers.raw_items()})
        self.paths.append(connection.request.path)
        await self.open.put(connection)
        with contextlib.suppress(ConnectionClosed):
            async for said in connection:
                await connection.send(said.upper())
        await self.codes.put(connection.close_code)


def _chosen(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((name for name in offered if name == "realtime"), None)


@pytest.fixture
async def speaker() -> AsyncIterator[Speaker]:
    """Listens until the test ends."""
    found = Speaker()
    async with serve(found.talk, "127.0.0.1", 0, select_subprotocol=_chosen, max_size=None) as server:
        found.port = next(iter(server.sockets)).getsockname()[1]
        yield found


def dial(front: Corridor, path: str = PATH, *offered: str, **more: str) -> connect:
    """A client of the corridor that shows the canary token as its key, unless it offers a subprotocol that holds it."""
    fields = {} if any(TOKEN in name for name in offered) else {"Authorization": f"Bearer {TOKEN}"}
    return connect(
        f"ws://127.0.0.1:{front.port}{path}",
        additional_headers=fields | {name.replace("_", "-"): text for name, text in more.items()},
        subprotocols=[Subprotocol(name) for name in offered] or None,
        max_size=None,
    )


# what passes


async def test_a_conversation_passes_with_the_pools_key(speaker: Speaker) -> None:
    """Text and bytes of a megabyte both ways, the close code both ways; the client's token stays here."""
    big = random.Random(1).randbytes(1 << 20)  # deflate must find nothing to save
    async with corridor(TOKENS + service(speaker.port)) as front:
        async with dial(front, PATH, "realtime") as client:
            assert client.subprotocol == "realtime"
            await client.send("hello")
            await client.send(big)
            assert [await client.recv(), await client.recv()] == ["HELLO", big.upper()]
            assert client.response is not None
            assert client.response.headers["X-Headgate-Service"] == "openai"
            await client.close(4321)
        await front.quiet()
        (line,) = front.lines()
        assert await speaker.codes.get() == 4321
    assert speaker.heads[0]["authorization"] in {f"Bearer {key}" for key in KEYS.values()}
    assert TOKEN not in str(speaker.heads) + str(speaker.paths)
    assert speaker.paths == ["/v1/realtime?model=gpt-realtime"]
    assert (line["status"], line["endpoint"], line["model"], line["client"]) == (101, "realtime", "gpt-realtime", "ann")
    assert line["bytes_out"] > len(big) // 2


async def test_a_browsers_key_in_a_subprotocol_is_read_and_taken_out(speaker: Speaker) -> None:
    """The token names the client, the other subprotocols pass, and the pool's key stands where keys stand."""
    async with corridor(TOKENS + service(speaker.port)) as front:
        async with dial(
            front, PATH, "realtime", f"openai-insecure-api-key.{TOKEN}", "openai-beta.realtime-v1"
        ) as client:
            assert client.subprotocol == "realtime"
        await front.quiet()
        (line,) = front.lines()
    assert line["client"] == "ann"
    assert speaker.heads[0]["sec-websocket-protocol"] == "realtime, openai-beta.realtime-v1"
    assert speaker.heads[0]["authorization"].startswith("Bearer sk-canary-")


async def test_the_callers_own_key_in_a_subprotocol_never_leaves_beside_the_pools(speaker: Speaker) -> None:
    """Where a pool is configured its key alone travels (threats E2)."""
    own = "openai-insecure-api-key.sk-of-mine"
    async with corridor(service(speaker.port)) as front, dial(front, PATH, "realtime", own):
        pass
    assert "sk-of-mine" not in str(speaker.heads)


async def test_the_server_speaks_first_and_behind_its_head(speaker: Speaker) -> None:
    """A frame in the same segment as the 101 arrives, and one that the client sent before it."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(f"{SWITCHED}\r\n".encode() + b"\x81\x02hi")
        while b"early" not in peer.received:
            await peer.read()
        await peer.send(b"bye")

    async with raw_server(script) as upstream, corridor(service(upstream)) as front:
        reader, writer = await raw(front, *HANDSHAKE, behind=b"early")
        answer = await reader.read()
        writer.close()
        await front.quiet()
    head, _, behind = answer.partition(b"\r\n\r\n")
    assert behind == b"\x81\x02hibye"
    assert b"Connection: Upgrade\r\nUpgrade: websocket" in head
    sent = bytes(upstream.connections[0].received)
    assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly" in sent
    assert sent.lower().count(b"upgrade:") == 1


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_half_close_is_passed_on(first: str) -> None:
    """Whoever ends first still hears the other to the end."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(f"{SWITCHED}\r\n".encode())
        if first == "upstream":
            peer.end()
        await peer.until_closed()
        if first == "client":
            await peer.send(b"heard " + bytes(peer.received[-4:]))

    async with raw_server(script) as upstream, corridor(service(upstream)) as front:
        reader, writer = await raw(front, *HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        if first == "upstream":
            assert await reader.read() == b""
        writer.write(b"last")
        writer.write_eof()
        left = await reader.read()
        writer.close()
        await front.quiet()
    assert left == (b"heard last" if first == "client" else b"")
    assert bytes(upstream.connections[0].received).endswith(b"last")


# the gate


async def test_a_place_is_held_until_the_conversation_ends(speaker: Speaker) -> None:
    """With one place the second client waits for the first to leave, and gets it then."""
    async with corridor(service(speaker.port, ONE, keys=ONE_KEY)) as front:
        async with dial(front) as first:
            await first.send("still here")
            await first.recv()
            second = spawn(_open(dial(front)), name="second client")
            while not front.gate.waiting("openai"):
                await (await first.ping())
            assert not second.done()
        async with await second as client:
            await client.send("my turn")
            assert await client.recv() == "MY TURN"
        await front.quiet()
        waited = [line["waited_ms"] > 0 for line in front.lines()]
    assert waited == [False, True]


def _transport(reader: asyncio.StreamReader) -> asyncio.ReadTransport:
    transport = reader._transport  # type: ignore[attr-defined]  # StreamReader stops it, but has no word for that
    assert isinstance(transport, asyncio.ReadTransport)
    return transport


async def _open(dialled: connect) -> ClientConnection:
    return await dialled


async def test_who_may_not_wait_is_refused_before_anything_is_sent(speaker: Speaker) -> None:
    """A refusal is an ordinary answer with its Retry-After, and the connection ends behind it."""
    async with corridor(
        service(speaker.port, ", limits: [{requests: 1, window: 60, per: [group]}]", keys=ONE_KEY)
    ) as front:
        async with dial(front):
            pass
        with pytest.raises(InvalidStatus) as refused:
            async with dial(front, X_Headgate_Max_Wait="0"):
                pass
    answer = refused.value.response
    assert (answer.status_code, answer.headers["X-Headgate-Reason"]) == (429, "wait_too_long")
    assert answer.headers["Connection"] == "close"
    assert int(answer.headers["Retry-After"]) > 0
    assert len(speaker.heads) == 1


async def test_a_budget_refuses_what_it_cannot_count(speaker: Speaker) -> None:
    """What is said in a WebSocket is not read; where the service refuses calls without a price, it has none."""
    budget = ", unpriced: refuse, limits: [{usd: 5, window: 1d, per: [group]}]"
    async with corridor(service(speaker.port, budget)) as front:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(front):
                pass
    assert refused.value.response.headers["X-Headgate-Reason"] == "no_price"
    priced = budget + ", endpoints: {realtime: {costs: {requests: 1, usd: 2}}}"
    async with corridor(service(speaker.port, priced)) as front:
        async with dial(front):
            pass
        await front.quiet()
        assert used(front.gate, "5 usd") > 0


async def test_the_number_of_websockets_is_bounded(speaker: Speaker) -> None:
    """The corridor of the tests takes two; a third is told so at once, and the metric counts what is open."""
    async with corridor(service(speaker.port)) as front:
        async with dial(front), dial(front):
            assert front.sample("headgate_websockets") == 2
            with pytest.raises(InvalidStatus) as refused:
                async with dial(front):
                    pass
            assert refused.value.response.headers["X-Headgate-Reason"] == "overloaded"
        await front.quiet()
        assert front.sample("headgate_websockets") == 0
        async with dial(front):
            pass


# ends


async def test_an_upstream_that_breaks_off_ends_the_client(speaker: Speaker) -> None:
    """No close frame comes, and the client is told by the end of the connection."""
    async with corridor(service(speaker.port)) as front:
        async with dial(front) as client:
            (await speaker.open.get()).transport.abort()
            with pytest.raises(ConnectionClosed):
                await client.recv()
        await front.quiet()


async def test_a_client_that_leaves_ends_the_upstream(speaker: Speaker) -> None:
    """Its place is free again, and the books are settled once."""
    async with corridor(service(speaker.port, ONE, keys=ONE_KEY)) as front:
        async with dial(front) as client:
            client.transport.abort()
            await (await speaker.open.get()).wait_closed()
        async with dial(front):
            pass


@pytest.mark.parametrize("idle", [0.05])
async def test_silence_ends_it_with_a_code(idle: float, speaker: Speaker) -> None:
    """Both sides are closed, and the line says why."""
    async with corridor(service(speaker.port), tunnel_idle=idle) as front:
        async with dial(front) as client:
            await client.wait_closed()
        await front.quiet()
        (line,) = front.lines()
    assert (line["status"], line["code"]) == (101, "tunnel_idle")


async def test_a_slow_reader_stops_the_writer() -> None:
    """Of 64 MiB that nobody reads, a few are taken from the upstream; all of them arrive in the end."""
    size = 64 << 20
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.send(f"{SWITCHED}\r\n".encode())
        piece = bytes(1 << 16)
        while sent < size:
            await peer.send(piece)
            sent += len(piece)

    async with raw_server(script) as upstream, corridor(service(upstream)) as front:
        reader, writer = await raw(front, *HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        _transport(reader).pause_reading()
        known = -1
        while sent != known:
            known = sent
            for _ in range(200):
                await asyncio.to_thread(int)
        assert sent < size // 2
        _transport(reader).resume_reading()
        got = 0
        while piece := await reader.read(1 << 20):
            got += len(piece)
        writer.close()
        await front.quiet()
    assert got == size


async def test_the_drain_closes_them(speaker: Speaker) -> None:
    """What is still open when the drain is over is closed on both sides."""
    async with corridor(service(speaker.port)) as front:
        async with dial(front) as client:
            front.tunnels.close_all()
            await client.wait_closed()
            await (await speaker.open.get()).wait_closed()
        await front.quiet()
