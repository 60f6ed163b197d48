"""proxy/admin/server.py: health that never follows the store, and the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.server import Admin
from proxy.metrics import Metrics
from proxy.settings import Address


@dataclass
class State:
    """What the admin port is told."""

    reason: str | None = None
    degraded: str | None = None


@contextlib.asynccontextmanager
async def serving(state: State, metrics: Metrics) -> AsyncIterator[str]:
    """The URL of a running admin port."""
    admin = Admin(metrics.registry, ready=lambda: state.reason, degraded=lambda: state.degraded)
    address = await admin.start(Address("127.0.0.1", 0))
    try:
        yield address.url
    finally:
        await admin.close()


async def test_a_serving_process_is_healthy_and_ready() -> None:
    """200 on both, and nothing is degraded."""
    async with serving(State(), Metrics()) as url, aiohttp.ClientSession() as client:
        for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
            async with client.get(url + path) as reply:
                assert (reply.status, await reply.json()) == (200, {"status": status, "degraded": False})


async def test_a_draining_process_is_healthy_but_not_ready() -> None:
    """No new traffic, and no restart either."""
    state = State()
    async with serving(state, Metrics()) as url, aiohttp.ClientSession() as client:
        state.reason = "draining"
        async with client.get(url + "/readyz") as reply:
            assert (reply.status, (await reply.json())["status"]) == (503, "draining")
        async with client.get(url + "/healthz") as reply:
            assert reply.status == 200


async def test_a_store_that_is_away_is_told_and_takes_no_replica_out() -> None:
    """All replicas share it: 200 on both, with the reason in the body."""
    async with serving(State(degraded="the store went away"), Metrics()) as url, aiohttp.ClientSession() as client:
        for path in ("/healthz", "/readyz"):
            async with client.get(url + path) as reply:
                said = await reply.json()
                assert (reply.status, said["degraded"], said["reason"]) == (200, True, "the store went away")


async def test_metrics_are_prometheus_text() -> None:
    """With the content type that scrapers expect."""
    async with (
        serving(State(), Metrics()) as url,
        aiohttp.ClientSession() as client,
        client.get(url + "/metrics") as reply,
    ):
        assert reply.headers["Content-Type"].startswith("text/plain; version=")
        names = {family.name for family in text_string_to_metric_families(await reply.text())}
    assert "headgate_connections" in names


@pytest.mark.parametrize("path", ["/", "/openai/v1/models", "/config", "/metrics/../openai"])
async def test_it_is_no_proxy(path: str) -> None:
    """The proxy's paths mean nothing here, and a request in proxy form is not passed on (threats J1)."""
    async with serving(State(), Metrics()) as url, aiohttp.ClientSession() as client:
        async with client.get(url + path) as reply:
            assert reply.status == 404
        async with client.get("http://api.example.test/v1", proxy=url) as reply:
            assert reply.status == 404


async def test_nothing_changes_state() -> None:
    """Every path takes reads only."""
    async with serving(State(), Metrics()) as url, aiohttp.ClientSession() as client:
        for path in ("/metrics", "/healthz", "/readyz"):
            async with client.post(url + path) as reply:
                assert reply.status == 405


async def test_a_port_in_use_is_an_error_of_the_start() -> None:
    """The caller names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = Admin(Metrics().registry, ready=lambda: None, degraded=lambda: None)
        with pytest.raises(OSError, match="in use"):
            await admin.start(Address("127.0.0.1", taken.getsockname()[1]))
        await admin.close()


async def test_a_request_that_takes_too_long_ends_in_503() -> None:
    """One whose body never comes does not keep its handler (threats 4.3)."""

    async def change(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    api = [web.post("/api/change", change)]
    admin = Admin(Metrics().registry, ready=lambda: None, degraded=lambda: None, api=api, seconds=0.05)
    address = await admin.start(Address("127.0.0.1", 0))
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.write(b"POST /api/change HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhe")
        answer = await reader.read()
        writer.close()
    finally:
        await admin.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"took too long" in answer
