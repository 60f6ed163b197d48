"""Names without end ask for certificates without end: what is kept may not follow them (threats D7, 5.1)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certs.authority import Authority as CertificateAuthority
from certs.leaf import Minter
from proxy.addresses import AddressPolicy
from proxy.call import Call
from proxy.metrics import Metrics
from proxy.shedding import memory_in_use
from proxy.tunnel import Tunnels
from proxy.upstream import Upstream
from tests.proxy.frontdoor import front_door

OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
CONNECT = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"


@pytest.mark.parametrize("count", [30, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
async def test_ten_thousand_names_in_the_handshake_mint_one_leaf(count: int, tmp_path: Path) -> None:
    """The name in the hello asks for nothing: another than the CONNECT authority's is refused, by every handshake."""
    minter = Minter(CertificateAuthority.open(tmp_path, now=datetime.now(UTC)))
    upstream = Upstream(addresses=AddressPolicy(), client_context=lambda _: ssl.create_default_context())
    tunnels = Tunnels(
        leaf_context=lambda host: minter.context(host, now=datetime.now(UTC)),
        dial=upstream.dial,
        metrics=Metrics(),
        max_open=1,
        max_websockets=1,
    )
    trust = ssl.create_default_context(cafile=str(minter.authority.path))
    trust.check_hostname = False

    async def intercept(call: Call) -> None:
        assert call.head.authority is not None
        await tunnels.intercept(call, call.head.authority)

    async with front_door(intercept) as front:
        for number in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(CONNECT)
            assert await reader.readexactly(len(OPEN)) == OPEN
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await writer.start_tls(trust, server_hostname=f"n{number}.test")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    await upstream.close()
    assert (minter.minted, len(minter)) == (1, 1)


@pytest.mark.parametrize(
    ("count", "bound"), [(300, 50), pytest.param(10_000, 1000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_what_is_kept_of_the_names_of_a_wildcard_is_bounded(count: int, bound: int, tmp_path: Path) -> None:
    """A service of `*.host` has as many names as a client likes: those used last are kept, and memory stays flat."""
    minter = Minter(CertificateAuthority.open(tmp_path, now=datetime.now(UTC)), bound=bound)
    for number in range(2 * bound):
        minter.context(f"n{number}.a.test", now=datetime.now(UTC))
    before = memory_in_use()
    for number in range(2 * bound, count):
        minter.context(f"n{number}.a.test", now=datetime.now(UTC))
    assert memory_in_use() - before < 8 << 20
    assert (minter.minted, len(minter)) == (count, bound)
