"""Refusals in a row: how often a group has said "slow down" since its last good answer, and for how many models.

Law: bounded; what is forgotten only makes the next rest a first one.
"""

from __future__ import annotations

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


class Streaks:
    """The groups that were refused and have not answered since."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], Streak] = {}

    def refused(self, service: str, group: str, model: str | None) -> Streak:
        """Count a refusal; returns the streak with it."""
        streak = self._of.get((service, group))
        if streak is None:
            if len(self._of) >= GROUPS:
                self._of.clear()
            streak = self._of[service, group] = Streak(0, model)
        streak.count += 1
        streak.wide = streak.wide or streak.model != model
        return streak

    def answered(self, service: str, group: str) -> None:
        """The group has answered: its next refusal is a first one."""
        if self._of:
            self._of.pop((service, group), None)
