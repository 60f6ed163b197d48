"""An independent reading of traces: what the upstream would have seen. It knows no slice and no script.

Law: it is told grants, settlements and landings as the replicas see them, and keeps plain lists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from rules.policy import Limit
from rules.verdict import Charge

DAY = 86_400_000
"""Quotas of histories are those of UTC days."""


@dataclass
class Entry:
    """A charge at a time; `cost` follows its settlements."""

    at: int
    cost: int


@dataclass
class Checker:
    """Raises AssertionError where a law of limiter 16 is broken."""

    charged: dict[str, list[Entry]] = field(default_factory=dict)
    flying: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)

    def granted(self, owner: str, n: int, charges: Sequence[Charge], now: int, *, bound: dict[str, Limit]) -> None:
        """A call goes now: no window, bucket or period over its bound (invariant 1), no more than N in flight (2)."""
        for charge in charges:
            limit = bound[charge.limit.id]
            if limit.in_flight:
                here = self.flying.setdefault(charge.bucket, {})
                here[owner, n] = charge.cost
                seen = sum(here.values())
                if limit.count_at == "end":
                    seen += sum(e.cost for e in self.charged.get(charge.bucket, []) if now - e.at < limit.length_ms)
                assert seen <= charge.limit.amount, f"{charge.bucket}: {here} and {seen} at {now}"
                continue
            entries = self.charged.setdefault(charge.bucket, [])
            entries.append(Entry(now, charge.cost))
            if limit.kind == "window":
                seen = sum(e.cost for e in entries if now - e.at < limit.length_ms)
                assert seen <= charge.limit.amount, f"{charge.bucket}: {seen} of {charge.limit.amount} at {now}"
            elif limit.kind == "token_bucket":
                self.never_dry(limit, entries, now)
            else:
                # all that the upstream may count in the period: sent from J before it began
                began = now // DAY * DAY
                seen = sum(e.cost for e in entries if began - limit.jitter_ms <= e.at)
                assert seen <= limit.amount, f"{charge.bucket}: {seen} of {limit.amount} at {now}"

    @staticmethod
    def never_dry(limit: Limit, entries: Sequence[Entry], now: int) -> None:
        """Whatever their delays up to J, calls of no interval up to now take more than C and what refills meanwhile."""
        rate = Fraction(*limit.refill)
        capacity = limit.amount + math.ceil(rate * limit.jitter_ms)
        seen = 0
        for entry in reversed(entries):
            seen += entry.cost
            counted_in = max(0, now - entry.at - limit.jitter_ms)
            assert seen <= capacity + rate * counted_in, f"{limit.name}: {seen} since {entry.at} at {now}"

    def counted(self, charge: Charge, cost: int, now: int) -> None:
        """A call that the upstream counts at its end has ended, at `cost`."""
        self.charged.setdefault(charge.bucket, []).append(Entry(now, cost))

    def settled(self, charge: Charge, granted_at: int, delta: int) -> None:
        """A charge of a call that went at `granted_at` was really larger or smaller."""
        for entry in self.charged[charge.bucket]:
            if entry.at == granted_at and entry.cost == charge.cost:
                entry.cost += delta
                return
        raise AssertionError("settled what was not charged")

    def landed(self, owner: str, n: int) -> None:
        """A call is over."""
        for here in self.flying.values():
            here.pop((owner, n), None)

    def in_flight(self, owner: str, bucket: str) -> int:
        """What a replica has in flight."""
        return sum(cost for (of, _), cost in self.flying.get(bucket, {}).items() if of == owner)
