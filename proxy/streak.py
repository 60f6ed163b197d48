"""Refusals in a row: how often a group has said "slow down" since its last good answer, and for how many models.

Law: bounded; what is forgotten only makes the next rest a first one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GROUPS = 4096
"""Groups whose refusals are remembered; callers with keys of their own are a group each."""


@dataclass(slots=True)
class Streak:
    """What a group's refusals have been since its last good answer."""

    count: int
    model: str | None
    """Of the first."""
    wide: bool = False
    """Another model was refused too: the group itself must rest (limiter Q16)."""
    since_ms: float = -math.inf
    """When the last one was counted: calls that were let go before say the same again."""


class Streaks:
    """The groups that were refused and have not answered since. Where limits are of an endpoint, each has its own."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str, str | None], Streak] = {}

    def refused(
        self, service: str, group: str, model: str | None, *, endpoint: str | None, made_ms: float, now_ms: float
    ) -> Streak:
        """Count a refusal; returns the streak with it. `made_ms`: when the call was let go; if before the last refusal,
        it counts with that."""
        streak = self._of.get((service, group, endpoint))
        if streak is None:
            if len(self._of) >= GROUPS:
                self._of.clear()
            streak = self._of[service, group, endpoint] = Streak(0, model)
        if made_ms >= streak.since_ms:
            streak.count += 1
            streak.since_ms = now_ms
        streak.wide = streak.wide or streak.model != model
        return streak

    def answered(self, service: str, group: str, endpoint: str | None) -> None:
        """The group has answered: its next refusal is a first one."""
        if self._of:
            self._of.pop((service, group, endpoint), None)
