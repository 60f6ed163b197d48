"""proxy/deadlines.py: one timer for all calls that wait, on a clock the test turns."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import cast

from proxy.deadlines import Deadlines
from proxy.line import Waiting
from rules.gate import wire
from rules.verdict import Refuse
from tests.rules.gate.driver import call

PLAN = call()
ARRIVAL = wire.arrival(PLAN)


class Timer:
    """A timer of the test's loop."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self) -> None:
        """It will not fire."""
        self.cancelled = True


class Room:
    """Calls that wait, and the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: dict[int, Waiting] = {}
        self.timers: list[Timer] = []
        self.expired: list[tuple[int, float]] = []
        self.deadlines = Deadlines(self.calls, now_ms=lambda: self.now, call_later=self.call_later, expire=self.expire)

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Note the timer."""
        self.timers.append(Timer(self.now + delay * 1000, callback))
        return cast(asyncio.TimerHandle, self.timers[-1])

    def expire(self, waiting: Waiting) -> None:
        """A call's time is up."""
        self.expired.append((waiting.n, self.now))
        waiting.gone = True

    def enter(self, n: int, deadline: float) -> Waiting:
        """A call waits until then."""
        waiting = Waiting(
            n=n, plan=PLAN, arrival=ARRIVAL, enqueued_ms=self.now, deadline_ms=deadline, since_ms=self.now
        )
        self.calls[n] = waiting
        self.deadlines.add(waiting)
        return waiting

    def pass_to(self, now: float) -> None:
        """Time passes; what is due fires in its order."""
        while due := [timer for timer in self.timers if not timer.cancelled and timer.at <= now]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.callback()
        self.now = now

    @property
    def armed(self) -> int:
        """Timers that will fire."""
        return sum(not timer.cancelled for timer in self.timers)


def test_calls_expire_at_their_deadlines_whatever_the_order_they_came_in() -> None:
    """Each at its own time, with one timer for all of them."""
    room, chance = Room(), random.Random(7)
    times = {n: float(chance.randrange(1000)) for n in range(300)}
    for n, at in times.items():
        room.enter(n, at)
        assert room.armed == 1
    room.pass_to(1000)
    assert dict(room.expired) == times
    assert room.armed == 0


def test_a_call_that_has_its_verdict_or_left_does_not_expire() -> None:
    """Nor does it keep the others from expiring."""
    room = Room()
    granted, gone, removed, _ = (room.enter(n, 10.0 + n) for n in range(4))
    granted.resolve(Refuse(code="no_key"))
    gone.gone = True
    del room.calls[removed.n]
    room.pass_to(100)
    assert room.expired == [(3, 13.0)]


def test_a_timer_that_fires_too_early_waits_for_the_rest() -> None:
    """Loops round to milliseconds."""
    room = Room()
    room.enter(1, 10.0)
    timer = room.timers.pop()
    room.now = 9.5
    timer.callback()
    assert room.expired == []
    room.pass_to(10)
    assert room.expired == [(1, 10.0)]


def test_calls_that_were_served_are_forgotten() -> None:
    """A hundred thousand served calls with a deadline in an hour leave no trace; those that wait still expire."""
    room = Room()
    for n in range(100_000):
        if n % 10_000:
            room.enter(n, 3_600_000.0)
            del room.calls[n]
        else:
            room.enter(n, 50.0)
        assert len(room.deadlines) <= 2 * 64
    room.pass_to(50)
    assert [n for n, _ in room.expired] == list(range(0, 100_000, 10_000))


def test_nothing_fires_once_it_is_stopped() -> None:
    """The gate is closed."""
    room = Room()
    room.enter(1, 10.0)
    room.deadlines.stop()
    room.pass_to(100)
    assert room.expired == []
