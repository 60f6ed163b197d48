"""What Redis can say instead of an answer (threats 4.4, I5): proxy/redis_host.py tells it apart, and nothing is lost.

Real servers wherever a server can be brought to say it; the rest are the words of Redis 7, said by a raw one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from proxy.store import FAULTS, Fault, StoreUnavailable
from rules.gate import wire
from tests.raw_server import Peer, raw_server
from tests.redis_server import RedisServer, free_port, redis_server

from .gates import TOKENS, granted, now_ms, plan, running, until

TICK: list[bytes | int] = [b"a" * 16, 1, 1, 1000, 0]
KEY = wire.meta_key("s")


def _out_of_memory(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1")


def _replica(server: RedisServer) -> None:
    server.command("REPLICAOF", "127.0.0.1", str(free_port()))


def _too_few_replicas(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")


def _no_permission(server: RedisServer) -> None:
    server.command("ACL", "SETUSER", "default", "-fcall")


def _password(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "requirepass", "hunter2")


def _another_kind_of_value(server: RedisServer) -> None:
    server.command("SET", KEY.decode(), "1")


@contextmanager
def _spinning(server: RedisServer) -> Iterator[None]:
    """Somebody's script does not end."""
    server.command("CONFIG", "SET", "busy-reply-threshold", "1")
    # one try: each further one would be another script without end
    client = redis.Redis.from_url(server.url, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))
    with pytest.raises(redis.exceptions.TimeoutError):
        client.eval("while true do end", 0)
    try:
        yield
    finally:
        server.command("SCRIPT", "KILL")
        # it says so before it is so
        while server.command("PING") != "PONG":
            pass
        client.close()


@pytest.mark.parametrize(
    ("cause", "fault", "in_doubt"),
    [
        (_out_of_memory, "oom", False),
        (_replica, "readonly", False),
        (_too_few_replicas, "noreplicas", False),
        (_no_permission, "permission", False),
        (_another_kind_of_value, "wrongtype", True),
    ],
)
async def test_a_server_that_refuses_says_which_fault_it_is(
    cause: Callable[[RedisServer], None], fault: Fault, in_doubt: bool
) -> None:
    """And changes nothing: every key stands as it stood. It is counted by its name."""
    with redis_server("--maxmemory-policy", "noeviction") as server:
        host = RedisHost(server.url, try_timeout=5.0)
        await host.connect()
        cause(server)
        before = server.command("DEBUG", "DIGEST")
        with pytest.raises(StoreUnavailable) as caught:
            await host.tick(KEY, TICK)
        assert (caught.value.fault, caught.value.in_doubt) == (fault, in_doubt)
        assert server.command("DEBUG", "DIGEST") == before
        assert host.faults == {fault: 1}
        await host.close()


async def test_a_password_that_is_asked_for_from_now_on_is_a_fault_of_ours() -> None:
    """Connections that are open already go on; the next one is refused, before anything is done."""
    with redis_server() as server:
        _password(server)
        host = RedisHost(server.url, try_timeout=5.0)
        with pytest.raises(StoreUnavailable, match=r"refuses our credentials$") as caught:
            await host.tick(KEY, TICK)
        assert (caught.value.fault, caught.value.in_doubt) == ("auth", False)
        await host.close()


async def test_a_server_that_runs_a_script_without_end_is_busy() -> None:
    """It answers others, so that this is told apart from one that is slow; once the script is killed, it serves."""
    with redis_server() as server:
        host = RedisHost(server.url, try_timeout=5.0)
        await host.connect()
        with _spinning(server), pytest.raises(StoreUnavailable) as caught:
            await host.tick(KEY, TICK)
        assert (caught.value.fault, caught.value.in_doubt) == ("busy", False)
        assert wire.reply(await host.tick(KEY, TICK)).status == wire.DONE
        await host.close()


async def test_a_cluster_without_its_slots_is_down() -> None:
    """Nobody serves the service's slot."""
    with redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        host = RedisHost(server.url, try_timeout=5.0)
        with pytest.raises(StoreUnavailable) as caught:
            await host.tick(KEY, TICK)
        assert (caught.value.fault, caught.value.in_doubt) == ("clusterdown", False)
        await host.close()


@pytest.mark.parametrize(
    ("words", "fault", "in_doubt"),
    [
        (b"-LOADING canary", "loading", False),
        (b"-MASTERDOWN canary", "masterdown", False),
        (b"-MISCONF canary", "misconf", False),
        (b"-MOVED 3999 canary:6381", "moved", False),
        (b"-MOVED canary", "script", True),
        (b"-TRYAGAIN canary", "moved", False),
        (b"-ERR user_function:7: canary", "script", True),
        (b"*1\r\n$6\r\ncanary", "script", True),
        (b":7", "script", True),
        (b"canary", "script", True),
    ],
)
async def test_words_of_a_server_name_the_fault_and_are_not_repeated(
    words: bytes, fault: Fault, in_doubt: bool
) -> None:
    """A sentence of our own goes to the log: what a server says may quote what it was sent."""

    async def say(peer: Peer) -> None:
        while data := await peer.read():
            await peer.send(b"+OK\r\n" * data.count(b"CLIENT"))
            if b"FCALL" in data:
                await peer.send(words + b"\r\n")

    async with raw_server(say) as server:
        host = RedisHost(f"redis://127.0.0.1:{server.port}/0", try_timeout=5.0)
        with pytest.raises(StoreUnavailable) as caught:
            await host.tick(KEY, TICK)
        assert (caught.value.fault, caught.value.in_doubt) == (fault, in_doubt)
        assert fault in FAULTS
        assert "canary" not in str(caught.value)
        await host.close()


async def test_what_a_call_did_not_cost_is_kept_while_the_store_is_out_of_memory_and_told_once() -> None:
    """900 of 1,000 were taken and 100 used: the store refuses the tick that says so, and hears it when it is back.

    A tick whose fate nobody knows loses a credit; this one certainly did not run (limiter.md Q11).
    """
    with redis_server("--maxmemory-policy", "noeviction") as server:
        async with running(Gate(now_ms=now_ms, store=RedisHost(server.url, try_timeout=5.0))) as gate:
            first = await granted(gate, plan((TOKENS, 900), wait=0))
            server.command("CONFIG", "SET", "maxmemory", "1")
            gate.settle(first, {"tokens": 100})
            await until(lambda: gate.degraded)
            assert gate.store_faults["oom"] >= 2
            server.command("CONFIG", "SET", "maxmemory", "0")
            await until(lambda: not gate.degraded)
            await granted(gate, plan((TOKENS, 1), wait=0))
            assert gate.usage("s") == [("tokens", 101, 1000)]
