"""The gate's actor: inbox, group commit, futures, timers; fails over between the hosts (limiter.md 5).

Everything else of the proxy calls acquire, settle, refund and rest, and cannot tell which host answers. Law: only the
actor's own tasks await Redis, so a cancelled caller never touches a connection; one tick of a service is on its way
at a time, and what arrives meanwhile travels in the next; every grant is finished once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from rules.gate import wire
from rules.gate.engine import Engine
from rules.verdict import Block, Grant, Plan, Refuse

from .line import Batch, Line, Session, Waiting
from .redis_host import RedisHost, StoreUnavailable
from .tasks import spawn

_log = logging.getLogger("headgate.gate")

HEARTBEAT = 1.0
"""Seconds between ticks of a service that has something waiting or in flight (limiter.md 10)."""

BEATS_PER_STATEMENT = 60
"""Heartbeats after which every gauge is stated again: the store keeps them 15 minutes."""

SPREAD_MS = 3
"""Replicas look at a wake time this far apart, by rank (limiter.md 10)."""

FALLBACK_SHARE = 800
"""Per mille of a limit that all replicas together use while the store is away (limiter.md 12: phi = 0.8)."""

WHOLE = 1000

PROBE = 1.0
"""Seconds between looks at a store that is away; each with jitter, so that replicas do not return in step."""

SWEEP = 30.0
"""Seconds between collections of expired keys in the embedded store."""

CLOSE_TIMEOUT = 1.0


class CallLater(Protocol):
    """`loop.call_later`, or a virtual clock's."""

    def __call__(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle: ...


class Gate:
    """Where capacity is granted."""

    def __init__(
        self,
        *,
        now_ms: Callable[[], float],
        store: RedisHost | None = None,
        fallback: bool = False,
        call_later: CallLater | None = None,
        replica: str | None = None,
    ) -> None:
        """`now_ms`: a clock that never steps back. `store`: None for the embedded gate.

        `fallback`: start on the embedded gate when the store cannot be reached. `replica`: 16 hexadecimal digits,
        new for each start (limiter.md Q25).
        """
        self._now_ms = now_ms
        self._store = store
        self._fallback = fallback
        self._later = call_later
        self.replica = replica or secrets.token_hex(8)
        self._engine = Engine()
        self._online = store is not None
        self._lines: dict[str, Line] = {}
        self._sessions: dict[tuple[str, bool], Session] = {}
        self._open: dict[str, tuple[Line, Session]] = {}
        self._count = 0
        self._replicas = 1
        self._draining = False
        self._closed = False
        self._listener: asyncio.Task[None] | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self.degraded = False
        self.degraded_reason: str | None = None
        self.granted = 0
        self.held = 0
        self.fallbacks = 0
        """How often the store was lost."""
        self.double_finishes = 0
        """Settles and refunds of grants that were finished already: harmless, and a fault of ours."""

    # life

    async def start(self) -> None:
        """Meet the store. Raises StoreUnavailable when it is not there, unless `fallback`."""
        if self._store is not None:
            try:
                await self._store.connect()
            except StoreUnavailable as error:
                if not self._fallback:
                    raise
                self._go_offline(str(error))
            else:
                self._listen()
        self._arm_sweep()

    def drain(self) -> None:
        """No call waits any more: what is held, and whatever comes, is refused."""
        self._draining = True
        for line in self._lines.values():
            for waiting in list(line.waiting.values()):
                if not waiting.gone:
                    line.leave(waiting)
                    waiting.resolve(Refuse(code="draining", waited_ms=self._waited(waiting)))
            self._flush(line)

    async def close(self) -> None:
        """Tell the store what it must know, state that nothing is in flight, and let go. Takes a second at most."""
        self.drain()
        self._open.clear()
        for line in self._lines.values():
            line.land_all()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                for line in self._lines.values():
                    while self._online and (line.busy or line.has_work):
                        self._flush(line)
                        await line.until_idle()
        except TimeoutError:
            _log.warning("the store did not take the last settlements in time")
        self._closed = True
        for line in self._lines.values():
            line.stop()
        for timer in (self._probe, self._sweeper):
            if timer is not None:
                timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        if self._store is not None:
            await self._store.close()

    # calls

    async def acquire(self, plan: Plan, *, enqueued_ms: float | None = None) -> Grant | Refuse:
        """A grant now, or when there is room, or a refusal. With room, the embedded gate answers without a pause.

        `enqueued_ms`: when the call first stood in line, by `now_ms`; a retry so keeps its place. Cancelling the
        caller gives the place, or the grant, back. Raises ValueError for costs the gate cannot count.
        """
        now = self._now_ms()
        keeps = enqueued_ms is not None and enqueued_ms < now
        if self._draining:
            return Refuse(code="draining")
        line = self._line(plan.service)
        self._count += 1
        waiting = Waiting(
            n=self._count,
            plan=plan,
            arrival=wire.arrival(plan, keeps_place=keeps),
            enqueued_ms=enqueued_ms if keeps and enqueued_ms is not None else now,
            deadline_ms=now + plan.max_wait_ms,
            since_ms=now,
        )
        line.enter(waiting)
        self._flush(line)
        if waiting.verdict is None:
            await self._wait(line, waiting)
        assert waiting.verdict is not None
        return waiting.verdict

    async def _wait(self, line: Line, waiting: Waiting) -> None:
        loop = asyncio.get_running_loop()
        waiting.future = loop.create_future()
        if waiting.plan.max_wait_ms > 0:
            delay = max(0.0, waiting.deadline_ms - self._now_ms()) / 1000
            waiting.timer = self._call_later(delay, self._expire, line, waiting)
        try:
            await waiting.future
        except asyncio.CancelledError:
            if isinstance(waiting.verdict, Grant):
                self.refund(waiting.verdict)
            elif waiting.verdict is None:
                line.leave(waiting)
                self._flush_soon(line)
            raise

    def _expire(self, line: Line, waiting: Waiting) -> None:
        waiting.timer = None
        if waiting.verdict is not None or waiting.gone:
            return
        line.leave(waiting)
        limit = wire.limit_at(waiting.plan, waiting.binds)
        waiting.resolve(Refuse(code="hold_expired", limit=limit, waited_ms=self._waited(waiting)))
        self._flush_soon(line)

    def settle(self, grant: Grant, actual: Mapping[str, float]) -> None:
        """The call is over: `actual` maps meters to true amounts in natural units; absent ones keep the estimate."""
        opened = self._open.pop(grant.attempt, None)
        if opened is None:
            self.double_finishes += 1
            return
        line, session = opened
        line.settle(grant, session, actual)
        self._finished(line, session)

    def refund(self, grant: Grant) -> None:
        """The upstream cannot have counted the call: its charges are taken back."""
        opened = self._open.pop(grant.attempt, None)
        if opened is None:
            self.double_finishes += 1
            return
        line, session = opened
        line.refund(grant, session)
        self._finished(line, session)

    def _finished(self, line: Line, session: Session) -> None:
        if self._online and session is not line.session:
            session.pass_excess(line.session)
        self._flush_soon(line)

    def rest(self, service: str, blocks: Iterable[Block]) -> None:
        """No key that names these scopes is granted until their time has passed."""
        line = self._line(service)
        for block in blocks:
            line.rest(block)
        if line.has_work:
            self._flush_soon(line)

    # what metrics ask

    def waiting(self, service: str) -> int:
        """Calls of this process that wait for the service."""
        line = self._lines.get(service)
        return len(line.waiting) if line is not None else 0

    @property
    def services(self) -> list[str]:
        """Services that had a call."""
        return list(self._lines)

    @property
    def unfinished(self) -> int:
        """Grants not yet settled or refunded."""
        return len(self._open)

    def usage(self, service: str) -> list[tuple[str, int, int]]:
        """(limit name, used, amount) of the limits that were the fullest at a grant, while that use can still count."""
        line = self._lines.get(service)
        if line is None:
            return []
        now = self._now_ms()
        return [(name, use.used if use.until_ms > now else 0, use.amount) for name, use in line.use.items()]

    # the actor

    def _call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return (self._later or asyncio.get_running_loop().call_later)(delay, callback, *args)

    def _waited(self, waiting: Waiting) -> int:
        return max(0, round(self._now_ms() - waiting.since_ms))

    def _session(self, service: str, online: bool) -> Session:
        found = self._sessions.get((service, online))
        if found is None:
            found = self._sessions[service, online] = Session()
        return found

    def _line(self, service: str) -> Line:
        line = self._lines.get(service)
        if line is None:
            session = self._session(service, self._online)
            session.restart()
            line = self._lines[service] = Line(service, self.replica.encode(), session)
        return line

    def _flush_soon(self, line: Line) -> None:
        """Tick once the loop has run what is ready now. A line that nobody waits in need not hurry when embedded."""
        if line.soon is None and not self._closed and (self._online or line.waiting):
            line.soon = self._call_later(0, self._flush_now, line)

    def _flush_now(self, line: Line) -> None:
        line.soon = None
        if line.has_work:
            self._flush(line)

    def _flush(self, line: Line) -> None:
        if self._closed:
            return
        if not self._online:
            self._tick_here(line)
        elif not line.busy:
            line.busy = True
            spawn(self._tick_there(line), name=f"gate tick {line.service}")

    def _look_again(self, line: Line) -> None:
        line.timer = None
        line.forced = True
        self._flush(line)

    def _tick_here(self, line: Line) -> None:
        while line.has_work:
            now = self._now_ms()
            batch = line.take(now, self._share())
            answer = self._engine.tick(line.key, math.floor(now), batch.args)
            self._apply(line, batch, wire.reply(answer))

    def _share(self) -> int:
        if self._store is None or self._online:
            return WHOLE
        return max(1, FALLBACK_SHARE // self._replicas)

    async def _tick_there(self, line: Line) -> None:
        try:
            while self._online and line.has_work:
                batch = line.take(self._now_ms(), WHOLE)
                answer = await self._ask(line, batch)
                if answer is None:
                    return
                if batch.session is line.session and self._online:
                    self._apply(line, batch, wire.reply(answer))
        finally:
            line.note_idle()
            if not self._closed and line.has_work:
                self._flush_soon(line)

    async def _ask(self, line: Line, batch: Batch) -> bytes | None:
        """One tick, tried twice with the same sequence number. None: the store is lost, and the line has moved."""
        assert self._store is not None
        for again in (False, True):
            try:
                return await self._store.tick(line.key, batch.args)
            except StoreUnavailable as error:
                if not again:
                    continue
                line.in_doubt(batch)
                if self._online:
                    self._go_offline(str(error))
        return None

    def _apply(self, line: Line, batch: Batch, reply: wire.Reply) -> None:
        if reply.status != wire.DONE:
            line.not_done(batch)
            line.restate()
            return
        now = self._now_ms()
        self._replicas = max(1, reply.replicas) if self._online else self._replicas
        self.held += len(reply.held)
        line.apply(batch, reply, now, self._give)
        self._arm(line, reply)

    def _give(self, waiting: Waiting, granted: wire.Granted) -> None:
        line = self._lines[waiting.plan.service]
        now = self._now_ms()
        attempt = f"{self.replica}-{waiting.n:012d}"
        grant = granted.grant(waiting.plan, attempt, max(0, round(now - waiting.since_ms)))
        self._open[attempt] = (line, line.session)
        line.took_off(grant, granted, now)
        if self.degraded:
            line.carry(grant)
            line.prune_carried(now)
        if waiting.gone or (waiting.future is not None and waiting.future.done()):
            self.refund(grant)
            return
        self.granted += 1
        waiting.resolve(grant)

    def _arm(self, line: Line, reply: wire.Reply) -> None:
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        if reply.next_ms is not None and line.waiting:
            if reply.next_ms == 0:
                line.forced = True
                self._flush_soon(line)
            else:
                delay = (reply.next_ms + reply.rank * SPREAD_MS) / 1000
                line.timer = self._call_later(delay, self._look_again, line)
        if self._online and line.heartbeat is None and line.is_alive:
            line.heartbeat = self._call_later(HEARTBEAT, self._beat, line)

    def _beat(self, line: Line) -> None:
        line.heartbeat = None
        if self._closed or not self._online or not line.is_alive:
            return
        line.beats += 1
        if line.beats % BEATS_PER_STATEMENT == 0:
            line.state_all()
        line.forced = True
        line.heartbeat = self._call_later(HEARTBEAT, self._beat, line)
        self._flush(line)

    # between hosts

    def _go_offline(self, reason: str) -> None:
        """The store is away: the embedded gate takes over with this replica's share."""
        self._online = False
        self.degraded, self.degraded_reason = True, reason
        self.fallbacks += 1
        _log.error("%s; limits are shared out among %d replicas until it is back", reason, self._replicas)
        for line in self._lines.values():
            line.session = self._session(line.service, False)
            line.restate()
            self._flush_soon(line)
        self._arm_probe()

    def _arm_probe(self) -> None:
        delay = PROBE * (0.75 + random.random() / 2)  # noqa: S311 (jitter, not a secret)
        self._probe = self._call_later(delay, self._start_probe)

    def _start_probe(self) -> None:
        self._probe = None
        if not self._closed:
            spawn(self._look_for_store(), name="gate probe")

    async def _look_for_store(self) -> None:
        assert self._store is not None
        try:
            await self._store.connect()
        except StoreUnavailable:
            if not self._closed:
                self._arm_probe()
            return
        if not self._closed:
            self._go_online()

    def _go_online(self) -> None:
        """The store is back: it learns what waits, what is in flight and what was charged meanwhile."""
        now = self._now_ms()
        self._online = True
        self.degraded, self.degraded_reason = False, None
        _log.warning("the store is back")
        for line in self._lines.values():
            there, here = self._session(line.service, True), line.session
            here.pass_excess(there)
            line.hand_over(there, now)
            line.session = there
            line.restate()
            self._flush_soon(line)
        self._listen()

    def _listen(self) -> None:
        if self._listener is None or self._listener.done():
            self._listener = spawn(self._hear_nudges(), name="gate nudges")

    async def _hear_nudges(self) -> None:
        assert self._store is not None
        await self._store.listen(self.replica, self._nudged)
        if not self._closed:
            self._call_later(PROBE, self._listen_again)

    def _listen_again(self) -> None:
        if not self._closed and self._online:
            self._listen()

    def _nudged(self, prefix: bytes) -> None:
        for line in self._lines.values():
            if line.key == prefix + b"meta":
                line.forced = True
                self._flush(line)

    def _arm_sweep(self) -> None:
        self._sweeper = self._call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._engine.sweep(math.floor(self._now_ms()))
        if not self._closed:
            self._arm_sweep()
