"""One service's calls in this process: who waits, what is in flight, what the next tick must say. No I/O.

Law: a call is granted, refused, or gone, once; whatever the store must learn is kept here until a tick has carried it.
What a reply of the wrong host says is ignored: charges then stand, which only makes us stricter.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rules.gate import wire
from rules.gate.standing import Standing, share
from rules.verdict import Charge, Grant, Plan, Refuse

from .learning import Learning
from .session import Batch, Session, elsewhere, is_live, share_of, units
from .sight import Found, Sight, Use
from .words import Words, heard

MOST_OPS = 500
"""Operations in one tick (limiter.md 5: 10,000 clients may leave at once; the rest goes into the next tick)."""

MOST_ARGS = 4000
"""Arguments in one tick: Lua 5.1 takes 8,000 values on its stack."""

MOST_CARRIED = 5000

Verdict = Grant | Refuse


@dataclass(eq=False, slots=True)
class Waiting:
    """A call between its arrival and its verdict."""

    n: int
    plan: Plan
    arrival: wire.Arrival
    enqueued_ms: float
    deadline_ms: float
    since_ms: float
    """When it came to the gate; `enqueued_ms` may be earlier, for a call that keeps its place."""
    verdict: Verdict | None = None
    future: asyncio.Future[Verdict] | None = None
    sent: bool = False
    expired: bool = False
    """Its time is up: it waits only to be told when to come back."""
    gone: bool = False
    """Nobody waits for the verdict any more: a grant is refunded."""
    held: bool = False
    """There was no room at once; the round trip to the store alone is no holding."""
    binds: int = 0
    """Place in the costs of the limit it waits for."""
    anew: Callable[[], Plan | Refuse] | None = None
    """Plans the call once more, by the limits in force now."""
    replaces: int | None = None
    """The number it stood under until its plan changed: the store must forget that one when it hears of this."""

    def resolve(self, verdict: Verdict) -> None:
        """Hand the verdict to whoever waits."""
        self.verdict = verdict
        if self.future is not None and not self.future.done():
            self.future.set_result(verdict)


class Line:
    """The calls of one service."""

    def __init__(self, service: str, replica: bytes, session: Session) -> None:
        self.service = service
        self.key = wire.meta_key(service)
        self.session = session
        self.busy = False
        """A tick is on its way."""
        self.forced = False
        """Tick even if there is nothing to say."""
        self.timer: asyncio.TimerHandle | None = None
        self.heartbeat: asyncio.TimerHandle | None = None
        self.beats = 0
        self.soon: asyncio.TimerHandle | None = None
        self.waiting: dict[int, Waiting] = {}
        self.use: dict[str, Use] = {}
        self.sight = Sight()
        self.found = Found()
        self.learning = Learning()
        self.waiting_everywhere = 0
        self.words = Words()
        self._replica = replica
        self._arrivals: dict[int, Waiting] = {}
        self._cancels: list[int] = []
        self._expired: list[int] = []
        self._ordered = 0
        self._acks: list[int] = []
        self._flying: dict[str, int] = {}
        self._stated: set[str] = set()
        self._carried: dict[tuple[str, int, int], tuple[Charge, int]] = {}
        self._idle: asyncio.Future[None] | None = None

    # in

    def enter(self, waiting: Waiting) -> None:
        """A call arrives."""
        self.waiting[waiting.n] = waiting
        self._arrivals[waiting.n] = waiting

    def leave(self, waiting: Waiting) -> None:
        """A call no longer waits: its caller is gone, or its time is up."""
        waiting.gone = True
        if self._arrivals.pop(waiting.n, None) is not None and not waiting.sent:
            self.waiting.pop(waiting.n, None)
            if waiting.replaces is not None:
                self._cancels.append(waiting.replaces)
        elif waiting.n in self.waiting:
            self._cancels.append(waiting.n)

    def replan(self, waiting: Waiting, plan: Plan, arrival: wire.Arrival, n: int) -> None:
        """The limits changed while the call waits: from now on it waits for what `plan` says, under the number `n`.

        A grant of the old plan that crosses this on its way names limits and a key of the past: what is left under the
        old number gives it back.
        """
        old = waiting.arrival
        if (old.frame, old.costs, old.share, old.flags & wire.OBSERVE) == (
            (arrival.frame, arrival.costs, arrival.share, arrival.flags & wire.OBSERVE)
        ):
            return
        # it was let into the line when that was longer
        arrival.most_waiting = max(arrival.most_waiting, old.most_waiting)
        if waiting.sent:
            self.waiting[waiting.n] = dataclasses.replace(waiting, future=None, anew=None, gone=True)
            waiting.replaces, waiting.n, waiting.sent = waiting.n, n, False
            self.enter(waiting)
        waiting.plan, waiting.arrival, waiting.binds = plan, arrival, 0

    def expire(self, waiting: Waiting) -> None:
        """A call's time is up: the next tick asks when it should come back."""
        if not waiting.sent:
            self.leave(waiting)
            self._time_is_up(waiting)
            return
        waiting.expired = True
        self._expired.append(waiting.n)

    def settle(self, grant: Grant, session: Session, actual: Mapping[str, float], stands: Standing) -> None:
        """True amounts by meter, in the meter's natural units; meters absent keep the estimate."""
        costs, changed = [], False
        for taken in grant.taken:
            limit, charge = taken.charge.limit, taken.charge
            cost = charge.cost
            if limit.in_flight:
                self._land(charge)
            if limit.count_at == "end":
                true = units(actual.get(limit.meter, cost / limit.scale), limit.scale)
                cost = cost if true is None else true
                session.settle(charge, elsewhere(charge, -1), cost)
                changed = changed or cost != charge.cost
            elif limit.meter in actual:
                true = units(actual[limit.meter], limit.scale)
                if true is not None and true != charge.cost:
                    session.settle(charge, taken.slice, true - charge.cost)
                    cost, changed = true, True
            self.sight.add(charge, cost - charge.cost)
            costs.append(cost)
        if changed and self.waiting_everywhere:
            session.correct(stands, share(costs, stands.bases) - share_of(grant, stands))

    def refund(self, grant: Grant, session: Session, stands: Standing) -> None:
        """The upstream cannot have counted the call."""
        for taken in grant.taken:
            if taken.charge.limit.in_flight:
                self._land(taken.charge)
            elif taken.charge.cost:
                session.settle(taken.charge, taken.slice, -taken.charge.cost)
        if self.waiting_everywhere:
            session.correct(stands, -share_of(grant, stands))

    def _land(self, charge: Charge) -> None:
        word = wire.word(charge.bucket)
        left = self._flying.get(word, 0) - charge.cost
        if left > 0:
            self._flying[word] = left
        else:
            self._flying.pop(word, None)
        self._stated.add(word)

    # out

    @property
    def has_work(self) -> bool:
        """There is something a tick must carry."""
        return bool(
            self.forced
            or self._arrivals
            or self._cancels
            or self._expired
            or self._stated
            or self.words
            or self._acks
            or self.learning
            or self.session.settles
        )

    @property
    def is_alive(self) -> bool:
        """Something waits or is in flight: the store must hear of us."""
        return bool(self.waiting or self._flying)

    def state_all(self) -> None:
        """Say every gauge again, so that the store's keys outlive long calls."""
        self._stated.update(self._flying)

    def take(self, now_ms: float, share: int) -> Batch:
        """The next tick's arguments: at most MOST_OPS operations, the rest in the one after."""
        session = self.session
        session.seq += 1
        self.forced = False
        args: list[bytes | int] = [self._replica, session.incarnation, session.seq, share, session.epoch]
        for n in self._acks:
            args += (b"K", n)
        self._acks = []
        for word in self._stated:
            args += (b"G", word.encode(), self._flying.get(word, 0))
        self._stated = set()
        if len(self._cancels) > MOST_OPS and len(self._cancels) != self._ordered:
            # those of a flow together: the store opens each flow that a tick names
            self._cancels.sort(key=lambda n: self.waiting[n].arrival.standing.flow if n in self.waiting else "")
        cancels, self._cancels = self._cancels[:MOST_OPS], self._cancels[MOST_OPS:]
        self._ordered = len(self._cancels)
        for n in cancels:
            args += (b"C", n)
        expired, self._expired = self._expired[:MOST_OPS], self._expired[MOST_OPS:]
        for n in expired:
            if n in self.waiting:
                args += (b"E", n, self.waiting[n].arrival.again.encode())
        settles = session.settles
        session.settles = {}
        if len(settles) > MOST_OPS:
            keys = list(settles)[MOST_OPS:]
            session.settles = {key: settles.pop(key) for key in keys}
        for (_, _, slice_), (charge, delta) in settles.items():
            if delta:
                args += wire.settle(charge, slice_, delta)
        heard = self.learning.take(args, MOST_OPS, now_ms)
        words = self.words.take(MOST_OPS)
        for stands, delta in list(session.corrections.values())[:MOST_OPS]:
            args += wire.correct(stands, delta)
        session.corrections = {}
        for said in words:
            args += said.operation
        # nothing is granted before all that is known to be used is counted; and a store that knew us has to forget what
        # waited, in several ticks if it was much (tick.lua), before it hears of it anew
        if not session.settles and (session.seq > 1 or len(self._arrivals) <= MOST_OPS):
            self._take_arrivals(args, cancels, now_ms, MOST_OPS - len(cancels) - len(expired))
        return Batch(session, args, settles, words, cancels, expired, heard, session.incarnation, now_ms)

    def _take_arrivals(self, args: list[bytes | int], cancels: list[int], now_ms: float, most: int) -> None:
        while self._arrivals and most > 0 and len(args) < MOST_ARGS:
            n = next(iter(self._arrivals))
            waiting = self._arrivals.pop(n)
            waiting.sent = True
            if waiting.replaces is not None:
                # in the same tick, so that nobody passes meanwhile
                args += (b"C", waiting.replaces)
                cancels.append(waiting.replaces)
                waiting.replaces = None
            age = max(0, math.floor(now_ms) - math.floor(waiting.enqueued_ms))
            wait = max(0, math.floor(waiting.deadline_ms - now_ms))
            args += wire.arrive(n, age, wait, waiting.arrival)
            most -= 1

    def land_all(self) -> None:
        """Nothing is in flight any more."""
        self._stated.update(self._flying)
        self._flying = {}

    async def until_idle(self) -> None:
        """Wait for the tick that is on its way."""
        if self.busy:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def note_idle(self) -> None:
        """The tick came back."""
        self.busy = False
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def stop(self) -> None:
        """No timer of this line fires any more."""
        for timer in (self.timer, self.heartbeat, self.soon):
            if timer is not None:
                timer.cancel()

    # answers

    def apply(
        self, batch: Batch, reply: wire.Reply, now_ms: float, give: Callable[[Waiting, wire.Granted, float], None]
    ) -> None:
        """Act on a reply. `give(call, granted, made_ms)` opens the grant and hands it over; it was made no earlier."""
        batch.session.epoch = reply.epoch
        heard(batch.words)
        self.waiting_everywhere = reply.waiting
        for n, position in reply.held:
            if (waiting := self.waiting.get(n)) is not None:
                waiting.held, waiting.binds = True, position
        for refused in reply.refused:
            if (waiting := self.waiting.pop(refused.n, None)) is not None:
                waited_ms = max(0, round(now_ms - waiting.since_ms)) if waiting.held else 0
                waiting.resolve(refused.refuse(waiting.plan, waited_ms))
        for granted in reply.granted:
            if granted.pushed:
                self._acks.append(granted.n)
            if (waiting := self.waiting.pop(granted.n, None)) is not None:
                give(waiting, granted, batch.sent_ms - reply.age_ms - granted.age_ms)
        for n in batch.cancels:
            self.waiting.pop(n, None)
        for n in batch.expired:
            if n in self.waiting:
                self._time_is_up(self.waiting.pop(n))

    def _time_is_up(self, waiting: Waiting) -> None:
        """A call's time is up, and nobody can say when to come back: the store has lost it, or never had it."""
        limit, waited = wire.limit_at(waiting.plan, waiting.binds), waiting.deadline_ms - waiting.since_ms
        waiting.resolve(Refuse(code="hold_expired", limit=limit, waited_ms=round(waited)))

    def took_off(self, grant: Grant, granted: wire.Granted, now_ms: float) -> None:
        """A grant is in flight from now on."""
        for taken in grant.taken:
            if taken.charge.limit.in_flight:
                word = wire.word(taken.charge.bucket)
                self._flying[word] = self._flying.get(word, 0) + taken.charge.cost
                if granted.pushed:
                    self._stated.add(word)
        if granted.fullest:
            limit = grant.taken[granted.fullest - 1].charge.limit
            used = granted.uses[granted.fullest - 1]
            # how much of a limit may be used that is being found out, the store alone knows
            amount = granted.learned if limit.learned and granted.learned is not None else limit.amount
            self.use[limit.name] = Use(used, amount, now_ms + limit.length_ms)

    def not_done(self, batch: Batch, *, above: float = -math.inf) -> None:
        """The store did not run the tick: everything in it is said again, what is waiting or in flight by restate."""
        for key, (charge, delta) in batch.settles.items():
            if delta > above:
                batch.session.settle(charge, key[2], delta)
        self.words.again(batch.words)
        self.learning.again(batch.heard)

    def in_doubt(self, batch: Batch) -> None:
        """Nobody knows whether the store ran the tick: what makes us stricter is said again, a credit is given up."""
        self.not_done(batch, above=0)

    def restate(self) -> None:
        """To a host that does not know us: what waits and what is in flight, in the order of arrival."""
        self.session.restart()
        self._acks, self._cancels, self._expired = [], [], []
        for waiting in [w for w in self.waiting.values() if w.expired and not w.gone]:
            self._time_is_up(self.waiting.pop(waiting.n))
        for waiting in [w for w in self.waiting.values() if w.gone]:
            del self.waiting[waiting.n]
        self._arrivals = dict(sorted(self.waiting.items()))
        for waiting in self.waiting.values():
            waiting.replaces = None
            if waiting.sent:
                keep = waiting.arrival.flags | wire.KEEPS_PLACE
                old = waiting.arrival
                waiting.arrival = dataclasses.replace(old, flags=keep)
                waiting.sent = False
        self.state_all()
        self.forced = True

    # between hosts

    def carry(self, grant: Grant) -> None:
        """Remember what was charged on the fallback, to be handed to the store when it is back."""
        for taken in grant.taken:
            limit = taken.charge.limit
            if not limit.in_flight:
                key = (taken.charge.bucket, limit.slice_ms, taken.slice)
                before = self._carried.get(key)
                cost = taken.charge.cost + (before[1] if before is not None else 0)
                self._carried[key] = (taken.charge, cost)

    def prune_carried(self, now_ms: float) -> None:
        """Forget what no window counts any more."""
        if len(self._carried) > MOST_CARRIED:
            self._carried = {k: v for k, v in self._carried.items() if is_live(k[2], v[0], now_ms)}

    def hand_over(self, to: Session, now_ms: float) -> None:
        """What the fallback charged and is still live counts in the store from now on."""
        for key, (charge, cost) in self._carried.items():
            if is_live(key[2], charge, now_ms):
                to.settle(charge, elsewhere(charge, key[2]), cost)
        self._carried = {}
