"""Builds every object once, wires them, starts, and drains on SIGTERM.

The one place where rooms are handed to one another. Everything it builds, it also closes, in the opposite order.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import ipaddress
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from certs.authority import Authority as CertificateAuthority
from certs.contexts import client_context
from certs.leaf import Minter
from rules.keystates import STATES
from rules.meters import load as load_vocabularies
from rules.policy import Policy

from . import upstream as upstream_room
from .addresses import AddressPolicy, ListensAt, api_server, listened_at
from .admin.guard import guard
from .admin.keys import KeyRoutes
from .admin.server import Admin
from .call import Bounds
from .errand import InForce, in_force
from .errors import Problem
from .exchange import Exchange
from .exposure import objection
from .gate import Gate
from .head import Authority
from .headers import Fields
from .keyring import Keyring
from .listener import Listener, require_c_parser
from .log import CallLog, Record
from .measure import Measure
from .metrics import Metrics, Room
from .reload import Reloader
from .settings import Address, Settings, is_loopback
from .shedding import Shedding, memory_in_use, memory_limit
from .tasks import spawn
from .tunnel import Tunnels

if TYPE_CHECKING:
    from .redis_host import RedisHost

_log = logging.getLogger("headgate.app")

# Threads that count long bodies: tiktoken releases the GIL, so two keep two cores busy and no more help.
_COUNTERS = 2
# Of the drain, calls that are still held may wait this share; the rest is for finishing what was granted by then.
_HOLD_SHARE = 0.5
_LISTEN_BACKLOG = 1024
# Objects that may be added before the collector looks for cycles: at Python's 700 it walks the calls in flight again
# and again under load. The number is a round one, not a measured optimum.
_GC_ALLOCATIONS = 10_000
# A thread that counts a body gives way to the loop after this long at the most; at Python's 5 ms the loop would stand
# still that long again and again while a body of many small values is read (tests/bench/pauses.py).
_SWITCH_S = 0.001


class OpenToNetwork(Exception):
    """Listening beyond this machine without clients (design 4.1)."""


class AddressInUse(Exception):
    """A port cannot be had."""


class App:
    """One Headgate process."""

    def __init__(self, settings: Settings, reloader: Reloader, call_log: CallLog) -> None:
        """`reloader` has loaded its first policy. Raises OpenToNetwork, and CertificateProblem for the CA's files."""
        require_c_parser()
        # a core dump would hold every key (threats D10)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # the soft bound is the caller's habit, of old 1,024; the hard one is what the machine means
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        self.settings = settings
        self._reloader = reloader
        self._call_log = call_log
        if (reason := objection(settings.listen, reloader.policy)) is not None:
            raise OpenToNetwork(reason)
        self.authority = CertificateAuthority.open(settings.state_dir, now=datetime.now(UTC))
        self._minter = Minter(self.authority, bound=settings.ceilings.minted_hosts)
        self._started_wall = time.time() - time.monotonic()
        self._pseudonym = b"headgate-" + secrets.token_hex(4).encode()
        self._draining = False
        self._stop_asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._unwatch = asyncio.Event()
        self.metrics = Metrics()
        self.proxy_address = settings.listen
        self.admin_address = settings.admin
        self._in_force = self._build(reloader.policy)
        self._store: RedisHost | None = None

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._in_force.policy

    def now_ms(self) -> float:
        """Wall time that never steps back, in milliseconds: the gate's clock."""
        return (self._started_wall + time.monotonic()) * 1000

    async def run(self, on_ready: Callable[[App], None]) -> None:
        """Serve until SIGTERM or SIGINT. Raises StoreUnavailable and AddressInUse at start."""
        # in this thread and first of all: what building leaves free is used again by what comes later
        load_vocabularies()
        settings, policy = self.settings, self._reloader.policy
        loop = asyncio.get_running_loop()
        store = settings.store or policy.store
        keyring = Keyring(lambda: self.policy, self.metrics, self.now_ms)
        if store != "memory":
            self._store = _shared(store, settings.timeouts.store_try)
        self.gate = Gate(
            now_ms=self.now_ms,
            store=self._store,
            fallback=settings.fallback,
            on_rests=keyring.on_rests,
        )
        await self.gate.start()
        counters = ThreadPoolExecutor(_COUNTERS, thread_name_prefix="count")
        timeouts, ceilings = settings.timeouts, settings.ceilings
        self._upstream = upstream_room.Upstream(
            addresses=self._addresses(policy),
            client_context=functools.lru_cache(maxsize=256)(client_context),
            limit=ceilings.upstream_connections,
            limit_per_host=ceilings.upstream_connections,
            timeouts=upstream_room.Timeouts(
                dns_s=timeouts.dns,
                connect_s=timeouts.connect,
                tls_s=timeouts.tls,
                first_byte_s=timeouts.first_byte,
                body_idle_s=timeouts.upstream_idle,
                keepalive_s=timeouts.pool_keep_alive,
            ),
        )
        shedding = Shedding(
            limit=ceilings.memory or memory_limit(),
            used=memory_in_use,
            now=time.monotonic,
            held=ceilings.held,
            held_per_client=ceilings.held_per_client,
        )
        self._tunnels = Tunnels(
            leaf_context=lambda host: self._minter.context(host, now=datetime.now(UTC)),
            dial=self._upstream.dial,
            metrics=self.metrics,
            max_open=ceilings.tunnels,
            max_websockets=ceilings.websockets,
            idle_seconds=timeouts.tunnel_idle,
            life_seconds=timeouts.tunnel_life,
            handshake_seconds=timeouts.tls,
        )
        self._exchange = Exchange(
            in_force=lambda: self._in_force,
            measure=Measure(metrics=self.metrics, counters=counters, held_bytes=ceilings.held_body_bytes),
            gate=self.gate,
            upstream=self._upstream,
            tunnels=self._tunnels,
            shedding=shedding,
            metrics=self.metrics,
            call_log=self._call_log,
            now_ms=self.now_ms,
            wall=time.time,
            pseudonym=self._pseudonym,
            own=self._is_own,
        )
        self._listener = Listener(
            self._exchange.serve,
            render=_render,
            on_refused=self._refused,
            new_id=lambda: secrets.token_hex(8),
            wall=time.time,
            on_idle=self.metrics.cut.labels("none", "keep_alive").inc,
            admits=lambda: shedding.step < 2,
            bounds=Bounds(
                body_idle_s=timeouts.body_idle,
                body_min_rate=ceilings.body_rate,
                body_total_s=timeouts.body_total,
                body_bytes=ceilings.body_bytes,
                write_idle_s=timeouts.write_idle,
            ),
            max_connections=ceilings.connections,
            max_per_client=ceilings.connections_per_client,
            head_seconds=timeouts.head,
            keep_alive_seconds=timeouts.keep_alive,
        )
        self.metrics.connections.set_function(lambda: float(len(self._listener.connections)))
        self.metrics.watch_memory(memory_in_use, shedding.limit, lambda: shedding.step)
        self.metrics.watch_gate(self._rooms, lambda: self.gate.degraded, lambda: self.gate.store_faults)
        self.metrics.watch_keys(lambda: [(of, one.key, one.state) for of, one in keyring.look()], STATES)
        self.metrics.watch_found(self._found)
        self.metrics.configuration(policy.version, time.time())
        admin = Admin(
            self.metrics.registry,
            ready=lambda: "draining" if self._draining else None,
            degraded=lambda: self.gate.degraded_reason if self.gate.degraded else None,
            api=KeyRoutes(keyring, self.gate).routes(),
            middleware=[guard(settings.admin_token, settings.admin.host)],
            seconds=timeouts.admin,
        )
        try:
            server, self.proxy_address = await self._listen(loop, settings.listen)
            try:
                self.admin_address = await admin.start(settings.admin)
            except OSError as error:
                raise AddressInUse(_cannot_listen(settings.admin, "--admin", error)) from None
            self._upstream.addresses = self._addresses(policy)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._on_stop)
            loop.add_signal_handler(signal.SIGHUP, lambda: spawn(self._reload(), name="reload"))
            watcher = spawn(self._watch(), name="configuration watch")
            # what exists now lives as long as the process: the collector need not walk it again and again
            gc.collect()
            gc.freeze()
            gc.set_threshold(_GC_ALLOCATIONS)
            sys.setswitchinterval(_SWITCH_S)
            on_ready(self)
            await self._stop_asked.wait()
            await self._drain()
            server.close()
            await self._listener.shutdown(timeout=1.0)
            self._unwatch.set()
            await watcher
        finally:
            await admin.close()
            await self.gate.close()
            await self._upstream.close()
            counters.shutdown(wait=False, cancel_futures=True)
            self._call_log.flush()

    # configuration

    def _build(self, policy: Policy) -> InForce:
        return in_force(policy, loopback_only=self.settings.listen.loopback)

    def on_policy(self, policy: Policy) -> None:
        """A new policy: swapped between two calls, whole."""
        before = self.policy
        for name in ("store", "log_format"):
            if getattr(policy, name) != getattr(before, name):
                _log.warning("%s has changed in the configuration: that takes effect with the next start", name)
        self._in_force = self._build(policy)
        self._upstream.addresses = self._addresses(policy)
        self.gate.replan(name for name, service in policy.services.items() if service != before.services.get(name))
        self.metrics.configuration(policy.version, time.time())

    async def _watch(self) -> None:
        self._reloader.on_outcome = self._outcome
        self._reloader.veto = functools.partial(objection, self.settings.listen)
        await self._reloader.watch(self._unwatch)

    async def _reload(self) -> None:
        await self._reloader.reload()

    def _outcome(self, in_force: bool) -> None:
        if not in_force:
            self.metrics.config_failures.inc()
        self.metrics.config_ok.set(float(in_force))

    # addresses

    async def _listen(self, loop: asyncio.AbstractEventLoop, address: Address) -> tuple[asyncio.Server, Address]:
        try:
            server = await loop.create_server(
                self._listener, address.host or None, address.port, backlog=_LISTEN_BACKLOG, reuse_address=True
            )
        except (OSError, OverflowError) as error:
            raise AddressInUse(_cannot_listen(address, "--listen", error)) from None
        host, port = server.sockets[0].getsockname()[:2]
        return server, Address(address.host and host, port)

    def _addresses(self, policy: Policy) -> AddressPolicy:
        own: list[ListensAt] = []
        admin: list[ListensAt] = []
        for places, address, flag in ((own, self.proxy_address, "--listen"), (admin, self.admin_address, "--admin")):
            try:
                places += [(one, address.port) for one in listened_at(address.host)]
            except OSError as error:
                raise AddressInUse(_cannot_listen(address, flag, error)) from None
        own += api_server(self.settings.environ)

        def reserved() -> list[ListensAt]:
            store = self._store.places if self._store is not None else ()
            return [*admin, *((ipaddress.ip_address(text), port) for text, port in store)]

        # 443 is the catalogue's own; what else may use which port, `Egress` has decided on the name
        ports = {443, *policy.egress.ports}
        return AddressPolicy(own=own, allow=policy.egress.addresses, ports=ports, reserved=reserved)

    def _is_own(self, authority: Authority) -> bool:
        """A target that is this very port: by the address we listen on, or by any loopback name of it."""
        if authority.port != self.proxy_address.port:
            return False
        return authority.host == self.proxy_address.host or is_loopback(authority.host)

    # answers outside the corridor, gauges

    def _refused(self, call_id: str, problem: Problem) -> None:
        record = Record(
            call_id=call_id, entrance="none", method="", target="", started=asyncio.get_running_loop().time()
        )
        record.code, record.status = problem.code, problem.status
        self.metrics.refused.labels("none", problem.code).inc()
        self._call_log.write(record)

    def _rooms(self) -> dict[str, Room]:
        now, rooms = self.now_ms(), {}
        for name in self.gate.services:
            service = self._in_force.policy.services.get(name)
            scales = {}
            if service is not None:
                limits = [*service.limits, *(limit for one in service.endpoints for limit in one.limits)]
                scales = {limit.name: limit.scale for limit in limits}
            fullest = max(self.gate.usage(name), key=lambda use: use[1] / max(1, use[2]), default=None)
            rooms[name] = Room(
                usage_ratio=fullest[1] / max(1, fullest[2]) if fullest is not None else 0.0,
                # a limit that was lowered, or is only observed, may be used beyond its amount
                remaining=max(0, fullest[2] - fullest[1]) / scales.get(fullest[0], 1) if fullest is not None else None,
                waiting=self.gate.waiting(name),
                backoff_s=max(0.0, self._exchange.lessons.resting.get(name, 0.0) - now) / 1000,
            )
        return rooms

    def _found(self) -> Iterable[tuple[str, str, str, float]]:
        """Of the groups of pools alone: others are named by whoever calls."""
        for name, service in self._in_force.policy.services.items():
            groups, endpoints = {key.group for key in service.keys}, {one.name for one in service.endpoints}
            for (group, endpoint), amount in self.gate.found(name).items():
                if group in groups and endpoint in endpoints:
                    yield name, group, endpoint, amount

    # the end

    def _on_stop(self) -> None:
        if self._stop_asked.is_set():
            self._hurry.set()
        self._stop_asked.set()

    async def _drain(self) -> None:
        """Stop taking calls, finish what is granted, refuse what cannot finish (threats 4.1)."""
        self._draining = self._listener.draining = self._exchange.draining = True
        _log.info("draining: %d calls, %.0f s at most", self._exchange.running, self.settings.drain)
        self._tunnels.drain()
        if not await self._quiet(self.settings.drain * _HOLD_SHARE):
            self.gate.drain()
            if not await self._quiet(self.settings.drain * (1 - _HOLD_SHARE)):
                _log.warning("the drain is over with %d calls unfinished", self._exchange.running)
        self._tunnels.close_all()

    async def _quiet(self, seconds: float) -> bool:
        """Wait until no call is inside; False when time, or a second signal, came first."""
        if self._exchange.running == 0:
            return True
        waits = [asyncio.ensure_future(event.wait()) for event in (self._exchange.idle, self._hurry)]
        done, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return waits[0] in done


def _shared(url: str, try_timeout: float) -> RedisHost:
    """Redis's library takes 8 MiB, so it is loaded where there is a Redis."""
    from .redis_host import RedisHost

    return RedisHost(url, try_timeout=try_timeout)


def _cannot_listen(address: Address, flag: str, error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {address}: no such name; choose another address with {flag}"
    # asyncio puts a sentence of its own into strerror; the number has the system's plain words
    reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else "not possible"
    return f"cannot listen on {address}: {reason}; choose another address with {flag}"


def _render(problem: Problem, call_id: str) -> tuple[bytes, Fields]:
    """An answer to what never became a call: no service, so the plain shape."""
    body = problem.body("plain", call_id)
    fields = [*problem.headers(), (b"Content-Type", b"application/json")]
    if call_id:
        fields.append((b"X-Headgate-Request-Id", call_id.encode()))
    return body, fields
