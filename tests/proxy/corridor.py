"""A whole corridor in one process: real Listener, Exchange, embedded Gate and Upstream on real sockets.

Laws: every test that opens one ends with no grant unfinished and no call inside; what was logged is kept, so that a
test can look for what must not be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from prometheus_client import generate_latest
from yarl import URL

from certs.contexts import client_context
from proxy.addresses import AddressPolicy
from proxy.call import Bounds
from proxy.dialer import Lookup
from proxy.errand import InForce, in_force
from proxy.errors import Problem
from proxy.exchange import Exchange
from proxy.gate import Gate
from proxy.head import Authority
from proxy.headers import Fields
from proxy.keyring import Keyring
from proxy.listener import Listener
from proxy.log import CallLog
from proxy.measure import Measure
from proxy.metrics import Metrics
from proxy.shedding import Shedding
from proxy.tunnel import Tunnels
from proxy.upstream import Timeouts, Upstream
from rules.policy import Policy
from tests.canaries import WATCH
from tests.raw_server import RawServer
from tests.rules.given import parsed

NOON_S = 784111777.5
"""The time of day, as its answers say it: RFC 9110's Sun, 06 Nov 1994 08:49:37 GMT."""
KEYS = {"KEY_A": "sk-canary-aaaa-1111", "KEY_B": "sk-canary-bbbb-2222"}
TOKEN = "canary-client-token-3333"
POOL = "[{name: a, env: KEY_A}, {name: b, env: KEY_B}]"
TWO_GROUPS = "[{name: a, env: KEY_A, group: one}, {name: b, env: KEY_B, group: two}]"
CHAT = b'{"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "Good day?"}]}'
PATH = "/openai/v1/chat/completions"


@dataclass(frozen=True)
class Answered:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def reason(self) -> str | None:
        """The code of an answer of our own; None for the upstream's."""
        return self.headers.get("X-Headgate-Reason")


@dataclass(kw_only=True)
class Corridor:
    """Where it listens, and the rooms a test looks into."""

    port: int
    gate: Gate
    exchange: Exchange
    metrics: Metrics
    policy: Policy
    session: aiohttp.ClientSession
    call_log: CallLog
    keyring: Keyring
    tunnels: Tunnels
    written: io.StringIO
    listener: Listener
    reload: Callable[[str], None]
    """Puts another configuration in force, as App does it."""
    refused: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, path: str = PATH, body: Any = CHAT, *, method: str | None = None, **headers: str) -> Answered:
        """One call; the client's own token stands where its SDK puts it. `headers`: `_` in a name is a dash."""
        named = {"Authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        verb = method or ("GET" if body is None else "POST")
        async with self.session.request(verb, URL(self.url + path, encoded=True), data=body, headers=named) as reply:
            answered = Answered(reply.status, dict(reply.headers), await reply.read())
            if answered.reason is not None:
                WATCH.look("answers", repr(answered))
            return answered

    def sample(self, name: str, **labels: str) -> float:
        """The value of a metric now; 0 where it has none."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def lines(self) -> list[dict[str, Any]]:
        """The call lines so far."""
        self.call_log.flush()
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    async def quiet(self) -> None:
        """Wait until no call is inside."""
        if self.exchange.running:
            await self.exchange.idle.wait()


def used(gate: Gate, limit: str, service: str = "openai") -> int:
    """What the gate believes is used of the limit whose name begins so, at the last grant."""
    return next(use for name, use, _ in gate.usage(service) if name.startswith(limit))


def service(upstream: RawServer | int, more: str = "", *, keys: str = POOL, name: str = "openai") -> str:
    """A configuration of one service that is reached at a server of the test; `more`: further keys of the service."""
    port = upstream if isinstance(upstream, int) else upstream.port
    pool = f"keys: {keys}" if keys else ""
    return f"services:\n  {name}: {{{pool}{', ' if pool else ''}upstream: 'http://127.0.0.1:{port}'{more}}}\n"


@contextlib.asynccontextmanager
async def corridor(
    config: str,
    *,
    files: Mapping[str, str] | None = None,
    held_bytes: int = 1 << 26,
    now_ms: Callable[[], float] | None = None,
    timeouts: Timeouts | None = None,
    lookup: Lookup | None = None,
    own: Callable[[Authority], bool] = lambda _: False,
    leaf_context: Callable[[str], ssl.SSLContext] | None = None,
    make_listener: type[Listener] = Listener,
    tunnel_idle: float = 300.0,
    shedding: Shedding | None = None,
    bounds: Bounds | None = None,
) -> AsyncIterator[Corridor]:
    """Serve `config` on a free port until the block ends. `leaf_context`: intercepts tunnels with these."""
    loop = asyncio.get_running_loop()

    def build(text: str) -> InForce:
        return in_force(parsed(text, environ={**KEYS, "TOKEN_ANN": TOKEN}, files=files).policy, loopback_only=True)

    rules = build(config)
    policy = rules.policy

    def reload(text: str) -> None:
        nonlocal rules
        rules = build(text)
        gate.replan(rules.policy.services)

    metrics, written = Metrics(), io.StringIO()
    call_log = CallLog(written, json=True, wall=time.time)
    addresses = AddressPolicy(own=(), allow=policy.egress.addresses, ports={443, *policy.egress.ports})
    upstream = Upstream(
        addresses=addresses,
        client_context=functools.lru_cache(client_context),
        timeouts=timeouts or Timeouts(),
        lookup=lookup,
    )
    clock = now_ms or (lambda: time.monotonic() * 1000)
    keyring = Keyring(lambda: rules.policy, metrics, clock)
    gate = Gate(now_ms=clock, on_rests=keyring.on_rests)
    counters = ThreadPoolExecutor(1)
    times = {"idle_seconds": tunnel_idle}
    tunnels = Tunnels(
        leaf_context=leaf_context or _no_leaf,
        dial=upstream.dial,
        metrics=metrics,
        max_open=4,
        max_websockets=2,
        **times,
    )
    exchange = Exchange(
        in_force=lambda: rules,
        measure=Measure(metrics=metrics, counters=counters, held_bytes=held_bytes),
        gate=gate,
        upstream=upstream,
        tunnels=tunnels,
        shedding=shedding or Shedding(limit=0, used=int, now=time.monotonic, held=1000, held_per_client=1000),
        metrics=metrics,
        call_log=call_log,
        now_ms=clock,
        wall=lambda: NOON_S,
        pseudonym=b"headgate-test",
        own=own,
        jitter=lambda: 0.0,
    )
    refused: list[str] = []
    ids = iter(range(1_000_000))
    listener = make_listener(
        exchange.serve,
        render=_render,
        on_refused=lambda _, problem: refused.append(problem.code),
        new_id=lambda: f"call-{next(ids)}",
        wall=lambda: NOON_S,
        bounds=bounds or Bounds(),
        max_connections=1000,
        max_per_client=1000,
    )
    await gate.start()
    server = await loop.create_server(listener, "127.0.0.1", 0)
    session = aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0))
    try:
        yield Corridor(
            port=server.sockets[0].getsockname()[1],
            gate=gate,
            exchange=exchange,
            metrics=metrics,
            policy=policy,
            session=session,
            call_log=call_log,
            keyring=keyring,
            tunnels=tunnels,
            written=written,
            reload=reload,
            refused=refused,
            listener=listener,
        )
        await session.close()
        if exchange.running:
            async with asyncio.timeout(20):
                await exchange.idle.wait()
        assert gate.unfinished == 0, "a grant was neither settled nor refunded"
        assert gate.double_finishes == 0, "a grant was finished twice"
        call_log.flush()
        WATCH.look("log", written.getvalue())
        WATCH.look("metrics", generate_latest(metrics.registry))
    finally:
        await session.close()
        server.close()
        await listener.shutdown(timeout=1.0)
        await gate.close()
        await upstream.close()
        counters.shutdown()


def _no_leaf(host: str) -> Any:
    raise AssertionError(f"no leaf was wanted for {host}")


def _render(problem: Problem, call_id: str) -> tuple[bytes, Fields]:
    return problem.body("plain", call_id), [*problem.headers(), (b"Content-Type", b"application/json")]
