"""The upstream room as tests use it: with its defaults, to a server the test plays."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest

from proxy.addresses import AddressPolicy
from proxy.tasks import _running as running_tasks
from proxy.upstream import Reply, Target, Upstream
from tests.raw_server import RawServer

HOST = [(b"Host", b"api.test")]


def context(ca: str | None) -> ssl.SSLContext:
    """What certs hands over in production: system roots, and the operator's."""
    made = ssl.create_default_context()
    if ca is not None:
        made.load_verify_locations(cadata=ca)
    return made


def target(server: RawServer, *, scheme: str = "http", ca: str | None = None, host: str = "api.test") -> Target:
    """The server, named as an upstream by the operator."""
    return Target(scheme, host, 443, ("127.0.0.1", server.port), ca, False)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """The room with its defaults; no task of its calls may be left."""
    made = Upstream(addresses=AddressPolicy(), client_context=context)
    yield made
    await made.close()
    assert not running_tasks


async def whole(reply: Reply) -> bytes:
    """The whole body."""
    return b"".join([piece async for piece in reply])
