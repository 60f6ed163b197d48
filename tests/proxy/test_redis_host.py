"""proxy/redis_host.py: the script on a real Redis."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from proxy.redis_host import RedisHost
from proxy.store import StoreUnavailable
from rules.gate import redis_library, text, wire
from tests.headgate_process import ROOT
from tests.redis_server import RedisServer, free_port, redis_server

from .test_patience import stand_still

TICK: list[bytes | int] = [b"a" * 16, 1, 1, 1000, 0]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of the test's own, that it may kill."""
    with redis_server() as running:
        yield running


async def test_a_tick_runs_and_tells_the_epoch(server: RedisServer) -> None:
    """The script was loaded at connect."""
    host = RedisHost(server.url, try_timeout=2.0)
    await host.connect()
    reply = wire.reply(await host.tick(wire.meta_key("s"), TICK))
    await host.close()
    assert (reply.status, reply.waiting) == (wire.DONE, 0)
    assert reply.epoch > 0


async def test_where_the_server_stands_is_known_once_it_was_looked_for() -> None:
    """By every address of its name, reachable or not: callers must not be led there. A socket file has none."""
    port = free_port()
    for name, address in (("localhost", "127.0.0.1"), ("127.0.0.9", "127.0.0.9")):
        host = RedisHost(f"redis://{name}:{port}/0")
        assert not host.places
        with pytest.raises(StoreUnavailable):
            await host.connect()
        assert (address, port) in host.places
        await host.close()
    local = RedisHost("unix:///nowhere/redis.sock")
    with pytest.raises(StoreUnavailable):
        await local.connect()
    assert not local.places
    await local.close()


async def test_a_store_behind_a_socket_file(tmp_path: Path) -> None:
    """unix:// is a store like any other."""
    path = tmp_path / "redis.sock"
    with redis_server("--unixsocket", str(path)):
        host = RedisHost(f"unix://{path}", try_timeout=2.0)
        await host.connect()
        assert wire.reply(await host.tick(wire.meta_key("s"), TICK)).status == wire.DONE
        assert host.address == str(path)
        await host.close()


async def test_a_forgotten_script_is_loaded_again(server: RedisServer) -> None:
    """After FUNCTION FLUSH, as after a restart without data, the same tick goes through."""
    host = RedisHost(server.url, try_timeout=2.0)
    await host.connect()
    server.command("FUNCTION", "FLUSH")
    assert wire.reply(await host.tick(wire.meta_key("s"), TICK)).status == wire.DONE
    await host.close()


async def test_releases_replace_each_other(server: RedisServer) -> None:
    """One that starts leaves its own library alone there; the one before goes on, with what it loads again."""
    before = RedisHost(server.url, library=redis_library(text("entry_redis") + "-- before"), try_timeout=2.0)
    now = RedisHost(server.url, try_timeout=2.0)
    server.command("FUNCTION", "LOAD", "#!lua name=theirs\nredis.register_function('theirs', function() end)")
    for host in (before, now):
        await host.connect()
    client = redis.Redis.from_url(server.url, protocol=2)
    names = {found[1] for found in client.function_list()}
    assert names == {b"theirs", redis_library().name.encode()}
    assert wire.reply(await before.tick(wire.meta_key("s"), TICK)).status == wire.DONE
    assert len(client.function_list()) == 3
    client.close()
    for host in (before, now):
        await host.close()


async def test_a_user_with_the_permissions_that_readme_names_is_enough(server: RedisServer) -> None:
    """It loads, ticks and listens, and cannot so much as read another key."""
    rules = re.search(r"ACL SETUSER headgate (.+?)`", (ROOT / "README.md").read_text().replace("\n", " "))
    assert rules is not None
    server.command("ACL", "SETUSER", "headgate", *rules[1].replace("PASSWORD", "hunter2").split())
    server.command("SET", "theirs", "1")
    url = server.url.replace("redis://", "redis://headgate:hunter2@")
    host, heard = RedisHost(url, try_timeout=5.0), asyncio.Queue[bytes]()
    await host.connect()
    assert wire.reply(await host.tick(wire.meta_key("s"), TICK)).status == wire.DONE
    listening = asyncio.ensure_future(host.listen("a" * 16, heard.put_nowait))
    while server.command("PUBLISH", "rl:nudge:" + "a" * 16, "rl:{s}:") == "0":
        await asyncio.wait([listening], timeout=0.01)
    assert await heard.get() == b"rl:{s}:"
    assert server.command("ACL", "LOG") == "0", "nothing was refused"
    client = redis.Redis.from_url(url, protocol=2)
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.type("theirs")
    client.close()
    listening.cancel()
    await asyncio.wait([listening])
    await host.close()


async def test_no_server_is_said_plainly_with_its_address() -> None:
    """Host and port, and no password."""
    port = free_port()
    host = RedisHost(f"redis://user:hunter2@127.0.0.1:{port}/0")
    with pytest.raises(StoreUnavailable, match=f"Redis at 127.0.0.1:{port} cannot be used: no connection") as caught:
        await host.connect()
    await host.close()
    assert "hunter2" not in str(caught.value)


def test_an_address_that_is_none_is_said_plainly() -> None:
    """A typing mistake in the scheme."""
    with pytest.raises(StoreUnavailable, match="not a redis://") as caught:
        RedisHost("http://user:hunter2@localhost/0")
    assert "hunter2" not in str(caught.value)


async def test_a_wrong_password_is_said_plainly() -> None:
    """And not repeated."""
    with redis_server("--requirepass", "right") as server:
        host = RedisHost(server.url.replace("redis://", "redis://:hunter2@"))
        with pytest.raises(StoreUnavailable, match="refuses our credentials") as caught:
            await host.connect()
        await host.close()
        assert "hunter2" not in str(caught.value)
        host = RedisHost(server.url.replace("redis://", "redis://:right@"), try_timeout=2.0)
        await host.connect()
        assert await host.tick(wire.meta_key("s"), TICK)
        await host.close()


async def test_an_old_server_is_refused() -> None:
    """One that answers INFO with version 6 is told apart before any script is sent."""

    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            if b"INFO" in data:
                text = b"# Server\r\nredis_version:6.2.14\r\n"
                writer.write(b"$%d\r\n%s\r\n" % (len(text), text))
            else:
                writer.write(b"+OK\r\n" * data.count(b"CLIENT"))
        writer.close()

    listener = await asyncio.start_server(old, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    host = RedisHost(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port} is version 6.2.14; Headgate needs 7 or newer"):
        await host.connect()
    await host.close()
    listener.close()
    await listener.wait_closed()


async def test_a_server_that_stops_answering_costs_one_time_out(server: RedisServer) -> None:
    """CLIENT PAUSE: the tick fails by our own deadline, and a later one works on a fresh connection."""
    host = RedisHost(server.url, try_timeout=0.05)
    await host.connect()
    server.command("CLIENT", "PAUSE", "400", "ALL")
    with pytest.raises(StoreUnavailable, match="does not answer in time"):
        await host.tick(wire.meta_key("s"), TICK)
    server.command("PING")
    patient = RedisHost(server.url, try_timeout=5.0)
    reply = wire.reply(await patient.tick(wire.meta_key("s"), TICK))
    assert reply.status == wire.DONE
    await host.close()
    await patient.close()


async def test_a_loop_that_stood_still_does_not_take_the_store_for_slow(server: RedisServer) -> None:
    """Ten thousand clients that leave at once keep the loop for longer than a try may take."""
    host = RedisHost(server.url, try_timeout=0.05)
    await host.connect()
    for number in (1, 2):
        asyncio.get_running_loop().call_soon(stand_still, 0.2)
        reply = wire.reply(await host.tick(wire.meta_key("s"), [*TICK[:2], number, *TICK[3:]]))
        assert reply.status == wire.DONE
    await host.close()


async def test_a_tick_that_fails_disturbs_no_connect_beside_it(server: RedisServer) -> None:
    """The look for a store that is slow outlasts the ticks of other services that give it up meanwhile."""
    host = RedisHost(server.url, try_timeout=0.05)
    await host.connect()
    server.command("CLIENT", "PAUSE", "300", "ALL")
    looking = asyncio.ensure_future(host.connect())
    with pytest.raises(StoreUnavailable, match="does not answer in time"):
        await host.tick(wire.meta_key("s"), TICK)
    assert not looking.done()
    await looking
    await host.close()


async def test_out_of_memory_refuses_a_tick_whole() -> None:
    """Nothing of it ran: the number is free for the next try."""
    with redis_server("--maxmemory-policy", "noeviction") as server:
        host = RedisHost(server.url, try_timeout=2.0)
        await host.connect()
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreUnavailable, match="out of memory"):
            await host.tick(wire.meta_key("s"), TICK)
        server.command("CONFIG", "SET", "maxmemory", "0")
        assert server.command("DBSIZE") == "0"
        assert wire.reply(await host.tick(wire.meta_key("s"), TICK)).status == wire.DONE
        await host.close()


async def test_nudges_reach_the_replica_they_are_for(server: RedisServer) -> None:
    """And end when the server does."""
    host, heard = RedisHost(server.url, try_timeout=2.0), asyncio.Queue[bytes]()
    listening = asyncio.ensure_future(host.listen("a" * 16, heard.put_nowait))
    while server.command("PUBLISH", "rl:nudge:" + "a" * 16, "rl:{s}:") == "0":
        await asyncio.wait([listening], timeout=0.01)
    server.command("PUBLISH", "rl:nudge:" + "b" * 16, "rl:{t}:")
    assert await heard.get() == b"rl:{s}:"
    assert heard.empty()
    server.kill()
    await listening
    await host.close()


async def test_the_script_runs_on_a_one_node_cluster() -> None:
    """Every key of a tick lies in the service's slot."""
    with redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        while "cluster_state:ok" not in server.command("CLUSTER", "INFO"):
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(server.command, "PING"))])
        host = RedisHost(server.url, try_timeout=2.0)
        await host.connect()
        assert wire.reply(await host.tick(wire.meta_key("s"), TICK)).status == wire.DONE
        await host.close()
