"""The whole corridor between a client that sends raw bytes and an upstream that h11 reads for, kept for many rows.

Four ways in lead to two places: `a.test` is a service with a pool, spoken to over TLS; `b.test` is a host outside the
catalogue. Both are dialled on loopback, and count what reaches them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path

import trustme

from certs.authority import Authority as CertificateAuthority
from certs.leaf import Minter
from tests.proxy.corridor import KEYS, TOKEN, Corridor, corridor, used
from tests.proxy.frontdoor import Answered, Cut, CutListener, at_line_ends, byte_by_byte, replies, whole

from .origin import Message, Origin, origin
from .row import Entrance

HOST, OUTSIDE = b"a.test", b"b.test"
OURSELVES = "headgate.test"
CANARY = b"CANARY"
"""Stands in rows for what must be told to nobody: no answer, no line of the log, no label of a metric."""
PROBE_PATH = b"/probe/last"
PATIENCE_S = 5.0
"""A row whose connection has not ended by then has failed."""
_CONNECT = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

# Segmentations: the row and the next request in one segment, or the row by itself, at its line ends, byte by byte.
JOINED = "joined"
CUTS: dict[str, Cut] = {JOINED: whole, "whole": whole, "at line ends": at_line_ends, "byte by byte": byte_by_byte}


class Hall:
    """The corridor, its two upstreams, and a client."""

    def __init__(self, front: Corridor, service: Origin, outside: Origin, trust: ssl.SSLContext) -> None:
        """`trust`: the root of our own CA, as an intercepted client trusts it."""
        self.front = front
        self.service = service
        self.outside = outside
        self._trust = trust
        self.begun = 0
        """Runs after which half a message may have come to an upstream."""

    def base(self, entrance: Entrance) -> tuple[bytes, bytes]:
        """What stands before a path, and the Host, at an entrance."""
        port = b":%d" % self.outside.port
        return {
            "reverse": (b"/svc", HOST),
            "forward": (b"http://" + HOST, HOST),
            "intercept": (b"", HOST),
            "egress": (b"http://" + OUTSIDE + port, OUTSIDE + port),
            "plain": (b"/svc", HOST),
        }[entrance]

    def origin_of(self, entrance: Entrance) -> Origin:
        """Whom a call of this entrance is for."""
        return self.outside if entrance == "egress" else self.service

    def filled(self, raw: bytes, entrance: Entrance) -> bytes:
        """A row's bytes for an entrance."""
        base, host = self.base(entrance)
        filled = raw.replace(b"<base>", base).replace(b"<host>", host)
        return filled.replace(b"<token>", TOKEN.encode()).replace(b"<basic>", BASIC)

    def probe(self, entrance: Entrance, method: bytes = b"GET") -> bytes:
        """A good request that is the last of its connection."""
        request = b"%b <base>%b HTTP/1.1\r\nHost: <host>\r\nConnection: close\r\n\r\n"
        return self.filled(request % (method, PROBE_PATH), entrance)

    async def talk(self, raw: bytes, entrance: Entrance, cut: str | Cut = JOINED) -> list[Answered]:
        """Send the bytes and then a probe; the answers until the connection ends."""
        heads_only = raw.startswith(b"HEAD ")
        probe = self.probe(entrance, b"HEAD" if heads_only else b"GET")
        slicing = CUTS[cut] if isinstance(cut, str) else cut

        def then_probe(data: bytes) -> Iterable[bytes]:
            before, found, behind = data.partition(probe)
            return [*slicing(before), *([found + behind] if found else [])]

        listener = self.front.listener
        assert isinstance(listener, CutListener)
        listener.cut = whole
        reader, writer = await asyncio.open_connection("127.0.0.1", self.front.port)
        try:
            if entrance == "intercept":
                writer.write(_CONNECT)
                assert await reader.readexactly(len(_ESTABLISHED)) == _ESTABLISHED
                await writer.start_tls(self._trust, server_hostname=HOST.decode())
            if cut != JOINED:
                listener.cut = then_probe
            writer.write(raw + probe)
            data = b""
            # TLS may end in a reset where bytes were left unread; what was answered is here by then
            with contextlib.suppress(ConnectionResetError, ssl.SSLError):
                async with asyncio.timeout(PATIENCE_S):
                    while piece := await reader.read(65536):
                        data += piece
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
        return replies(data, heads_only=heads_only)

    def used(self) -> int:
        """Calls the service's bucket held at its last grant."""
        return used(self.front.gate, "1000000 requests", "svc")

    def logged(self) -> str:
        """What was logged since the last time."""
        self.front.call_log.flush()
        text = self.front.written.getvalue()
        self.front.written.seek(0)
        self.front.written.truncate()
        return text


def by_hand(message: Message) -> bytes:
    """The head of a message written again from h11's reading: the same bytes, or the two readings differ."""
    line = b"%b %b HTTP/1.1\r\n" % (message.method, message.target)
    return line + b"".join([b"%b: %b\r\n" % pair for pair in message.fields]) + b"\r\n"


@contextlib.asynccontextmanager
async def hall() -> AsyncIterator[Hall]:
    """Serve until the block ends."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST.decode()).configure_cert(tls)

    async def lookup(name: str) -> list[str]:
        assert name.rstrip(".") == OUTSIDE.decode(), "a name was asked for that no row may lead to"
        return ["127.0.0.1"]

    with tempfile.TemporaryDirectory() as place:
        own = CertificateAuthority.open(Path(place), now=datetime.now(UTC))
        minter = Minter(own)
        trust = ssl.create_default_context(cafile=str(own.path))
        async with origin(tls=tls) as service, origin() as outside:
            config = (
                f"services: {{svc: {{hosts: [a.test], keys: {{env: KEY_A}}, upstream_ca: roots.pem, "
                f"connect_to: '127.0.0.1:{service.port}', limits: [{{requests: 1000000, window: 86400}}]}}}}\n"
                f"egress: {{allow: [b.test], addresses: [{{range: 127.0.0.1/32, port: {outside.port}}}]}}\n"
                "clients: {tokens: [{name: ann, env: TOKEN_ANN}]}\n"
            )
            async with corridor(
                config,
                files={"roots.pem": authority.cert_pem.bytes().decode()},
                lookup=lookup,
                own=lambda authority: authority.host == OURSELVES,
                leaf_context=functools.partial(minter.context, now=datetime.now(UTC)),
                make_listener=CutListener,
            ) as front:
                here = Hall(front, service, outside, trust)
                await here.talk(b"", "reverse")  # a bucket has a use from its first grant on
                service.take()
                yield here
                assert not service.unread, service.unread
                assert not outside.unread, outside.unread


BASIC = b"Basic " + base64.b64encode(b"ann:" + TOKEN.encode())
SECRETS = tuple(text.encode() for text in (*KEYS.values(), TOKEN))
POOLED = b"Bearer " + KEYS["KEY_A"].encode()
