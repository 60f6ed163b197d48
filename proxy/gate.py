"""The gate as the rest of the proxy sees it: acquire, explain, settle, refund, rest (limiter.md 5).

Nobody who calls these can tell which host answers; ticker.py speaks to it. Law: a call waits on a future of its own,
never on Redis, so cancelling it can desynchronise nothing; every grant is finished once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rules.gate import resting, wire
from rules.gate.explain import explained
from rules.gate.standing import Standing
from rules.verdict import Block, Charge, Explained, Grant, Plan, Refuse, Told

from .deadlines import Deadlines
from .line import Line, Waiting
from .session import Session
from .store import Fault, StoreUnavailable
from .ticker import CallLater, Ticker

if TYPE_CHECKING:
    from .redis_host import RedisHost

_log = logging.getLogger("headgate.gate")

CLOSE_TIMEOUT = 1.0
"""Seconds for the last words with the store."""

REPLANNED_AT_ONCE = 100
"""Calls planned anew in one turn of the loop: some 10 ms of it."""


def wall_ms() -> float:
    """The wall clock as calendar quotas read it (wire.ORIGIN_MS); it may step."""
    return time.time() * 1000 - wire.ORIGIN_MS


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
        wall_ms: Callable[[], float] = wall_ms,
        on_rests: Callable[[str, Sequence[resting.KeyRest]], None] = lambda service, rests: None,
    ) -> None:
        """`now_ms`: a clock that never steps back. `wall_ms`: the wall clock, from wire.ORIGIN_MS. `store`: None for
        the embedded gate.

        `fallback`: start on the embedded gate when the store cannot be reached. `replica`: 16 hexadecimal digits,
        new for each start (limiter.md Q25). `on_rests`: called with all that rests of a service, when that changes.
        """
        self._now_ms = now_ms
        self._wall_ms = wall_ms
        self._store = store
        self._fallback = fallback
        self.replica = replica or secrets.token_hex(8)
        self._ticker = Ticker(
            now_ms=now_ms,
            wall_ms=wall_ms,
            store=store,
            call_later=call_later,
            replica=self.replica,
            give=self._give,
            on_rests=lambda line: on_rests(line.service, line.words.rests),
        )
        self._open: dict[str, tuple[Line, Session, Standing]] = {}
        self._deadlines: dict[str, Deadlines] = {}
        self._count = 0
        self._draining = False
        self.granted = 0
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
                self._ticker.go_offline(str(error))
            else:
                self._ticker.listen()
        self._ticker.arm_sweep()

    def drain(self) -> None:
        """No call waits any more: what is held, and whatever comes, is refused."""
        self._draining = True
        for line in self._ticker.lines.values():
            for waiting in list(line.waiting.values()):
                if not waiting.gone:
                    line.leave(waiting)
                    waiting.resolve(Refuse(code="draining", waited_ms=self._waited(waiting)))
            self._ticker.flush(line)

    async def close(self) -> None:
        """Tell the store what it must know, state that nothing is in flight, and let go. Takes a second at most."""
        self.drain()
        self._open.clear()
        for line in self._ticker.lines.values():
            line.land_all()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                for line in self._ticker.lines.values():
                    while self._ticker.online and (line.busy or line.has_work):
                        self._ticker.flush(line)
                        await line.until_idle()
        except TimeoutError:
            _log.warning("the store did not take the last settlements in time")
        for deadlines in self._deadlines.values():
            deadlines.stop()
        await self._ticker.stop()

    # calls

    async def acquire(
        self, plan: Plan, *, enqueued_ms: float | None = None, anew: Callable[[], Plan | Refuse] | None = None
    ) -> Grant | Refuse:
        """A grant now, or when there is room, or a refusal. With room, and nothing of ours in flight, the embedded gate
        answers without a pause; else the calls of one turn of the loop share a tick, whose fixed part costs more than
        a call in it.

        `enqueued_ms`: when the call first stood in line, by `now_ms`; a retry so keeps its place. `anew` plans the call
        again, should the limits change while it waits (`replan`); without it the first plan stands. Cancelling the
        caller gives the place, or the grant, back. Raises ValueError for costs the gate cannot count.
        """
        now = self._now_ms()
        keeps = enqueued_ms is not None and enqueued_ms < now
        if self._draining:
            return Refuse(code="draining")
        line = self._ticker.line(plan.service)
        self._count += 1
        waiting = Waiting(
            n=self._count,
            plan=plan,
            arrival=wire.arrival(plan, keeps_place=keeps, wall_ms=self._wall_ms()),
            enqueued_ms=enqueued_ms if keeps and enqueued_ms is not None else now,
            deadline_ms=now + plan.max_wait_ms,
            since_ms=now,
            anew=anew,
        )
        line.enter(waiting)
        if self._open and not self._ticker.online:
            self._ticker.flush_soon(line)
        else:
            self._ticker.flush(line)
        if waiting.verdict is None:
            await self._wait(line, waiting)
        assert waiting.verdict is not None
        return waiting.verdict

    async def _wait(self, line: Line, waiting: Waiting) -> None:
        loop = asyncio.get_running_loop()
        waiting.future = loop.create_future()
        if waiting.plan.max_wait_ms > 0:
            self._deadlines_of(line).add(waiting)
        try:
            await waiting.future
        except asyncio.CancelledError:
            if isinstance(waiting.verdict, Grant):
                self.refund(waiting.verdict)
            elif waiting.verdict is None:
                line.leave(waiting)
                self._ticker.flush_soon(line)
            raise

    def _deadlines_of(self, line: Line) -> Deadlines:
        found = self._deadlines.get(line.service)
        if found is None:
            found = self._deadlines[line.service] = Deadlines(
                line.waiting,
                now_ms=self._now_ms,
                call_later=self._ticker.call_later,
                expire=functools.partial(self._expire, line),
            )
        return found

    def _expire(self, line: Line, waiting: Waiting) -> None:
        line.expire(waiting)
        self._ticker.flush_soon(line)

    async def explain(self, plan: Plan, *, enqueued_ms: float | None = None) -> Explained:
        """What `acquire` would say now, without charging anything or taking a place (limiter.md 11).

        On a shared store the answer is the store's: what this process has yet to tell it is sent first and not waited
        for. Raises StoreUnavailable where `acquire` would turn to the embedded gate, and ValueError as it does.
        """
        if self._draining:
            return Explained(verdict="refuse", code="draining")
        now = self._now_ms()
        keeps = enqueued_ms is not None and enqueued_ms < now
        age = math.floor(now) - math.floor(enqueued_ms) if keeps and enqueued_ms is not None else 0
        n = self._count + 1
        arrival = wire.arrival(plan, keeps_place=keeps, wall_ms=self._wall_ms())
        line = self._ticker.lines.get(plan.service)
        if line is not None and line.has_work:
            self._ticker.flush(line)
        question = wire.arrive(n, age, plan.max_wait_ms, arrival)
        return explained(await self._ticker.ask(wire.meta_key(plan.service), question), n, plan)

    def replan(self, services: Iterable[str]) -> None:
        """The limits of these services have changed: every call that waits for one is planned anew, and stands where it
        stood, by age and priority, until the deadline it had. What now can never go is refused as soon as it is told.

        The first in line come first; a long line takes several turns of the loop, so that it stops nobody.
        """
        for name in services:
            line = self._ticker.lines.get(name)
            if line is not None:
                line.use.clear()
                self._replan(line, sorted(line.waiting.values(), key=lambda waiting: waiting.enqueued_ms))

    def _replan(self, line: Line, calls: list[Waiting]) -> None:
        for waiting in calls[:REPLANNED_AT_ONCE]:
            if not waiting.gone and waiting.verdict is None and waiting.anew is not None:
                self._plan_anew(line, waiting, waiting.anew())
        if line.has_work:
            self._ticker.flush_soon(line)
        if rest := calls[REPLANNED_AT_ONCE:]:
            self._ticker.call_later(0, self._replan, line, rest)

    def _plan_anew(self, line: Line, waiting: Waiting, wish: Plan | Refuse) -> None:
        if isinstance(wish, Refuse):
            line.leave(waiting)
            waiting.resolve(dataclasses.replace(wish, waited_ms=self._waited(waiting)))
            return
        self._count += 1
        arrival = wire.arrival(wish, keeps_place=True, wall_ms=self._wall_ms())
        line.replan(waiting, wish, arrival, self._count)
        if waiting.n == self._count and waiting.deadline_ms > waiting.since_ms:
            # its deadline is the old one, but was noted under the old number
            self._deadlines_of(line).add(waiting)

    def settle(self, grant: Grant, actual: Mapping[str, float]) -> None:
        """The call is over: `actual` maps meters to true amounts in natural units; absent ones keep the estimate."""
        opened = self._open.pop(grant.attempt, None)
        if opened is None:
            self.double_finishes += 1
            return
        line, session, stands = opened
        line.settle(grant, session, actual, stands)
        self._finished(line, session)

    def refund(self, grant: Grant) -> None:
        """The upstream cannot have counted the call: its charges are taken back."""
        opened = self._open.pop(grant.attempt, None)
        if opened is None:
            self.double_finishes += 1
            return
        line, session, stands = opened
        line.refund(grant, session, stands)
        self._finished(line, session)

    def _finished(self, line: Line, session: Session) -> None:
        if self._ticker.online and session is not line.session:
            session.pass_excess(line.session)
        self._ticker.flush_soon(line)

    # keys

    def rest(self, service: str, blocks: Iterable[Block]) -> None:
        """No key that names these scopes is granted until their time has passed, or one that is tried succeeds."""
        for block in blocks:
            self._say(service, resting.rest(block))

    def lift(self, service: str, scopes: Sequence[str]) -> None:
        """A call that tried these scopes (Grant.tries) succeeded."""
        self._say(service, resting.lift(scopes))

    def refused(self, service: str, charge: Charge, made_ms: float) -> None:
        """A call that was let go at `made_ms`, or later, met the limit of `charge`, which is being found out."""
        ago_ms = max(0.0, self._now_ms() - made_ms)
        self._say(service, resting.refused(charge, math.ceil(min(ago_ms, wire.SKEW_MS))))

    def given(self, service: str, charge: Charge, amount: int, span_ms: int) -> None:
        """Headers say that such a limit is so much in windows of at least `span_ms`, in natural units."""
        self._say(service, resting.given(charge, amount * charge.limit.scale, span_ms))

    def _say(self, service: str, operation: Sequence[bytes | int]) -> None:
        line = self._ticker.line(service)
        line.words.say(operation)
        self._ticker.flush_soon(line)

    async def turn(self, service: str, scope: str, *, on: bool) -> None:
        """An operator turns a key on or off, for every replica; returns when the host in use has it."""
        line = self._ticker.line(service)
        done = line.words.order(resting.turn(scope, on=on), owed=self.degraded)
        self._ticker.flush(line)
        await done

    async def look_at_rests(self, service: str) -> None:
        """Ask what rests of a service; `on_rests` is told. Raises StoreUnavailable."""
        await self._ticker.look_at_rests(self._ticker.line(service))

    def learn(self, service: str, told: Iterable[Told]) -> list[Told]:
        """An upstream's answer said this of the buckets its call was charged to. Returns what is news (Learning)."""
        line = self._ticker.line(service)
        news = line.learning.note(told, self._now_ms())
        if line.learning:
            self._ticker.flush_soon(line)
        return news

    def _give(self, line: Line, waiting: Waiting, granted: wire.Granted, made_ms: float) -> None:
        now = self._now_ms()
        attempt = f"{self.replica}-{waiting.n:012d}"
        grant = granted.grant(waiting.plan, attempt, self._waited(waiting) if waiting.held else 0, made_ms)
        self._open[attempt] = (line, line.session, waiting.arrival.standing)
        line.took_off(grant, granted, now)
        if granted.learned is not None:
            scale = next(taken.charge.limit.scale for taken in grant.taken if taken.charge.limit.learned)
            line.found.note(grant.group, waiting.plan.endpoint, granted.learned / scale)
        if self._ticker.degraded:
            line.carry(grant)
            line.prune_carried(now)
        elif self._store is not None:
            line.sight.note(grant.taken, granted.uses, now)
        if waiting.gone or (waiting.future is not None and waiting.future.done()):
            self.refund(grant)
            return
        self.granted += 1
        waiting.resolve(grant)

    def _waited(self, waiting: Waiting) -> int:
        return max(0, round(self._now_ms() - waiting.since_ms))

    # what metrics ask

    @property
    def degraded(self) -> bool:
        """The store is away, and the embedded gate serves this replica's share."""
        return self._ticker.degraded

    @property
    def degraded_reason(self) -> str | None:
        """Why, in a plain sentence."""
        return self._ticker.degraded_reason

    @property
    def held(self) -> int:
        """How many calls had to wait."""
        return self._ticker.held

    @property
    def fallbacks(self) -> int:
        """How often the store was lost."""
        return self._ticker.fallbacks

    @property
    def store_faults(self) -> Mapping[Fault, int]:
        """What went wrong with the store so far, each try by itself."""
        return self._store.faults if self._store is not None else {}

    def waiting(self, service: str) -> int:
        """Calls of this process that wait for the service."""
        line = self._ticker.lines.get(service)
        return len(line.waiting) if line is not None else 0

    @property
    def services(self) -> list[str]:
        """Services that had a call."""
        return list(self._ticker.lines)

    @property
    def unfinished(self) -> int:
        """Grants not yet settled or refunded."""
        return len(self._open)

    def found(self, service: str) -> Mapping[tuple[str, str], float]:
        """(group, endpoint) -> calls per window, where nobody publishes how many: as found out so far."""
        line = self._ticker.lines.get(service)
        return line.found.amounts if line is not None else {}

    def usage(self, service: str) -> list[tuple[str, int, int]]:
        """(limit name, used, amount) of the limits that were the fullest at a grant, while that use can still count."""
        line = self._ticker.lines.get(service)
        if line is None:
            return []
        now = self._now_ms()
        return [(name, use.used if use.until_ms > now else 0, use.amount) for name, use in line.use.items()]
