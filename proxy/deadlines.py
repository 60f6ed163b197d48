"""When waiting calls have waited long enough: one timer for all calls of a line, for the earliest.

A timer of the loop for each would take half a KiB as long as the call is held, and most calls never need theirs. Law:
no call expires before its deadline, and none that has its verdict expires at all.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping

from .line import Waiting

CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]

_LEAST = 64
"""Entries below which it is not worth looking for calls that wait no more."""


class Deadlines:
    """The calls that may wait until some time, the earliest first."""

    def __init__(
        self,
        calls: Mapping[int, Waiting],
        *,
        now_ms: Callable[[], float],
        call_later: CallLater,
        expire: Callable[[Waiting], None],
    ) -> None:
        """`calls`: those that wait now, by number. `expire`: what to do with one of them at its deadline."""
        self._calls = calls
        self._now_ms = now_ms
        self._call_later = call_later
        self._expire = expire
        self._heap: list[tuple[float, int]] = []
        """Deadline and number: what a call holds goes with it."""
        self._most = _LEAST
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    def __len__(self) -> int:
        """Calls it still remembers; at most twice as many as wait, and _LEAST."""
        return len(self._heap)

    def add(self, waiting: Waiting) -> None:
        """The call waits until its deadline."""
        if len(self._heap) >= self._most:
            self._heap = [entry for entry in self._heap if self._waits(entry[1])]
            heapq.heapify(self._heap)
            self._most = max(_LEAST, 2 * len(self._heap))
        heapq.heappush(self._heap, (waiting.deadline_ms, waiting.n))
        if self._timer is None or waiting.deadline_ms < self._armed_for:
            self._arm()

    def stop(self) -> None:
        """No call expires any more."""
        self._heap = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = self._heap[0][0]
        self._timer = self._call_later(max(0.0, self._armed_for - self._now_ms()) / 1000, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._now_ms()
        while self._heap and (self._heap[0][0] <= now or not self._waits(self._heap[0][1])):
            number = heapq.heappop(self._heap)[1]
            if self._waits(number):
                self._expire(self._calls[number])
        if self._heap:
            self._arm()

    def _waits(self, number: int) -> bool:
        waiting = self._calls.get(number)
        return waiting is not None and waiting.verdict is None and not waiting.gone
