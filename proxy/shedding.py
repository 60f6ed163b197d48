"""What is not taken on any more when memory runs short, or when too many calls wait.

Law: who is refused is told at once, by 503, and nobody who is inside is hurt. In two steps (threats 4.2): at 80 % of
the memory no call is held any more, at 90 % no connection is taken. Readiness does not follow, or all replicas would
leave their service together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# threats 4.2
NO_HOLDS = 0.8
NO_CONNECTIONS = 0.9
# A reading takes some ten microseconds, and memory does not fill faster than in seconds.
_FRESH_S = 0.25
# Of control groups version 2, then version 1, as a container sees its own.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# Version 1 says "no bound" by the largest number of pages, near 2^63.
_UNBOUNDED = 1 << 60


class Shedding:
    """Asked before a call may wait, and at each new connection."""

    def __init__(
        self,
        *,
        limit: int,
        used: Callable[[], int],
        now: Callable[[], float],
        held: int,
        held_per_client: int,
    ) -> None:
        """`limit`: bytes of memory, 0 for none; `used`: bytes in use now; `now`: a clock in seconds. `held`: calls that
        may wait, of all clients and of one."""
        self.limit = limit
        self._used = used
        self._now = now
        self._held = held
        self._held_per_client = held_per_client
        self._read_at = float("-inf")
        self._share = 0.0
        self._waiting: Counter[str] = Counter()
        self._all = 0

    @property
    def step(self) -> int:
        """0: nothing is shed; 1: no call is held; 2: no connection is taken either."""
        share = self._memory()
        return 2 if share >= NO_CONNECTIONS else 1 if share >= NO_HOLDS else 0

    def why_not_hold(self, client: str) -> str | None:
        """Why a call of this client may not wait now, or None."""
        if self._all >= self._held:
            return "too many calls wait"
        if self._waiting[client] >= self._held_per_client:
            return "too many calls of this client wait"
        return "memory is short" if self.step >= 1 else None

    def enter(self, client: str) -> None:
        """A call of this client may wait, until it leaves. No context manager: a held one is a kilobyte a call."""
        self._all += 1
        self._waiting[client] += 1

    def leave(self, client: str) -> None:
        """It waits no longer."""
        self._all -= 1
        self._waiting[client] -= 1
        if not self._waiting[client]:
            del self._waiting[client]

    def _memory(self) -> float:
        """The share of the memory that is used."""
        if not self.limit:
            return 0.0
        now = self._now()
        if now - self._read_at >= _FRESH_S:
            self._read_at, self._share = now, self._used() / self.limit
        return self._share


def memory_in_use() -> int:
    """Bytes of memory that this process holds (proc_pid_statm(5): the second number, in pages)."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_limit() -> int:
    """Bytes that the control group of this process may use; 0: no bound is known."""
    for path in _LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and 0 < int(text) < _UNBOUNDED:
            return int(text)
    return 0
