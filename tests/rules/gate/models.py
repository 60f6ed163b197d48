"""What a window, a token bucket and a quota are to answer, in exact numbers and with everything kept in plain lists.

Law: written from limiter.md 4.1, 14 and Q21, not from the Lua; slow, and without the Lua's shortcuts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from rules.policy import Limit


@dataclass
class Window:
    """A slice counts until all of it is older than L; how it is cut stays until it is empty."""

    slices: dict[int, int] = field(default_factory=dict)
    w: int = 0

    def look(self, limit: Limit, now: int) -> None:
        """Forget what no longer counts; an empty one is cut as the limit says."""
        self.slices = {i: c for i, c in self.slices.items() if (i + 1) * self.w + limit.length_ms > now}
        if not self.slices:
            self.w = limit.slice_ms

    def wait(self, limit: Limit, now: int, cost: int) -> int:
        """Milliseconds until `cost` fits; 0: now."""
        left, at = sum(self.slices.values()), now
        for i in sorted(self.slices):
            if left + cost <= limit.amount:
                break
            left -= self.slices[i]
            at = (i + 1) * self.w + limit.length_ms
        return at - now

    def charge(self, now: int, cost: int) -> int:
        """Take it; returns what names the charge: when its slice began."""
        i = now // self.w
        self.slices[i] = self.slices.get(i, 0) + cost
        return i * self.w

    def settle(self, now: int, began: int, delta: int) -> None:
        """Correct a charge: what is gone, or was cut otherwise, gives nothing back."""
        if began % self.w == 0 and began // self.w in self.slices:
            i = began // self.w
            self.slices[i] = max(0, self.slices[i] + delta)
        elif delta > 0:
            self.charge(now, delta)


@dataclass
class Twin:
    """What is used drains at the rate, in exact fractions. (What a change of rate does: test_twin.py.)"""

    level: Fraction = Fraction(0)
    at: int = 0

    def look(self, limit: Limit, now: int) -> None:
        """What is used now."""
        units, ms = limit.refill
        self.level = max(Fraction(0), self.level - Fraction(units * (now - self.at), ms))
        self.at = now

    def wait(self, limit: Limit, cost: int) -> int:
        """Milliseconds until `cost` fits; 0: now."""
        units, ms = limit.refill
        return max(0, math.ceil((self.level + cost - limit.amount) * Fraction(ms, units)))

    def charge(self, cost: int) -> int:
        """Take it; returns what names the charge."""
        self.level += cost
        return self.at

    def settle(self, limit: Limit, charge: tuple[int, int], delta: int) -> None:
        """Correct a charge (time, cost): what refilled since then is given back already, in whole units."""
        at, cost = charge
        units, ms = limit.refill
        if delta > 0:
            self.level += delta
        else:
            self.level -= max(0, min(-delta, cost - math.ceil(Fraction(units * (self.at - at), ms))))


@dataclass
class Quota:
    """Charged to the period it goes in, and to the next one too within J of the end."""

    used: dict[int, int] = field(default_factory=dict)

    def ends(self, limit: Limit, now: int, day: int) -> list[int]:
        """The periods a call that goes now is charged to."""
        end = (now // day + 1) * day
        return [end, end + day] if now >= end - limit.jitter_ms else [end]

    def wait(self, limit: Limit, now: int, cost: int, day: int) -> int:
        """Milliseconds until the end of the last period that has no room; 0: it fits now."""
        full = [end for end in self.ends(limit, now, day) if self.used.get(end, 0) + cost > limit.amount]
        return max(full) - now if full else 0

    def charge(self, limit: Limit, now: int, cost: int, day: int) -> list[int]:
        """Take it; returns the periods charged."""
        ends = self.ends(limit, now, day)
        for end in ends:
            self.used[end] = self.used.get(end, 0) + cost
        return ends

    def settle(self, now: int, ends: list[int], delta: int) -> None:
        """Correct a charge in the periods that are not over."""
        for end in ends:
            if end > now:
                self.used[end] += delta
