"""What providers enforce, to the letter: five limiters that know neither clock nor chance.

Laws: times are whole nanoseconds of one clock and never run backwards between two calls of one limiter; all arithmetic
is exact, so a limiter refuses the first unit too many and nothing before it; `fits` changes nothing, `take` is called
only for what fits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

SECOND = 1_000_000_000


class Limiter(Protocol):
    """One limit of one meter. `now` in nanoseconds, `cost` in whole units of the meter."""

    def fits(self, now: int, cost: int) -> bool:
        """Whether a call of this cost may be counted now."""

    def take(self, now: int, cost: int) -> None:
        """Count it."""

    def leave(self, cost: int) -> None:
        """Its answer is written. Only what counts calls in flight takes note."""


class _NoteNothing:
    def leave(self, cost: int) -> None:
        """A call that was counted stays counted."""


@dataclass(kw_only=True, slots=True)
class FixedWindow(_NoteNothing):
    """`amount` in each window; windows follow each other from `phase` on, which the provider tells nobody."""

    amount: int
    window: int
    phase: int = 0
    _index: int = field(default=-1, init=False)
    _used: int = field(default=0, init=False)

    def _turn(self, now: int) -> None:
        index = (now - self.phase) // self.window
        if index != self._index:
            self._index, self._used = index, 0

    def fits(self, now: int, cost: int) -> bool:
        """See Limiter."""
        self._turn(now)
        return self._used + cost <= self.amount

    def take(self, now: int, cost: int) -> None:
        """See Limiter."""
        self._turn(now)
        self._used += cost


@dataclass(kw_only=True, slots=True)
class SlidingLog(_NoteNothing):
    """`amount` in any stretch of `window`, open at its start: what came exactly one window ago no longer counts.

    The strictest reading of "N per W". Quantised, N/q per W/q, is this with a part of the amount and of the time.
    """

    amount: int
    window: int
    _live: deque[tuple[int, int]] = field(default_factory=deque, init=False)
    _used: int = field(default=0, init=False)

    def fits(self, now: int, cost: int) -> bool:
        """See Limiter."""
        while self._live and self._live[0][0] <= now - self.window:
            self._used -= self._live.popleft()[1]
        return self._used + cost <= self.amount

    def take(self, now: int, cost: int) -> None:
        """See Limiter."""
        self._live.append((now, cost))
        self._used += cost


@dataclass(kw_only=True, slots=True)
class TwoCounters(_NoteNothing):
    """previous x (1 - f) + current <= amount, where f is how much of the current window has passed (limiter 14)."""

    amount: int
    window: int
    phase: int = 0
    _index: int = field(default=-1, init=False)
    _previous: int = field(default=0, init=False)
    _current: int = field(default=0, init=False)

    def _turn(self, now: int) -> int:
        index, into = divmod(now - self.phase, self.window)
        if index != self._index:
            self._previous = self._current if index == self._index + 1 else 0
            self._index, self._current = index, 0
        return into

    def fits(self, now: int, cost: int) -> bool:
        """See Limiter."""
        left = self.window - self._turn(now)
        return self._previous * left + (self._current + cost) * self.window <= self.amount * self.window

    def take(self, now: int, cost: int) -> None:
        """See Limiter."""
        self._turn(now)
        self._current += cost


@dataclass(kw_only=True, slots=True)
class TokenBucket(_NoteNothing):
    """Full at first; refills at `rate` units a second up to `capacity`. A call takes its cost or is refused.

    Capacity 1 is a provider without any burst (GCRA).
    """

    capacity: int
    rate: Fraction
    _level: Fraction = field(init=False)
    _at: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._level = Fraction(self.capacity)

    def _refill(self, now: int) -> None:
        passed = now - self._at if self._at is not None else 0
        self._level = min(Fraction(self.capacity), self._level + self.rate * passed / SECOND)
        self._at = now

    def fits(self, now: int, cost: int) -> bool:
        """See Limiter."""
        self._refill(now)
        return cost <= self._level

    def take(self, now: int, cost: int) -> None:
        """See Limiter."""
        self._refill(now)
        self._level -= cost


@dataclass(kw_only=True, slots=True)
class InFlight:
    """`amount` calls at once: from their count to the moment before the answer is written."""

    amount: int
    _used: int = field(default=0, init=False)

    def fits(self, now: int, cost: int) -> bool:
        """See Limiter."""
        return self._used + cost <= self.amount

    def take(self, now: int, cost: int) -> None:
        """See Limiter."""
        self._used += cost

    def leave(self, cost: int) -> None:
        """Makes room for another."""
        self._used -= cost
