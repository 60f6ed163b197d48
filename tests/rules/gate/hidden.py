"""An upstream with a limit that it tells nobody, on a virtual clock, and a line that is never empty before it.

Law: the gate is the real one; the upstream is the strict one of the real-process tests; a refusal reaches the gate as
proxy/lessons.py tells it (a rest of the endpoint, and that the call was refused).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.streak import Streaks
from rules.backoff import delay_ms
from rules.gate import resting
from rules.learning import learned_limit
from rules.policy import Backoff
from rules.verdict import Block
from tests.upstreams.limiters import SECOND, FixedWindow, SlidingLog

from .driver import Clock, Replica, TablesHost, call, charge, key

WINDOW = 60_000
LATENCY = 50
"""Milliseconds until an answer is heard."""
IDLE = 1000
"""Milliseconds between two looks at the line where nothing else is due, as a replica's heartbeat."""
WAITING = 6
"""Calls that always wait."""
LIMIT = learned_limit(WINDOW, 500, 1)
BACKOFF = Backoff(type="adaptive", initial_delay_ms=2000, max_delay_ms=300_000)


@dataclass
class Told:
    """What came of one window."""

    hidden: int
    served: int = 0
    refused: int = 0


@dataclass
class Hidden:
    """Phases of (windows, amount), the line before it, and what became of each window."""

    phases: Sequence[tuple[int, int]]
    fixed: bool = False
    late: int = 0
    """Milliseconds by which every look at the line comes late, as in a busy process."""
    windows: list[Told] = field(default_factory=list)

    def run(self, host: TablesHost, clock: Clock) -> None:
        """Play it to its end."""
        replica, streaks = Replica(host, clock), Streaks()
        plan = call(keys=[key("k", charge(LIMIT), blocks=("e:1",))], wait=600_000)
        nanoseconds = WINDOW * 1_000_000
        phase = 17 * SECOND
        upstream = FixedWindow(amount=0, window=nanoseconds, phase=phase) if self.fixed else None
        log = upstream or SlidingLog(amount=0, window=nanoseconds)
        waiting, answers = 0, list[tuple[int, bool]]()
        began = clock.now
        for windows, hidden in self.phases:
            log.amount = hidden
            for _ in range(windows):
                told = Told(hidden)
                self.windows.append(told)
                while clock.now < began + len(self.windows) * WINDOW:
                    due = [answer for answer in answers if answer[0] + LATENCY <= clock.now]
                    answers = answers[len(due) :]
                    ops = [op for sent, good in due for op in self._heard(streaks, sent, good, clock.now)]
                    new = WAITING - waiting
                    reply = replica.tick(*ops, *[replica.arrival(plan) for _ in range(new)])
                    waiting += new - len(reply.granted) - len(reply.refused)
                    goods = [self._sent(log, clock.now * 1_000_000) for _ in reply.granted]
                    told.served += sum(goods)
                    told.refused += len(goods) - sum(goods)
                    answers += [(clock.now, good) for good in goods]
                    heard = answers[0][0] + LATENCY - clock.now if answers else IDLE
                    clock.now += self.late + max(1, min(heard, reply.next_ms if reply.next_ms is not None else IDLE))
                host.engine.sweep(clock.now)

    def _sent(self, log: FixedWindow | SlidingLog, now: int) -> bool:
        good = log.fits(now, 1)
        if good:
            log.take(now, 1)
        return good

    def _heard(self, streaks: Streaks, sent: int, good: bool, now: int) -> list[list[bytes | int]]:
        """What the answer of a call makes the replica say."""
        if good:
            streaks.answered("s", "g", "e")
            return []
        streak = streaks.refused("s", "g", None, endpoint="e", made_ms=sent, now_ms=now)
        rest = Block("e:1", delay_ms(BACKOFF, streak.count - 1), "slow_down")
        return [resting.refused(charge(LIMIT), now - sent), resting.rest(rest)]

    def use(self, first: int, last: int) -> float:
        """Share of the hidden quota that was used in these windows."""
        some = self.windows[first:last]
        return sum(told.served for told in some) / sum(told.hidden for told in some)

    def refused(self, first: int, last: int) -> int:
        """429s in these windows."""
        return sum(told.refused for told in self.windows[first:last])

    def found(self, first: int) -> int:
        """How many windows from this one on passed until one used 85 % of its quota."""
        return next(n for n, told in enumerate(self.windows[first:]) if told.served >= 0.85 * told.hidden)
