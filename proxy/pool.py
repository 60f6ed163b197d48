"""The connections to all upstreams, idle and busy, by where they lead and what they trust.

Taken from aiohttp 3.14.5: `BaseConnector`, that is pooling, limits and the lines before them. Its one abstract method
is answered with a dial of our own, so that every step has its own time-out and its own fault, and the address that is
dialled is the address that was checked. Of its `ClientRequest` it is given the two attributes it reads. Semi-private:
see wire.py.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from aiohttp import BaseConnector, ClientTimeout
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from .dialer import Dialer, Place
from .faults import UpstreamBroke, UpstreamFull, UpstreamTls
from .wire import Wire

# How long a closing TLS connection waits for the peer's close_notify; nothing is at stake any more.
TLS_SHUTDOWN_S = 1.0


class Route(Protocol):
    """What the pool must know of a target. Two calls share a wire only when their routes are equal."""

    @property
    def place(self) -> Place: ...
    @property
    def server_name(self) -> str | None:
        """SNI and the name the certificate must carry; None: no TLS."""

    @property
    def ca(self) -> str | None: ...


class _Request:
    """The two things BaseConnector.connect asks of its ClientRequest."""

    __slots__ = ("connection_key", "route")
    proxy = None

    def __init__(self, route: Route) -> None:
        self.route = route
        self.connection_key = _Key(route)


class _Key:
    """Pool key: compared as its route, hashed once."""

    __slots__ = ("_hash", "route")
    is_ssl = False  # asked only when closed TLS transports are to be cleaned up, which TLS_SHUTDOWN_S does for us

    def __init__(self, route: Route) -> None:
        self.route = route
        self._hash = hash(route)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and (self.route is other.route or self.route == other.route)


class Pool(BaseConnector):
    """Idle and busy wires by route."""

    def __init__(
        self,
        dialer: Dialer,
        client_context: Callable[[str | None], ssl.SSLContext],
        *,
        limit: int,
        limit_per_host: int,
        keepalive_s: float,
        tls_s: float,
        budget_s: float,
    ) -> None:
        """`budget_s`: from asking for a wire to having one, waiting for a free place and dialling included."""
        super().__init__(keepalive_timeout=keepalive_s, limit=limit, limit_per_host=limit_per_host)
        self._dialer = dialer
        self._client_context = client_context
        self._tls_s = tls_s
        self._budget = ClientTimeout(total=None, connect=budget_s)

    async def take(self, route: Route) -> Connection:
        """A connection whose wire is open and quiet. Raises any fault of dialling, or UpstreamFull."""
        request = cast(ClientRequest, _Request(route))
        while True:
            try:
                connection = await self.connect(request, [], self._budget)
            except TimeoutError:
                # dialling has limits of its own, so what ran out is the wait for a free place
                raise UpstreamFull from None
            wire = wire_of(connection)
            fresh, wire.offered = not wire.offered, True
            if not (fresh or wire.calls or wire.is_quiet()):
                # it may be a ticket of TLS 1.3, which comes after the handshake: the loop reads those, and closes else
                try:
                    turn = self._loop.create_future()
                    self._loop.call_soon(turn.set_result, None)
                    await turn
                except asyncio.CancelledError:
                    connection.close()
                    raise
            if wire.is_connected() and (fresh or wire.is_quiet()):
                return connection
            connection.close()
            if fresh:
                # closed, or spoke, before it was asked anything
                raise UpstreamBroke(sent=False)

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> ResponseHandler:
        route = cast(_Request, req).route
        sock = await self._dialer.dial(route.place)
        name = route.server_name
        try:
            _, wire = await self._loop.create_connection(
                lambda: Wire(self._loop),
                sock=sock,
                ssl=None if name is None else self._client_context(route.ca),
                server_hostname=name,
                ssl_handshake_timeout=None if name is None else self._tls_s,
                ssl_shutdown_timeout=None if name is None else TLS_SHUTDOWN_S,
            )
        except (OSError, ValueError):
            # ssl.SSLError, a reset in the handshake, its time-out (ConnectionAbortedError), a name no SNI can carry
            sock.close()
            raise UpstreamTls from None
        except BaseException:
            sock.close()
            raise
        return cast(ResponseHandler, wire)


def wire_of(connection: Connection) -> Wire:
    """The wire of a connection that has not been released."""
    return cast(Wire, connection.protocol)
