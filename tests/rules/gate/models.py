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
    """A slice counts until all of it is older than L; a window cut anew counts what is live from then on."""

    slices: dict[int, int] = field(default_factory=dict)
    w: int = 0

    def age(self, limit: Limit, now: int) -> None:
        """Forget what no longer counts."""
        self.w = self.w or limit.slice_ms
        self.slices = {i: c for i, c in self.slices.items() if (i + 1) * self.w + limit.length_ms > now}

    def cut(self, limit: Limit, now: int) -> None:
        """Cut it as the limit says."""
        if self.w != limit.slice_ms:
            live = sum(self.slices.values())
            self.slices = {now // limit.slice_ms: live} if live else {}
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
        """Take it; returns what names the charge."""
        i = now // self.w
        self.slices[i] = self.slices.get(i, 0) + cost
        return i

    def settle(self, limit: Limit, now: int, charge: tuple[int, int, int], delta: int) -> None:
        """Correct a charge (name, cost, slice length): what is gone, or was cut otherwise, gives nothing back."""
        i, _, w = charge
        if w == self.w and i in self.slices:
            self.slices[i] += delta
        elif delta > 0:
            self.charge(now, delta)


@dataclass
class Twin:
    """What is used drains at the rate; a fraction of a unit is kept while the rate's `per` stays the same."""

    used: Fraction = Fraction(0)
    at: int = 0
    per: int = 0
    level: Fraction = Fraction(0)

    def look(self, limit: Limit, now: int) -> None:
        """What is used now, from when it was last written."""
        units, ms = limit.refill
        used = self.used if self.per == ms else Fraction(math.ceil(self.used))
        self.level = max(Fraction(0), used - Fraction(units * (now - self.at), ms))

    def write(self, limit: Limit, now: int) -> None:
        """Something changed at `now`."""
        self.used, self.at, self.per = self.level, now, limit.refill[1]

    def wait(self, limit: Limit, now: int, cost: int) -> int:
        """Milliseconds until `cost` fits; 0: now."""
        units, ms = limit.refill
        return max(0, math.ceil((self.level + cost - limit.amount) * Fraction(ms, units)))

    def charge(self, limit: Limit, now: int, cost: int) -> int:
        """Take it; returns what names the charge."""
        self.level += cost
        self.write(limit, now)
        return now

    def settle(self, limit: Limit, now: int, charge: tuple[int, int, int], delta: int) -> None:
        """Correct a charge (time, cost, 0): what refilled since then is given back already, in whole units."""
        at, cost, _ = charge
        units, ms = limit.refill
        if delta > 0:
            self.level += delta
        else:
            self.level -= max(0, min(-delta, cost - math.ceil(Fraction(units * (now - at), ms))))
        self.write(limit, now)


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
