"""Clients that are refused and come back when they were told to, on a clock that the test turns.

Law: a call that is refused returns at the time it was told, with the same patience, and nobody else knows that it is
not new. The host's tables can be copied, so that "would it have been admitted then?" is asked of the same history.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rules.gate import tables_script, wire
from rules.verdict import Plan

from .driver import Clock, Host, Replica, TablesHost

_COPY = """
  local function copied(value)
    if type(value) ~= "table" then
      return value
    end
    local out = {}
    for k, v in pairs(value) do
      out[k] = copied(v)
    end
    return out
  end

  local kept
  function store.keep()
    kept = copied(services)
  end

  function store.go_back()
    services = kept
  end

  function store.size()"""


class ForkingHost(TablesHost):
    """The host in this process, in a build whose tables can be copied and put back."""

    def __init__(self) -> None:
        source = tables_script().replace("  function store.size()", _COPY)
        super().__init__(source.replace("store.sweep, store.size", "store.keep, store.go_back"))

    def keep(self) -> None:
        """Remember everything as it is."""
        self._functions[0]()

    def go_back(self) -> None:
        """As it was when it was kept."""
        self._functions[1]()

    @property
    def _functions(self) -> Any:
        return self.engine._sweep, self.engine._size


@dataclass(slots=True)
class Try:
    """One sending of a call. `told`: when it was told to come back, for a return."""

    user: str
    plan: Plan
    told: int | None = None
    since: int = 0
    """When it was sent."""
    fate: str | None = None


@dataclass(kw_only=True)
class Outcome:
    """What became of the calls."""

    fresh: int = 0
    granted: int = 0
    kept: int = 0
    """Returns that were granted, at once or after being held."""
    broken: int = 0
    """Returns that were refused again."""
    asked: int = 0
    early: int = 0
    """Of `asked` refused calls, those that would have been granted more than EARLY_MS before the time they were
    told."""
    told: list[int] = field(default_factory=list)
    waits: dict[str, list[int]] = field(default_factory=dict)
    """By user: how long each granted call was held, in the sending that was granted."""
    codes: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    """Refusals without a time."""

    @property
    def share(self) -> float:
        """Returns that were admitted, of all returns."""
        return self.kept / max(1, self.kept + self.broken)


EARLY_MS = 2000
"""A true time is no later than this after the earliest at which the call would have been granted (issue 3)."""


def whole_seconds(wait_ms: int) -> int:
    """A told wait as a client reads it who knows only Retry-After."""
    return -(-wait_ms // 1000) * 1000


class Market:
    """Random arrivals at one replica, and refused calls that come back."""

    def __init__(
        self,
        plans: Callable[[random.Random], tuple[str, Plan]],
        *,
        rate: float,
        seed: int,
        returns: float = 1.0,
        probes: float = 0.0,
        whole: bool = False,
        host: Host | None = None,
    ) -> None:
        """`rate`: fresh calls a second. `returns`: share of refused calls that come back. `probes`: share of refused
        calls for which an earlier return is tried, by a host that can be copied."""
        self.draw = random.Random(seed)
        self.plans, self.rate, self.returns, self.probes, self.whole = plans, rate, returns, probes, whole
        self.host, self.clock = ForkingHost(), Clock()
        self.replica = Replica(host or self.host, self.clock)
        self.outcome = Outcome()
        self.served: Counter[str] = Counter()
        self.events: list[tuple[int, int, str, Any]] = []
        self.order = itertools.count()
        self.waiting: dict[int, Try] = {}
        self.look: int | None = None

    def at(self, ms: int, what: str, of: Any = None) -> None:
        """Something is to happen."""
        heapq.heappush(self.events, (ms, next(self.order), what, of))

    def run(self, ms: int, *, after_ms: int = 0) -> Outcome:
        """Let so much time pass, with fresh calls all the while, but for the first `after_ms`."""
        end = self.clock.now + ms
        self.at(self.clock.now + after_ms, "fresh")
        while self.events and self.events[0][0] <= end:
            self._step()
        return self.outcome

    def _step(self) -> None:
        when, _, what, of = heapq.heappop(self.events)
        self.clock.now = max(self.clock.now, when)
        if what == "fresh":
            user, plan = self.plans(self.draw)
            plan.again = f"call{self.outcome.fresh}"
            self.outcome.fresh += 1
            self.at(self.clock.now + max(1, round(self.draw.expovariate(self.rate) * 1000)), "fresh")
            self._send(Try(user, plan))
        elif what == "return":
            self._send(of)
        elif what == "look" and of == self.look:
            self._act(self.replica.tick())
        elif what == "expire" and of in self.waiting:
            self._act(self.replica.tick([b"E", of, self.waiting[of].plan.again.encode()]))
            if of in self.waiting:
                self._refused(self.waiting.pop(of), "hold_expired", None)
        elif what == "probe" and self.probes:  # not within another
            self._probe(*of)

    def _send(self, one: Try) -> None:
        op = self.replica.arrival(one.plan)
        n = self.replica.count
        self.waiting[n], one.since = one, self.clock.now
        reply = self.replica.tick(op)
        if one.plan.max_wait_ms:
            self.at(self.clock.now + one.plan.max_wait_ms, "expire", n)
        self._act(reply)

    def _act(self, reply: wire.Reply) -> None:
        assert reply.status == wire.DONE
        for granted in reply.granted:
            one = self.waiting.pop(granted.n)
            one.fate = "granted"
            self.outcome.granted += 1
            self.served[one.user] += 1
            self.outcome.waits.setdefault(one.user, []).append(self.clock.now - one.since)
            if one.told is not None:
                self.outcome.kept += 1
        for refused in reply.refused:
            self._refused(self.waiting.pop(refused.n), refused.code, refused.wait_ms)
        self.look = None
        if reply.next_ms is not None:
            self.look = self.clock.now + reply.next_ms
            self.at(self.look, "look", self.look)

    def _refused(self, one: Try, code: str, wait_ms: int | None) -> None:
        one.fate = code
        self.outcome.codes[code] += 1
        if one.told is not None:
            self.outcome.broken += 1
        if wait_ms is None:
            self.outcome.untold[code] += 1
            return
        told = self.clock.now + (whole_seconds(wait_ms) if self.whole else wait_ms)
        self.outcome.told.append(told - self.clock.now)
        if self.draw.random() < self.returns:
            self.at(told, "return", Try(one.user, one.plan, told))
        if told - self.clock.now > EARLY_MS + 1 and self.draw.random() < self.probes:
            early = told - EARLY_MS - 1
            self.at(self.clock.now + self.draw.randrange(early - self.clock.now), "probe", (one, early))
            self.at(early, "probe", (one, early))

    def _probe(self, one: Try, until: int) -> None:
        """Had the call come back now, would it have been granted by `until`?"""
        here, there = vars(self).copy(), vars(self.replica).copy()
        now, state = self.clock.now, self.draw.getstate()
        self.host.keep()
        self.events, self.waiting = list(self.events), dict(self.waiting)
        self.outcome, self.served, self.probes = Outcome(), Counter(), 0.0
        mine = Try(one.user, one.plan)
        self._send(mine)
        while mine.fate is None and self.events and self.events[0][0] <= until:
            self._step()
        vars(self).update(here)
        vars(self.replica).update(there)
        self.clock.now = now
        self.draw.setstate(state)
        self.host.go_back()
        self.outcome.asked += 1
        self.outcome.early += mine.fate == "granted"
