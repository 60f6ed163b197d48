"""A provider whose organisations have limits and whose keys have fates: enforced to the letter, changed by the test.

Laws: a call is counted at the clock of this machine when its head and body are there; what exceeds the limit of the
key's organisation is answered with 429 and a Retry-After; every call is written down with its key and what came of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .limiters import SECOND, SlidingLog
from .openai import answer, invalid_key, quota_exhausted, slow_down
from .standin import Reply, Seen
from .strict import CALL_FIELD

Fate = Literal["good", "exhausted", "revoked"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One call as it was answered."""

    key: str
    call: str
    status: int


@dataclass
class Keyed:
    """The provider. `keys`: secret -> organisation."""

    keys: Mapping[str, str]
    amount: int
    seconds: float
    fates: dict[str, Fate] = field(default_factory=dict)
    revoke: tuple[str, int] | None = None
    """A key, and after how many further good calls of any it is revoked."""
    ledger: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        window = round(self.seconds * SECOND)
        self._logs = {of: SlidingLog(amount=self.amount, window=window) for of in set(self.keys.values())}
        self._lock = threading.Lock()

    def neighbour(self, organisation: str) -> None:
        """Somebody who is not ours uses up what is left of an organisation's limit."""
        with self._lock:
            now = time.monotonic_ns()
            while self._logs[organisation].fits(now, 1):
                self._logs[organisation].take(now, 1)

    def answer(self, seen: Seen) -> Reply:
        """What the provider says."""
        key = (seen.header("Authorization") or "").removeprefix("Bearer ")
        with self._lock:
            reply = self._judge(key, seen)
            self.ledger.append(Entry(key, seen.header(CALL_FIELD) or "", reply.status))
        return reply

    def _judge(self, key: str, seen: Seen) -> Reply:
        organisation = self.keys.get(key)
        fate = self.fates.get(key, "good")
        if organisation is None or fate == "revoked":
            return invalid_key()
        if fate == "exhausted":
            return quota_exhausted()
        log, now = self._logs[organisation], time.monotonic_ns()
        if not log.fits(now, 1):
            return slow_down(1)
        log.take(now, 1)
        if self.revoke is not None:
            who, left = self.revoke
            self.revoke = (who, left - 1) if left > 1 else None
            if self.revoke is None:
                self.fates[who] = "revoked"
        return answer(seen)
