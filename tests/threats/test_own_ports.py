"""A real process that would lead anywhere leads neither to its own ports nor to its store (threats C11, C12, J5)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.headgate_process import Headgate, finished, serving
from tests.redis_server import RedisServer, free_port, redis_server

# Every address is opened, on every port that is ours or the store's.
CONFIG = """
store: {store}
services:
  into_admin: {{hosts: [admin.test], upstream: 'http://127.0.0.1:{admin}'}}
  into_admin_by_name: {{hosts: [name.test], connect_to: 'localhost:{admin}'}}
  into_store: {{hosts: [store.test], upstream: 'http://0.0.0.0:{redis}'}}
egress:
  allow: ["*"]
  addresses:
    - {{range: 0.0.0.0/0, port: {admin}}}
    - {{range: "::/0", port: {admin}}}
    - {{range: 0.0.0.0/0, port: {redis}}}
    - {{range: "::/0", port: {redis}}}
"""
DENIED = (403, "address_denied")
NOBODY = (502, "upstream_refused")
"""What is left of a name when 127.0.0.1 is denied: ::1, where nobody listens."""
HOSTS = ("127.0.0.1", "localhost", "LOCALHOST.", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """The store."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def open_headgate(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """A Headgate on loopback with everything opened that can be."""
    admin = free_port()
    config = CONFIG.format(store=redis.url, redis=redis.port, admin=admin)
    with serving(tmp_path_factory.mktemp("open"), config, "--admin", f"127.0.0.1:{admin}") as headgate:
        yield headgate


@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_leads_to_admin_port_or_store(open_headgate: Headgate, redis: RedisServer, host: str) -> None:
    """By a forward call and by CONNECT: refused, although an allow rule opens the place."""
    for port in (open_headgate.admin.rpartition(":")[2], str(redis.port)):
        place = f"{host}:{port}"
        expected = (DENIED, NOBODY) if host.lower().startswith("localhost") else (DENIED,)
        assert open_headgate.asked("GET", f"http://{place}/metrics", place) in expected
        assert open_headgate.asked("CONNECT", place, place) in expected


@pytest.mark.parametrize(
    ("service", "answer"), [("into_admin", DENIED), ("into_admin_by_name", NOBODY), ("into_store", DENIED)]
)
def test_not_even_the_operator_leads_there(open_headgate: Headgate, service: str, answer: tuple[int, str]) -> None:
    """A service whose upstream is the admin port or the store serves nobody."""
    assert open_headgate.asked("GET", f"/{service}/metrics", "a.test") == answer


@pytest.mark.parametrize("host", HOSTS)
def test_the_proxy_s_own_port_is_a_loop_or_denied(open_headgate: Headgate, host: str) -> None:
    """508 for a name of ours, a refusal for what only the kernel takes for ours."""
    place = f"{host}:{open_headgate.proxy.rpartition(':')[2]}"
    for method, target in (("GET", f"http://{place}/healthz"), ("CONNECT", place)):
        assert open_headgate.asked(method, target, place) in ((508, "loop"), (403, "port_denied"))


def test_the_store_took_no_connection_but_headgate_s(open_headgate: Headgate, redis: RedisServer) -> None:
    """Asked for through every entrance, with Redis's own words as the request line: not one connection more (C12)."""
    before = _connections(redis)
    place = f"127.0.0.1:{redis.port}"
    for target in (f"http://{place}/", f"http://{place}/?FLUSHALL", place):
        open_headgate.asked("CONNECT" if target == place else "GET", target, place)
    with socket.create_connection(("127.0.0.1", int(open_headgate.proxy.rpartition(":")[2])), timeout=30) as client:
        client.sendall(b"*1\r\n$8\r\nFLUSHALL\r\n")
        assert client.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")
    # the second question's own connection
    assert _connections(redis) == before + 1


@pytest.mark.parametrize("allow", ['["*"]', '[a.test, "*"]'])
def test_an_open_proxy_does_not_start(tmp_path: Path, allow: str) -> None:
    """Everyone, everywhere, from the network: refused with what to change (J5)."""
    config = tmp_path / "open.yaml"
    config.write_text(f"clients: {{anonymous: everyone}}\negress: {{allow: {allow}}}\n")
    done = finished(tmp_path, "serve", "--config", str(config), "--listen", "0.0.0.0:0", "--state-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert "would lead everyone everywhere" in done.stderr
    assert "egress" in done.stderr


def _connections(redis: RedisServer) -> int:
    """Connections the store ever took, this question's included."""
    stats = redis.command("INFO", "stats")
    return int(stats.partition("total_connections_received:")[2].partition("\r")[0])
