"""TLS to the upstream: who is trusted, what fails and how, and what a connection may be shared by."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl

import pytest
import trustme

from proxy.addresses import AddressPolicy
from proxy.faults import (
    TooLate,
    UpstreamTls,
)
from proxy.upstream import Target, Timeouts, Upstream
from tests.raw_server import Peer, answering, ok, raw_server

from .sending import HOST, context, target, whole
from .sending import upstream as upstream


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A root nobody trusts but by name."""
    return trustme.CA()


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """A server's context for these names."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(made)
    return made


def pem(authority: trustme.CA) -> str:
    """The root as an operator writes it."""
    return authority.cert_pem.bytes().decode()


async def test_tls(authority: trustme.CA, upstream: Upstream) -> None:
    """Over TLS the certificate is checked against the target's host, whatever was dialled, and connections are kept."""
    async with raw_server(answering(ok()), tls=server_tls(authority, "api.test")) as server:
        where = target(server, scheme="https", ca=pem(authority))
        for expected in (False, True):
            reply = await upstream.send(where, b"POST", b"/", HOST, b"{}")
            assert (await whole(reply), reply.reused) == (b"ok", expected)
            reply.release()


@pytest.mark.parametrize("kind", ["wrong name", "unknown root", "plain server", "server that closes"])
async def test_tls_failures(kind: str, authority: trustme.CA, upstream: Upstream) -> None:
    """No trusted handshake, no request: upstream_tls, and not a byte of the call was sent (D6)."""

    async def closing(peer: Peer) -> None:
        peer.reset()

    tls = server_tls(authority, "other.test" if kind == "wrong name" else "api.test")
    plain = kind in ("plain server", "server that closes")
    script = closing if kind == "server that closes" else answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def answer_plainly(peer: Peer) -> None:
        await peer.read()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    if kind == "plain server":
        script = answer_plainly
    async with raw_server(script, tls=None if plain else tls) as server:
        where = target(server, scheme="https", ca=None if kind == "unknown root" else pem(authority))
        with pytest.raises(UpstreamTls) as caught:
            await upstream.send(where, b"POST", b"/", [*HOST, (b"Authorization", b"Bearer sk-secret")], b"{}")
        assert not caught.value.counted
        assert not any(b"sk-secret" in peer.received for peer in server.connections)


async def test_tls_timeout(authority: trustme.CA) -> None:
    """A server that accepts and says nothing ends the handshake in upstream_tls."""
    upstream = Upstream(addresses=AddressPolicy(), client_context=context, timeouts=Timeouts(tls_s=0.05))

    async def silent(peer: Peer) -> None:
        await peer.until_closed()

    async with raw_server(silent) as server:
        with pytest.raises(UpstreamTls):
            await upstream.send(target(server, scheme="https"), b"GET", b"/", HOST, None)
        await server.connections[0].closed.wait()
    await upstream.close()


async def test_whether_a_call_may_go_is_asked_when_the_handshake_is_over(
    authority: trustme.CA, upstream: Upstream
) -> None:
    """A server accepts late: the call that may not go by then sends nothing, and the next one uses its connection."""
    asked: list[bool] = []
    accepted = False

    def may_go() -> bool:
        asked.append(accepted)
        return False

    listening = socket.create_server(("127.0.0.1", 0))
    where = Target("https", "api.test", 443, listening.getsockname(), pem(authority), False)
    late = asyncio.ensure_future(upstream.send(where, b"POST", b"/", HOST, b"{}", may_go=may_go))
    # the kernel has connected it; nobody speaks TLS there yet
    await asyncio.get_running_loop().run_in_executor(None, select.select, [listening], [], [])
    accepted = True
    tls = server_tls(authority, "api.test")
    async with raw_server(answering(ok()), tls=tls, listening=listening) as server:
        with pytest.raises(TooLate):
            await late
        assert asked == [True]
        reply = await upstream.send(where, b"GET", b"/next", HOST, None)
        assert await whole(reply) == b"ok"
        reply.release()
        (peer,) = server.connections
        assert peer.received.startswith(b"GET /next ")


async def test_connections_are_not_shared_between_trusts(authority: trustme.CA, upstream: Upstream) -> None:
    """Host, roots, way of dialling and checking are all part of the pool key (CVE-2026-54275)."""
    tls = server_tls(authority, "api.test", "b.test")
    async with raw_server(answering(ok()), tls=tls) as server:
        root = pem(authority)
        routes = [
            target(server, scheme="https", ca=root),
            target(server, scheme="https", ca=root, host="b.test"),
            target(server, scheme="https", ca=root + "\n"),
            Target("https", "api.test", 444, ("127.0.0.1", server.port), root, False),
        ]
        for count, where in enumerate([*routes, *routes], start=1):
            reply = await upstream.send(where, b"GET", b"/", HOST, None)
            assert reply.reused == (count > len(routes))
            reply.release()
        assert len(server.connections) == len(routes)


async def test_large_answer_over_tls_to_a_slow_reader(authority: trustme.CA, upstream: Upstream) -> None:
    """Bytes that wait in a paused TLS connection when the upstream closes are not lost."""
    size = 8 << 20

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
        await peer.send(b"x" * size)

    async with raw_server(script, tls=server_tls(authority, "api.test")) as server:
        where = target(server, scheme="https", ca=pem(authority))
        reply = await upstream.send(where, b"GET", b"/", HOST, None)
        total = 0
        async for piece in reply:
            total += len(piece)
            await asyncio.get_running_loop().run_in_executor(None, int)
        assert (total, reply.complete) == (size, True)
        reply.release()
