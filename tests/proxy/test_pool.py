"""The pool: what it relies on in aiohttp's connector, and who may share a connection."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from proxy.addresses import AddressPolicy
from proxy.dialer import Dialer
from proxy.faults import UpstreamFull, UpstreamProblem
from proxy.pool import Pool, _Key, wire_of
from proxy.upstream import Target
from tests.raw_server import Peer, RawServer, answering, ok, raw_server


async def _pool(limit: int = 10, limit_per_host: int = 0, budget_s: float = 5.0) -> tuple[Pool, Dialer]:
    dialer = Dialer(AddressPolicy(), dns_s=3, connect_s=5)
    made = Pool(
        dialer,
        lambda _: ssl.create_default_context(),
        limit=limit,
        limit_per_host=limit_per_host,
        keepalive_s=15,
        tls_s=10,
        budget_s=budget_s,
    )
    return made, dialer


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    """A pool with room."""
    made, dialer = await _pool()
    yield made
    await made.close()
    await dialer.close()


def route(server: RawServer, host: str = "a.test") -> Target:
    """A plain route to the server."""
    return Target("http", host, 80, ("127.0.0.1", server.port), None, False)


def test_aiohttp_is_the_one_we_read() -> None:
    """The semi-private parts were read in this very version; another one is read before it is pinned."""
    assert aiohttp.__version__ == "3.14.5"
    assert list(inspect.signature(aiohttp.BaseConnector.connect).parameters) == ["self", "req", "traces", "timeout"]
    assert list(inspect.signature(aiohttp.BaseConnector._create_connection).parameters) == [
        "self", "req", "traces", "timeout",
    ]  # fmt: skip


async def test_busy_wires_are_not_shared(pool: Pool) -> None:
    """Two calls at once have two wires."""
    async with raw_server(answering(ok())) as server:
        one, other = await pool.take(route(server)), await pool.take(route(server))
        assert wire_of(one) is not wire_of(other)
        one.close()
        other.close()


async def test_limit_per_route() -> None:
    """The bound for one target leaves room for others."""
    pool, dialer = await _pool(limit_per_host=1, budget_s=0.05)
    async with raw_server(answering(ok())) as server:
        one = await pool.take(route(server))
        with pytest.raises(UpstreamFull):
            await pool.take(route(server))
        other = await pool.take(route(server, "b.test"))
        one.close()
        other.close()
    await pool.close()
    await dialer.close()


async def test_waiters_are_served(pool: Pool) -> None:
    """A wire given back goes to whoever waits for one."""
    pool, dialer = await _pool(limit=1)
    async with raw_server(answering(ok())) as server:
        one = await pool.take(route(server))
        waiting = asyncio.ensure_future(pool.take(route(server)))
        await asyncio.get_running_loop().run_in_executor(None, int)
        assert not waiting.done()
        one.close()
        (await waiting).close()
    await pool.close()
    await dialer.close()


async def test_cancelled_taker_leaves_its_place() -> None:
    """A caller that is cancelled while dialling or waiting occupies no place afterwards."""
    pool, dialer = await _pool(limit=1)
    async with raw_server(answering(ok())) as server:
        for _ in range(3):
            taking = asyncio.ensure_future(pool.take(route(server)))
            await asyncio.get_running_loop().run_in_executor(None, int)
            if not taking.done():
                taking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await taking
            else:
                taking.result().close()
        (await pool.take(route(server))).close()
    await pool.close()
    await dialer.close()


async def test_server_that_speaks_first(pool: Pool) -> None:
    """A connection that ends or speaks before it was asked anything is a problem at once, never a hang."""

    async def script(peer: Peer) -> None:
        await peer.send(b"220 ready\r\n")

    async def call(server: RawServer) -> None:
        connection = await pool.take(route(server))
        try:
            wire_of(connection).begin(head_request=False)
            await wire_of(connection).answer()
        finally:
            connection.close()

    async with raw_server(script) as server:
        with pytest.raises(UpstreamProblem):
            await call(server)


async def test_a_wire_that_was_never_used_is_kept_and_its_end_is_no_fault(pool: Pool) -> None:
    """A call that came too late leaves it to the next; once the server has closed it, the next dials anew."""
    close = asyncio.Event()

    async def script(peer: Peer) -> None:
        await close.wait()

    async with raw_server(script) as server:
        one = await pool.take(route(server))
        wire = wire_of(one)
        one.release()
        two = await pool.take(route(server))
        assert wire_of(two) is wire
        two.release()
        close.set()
        await server.connections[0].finished.wait()
        close.clear()
        three = await pool.take(route(server))
        assert wire_of(three) is not wire
        three.close()
        close.set()


def test_routes_differ_in_every_field() -> None:
    """Scheme, host, port, way, roots and checking each make another route."""
    one = Target("https", "a.test", 443, ("127.0.0.1", 1), "pem", False)
    others = [
        Target("http", "a.test", 443, ("127.0.0.1", 1), "pem", False),
        Target("https", "b.test", 443, ("127.0.0.1", 1), "pem", False),
        Target("https", "a.test", 444, ("127.0.0.1", 1), "pem", False),
        Target("https", "a.test", 443, ("127.0.0.1", 2), "pem", False),
        Target("https", "a.test", 443, None, "pem", False),
        Target("https", "a.test", 443, ("127.0.0.1", 1), None, False),
        Target("https", "a.test", 443, ("127.0.0.1", 1), "pem", True),
    ]
    assert len({one, *others}) == 8
    assert all(_Key(one) != _Key(other) for other in others)
    assert _Key(one) == _Key(replace(one))
