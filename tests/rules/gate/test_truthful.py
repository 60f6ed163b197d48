"""An upstream that only we use and that tells, with each answer, how much is left: nothing of the quota is lost by it,
and what others use of it is never sent by us (limiter.md 13, 14)."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from rules.dialects import Seen
from rules.dialects.seen import How
from rules.evidence import evidence
from rules.gate import hearsay
from rules.policy import Limit
from rules.verdict import Grant, Taken

from .driver import Clock, Replica, TablesHost, call, charge

WINDOW, JITTER, AMOUNT, STEP = 6000, 100, 300, 10


@dataclass
class Upstream:
    """Counts in a fixed window or a sliding log, from the moment a call arrives; refuses what is too much."""

    kind: str
    phase: int
    others: int = 0
    """How many of each window somebody else uses, at its beginning."""
    calls: deque[int] = field(default_factory=deque)
    refused: int = 0
    late: int = 0
    """Of those, after the first two windows."""
    level: float = AMOUNT
    at: int = 1_000_000

    @property
    def how(self) -> How:
        """What its provider is known for."""
        return "fixed" if self.kind == "fixed" else "unknown"

    def _used(self, now: int) -> int:
        if self.kind == "fixed":
            begin = now - (now - self.phase) % WINDOW
            while self.calls and self.calls[0] < begin:
                self.calls.popleft()
        else:
            while self.calls and self.calls[0] <= now - WINDOW:
                self.calls.popleft()
        return len(self.calls) + self.others

    def serve(self, now: int) -> Seen:
        """Count a call, and say what is left and until when."""
        if self.kind == "bucket":
            rate = (AMOUNT - self.others) / WINDOW
            self.level, self.at = min(AMOUNT, self.level + (now - self.at) * rate), now
            if self.level < 1:
                self.refused += 1
            else:
                self.level -= 1
        elif self._used(now) >= AMOUNT:
            self.refused += 1
            self.late += now > 1_000_000 + 2 * WINDOW
        else:
            self.calls.append(now)
        if self.kind == "bucket":
            used = AMOUNT - int(self.level)
            return Seen("requests", AMOUNT, int(self.level), max(1, used * WINDOW // AMOUNT), how="refills")
        reset = WINDOW - (now - self.phase) % WINDOW if self.kind == "fixed" else self.calls[0] + WINDOW - now
        return Seen("requests", AMOUNT, max(0, AMOUNT - self._used(now)), max(1, reset), how=self.how)


def _limit(burst: int) -> Limit:
    return Limit(
        id="l",
        name="l",
        kind="window",
        meter="requests",
        amount=AMOUNT,
        window_ms=WINDOW,
        jitter_ms=JITTER,
        slices=60,
        burst=burst,
        per=("group",),
    )


def run(upstream: Upstream, chance: random.Random, *, told: bool, longest: int, windows: int = 6) -> int:
    """Ask for more than there is, all the time; how many calls left after the first two windows."""
    clock = Clock(1_000_000)
    replica = Replica(TablesHost(), clock)
    limit = _limit(AMOUNT // 2)
    plan = call(charge(limit), wait=0)
    coming: list[tuple[int, int, str, Taken, Seen | None]] = []
    sent = number = asked = 0
    start, end = clock.now, clock.now + windows * WINDOW
    while clock.now < end:
        ops = []
        while coming and coming[0][0] <= clock.now:
            _, _, what, taken, seen = heapq.heappop(coming)
            number += 1
            if what == "arrives":
                seen = upstream.serve(clock.now)
                answer = clock.now + chance.randrange(1, longest)
                heapq.heappush(coming, (answer, number, "answers", taken, seen))
            elif told and seen is not None:
                grant = Grant(service="s", attempt="a", key="k", group="g", taken=(taken,), waited_ms=0)
                for one in evidence((seen,), grant):
                    if one.used and (one.used > taken.used or clock.now - asked >= limit.slice_ms):
                        ops.append(hearsay.told(one))
                        asked = clock.now
        reply = replica.tick(*ops, *[replica.arrival(plan) for _ in range(3)])
        for granted in reply.granted:
            number += 1
            sent += clock.now >= start + 2 * WINDOW
            taken = Taken(plan.charges[0], granted.slices[0], granted.uses[0])
            heapq.heappush(coming, (clock.now + chance.randrange(JITTER), number, "arrives", taken, None))
        clock.now += STEP
    return sent


@pytest.mark.parametrize("longest", [50, 3000])
@pytest.mark.parametrize("kind", ["fixed", "sliding", "bucket"])
def test_our_own_calls_are_no_evidence_of_others(kind: str, longest: int) -> None:
    """Saturated, with answers that take up to half a window and come in any order: half a hundredth at most is lost by
    listening, and nothing is refused."""
    plain, heard = Upstream(kind, 2222), Upstream(kind, 2222)
    without = run(plain, random.Random(7), told=False, longest=longest)
    with_it = run(heard, random.Random(7), told=True, longest=longest)
    assert (plain.refused, heard.refused) == (0, 0)
    assert with_it >= without * 0.995


@pytest.mark.parametrize(
    ("kind", "longest", "most"),
    [("fixed", 50, 0.005), ("fixed", 1000, 0.02), ("bucket", 50, 0.0), ("bucket", 1000, 0.0)],
)
def test_what_others_use_all_the_time_is_left_to_them(kind: str, longest: int, most: float) -> None:
    """A third is somebody else's all the time; what is left is used. A window is known as well as answers are fast:
    one that takes a sixth of it hides what was sent meanwhile."""
    upstream = Upstream(kind, 2222, others=AMOUNT // 3)
    sent = run(upstream, random.Random(11), told=True, longest=longest)
    assert upstream.late <= most * sent
    assert sent - upstream.late >= 0.97 * 4 * (AMOUNT - AMOUNT // 3)
