"""proxy/ticker.py: what of the change between hosts the gate's own tests (test_gate.py) do not see."""

from __future__ import annotations

import asyncio
import logging

import pytest

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from proxy.store import StoreUnavailable
from tests.redis_server import redis_server

from .gates import now_ms


class Stumbling(RedisHost):
    """Away at first; then something that nobody thought of happens; then it can be used."""

    def __init__(self, url: str) -> None:
        super().__init__(url, try_timeout=5.0)
        self.trouble: list[Exception] = [StoreUnavailable("away", "gone"), RuntimeError("handler is closed")]
        self.met = asyncio.Event()

    async def connect(self) -> None:
        """See above."""
        if self.trouble:
            raise self.trouble.pop(0)
        await super().connect()
        self.met.set()


async def test_a_look_for_the_store_that_goes_wrong_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever ends it, another follows, and the process does not keep to its share for ever."""
    with redis_server() as server:
        store = Stumbling(server.url)
        gate = Gate(now_ms=now_ms, store=store, fallback=True)
        with caplog.at_level(logging.CRITICAL, logger="headgate"):
            await gate.start()
            at_first = gate.degraded
            async with asyncio.timeout(30):
                await store.met.wait()
        assert (at_first, gate.degraded, store.trouble) == (True, False, [])
        await gate.close()
