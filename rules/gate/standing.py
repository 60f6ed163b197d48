"""Where a call stands in the fair line: its lane, and how much of its limits it takes (limiter.md 9, Q1).

A lane is the calls that draw on the same limits and the same candidates, whoever sent them; within it users take
turns. What a call takes is its dominant share: the largest part of any limit that others share, so that one who is
heavy on tokens and one who is heavy on requests compare. A limit of keys counts with the sum over the pool's distinct
buckets (Q9). A limit of one user or client is not shared and counts in neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..policy import Limit
from ..verdict import Charge, Plan

SHARE = 2**30
"""The whole of a limit (limiter.md 4.3: integers). Tags grow by this in a window, and stop at 2^53 (fair.lua)."""

LONE = 2**20
"""Share of a call that draws on nothing others share: any constant will do, it makes such users take turns."""

_PERSONAL = {"user", "client"}


@dataclass(frozen=True, slots=True)
class Standing:
    """What calls of one flow have in common. `bases`: what the whole of each limit is, in the order of a grant's
    charges; 0 where others have no part in it."""

    flow: str
    line_class: str
    """Lane and tier."""
    weight: int
    """Of the tier, in thousandths."""
    bases: tuple[int, ...]


def share(costs: Iterable[int], bases: Sequence[int]) -> int:
    """The dominant share of `costs`, in 1/SHARE, rounded up; at least 1."""
    largest = 0
    for cost, base in zip(costs, bases, strict=True):
        if base:
            largest = max(largest, -(-cost * SHARE // base))
    return max(1, largest) if any(bases) else LONE


def standing(plan: Plan) -> Standing:
    """Derive it from the limits and keys of a plan; the amounts and costs are no part of a lane's name."""
    shared = [charge.bucket for charge in plan.charges if _is_shared(charge.limit)]
    drawn = [(c.key, *[charge.bucket for charge in c.charges if _is_shared(charge.limit)]) for c in plan.candidates]
    lane = _hash(repr((shared, drawn)), 12)
    line_class = f"{lane}.{_hash(plan.tier, 8)}"
    bases = [charge.limit.amount if _is_shared(charge.limit) else 0 for charge in plan.charges]
    if plan.candidates:
        columns = zip(*[candidate.charges for candidate in plan.candidates], strict=False)
        bases += [_base(column) for column in columns]
    return Standing(
        flow=_hash(repr((line_class, plan.flow)), 16),
        line_class=line_class,
        weight=max(1, round(plan.weight * 1000)),
        bases=tuple(bases),
    )


def _base(column: Sequence[Charge]) -> int:
    if not _is_shared(column[0].limit):
        return 0
    return sum({charge.bucket: charge.limit.amount for charge in column}.values())


def _is_shared(limit: Limit) -> bool:
    return not _PERSONAL & set(limit.per)


def _hash(text: str, size: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:size]
