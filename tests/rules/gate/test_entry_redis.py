"""rules/gate/entry_redis.lua: how Redis calls a tick."""

from __future__ import annotations

import redis

from rules import gate
from rules.gate import wire
from tests.redis_server import RedisServer


def test_redis_ticks_by_its_own_clock(redis_of_gate: RedisServer) -> None:
    """Milliseconds since 2024, rounded down: never before the time read first, nor after the one read next."""
    client = redis.Redis.from_url(redis_of_gate.url, protocol=2)
    client.flushall()
    library = gate.redis_library()
    client.function_load(library.source, replace=True)

    def now() -> int:
        seconds, micros = client.time()
        return int(seconds) * 1000 + int(micros) // 1000 - wire.ORIGIN_MS

    for seq in range(1, 41):
        before = now()
        answer = client.fcall(library.name, 1, wire.meta_key("s"), b"a" * 16, 1, seq, 1000, 0)
        assert isinstance(answer, bytes)
        assert wire.reply(answer).status == wire.DONE
        assert before <= int(client.hget(wire.meta_key("s"), "t") or 0) <= now()
    client.close()
