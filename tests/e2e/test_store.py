"""The store goes and comes back under a running headgate."""

from __future__ import annotations

from pathlib import Path

import requests

from tests.headgate_process import serving
from tests.redis_server import redis_server
from tests.upstreams.providers import Providers

from .conftest import CANARIES, POOLED

CONFIG = """
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    upstream: {upstream}
    limits: [{{requests: 100000, window: 60}}]
"""


def test_calls_go_on_while_redis_is_away_and_it_is_used_again_once_back(tmp_path: Path, providers: Providers) -> None:
    """Redis is killed between two calls: the next is served all the same, the metric tells, and its return is seen."""
    providers.forget()
    with redis_server() as redis:
        config = CONFIG.format(upstream=providers.plain_openai.url)
        with serving(tmp_path, config, "--store", redis.url, more=POOLED, canaries=CANARIES) as headgate:

            def status() -> int:
                return requests.get(f"{headgate.proxy}/openai/v1/models", timeout=30).status_code

            assert status() == 200
            assert headgate.metric("headgate_store_degraded") == 0
            assert int(redis.command("DBSIZE")) > 0
            redis.kill()
            assert [status() for _ in range(5)] == [200] * 5
            headgate.until(lambda: headgate.metric("headgate_store_degraded") == 1)
            redis.start()
            headgate.until(lambda: headgate.metric("headgate_store_degraded") == 0)
            assert status() == 200
            assert int(redis.command("DBSIZE")) > 0
            assert len(providers.plain_openai.seen) == 7
    providers.forget()
