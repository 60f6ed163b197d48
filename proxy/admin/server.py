"""`/metrics`, `/healthz`, `/readyz`, and what others add under `/api/`.

Health is shallow and never reads the store: all replicas share it, and a store that is away must not take them all
out of service at once (operators 0, 3). What is degraded is said in the body, and in a metric.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ..settings import Address

_MOST_BODY = 65_536
"""Bytes of a request's body: what is asked here takes a line."""


class Admin:
    """Serves until `close`."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        ready: Callable[[], str | None],
        degraded: Callable[[], str | None],
        api: Iterable[web.AbstractRouteDef] = (),
        middleware: Iterable[Middleware] = (),
        seconds: float = 5.0,
    ) -> None:
        """`ready`: why not, or None. `degraded`: why, or None. `api`: routes under `/api/`, and `middleware` before
        every route. `seconds`: for a request, from its head to its answer (threats 4.3)."""
        self._registry = registry
        self._ready = ready
        self._degraded = degraded
        application = web.Application(middlewares=(_within(seconds), *middleware), client_max_size=_MOST_BODY)
        application.router.add_routes(api)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(application, access_log=None, keepalive_timeout=60)

    async def start(self, address: Address) -> Address:
        """Listen; returns where. Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, address.host or None, address.port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return Address(host, port)

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", **self._store()})

    async def _readyz(self, request: web.Request) -> web.Response:
        reason = self._ready()
        if reason is not None:
            return web.json_response({"status": reason, **self._store()}, status=503)
        return web.json_response({"status": "ready", **self._store()})

    def _store(self) -> dict[str, object]:
        reason = self._degraded()
        return {"degraded": False} if reason is None else {"degraded": True, "reason": reason}


def _within(seconds: float) -> Middleware:
    """Answers 503 where a handler takes longer: one that waits for a body, or for the store."""

    @web.middleware
    async def watch(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            async with asyncio.timeout(seconds):
                return await handler(request)
        except TimeoutError:
            answer = web.json_response({"error": "this took too long"}, status=503)
            answer.force_close()
            return answer

    return watch
