"""What one host knows of a service's line, and what it has yet to be told of calls that are over. No I/O.

Law: a settlement is told to the host that made the charge; what only the fallback knows is passed on when it leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rules.gate import wire
from rules.gate.standing import Standing, share
from rules.verdict import Charge, Grant

from .words import Word


@dataclass(eq=False, slots=True)
class Session:
    """What one host knows of this line: ticks are numbered within an incarnation (limiter.md 7, guard)."""

    incarnation: int = 0
    seq: int = 0
    epoch: int = 0
    settles: dict[tuple[str, int, int], tuple[Charge, int]] = field(default_factory=dict)
    """(bucket, slice length, when the slice began) -> charge, sum of differences."""
    corrections: dict[str, tuple[Standing, int]] = field(default_factory=dict)
    """Flow -> where it stands, by how much more it had than was charged. One that is lost is not said again."""

    def restart(self) -> None:
        """The next tick states everything anew."""
        self.incarnation += 1
        self.seq = 0
        self.epoch = 0
        self.corrections = {}

    def settle(self, charge: Charge, slice_: int, delta: int) -> None:
        """Note a difference between what was charged and what is true."""
        key = (charge.bucket, charge.limit.slice_ms, slice_)
        before = self.settles.get(key)
        if before is not None:
            delta += before[1]
            if charge.limit.kind == "token_bucket":
                # how much may be given back depends on all that was charged then (limiter.md 14.2)
                charge = Charge(charge.bucket, charge.limit, before[0].cost + charge.cost)
        self.settles[key] = (charge, delta)

    def correct(self, stands: Standing, delta: int) -> None:
        """Note that a flow has had more, or less, than its grant was charged."""
        before = self.corrections.get(stands.flow)
        self.corrections[stands.flow] = (stands, delta + (before[1] if before is not None else 0))

    def pass_excess(self, to: Session) -> None:
        """Settlements of charges that only the fallback knows: what was charged too little counts in the store now."""
        for (_, _, slice_), (charge, delta) in self.settles.items():
            if delta > 0:
                to.settle(charge, elsewhere(charge, slice_), delta)
        self.settles = {}


def elsewhere(charge: Charge, slice_: int) -> int:
    """What names a charge to another host: the period of a quota is the same everywhere, else -1, now."""
    return slice_ if charge.limit.kind == "quota" else -1


def is_live(slice_: int, charge: Charge, now_ms: float) -> bool:
    """Whether a charge still counts, or nobody here can tell; `slice_` names it."""
    limit = charge.limit
    if limit.kind == "window":
        return slice_ + limit.slice_ms + limit.length_ms > now_ms
    # a bucket knows its charge by its time, and a quota's period is the store's to judge (quota.lua)
    return limit.kind == "quota" or slice_ + limit.window_ms > now_ms


@dataclass(eq=False, slots=True)
class Batch:
    """One tick on its way, and what it carries, should it have to be said again."""

    session: Session
    args: list[bytes | int]
    settles: dict[tuple[str, int, int], tuple[Charge, int]]
    words: list[Word]
    cancels: list[int]
    expired: list[int]
    incarnation: int
    sent_ms: float
    """When it was last said, by the gate's clock: what a reply tells anew happened no earlier."""

    def is_of(self, session: Session) -> bool:
        """Nothing was stated anew since: the reply speaks of calls as they stand."""
        return self.session is session and self.incarnation == session.incarnation


def share_of(grant: Grant, stands: Standing) -> int:
    """Dominant share of what a grant was charged (standing.py)."""
    return share([taken.charge.cost for taken in grant.taken], stands.bases)


def units(amount: float, scale: int) -> int | None:
    """Natural units -> 1/scale, rounded up; None for what is no amount."""
    if not math.isfinite(amount) or amount < 0:
        return None
    return min(math.ceil(amount * scale - 1e-9), wire.MOST)
