"""CONNECT over real sockets: a blind tunnel's bytes, and TLS with a leaf of our own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from certs.authority import Authority as CertificateAuthority
from certs.leaf import Minter
from proxy.addresses import AddressPolicy
from proxy.call import Call
from proxy.head import Authority
from proxy.metrics import Metrics
from proxy.tunnel import Tunnels
from proxy.upstream import Target, Upstream
from tests.raw_server import Peer, raw_server

from .frontdoor import FrontDoor, Seen, front_door, replies

CONNECT = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nX-From: outside\r\n\r\n"
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"


@dataclass
class Hall:
    """A front door whose CONNECTs are intercepted, or relayed to `port` where the test set one."""

    front: FrontDoor
    tunnels: Tunnels
    metrics: Metrics
    trust: ssl.SSLContext
    calls: list[Call]
    port: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """A relay has returned."""

    def open(self) -> float:
        """How many blind tunnels the metric counts."""
        return self.metrics.registry.get_sample_value("headgate_tunnels") or 0.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A CA of this file."""
    return CertificateAuthority.open(tmp_path_factory.mktemp("ca"), now=datetime.now(UTC))


@pytest.fixture
async def hall(authority: CertificateAuthority, request: pytest.FixtureRequest) -> AsyncIterator[Hall]:
    """Small time-outs where the test asks for them: `idle`, `life`, `handshake`, in seconds."""
    times: dict[str, float] = getattr(request, "param", {})
    minter, metrics = Minter(authority), Metrics()
    upstream = Upstream(addresses=AddressPolicy(), client_context=lambda _: ssl.create_default_context())
    tunnels = Tunnels(
        leaf_context=lambda host: minter.context(host, now=datetime.now(UTC)),
        dial=upstream.dial,
        metrics=metrics,
        max_open=2,
        max_websockets=2,
        idle_seconds=times.get("idle", 300.0),
        life_seconds=times.get("life", 3600.0),
        handshake_seconds=times.get("handshake", 10.0),
    )
    trust = ssl.create_default_context(cafile=str(authority.path))

    async def corridor(call: Call) -> None:
        here.calls.append(call)
        if call.head.entrance != "connect":
            body = b"".join([piece async for piece in call.body])
            here.front.seen.append(Seen(call.head, body, call.peer))
            call.answer.start(200, b"OK", [], length=len(body))
            await call.answer.end(body)
        elif here.port:
            try:
                await tunnels.relay(call, Target("https", "127.0.0.1", here.port, checked=False))
            finally:
                here.ended.set()
        else:
            assert call.head.authority is not None
            await tunnels.intercept(call, call.head.authority)

    async with front_door(corridor) as front:
        here = Hall(front, tunnels, metrics, trust, [])
        yield here
        tunnels.close_all()
        await upstream.close()
    assert here.open() == 0


async def _connected(hall: Hall, raw: bytes = CONNECT) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", hall.front.port)
    writer.write(raw)
    assert await reader.readexactly(len(OPEN)) == OPEN
    return reader, writer


# interception


async def _secured(hall: Hall, name: str = "a.test") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await _connected(hall)
    await writer.start_tls(hall.trust, server_hostname=name)
    return reader, writer


async def test_what_is_decrypted_is_a_call_bound_to_its_connect(hall: Hall) -> None:
    """The inner call holds the authority, the fields of the CONNECT and the client's own address."""
    reader, writer = await _secured(hall)
    writer.write(b"POST /x?y HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello" + GET)
    version = writer.get_extra_info("ssl_object").version()
    answers = replies(await reader.read())
    writer.close()
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"hello"), (200, b"")]
    call = hall.calls[1]
    assert (call.bound, call.head.entrance, call.head.target) == (Authority("a.test", 443), "intercept", "/x?y")
    assert (b"X-From", b"outside") in call.proxy_fields
    assert call.peer == "127.0.0.1"
    assert version in ("TLSv1.2", "TLSv1.3")


async def test_a_call_in_the_segment_that_ends_the_handshake_is_served(hall: Hall) -> None:
    """The client's last handshake bytes and its first request come together, and neither is lost."""
    reader, writer = await _connected(hall)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = hall.trust.wrap_bio(incoming, outgoing, server_hostname="a.test")
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
    client.write(GET)
    writer.write(outgoing.read())
    answer = b""
    while b"\r\n\r\n" not in answer:
        incoming.write(await reader.read(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            answer += client.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_another_server_name_gets_no_certificate(hall: Hall) -> None:
    """CONNECT a, SNI b: a TLS alert, and no call (threats D3)."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await _secured(hall, "b.test")
    assert len(hall.calls) == 1


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", b"\x00" * 600, b"\x16\x03\x01\x00\x05garbage"]
)
async def test_what_is_not_tls_is_closed(hall: Hall, raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage after the 200 ends the connection without a word in the log (threats D8)."""
    reader, writer = await _connected(hall)
    writer.write(raw)
    with contextlib.suppress(ConnectionResetError):
        assert b"HTTP" not in await reader.read()
    writer.close()
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []
    assert len(hall.calls) == 1


@pytest.mark.parametrize("hall", [{"handshake": 0.05}], indirect=True)
@pytest.mark.parametrize("raw", [b"", b"\x16\x03\x01\x02\x00\x01\x00"])
async def test_half_a_handshake_is_closed(hall: Hall, raw: bytes) -> None:
    """Silence before or inside the handshake ends at its time-out (threats D9)."""
    reader, writer = await _connected(hall)
    writer.write(raw)
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_a_client_that_leaves_in_the_handshake_leaves_nothing(hall: Hall) -> None:
    """A reset in the middle of TLS ends the call, and the door serves on."""
    _, writer = await _connected(hall)
    writer.write(b"\x16\x03\x01\x02\x00")
    writer.transport.abort()
    reader, writer = await _secured(hall)
    writer.write(GET)
    assert replies(await reader.read())[0].status == 200
    writer.close()


# blind tunnels


async def test_a_tunnel_passes_bytes_both_ways_and_half_closes(hall: Hall) -> None:
    """Early bytes, a megabyte each way, the client's end first and the server's answer behind it (threats D12)."""

    async def script(peer: Peer) -> None:
        await peer.until_closed()
        await peer.send(b"y" * 1_000_000)

    async with raw_server(script) as server:
        hall.port = server.port
        reader, writer = await _connected(hall, CONNECT + b"early")
        assert hall.open() == 1
        writer.write(b"x" * 1_000_000)
        writer.write_eof()
        assert await reader.read() == b"y" * 1_000_000
        writer.close()
        assert server.connections[0].received == b"early" + b"x" * 1_000_000
    sample = hall.metrics.registry.get_sample_value
    assert sample("headgate_tunnel_bytes_total", {"direction": "up"}) == 1_000_005
    assert sample("headgate_tunnel_bytes_total", {"direction": "down"}) == 1_000_000


async def test_much_early_data_is_relayed_whole(hall: Hall) -> None:
    """More than the door buffers stands behind the CONNECT, and reading goes on afterwards."""

    async def script(peer: Peer) -> None:
        await peer.until_closed()
        await peer.send(b"%d" % len(peer.received))

    async with raw_server(script) as server:
        hall.port = server.port
        reader, writer = await _connected(hall, CONNECT + b"x" * 500_000)
        writer.write(b"z")
        writer.write_eof()
        assert await reader.read() == b"500001"
        writer.close()


async def test_a_server_that_speaks_first_is_heard(hall: Hall) -> None:
    """Its greeting and its end come behind our 200, however early they were sent."""

    async def script(peer: Peer) -> None:
        await peer.send(b"220 hello")

    for _ in range(20):
        async with raw_server(script) as server:
            hall.port = server.port
            reader, writer = await _connected(hall)
            assert await reader.read() == b"220 hello"
            writer.close()
            await server.connections[0].finished.wait()


async def test_a_server_that_closes_closes_the_tunnel(hall: Hall) -> None:
    """Both ends closed: the tunnel is gone from the count at once, not at its idle time-out."""

    async def script(peer: Peer) -> None:
        await peer.read()

    async with raw_server(script) as server:
        hall.port = server.port
        reader, writer = await _connected(hall)
        writer.write(b"x")
        assert await reader.read() == b""
        writer.write_eof()
        await server.connections[0].finished.wait()
        await hall.ended.wait()
        assert hall.open() == 0
        writer.close()


@pytest.mark.parametrize("hall", [{"idle": 0.05}, {"life": 0.05}], indirect=True)
async def test_a_tunnel_ends_by_time(hall: Hall) -> None:
    """Idle, or at the end of its life, both ends are closed."""

    async def script(peer: Peer) -> None:
        await peer.until_closed()

    async with raw_server(script) as server:
        hall.port = server.port
        reader, writer = await _connected(hall)
        assert await reader.read() == b""
        writer.close()
        await server.connections[0].closed.wait()


async def test_tunnels_beyond_the_bound_are_refused(hall: Hall) -> None:
    """503 overloaded with Retry-After, counted while dialling too; a closed one makes room."""

    async def script(peer: Peer) -> None:
        await peer.until_closed()

    async with raw_server(script) as server:
        hall.port = server.port
        held = [await _connected(hall) for _ in range(2)]
        (answer,) = await hall.front.ask(CONNECT)
        assert (answer.status, answer.code, answer.fields["retry-after"]) == (503, "overloaded", "1")
        for _, writer in held:
            writer.close()
        for peer in list(server.connections):
            await peer.finished.wait()


async def test_a_server_that_is_not_there_is_told(hall: Hall) -> None:
    """502 upstream_refused instead of the 200, a close, and nothing counted as open."""
    async with raw_server(lambda peer: peer.until_closed()) as server:
        hall.port = server.port
    (answer,) = await hall.front.ask(CONNECT + b"GET /svc/x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.code) == (502, "upstream_refused")
    assert (hall.open(), hall.front.seen) == (0, [])


async def test_a_drain_ends_silent_tunnels(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the drain on, a short silence is enough."""
    monkeypatch.setattr("proxy.tunnel.DRAIN_IDLE_SECONDS", 0.01)

    async def script(peer: Peer) -> None:
        await peer.until_closed()

    async with raw_server(script) as server:
        hall.port = server.port
        reader, writer = await _connected(hall)
        hall.tunnels.drain()
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_leaves_closes_the_far_end(hall: Hall) -> None:
    """A reset on one side ends the other."""

    async def script(peer: Peer) -> None:
        await peer.until_closed()

    async with raw_server(script) as server:
        hall.port = server.port
        _, writer = await _connected(hall)
        writer.transport.abort()
        await server.connections[0].closed.wait()
