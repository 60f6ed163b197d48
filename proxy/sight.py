"""What the store said of each bucket with its last grant to us: where we go on when the store is lost. No I/O.

Law (limiter.md 12, the first window after the cut): of N, U were in use by all R replicas when the store was lost.
Each then begins with its share of U in use, so that all together take phi (N - U) in that window and not phi N, and
U + phi (N - U) <= N. What a replica did not see, because it was granted after its own last grant, is missing from
its U: the excess is at most phi times what its sight was short of, as the mean of all replicas, less the
(1 - phi) (N - U) kept back. A bucket it has not had a grant from within the window counts as unused (limiter.md Q22).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rules.verdict import Charge, Taken

from .session import Session, elsewhere

MOST_SEEN = 5000
"""Buckets remembered, those of the latest grants: as many as the fallback's charges (line.py)."""

WHOLE = 1000


@dataclass(slots=True)
class Use:
    """The fullest sight of a limit in the last grants."""

    used: int
    amount: int
    until_ms: float


@dataclass(slots=True)
class _Seen:
    charge: Charge
    slice: int
    used: int
    until_ms: float
    """When all of it will have left the bucket."""


class Found:
    """How much of the limits that nobody publishes may be used, as the store said with the last grant on each."""

    def __init__(self) -> None:
        self.amounts: dict[tuple[str, str], float] = {}
        """Group and endpoint -> calls per window, the latest last."""

    def note(self, group: str, endpoint: str, amount: float) -> None:
        """A grant was made on such a limit."""
        self.amounts.pop((group, endpoint), None)
        self.amounts[group, endpoint] = amount
        while len(self.amounts) > MOST_SEEN:
            del self.amounts[next(iter(self.amounts))]


class Sight:
    """The buckets of one service."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def note(self, takens: Iterable[Taken], uses: Iterable[int], now_ms: float) -> None:
        """The store granted, and stood so afterwards. Calls in flight are stated anew to any host, and not kept."""
        seen = self._seen
        for taken, used in zip(takens, uses, strict=True):
            charge, limit = taken.charge, taken.charge.limit
            if limit.kind != "concurrent":
                # the latest stand last, so that the oldest go first
                seen.pop(charge.bucket, None)
                seen[charge.bucket] = _Seen(charge, taken.slice, used, now_ms + limit.length_ms)
        while len(seen) > MOST_SEEN:
            del seen[next(iter(seen))]

    def add(self, charge: Charge, delta: int) -> None:
        """A call took more than was charged. Less is not believed before the store says so."""
        found = self._seen.get(charge.bucket)
        if found is not None and delta > 0:
            found.used += delta

    def begin(self, here: Session, share: int, now_ms: float) -> None:
        """Let a host that knows nothing begin with `share` (per mille) of what was in use."""
        for one in self._seen.values():
            if one.charge.limit.kind == "quota" or one.until_ms > now_ms:
                here.settle(one.charge, elsewhere(one.charge, one.slice), -(-one.used * share // WHOLE))
        self._seen = {}
