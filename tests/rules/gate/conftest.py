"""The hosts every case of the gate runs on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer, redis_server

from .driver import Clock, Host, RedisClockHost, Replica, TablesHost
from .modules import Lua, on_redis, on_tables


@pytest.fixture(scope="session")
def redis_of_gate() -> Iterator[RedisServer]:
    """One Redis for all cases; each begins with it empty."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["tables", "redis"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Each host in turn, empty."""
    if request.param == "tables":
        yield TablesHost()
        return
    on_redis = RedisClockHost(request.getfixturevalue("redis_of_gate"))
    yield on_redis
    on_redis.close()


@pytest.fixture(params=["tables", "redis"])
def lua(request: pytest.FixtureRequest) -> Lua:
    """Each host in turn, for a program of the test's own."""
    return on_tables if request.param == "tables" else on_redis(request.getfixturevalue("redis_of_gate"))


@pytest.fixture
def clock() -> Clock:
    """The clock of the case."""
    return Clock()


@pytest.fixture
def a(host: Host, clock: Clock) -> Replica:
    """A replica."""
    return Replica(host, clock, "a")


@pytest.fixture
def b(host: Host, clock: Clock) -> Replica:
    """Another replica of the same service."""
    return Replica(host, clock, "b")
