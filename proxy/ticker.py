"""When a tick is sent, and to which host: group commit, timers, heartbeat, failover (limiter.md 5, 10, 12).

Law: one tick of a service is on its way at a time, and what arrives meanwhile travels in the next; only the tasks here
await Redis; a tick that got no answer is sent again with the same number, once, and then the store counts as away.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rules.gate import resting, wire
from rules.gate.engine import Engine
from rules.gate.explain import question

from .line import Line, Waiting
from .session import Batch, Session
from .store import StoreUnavailable
from .tasks import spawn

if TYPE_CHECKING:
    from .redis_host import RedisHost

_log = logging.getLogger("headgate.gate")

GONE_TRIES = 2
"""Tries of a tick on a store that refuses or resets: the second is for a connection that had gone stale."""

SLOW_TRIES = 5
"""Consecutive time-outs after which the store is left (limiter.md 12)."""

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

RETURN_MS = 2500
"""For so long a replica that is back leaves the others the shares they may still be using: two looks at the longest."""

SWEEP = 30.0
"""Seconds between collections of expired keys in the embedded store."""


class CallLater(Protocol):
    """`loop.call_later`, or a virtual clock's."""

    def __call__(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle: ...


class Ticker:
    """Carries the lines' words to the host in use."""

    def __init__(
        self,
        *,
        now_ms: Callable[[], float],
        wall_ms: Callable[[], float],
        store: RedisHost | None,
        call_later: CallLater | None,
        replica: str,
        give: Callable[[Line, Waiting, wire.Granted, float], None],
        on_rests: Callable[[Line], None] = lambda line: None,
    ) -> None:
        """`give`: hands a grant to the call it is for. `on_rests`: the line knows anew which keys rest."""
        self._now_ms = now_ms
        self._wall_ms = wall_ms
        self._store = store
        self._later = call_later
        self._replica = replica
        self._give = give
        self._on_rests = on_rests
        self._engine = Engine()
        self._sessions: dict[tuple[str, bool], Session] = {}
        self._replicas = 1
        self._returning_until = 0.0
        self._returning_share = WHOLE
        self._listener: asyncio.Task[None] | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self.lines: dict[str, Line] = {}
        self.online = store is not None
        self.closed = False
        self.degraded = False
        self.degraded_reason: str | None = None
        self.held = 0
        self.fallbacks = 0

    async def stop(self) -> None:
        """No timer fires and no connection stays."""
        self.closed = True
        for line in self.lines.values():
            line.stop()
        for timer in (self._probe, self._sweeper):
            if timer is not None:
                timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        if self._store is not None:
            await self._store.close()

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """By the loop's clock, or the test's."""
        return (self._later or asyncio.get_running_loop().call_later)(delay, callback, *args)

    def _session(self, service: str, online: bool) -> Session:
        found = self._sessions.get((service, online))
        if found is None:
            found = self._sessions[service, online] = Session()
        return found

    def line(self, service: str) -> Line:
        """The line of a service; made with its first call."""
        line = self.lines.get(service)
        if line is None:
            session = self._session(service, self.online)
            session.restart()
            line = self.lines[service] = Line(service, self._replica.encode(), session)
        return line

    def flush_soon(self, line: Line) -> None:
        """Tick once the loop has run what is ready now. A line that nobody waits in need not hurry when embedded."""
        if line.soon is None and not self.closed and (self.online or line.waiting):
            line.soon = self.call_later(0, self._flush_now, line)

    def _flush_now(self, line: Line) -> None:
        line.soon = None
        if line.has_work:
            self.flush(line)

    def flush(self, line: Line) -> None:
        """Tick now, or as soon as the tick on its way is back."""
        if self.closed:
            return
        if not self.online:
            self._tick_here(line)
        elif not line.busy:
            line.busy = True
            spawn(self._tick_there(line), name=f"gate tick {line.service}")

    def _look_again(self, line: Line) -> None:
        line.timer = None
        line.forced = True
        self.flush(line)

    def _tick_here(self, line: Line) -> None:
        if line.has_work:
            now = self._now_ms()
            batch = line.take(now, self._share())
            answer = self._engine.tick(line.key, math.floor(now), batch.args, raw_ms=math.floor(self._wall_ms()))
            self._apply(line, batch, wire.reply(answer))
            if line.has_work:
                # more than one tick carries: the loop has its turn between them
                self.flush_soon(line)

    def _share(self) -> int:
        if self._store is None:
            return WHOLE
        if self.online:
            return self._returning_share if self._now_ms() < self._returning_until else WHOLE
        return max(1, FALLBACK_SHARE // self._replicas)

    async def _tick_there(self, line: Line) -> None:
        try:
            while self.online and line.has_work:
                batch = line.take(self._now_ms(), self._share())
                answer = await self._ask(line, batch)
                if answer is None:
                    return
                if self.online and batch.is_of(line.session):
                    self._apply(line, batch, wire.reply(answer))
        finally:
            line.note_idle()
            if not self.closed and line.has_work:
                self.flush_soon(line)

    async def _ask(self, line: Line, batch: Batch) -> bytes | None:
        """One tick, tried again with the same sequence number. None: the store is lost, and the line has moved.

        A store that is slow is given longer than one that is gone: leaving it costs up to a window's accuracy, and a
        machine that is busy for a moment must not bring that about.
        """
        assert self._store is not None
        failures, in_doubt = 0, False
        while True:
            batch.sent_ms = self._now_ms()
            try:
                return await self._store.tick(line.key, batch.args)
            except StoreUnavailable as error:
                failures, in_doubt = failures + 1, in_doubt or error.in_doubt
                if failures < (SLOW_TRIES if error.slow else GONE_TRIES):
                    continue
                if in_doubt:
                    line.in_doubt(batch)
                else:
                    line.not_done(batch)
                if self.online:
                    self.go_offline(str(error))
                return None

    async def ask(self, key: bytes, arrival: Sequence[bytes | int]) -> bytes:
        """A tick that only asks (rules.gate.explain), of the host in use. Raises StoreUnavailable; the host stays."""
        args = question(self._replica.encode(), self._share(), arrival)
        if not self.online:
            return self._engine.tick(key, math.floor(self._now_ms()), args, raw_ms=math.floor(self._wall_ms()))
        assert self._store is not None
        try:
            return await self._store.tick(key, args)
        except StoreUnavailable:
            return await self._store.tick(key, args)

    def _apply(self, line: Line, batch: Batch, reply: wire.Reply) -> None:
        if reply.status != wire.DONE:
            line.not_done(batch)
            if line.session.epoch and reply.epoch != line.session.epoch:
                # it lost what it knew; what an operator said meanwhile through another replica is not ours to undo
                line.words.recall(self._now_ms(), off=False)
            line.restate()
            return
        now = self._now_ms()
        self._replicas = max(1, reply.replicas) if self.online else self._replicas
        self.held += len(reply.held)
        line.apply(batch, reply, now, functools.partial(self._give, line))
        if reply.version != line.words.version:
            line.words.version = reply.version
            spawn(self._look_again_at_rests(line), name=f"gate keys {line.service}")
        self._arm(line, reply)

    async def _look_again_at_rests(self, line: Line) -> None:
        try:
            await self.look_at_rests(line)
        except StoreUnavailable:
            line.words.version = -1  # the next tick finds another one, and asks again

    async def look_at_rests(self, line: Line) -> None:
        """Ask which keys rest. Raises StoreUnavailable."""
        answer = await self.ask(line.key, resting.RESTS)
        line.words.version, line.words.rests = resting.rests(answer)
        line.words.rests_ms = self._now_ms()
        self._on_rests(line)

    def _arm(self, line: Line, reply: wire.Reply) -> None:
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        if reply.next_ms is not None and line.waiting:
            if reply.next_ms == 0:
                line.forced = True
                self.flush_soon(line)
            else:
                delay = (reply.next_ms + reply.rank * SPREAD_MS) / 1000
                line.timer = self.call_later(delay, self._look_again, line)
        if self.online and line.heartbeat is None and line.is_alive:
            line.heartbeat = self.call_later(HEARTBEAT, self._beat, line)

    def _beat(self, line: Line) -> None:
        line.heartbeat = None
        if self.closed or not self.online or not line.is_alive:
            return
        line.beats += 1
        if line.beats % BEATS_PER_STATEMENT == 0:
            line.state_all()
        line.forced = True
        line.heartbeat = self.call_later(HEARTBEAT, self._beat, line)
        self.flush(line)

    # between hosts

    def go_offline(self, reason: str) -> None:
        """The store is away: the embedded gate takes over with this replica's share."""
        self.online = False
        self.degraded, self.degraded_reason = True, reason
        self.fallbacks += 1
        _log.error("%s; limits are shared out among %d replicas until it is back", reason, self._replicas)
        now = self._now_ms()
        for line in list(self.lines.values()):
            line.session = self._session(line.service, False)
            line.restate()
            line.words.recall(now, off=True)
            line.sight.begin(line.session, self._share(), now)
            # now, and whether or not somebody waits: what is begun with must not be passed on as a charge of ours
            self.flush(line)
        self._arm_probe()

    def _arm_probe(self) -> None:
        delay = PROBE * (0.75 + random.random() / 2)  # noqa: S311 (jitter, not a secret)
        self._probe = self.call_later(delay, self._start_probe)

    def _start_probe(self) -> None:
        self._probe = None
        if not self.closed:
            spawn(self._look_for_store(), name="gate probe")

    async def _look_for_store(self) -> None:
        assert self._store is not None
        try:
            await self._store.connect()
            if not self.closed:
                self._go_online()
        except StoreUnavailable:
            return
        finally:  # whatever went wrong: a process that looks no more keeps its share for ever
            if not self.online and not self.closed:
                self._arm_probe()

    def _go_online(self) -> None:
        """The store is back: it learns what waits, what is in flight and what was charged meanwhile."""
        now = self._now_ms()
        # the others may be away for a look or two, each with a share the store does not know of yet
        self._returning_share = max(1, WHOLE - (self._replicas - 1) * max(1, FALLBACK_SHARE // self._replicas))
        self._returning_until = now + RETURN_MS
        self.online = True
        self.degraded, self.degraded_reason = False, None
        _log.warning("the store is back")
        for line in self.lines.values():
            there, here = self._session(line.service, True), line.session
            here.pass_excess(there)
            line.hand_over(there, now)
            line.words.recall(now, off=False)
            line.words.pay()
            line.session = there
            line.restate()
            self.flush_soon(line)
        self.listen()

    def listen(self) -> None:
        """Hear the nudges of other replicas' ticks."""
        if self._listener is None or self._listener.done():
            self._listener = spawn(self._hear_nudges(), name="gate nudges")

    async def _hear_nudges(self) -> None:
        assert self._store is not None
        await self._store.listen(self._replica, self._nudged)
        if not self.closed:
            self.call_later(PROBE, self._listen_again)

    def _listen_again(self) -> None:
        if not self.closed and self.online:
            self.listen()

    def _nudged(self, prefix: bytes) -> None:
        for line in self.lines.values():
            if line.key == prefix + b"meta":
                line.forced = True
                self.flush(line)

    def arm_sweep(self) -> None:
        """Collect expired keys of the embedded store now and then."""
        self._sweeper = self.call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._engine.sweep(math.floor(self._now_ms()))
        if not self.closed:
            self.arm_sweep()
