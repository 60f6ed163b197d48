"""No spelling, no name and no change of mind of a name server leads to an address inside (threats C).

Law: everything that could refuse a call before its address is looked at is open: any name, and the port of the
listeners. What counts is not the answer but the dialling: sockets that were asked to connect, on a loop that tells, and
connections at listeners that stand on every loopback address.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

from certs.authority import Authority as CertificateAuthority
from certs.leaf import Minter
from proxy.addresses import AddressPolicy, is_global_unicast
from proxy.dialer import Dialer, Place
from proxy.faults import UpstreamProblem
from tests.proxy.corridor import KEYS, Corridor, corridor
from tests.proxy.frontdoor import Answered, replies
from tests.raw_server import Peer, RawServer, answering, ok, raw_server

from .nameserver import NameServer, name_server
from .spellings import LITERALS, NAMES, NO_HOSTS, WRITINGS

EVERYWHERE_INSIDE = ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254")
SPELLINGS = (*LITERALS, *WRITINGS, *NAMES, *NO_HOSTS)

HANDSHAKE = (
    b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass
class Dialled:
    """Where sockets were asked to connect to, and who connected to the listeners inside."""

    places: list[tuple[str, int]] = field(default_factory=list)
    listeners: list[RawServer] = field(default_factory=list)
    front: int = 0
    """The corridor's port: the test's own client dials it."""

    @property
    def port(self) -> int:
        """Of the listeners, which stand on every loopback address."""
        return self.listeners[0].port

    def take(self) -> list[tuple[str, int]]:
        """The places so far; forgets them."""
        places, self.places = self.places, []
        return places

    def connections(self) -> int:
        """At the listeners, ever."""
        return sum(len(server.connections) for server in self.listeners)


@dataclass
class Inside:
    """A corridor that leads anywhere but inside, its name server, and what was dialled."""

    front: Corridor
    service: RawServer
    names: NameServer
    dialled: Dialled
    trust: ssl.SSLContext
    location: list[bytes]

    async def ask(self, line: bytes, host: bytes) -> Answered:
        """One request on a connection of its own, its last."""
        return (await self._talk(line + b"\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"))[-1]

    async def ask_upgrade(self, line: bytes, host: bytes) -> Answered:
        """A WebSocket's handshake; whoever declines it closes."""
        return (await self._talk(line + b"\r\nHost: " + host + HANDSHAKE))[-1]

    async def ask_decrypted(self, line: bytes, host: bytes) -> Answered:
        """The same inside a tunnel that was opened for the service's host."""
        return (await self._talk(line + b"\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n", "svc.test"))[-1]

    async def _talk(self, raw: bytes, tunnel: str | None = None) -> list[Answered]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.front.port)
        try:
            if tunnel is not None:
                writer.write(b"CONNECT %b:443 HTTP/1.1\r\nHost: %b:443\r\n\r\n" % ((tunnel.encode(),) * 2))
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                await writer.start_tls(self.trust, server_hostname=tunnel)
            writer.write(raw)
            data = b""
            with contextlib.suppress(ConnectionResetError, ssl.SSLError):
                while piece := await reader.read(65536):
                    data += piece
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
        return replies(data)


@contextlib.asynccontextmanager
async def listening_inside() -> AsyncIterator[Dialled]:
    """Listeners on every IPv4 and IPv6 address of this machine, on one port, and a loop that tells what is dialled.

    Towards what is not loopback nothing leaves: such a connection is refused here.
    """
    loop = asyncio.get_running_loop()
    dialled, connect = Dialled(), loop.sock_connect

    async def sock_connect(sock: object, address: tuple[str, int]) -> None:
        if address[1] != dialled.front:
            dialled.places.append((address[0], address[1]))
        if not ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError
        await connect(sock, address)  # type: ignore[arg-type]

    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(raw_server(answering(ok(b"inside")), host="0.0.0.0"))
        six = socket.socket(socket.AF_INET6)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::", first.port))
        second = await stack.enter_async_context(raw_server(answering(ok(b"inside")), listening=six))
        dialled.listeners += [first, second]
        loop.sock_connect = sock_connect  # type: ignore[method-assign,assignment]
        try:
            yield dialled
        finally:
            del loop.sock_connect


@contextlib.asynccontextmanager
async def inside(directory: Path) -> AsyncIterator[Inside]:
    """Serve until the block ends."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("svc.test").configure_cert(tls)
    own = CertificateAuthority.open(directory, now=datetime.now(UTC))
    trust = ssl.create_default_context(cafile=str(own.path))
    location = [b"/"]

    async with contextlib.AsyncExitStack() as stack:

        def meaning(name: str, turn: int) -> Sequence[str]:
            label = name.partition(".")[0]
            return (str(ip_address(bytes.fromhex(label[2:]))),) if label.startswith("x-") else EVERYWHERE_INSIDE

        async def redirecting(peer: Peer) -> None:
            while await peer.request() is not None:
                await peer.send(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location[0])

        dialled = await stack.enter_async_context(listening_inside())
        names = await stack.enter_async_context(name_server(meaning))
        service = await stack.enter_async_context(raw_server(redirecting, tls=tls))
        config = (
            "services:\n"
            f"  svc: {{hosts: [svc.test], keys: {{env: KEY_A}}, upstream_ca: roots.pem,"
            f" connect_to: '127.0.0.1:{service.port}', limits: [{{requests: 1000000, window: 86400}}]}}\n"
            "  catalogue: {hosts: ['*.catalogue.test'], keys: {env: KEY_A}}\n"
            f"egress: {{allow: ['*'], ports: [80, 443, {dialled.port}]}}\n"
        )
        front = await stack.enter_async_context(
            corridor(
                config,
                files={"roots.pem": authority.cert_pem.bytes().decode()},
                lookup=names.lookup,
                leaf_context=functools.partial(Minter(own).context, now=datetime.now(UTC)),
            )
        )
        dialled.front = front.port
        yield Inside(front, service, names, dialled, trust, location)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    """One corridor for every spelling."""
    async with inside(tmp_path_factory.mktemp("ca")) as place:
        yield place


def test_there_are_enough_spellings() -> None:
    """As many as the threat table asks for, and no two alike."""
    assert len(set(SPELLINGS)) == len(SPELLINGS) >= 150


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
async def test_no_spelling_leads_inside(here: Inside, spelling: str) -> None:
    """As the target of a forward call, of CONNECT, as the Host or the service of a reverse call, inside a tunnel, as
    the place of a redirect: refused, or passed to the client to go there himself; nothing is dialled."""
    host, before = spelling.encode(), here.dialled.connections()
    here.dialled.take()
    asked = len(here.names.asked)
    full = host + b":%d" % here.dialled.port
    found = {
        "forward": await here.ask(b"GET http://%b/x HTTP/1.1" % full, full),
        "forward without a port": await here.ask(b"GET http://%b HTTP/1.1" % host, host),
        "forward, a WebSocket": await here.ask_upgrade(b"GET http://%b/x HTTP/1.1" % full, full),
        "connect": await here.ask(b"CONNECT %b HTTP/1.1" % full, full),
        "connect to 443": await here.ask(b"CONNECT %b:443 HTTP/1.1" % host, host),
        "reverse, as the service": await here.ask(b"GET /%b/x HTTP/1.1" % full, b"a.test"),
        "reverse, behind a slash": await here.ask(b"GET //%b/x HTTP/1.1" % full, b"a.test"),
        "intercepted, Host": await here.ask_decrypted(b"GET /x HTTP/1.1", full),
        "intercepted, absolute": await here.ask_decrypted(b"GET https://%b/x HTTP/1.1" % full, full),
    }
    for entrance, answer in found.items():
        assert answer.code is not None, entrance
        assert answer.status in (400, 403, 404, 421), (entrance, answer)
    if spelling in LITERALS or spelling in WRITINGS:
        assert (found["forward"].code, found["connect"].code) == ("address_denied", "address_denied")
        assert found["intercepted, Host"].code == "misdirected"
    elif spelling in NAMES:
        assert {found[way].code for way in ("forward", "connect", "connect to 443")} == {"address_denied"}
    assert spelling in NAMES or _reads_as_a_name(spelling) or len(here.names.asked) == asked, "a resolver was asked"
    assert here.dialled.take() == []
    assert here.dialled.connections() == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
async def test_the_host_of_a_reverse_call_and_a_redirect_lead_nowhere(here: Inside, spelling: str) -> None:
    """The service's own place is dialled, whatever Host says and wherever the answer points (C9)."""
    host, before = spelling.encode(), here.dialled.connections()
    full = host + b":%d" % here.dialled.port
    here.dialled.take()
    answer = await here.ask(b"GET /svc/x HTTP/1.1", full)
    assert answer.code is None or answer.status == 400
    here.location[0] = b"http://%b/latest/meta-data/" % full
    answer = await here.ask(b"GET /svc/x HTTP/1.1", b"a.test")
    if spelling.isascii() and spelling.isprintable():
        assert (answer.status, answer.fields["location"].encode()) == (302, here.location[0])
    else:
        assert answer.code == "upstream_protocol" or answer.status == 302
    here.location[0] = b"/"
    assert {port for _, port in here.dialled.take()} <= {here.service.port}
    assert here.dialled.connections() == before
    for request in here.service.requests:
        assert request.count(b"Host: svc.test\r\n") == 1


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("literal", LITERALS)
async def test_no_answer_of_a_name_server_leads_inside(here: Inside, literal: str) -> None:
    """A name of the client's, and one of the catalogue with a key in its pool: neither is dialled, no key leaves."""
    label = "x-" + ip_address(literal.strip("[]")).packed.hex()
    before = here.dialled.connections()
    here.dialled.take()
    port = here.dialled.port
    for line, host in (
        (f"GET http://{label}.test:{port}/x HTTP/1.1", f"{label}.test:{port}"),
        (f"GET http://{label}.catalogue.test/x HTTP/1.1", f"{label}.catalogue.test"),
        (f"CONNECT {label}.test:{port} HTTP/1.1", f"{label}.test:{port}"),
    ):
        answer = await here.ask(line.encode(), host.encode())
        assert (answer.status, answer.code) == (403, "address_denied")
        assert KEYS["KEY_A"].encode() not in answer.body
    assert here.dialled.take() == []
    assert here.dialled.connections() == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["kubernetes.default", "redis", "metadata", "a.test."])
async def test_a_search_list_is_never_used(here: Inside, name: str) -> None:
    """What the resolver is given ends in a dot, whatever the client wrote (C13)."""
    here.names.looked_up.clear()
    assert (await here.ask(b"CONNECT %b:443 HTTP/1.1" % name.encode(), name.encode())).code == "address_denied"
    assert {found for found in here.names.looked_up if not found.endswith(".")} == set()
    assert len(here.names.looked_up) <= 1, "a second name was tried"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_listeners_can_be_reached(here: Inside) -> None:
    """Dialled without the policy, each of them answers: their silence above means something."""
    before = here.dialled.connections()
    for host in ("127.0.0.1", "127.9.9.9", "::1"):
        _, writer = await asyncio.open_connection(host, here.dialled.port)
        writer.close()
        await writer.wait_closed()
    assert here.dialled.take() == [
        ("127.0.0.1", here.dialled.port),
        ("127.9.9.9", here.dialled.port),
        ("::1", here.dialled.port),
    ]
    assert here.dialled.connections() > before


ROUNDS = 1000


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
async def test_a_thousand_changes_of_mind(loopback: str) -> None:
    """A public address for whoever asks first, loopback for whoever asks again, and both at once: what was judged is
    what is dialled, round after round (C7)."""

    def meaning(name: str, turn: int) -> Sequence[str]:
        return [("8.8.8.8", "2606:4700::1111"), (loopback,), ("8.8.8.8", loopback)][turn % 3]

    async with listening_inside() as dialled, name_server(meaning) as names:
        policy = AddressPolicy(ports=(dialled.port,))
        dialer = Dialer(policy, dns_s=3.0, connect_s=5.0, lookup=names.lookup)
        for turn in range(ROUNDS):
            codes = set()
            for _ in range(3):
                dialer._cache.clear()  # the name is asked for again, as it is when its time is over
                try:
                    (await dialer.dial(Place(f"r{turn}.test", dialled.port, True))).close()
                except UpstreamProblem as problem:
                    codes.add(problem.code)
            assert codes == {"upstream_refused", "address_denied"}
        places = dialled.take()
        await dialer.close()
        assert len(names.asked) == 6 * ROUNDS
        assert len(places) >= 2 * ROUNDS, "the public addresses were dialled"
        assert all(is_global_unicast(ip_address(address)) for address, _ in places)
        assert dialled.connections() == 0


def _reads_as_a_name(spelling: str) -> bool:
    """Whether a URL ends the host before what is odd about the spelling: then its first part is a host of its own."""
    return any(mark in spelling for mark in "/?#") or spelling in ("a:80",)
