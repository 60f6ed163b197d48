"""What upstreams said of our buckets, on its way to the store. No I/O.

Law: use that our books did not know of is said in the next tick, and said again if nobody knows that it arrived: it is
a lower bound, so twice is as good as once. Whether our books explain what they did know of, only the store can tell: it
is asked once in a slice of the window. What an upstream says a bucket holds is said when it is news.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rules.gate import hearsay
from rules.verdict import Charge, Told

MOST_BUCKETS = 5000
"""Buckets remembered, as many as the fallback remembers charges of (line.py)."""

REPEAT_MS = 60_000
"""An amount that has not changed is said again so often: an hour is how long the store believes it (announced.lua)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one tick carries."""

    used: tuple[Told, ...] = ()
    amounts: tuple[tuple[Charge, int], ...] = ()


@dataclass(slots=True)
class _Said:
    amount: int
    at_ms: float


class Learning:
    """The buckets of one service."""

    def __init__(self) -> None:
        self._used: dict[str, Told] = {}
        self._due: dict[str, None] = {}
        self._rests: dict[str, float] = {}
        self._amounts: dict[str, tuple[Charge, int]] = {}
        self._said: dict[str, _Said] = {}

    def __bool__(self) -> bool:
        """There is something a tick must carry."""
        return bool(self._due or self._amounts)

    def note(self, told: Iterable[Told], now_ms: float) -> list[Told]:
        """An answer said this. Returns what it says a bucket holds that is news, for whoever reads the log."""
        news = []
        for one in told:
            bucket = one.taken.charge.bucket
            if one.used:
                before = self._used.get(bucket)
                if before is None or one.used - one.taken.used > before.used - before.taken.used:
                    self._used[bucket] = one
                if one.used > one.taken.used or now_ms >= self._rests.get(bucket, 0.0):
                    self._due[bucket] = None
            if one.amount is not None and self._is_due(one, one.amount, now_ms):
                self._amounts[bucket] = (one.taken.charge, one.amount)
                said = self._said.get(bucket)
                if said is None or said.amount != one.amount:
                    news.append(one)
                self._said.pop(bucket, None)
                self._said[bucket] = _Said(one.amount, now_ms)
                while len(self._said) > MOST_BUCKETS:
                    del self._said[next(iter(self._said))]
        return news

    def _is_due(self, one: Told, amount: int, now_ms: float) -> bool:
        limit, said = one.taken.charge.limit, self._said.get(one.taken.charge.bucket)
        if said is None:
            # the amount we have is no news
            return amount < limit.amount
        repeat = min(REPEAT_MS, max(1000, limit.length_ms // 2))
        return amount != said.amount or now_ms - said.at_ms >= repeat

    def take(self, args: list[bytes | int], most: int, now_ms: float) -> Heard:
        """Add operations for the next tick, at most `most` of each kind. Returns what they say, to be said again."""
        used = tuple([self._used[bucket] for bucket in self._due][:most])
        amounts = tuple(self._amounts.values())[:most]
        for one in used:
            bucket = one.taken.charge.bucket
            del self._used[bucket]
            del self._due[bucket]
            if len(self._rests) >= MOST_BUCKETS:
                self._rests.clear()
            self._rests[bucket] = now_ms + one.taken.charge.limit.slice_ms
            args += hearsay.told(one)
        for charge, amount in amounts:
            del self._amounts[charge.bucket]
            args += hearsay.announced(charge, amount)
        return Heard(used, amounts)

    def again(self, heard: Heard) -> None:
        """Nobody knows that the store heard it."""
        for one in heard.used:
            self._used.setdefault(one.taken.charge.bucket, one)
            self._due[one.taken.charge.bucket] = None
        for charge, amount in heard.amounts:
            self._amounts.setdefault(charge.bucket, (charge, amount))
