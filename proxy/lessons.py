"""Step 7 of the corridor: what a reply teaches is told to the gate, and what it means for the call to whoever sent it.

Law: the rules judge (rules/plan.py), the gate keeps; here is only what this process remembers between two replies.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from rules import dialects
from rules.evidence import evidence
from rules.plan import learn
from rules.verdict import Charge, Grant, Lesson

from .errand import Errand
from .gate import Gate
from .streak import Streaks
from .upstream import Reply

_log = logging.getLogger("headgate.exchange")


class Lessons:
    """Of the calls of one process."""

    def __init__(self, gate: Gate, now_ms: Callable[[], float], jitter: Callable[[], float]) -> None:
        """`now_ms`: the gate's clock, wall time that never steps back. `jitter`: draws from 0 to 1."""
        self._jitter = jitter
        self._gate = gate
        self._now_ms = now_ms
        self._streaks = Streaks()
        self.resting: dict[str, float] = {}
        """Service -> until when (`now_ms`) the longest rest lasts that a reply taught."""

    def of_reply(self, errand: Errand, grant: Grant, reply: Reply, body: bytes) -> Lesson | None:
        """What its headers say of the buckets, good or bad, and what an error means for the key, its group and this
        call. `body`: its first bytes. None: the upstream did what was asked."""
        service = errand.service
        now_s = self._now_ms() / 1000
        reading = dialects.read(service.dialect, reply.status, reply.headers, body, now_s=now_s)
        if reading.limits and service.mode != "off":
            for told in self._gate.learn(service.name, evidence(reading.limits, grant)):
                limit = told.taken.charge.limit
                told_amount = (told.amount or 0) / limit.scale
                _log.warning("%s: the upstream says %g, not %s", service.name, told_amount, limit.name)
        if reading.meaning != "ok":
            return self._apply(errand, grant, reading, reply.status)
        self._of_answer(errand, grant, reading)
        return None

    def _of_answer(self, errand: Errand, grant: Grant, reading: dialects.Reading) -> None:
        """The key is good, and the next refusal is a first one."""
        service, learned = errand.service, _learned(grant)
        if grant.tries:
            self._gate.lift(service.name, grant.tries)
        self._streaks.answered(service.name, grant.group, errand.endpoint.name if learned else None)
        if learned is not None:
            self._given(errand, learned, reading)

    def _given(self, errand: Errand, learned: Charge, reading: dialects.Reading) -> None:
        """Headers that name a number end the search for it."""
        for seen in reading.limits:
            if seen.meter == "requests" and seen.limit:
                span_ms = seen.reset_ms or 0
                if errand.service.dialect == "openai" and seen.remaining is not None and seen.remaining < seen.limit:
                    # reset is when the bucket is full again (provider-facts 1.8)
                    span_ms = math.ceil(span_ms * seen.limit / (seen.limit - seen.remaining))
                self._gate.given(errand.service.name, learned, seen.limit, span_ms)
                return

    def of_stream(self, errand: Errand, grant: Grant, failed: dialects.Meaning) -> None:
        """An event stream can report a limit after its 200: too late for this call, in time for the next."""
        self._apply(errand, grant, dialects.in_stream(errand.service.dialect, failed), 0)

    def _apply(self, errand: Errand, grant: Grant, reading: dialects.Reading, status: int) -> Lesson:
        service, learned = errand.service, _learned(grant)
        narrow = learned is not None or reading.scope == "endpoint"
        streak = None
        if reading.meaning == "slow_down":
            streak = self._streaks.refused(
                service.name,
                grant.group,
                errand.model,
                endpoint=errand.endpoint.name if narrow else None,
                made_ms=grant.made_ms,
                now_ms=self._now_ms(),
            )
        lesson = learn(
            reading,
            grant,
            model=errand.model,
            backoff=service.backoff,
            attempt=streak.count - 1 if streak else 0,
            wide=streak is not None and streak.wide,
            pooled=errand.pooled,
            status=status,
            upkeep=service.upkeep,
            endpoint=errand.endpoint.name,
            finding=learned is not None,
            jitter=self._jitter(),
        )
        if learned is not None:
            self._given(errand, learned, reading)
            if lesson.meaning == "slow_down":
                self._gate.refused(service.name, learned, grant.made_ms)
        if grant.tries and lesson.meaning == "slow_down":
            # the key is known again, only too fast
            self._gate.lift(service.name, grant.tries)
        for block in lesson.blocks:
            self.resting[service.name] = max(self.resting.get(service.name, 0.0), self._now_ms() + block.for_ms)
            if not block.every_ms:
                # a key of a pool that is out until a call succeeds is told of by the keyring, once and with the reason
                _log.warning("%s: key %s: %s, rests %d ms", service.name, grant.key, block.reason, block.for_ms)
        self._gate.rest(service.name, lesson.blocks)
        return lesson


def _learned(grant: Grant) -> Charge | None:
    """What the call took of a limit that is being found out."""
    return next((taken.charge for taken in grant.taken if taken.charge.limit.learned), None)
