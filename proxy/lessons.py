"""Step 7 of the corridor: what a reply teaches is told to the gate, and what it means for the call to whoever sent it.

Law: the rules judge (rules/plan.py), the gate keeps; here is only what this process remembers between two replies.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from rules import dialects
from rules.plan import learn
from rules.verdict import Grant, Lesson

from .errand import Errand
from .gate import Gate
from .streak import Streaks
from .upstream import Reply

_log = logging.getLogger("headgate.exchange")


class Lessons:
    """Of the calls of one process."""

    def __init__(self, gate: Gate, now_ms: Callable[[], float]) -> None:
        """`now_ms`: the gate's clock, wall time that never steps back."""
        self._gate = gate
        self._now_ms = now_ms
        self._streaks = Streaks()
        self.resting: dict[str, float] = {}
        """Service -> until when (`now_ms`) the longest rest lasts that a reply taught."""

    def of_answer(self, errand: Errand, grant: Grant) -> None:
        """The upstream did what was asked: the key is good, and the next refusal is a first one."""
        if grant.tries:
            self._gate.lift(errand.service.name, grant.tries)
        self._streaks.answered(errand.service.name, grant.group)

    def of_refusal(self, errand: Errand, grant: Grant, reply: Reply, body: bytes) -> Lesson:
        """What an error means for the key, its group and this call."""
        now_s = self._now_ms() / 1000
        reading = dialects.read(errand.service.dialect, reply.status, reply.headers, body, now_s=now_s)
        return self._apply(errand, grant, reading, reply.status)

    def of_stream(self, errand: Errand, grant: Grant, failed: dialects.Meaning) -> None:
        """An event stream can report a limit after its 200: too late for this call, in time for the next."""
        self._apply(errand, grant, dialects.in_stream(errand.service.dialect, failed), 0)

    def _apply(self, errand: Errand, grant: Grant, reading: dialects.Reading, status: int) -> Lesson:
        service = errand.service
        streak = None
        if reading.meaning == "slow_down":
            streak = self._streaks.refused(service.name, grant.group, errand.model)
        lesson = learn(
            reading,
            grant,
            model=errand.model,
            backoff=service.backoff,
            attempt=streak.count - 1 if streak else 0,
            wide=streak is not None and streak.wide,
            pooled=service.pooled,
            status=status,
            upkeep=service.upkeep,
        )
        if grant.tries and lesson.meaning == "slow_down":
            # the key is known again, only too fast
            self._gate.lift(service.name, grant.tries)
        for block in lesson.blocks:
            self.resting[service.name] = max(self.resting.get(service.name, 0.0), self._now_ms() + block.for_ms)
            _log.warning("%s: key %s: %s, rests %d ms", service.name, grant.key, block.reason, block.for_ms)
        self._gate.rest(service.name, lesson.blocks)
        return lesson
