"""How a limit that nobody publishes is found out and followed: `python -m tests.bench.finding [--window S]`.

One Headgate process with an adaptive back-off and no limits, before a provider whose hidden limit halves and recovers
during the run; the line is never empty. At first it is thirteen times what is tried first.
Prints what became of each window; exits 1 when a client saw anything but 200, less than 85 % of the hidden quota was
used, a limit was not found within 5 windows, or the last ten windows had more than one 429.

The window is a twentieth of what providers have, and what a busy machine is late by is not: of the jitter half is for
our way out (gate/lateness.py), and a grant that comes later is asked for again at the pace of the limit. With 20 ms of
jitter on a machine that is busy with other things this measured the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop

from tests.headgate_process import serving
from tests.upstreams.limiters import SECOND, SlidingLog
from tests.upstreams.standin import Reply, Seen, StandIn

KEY = {"KEY_A": "sk-canary-finding-1111"}
CONFIG = """
services:
  unknown:
    hosts: [unknown.example]
    keys: [{{name: a, env: KEY_A}}]
    upstream: {upstream}
    backoff: {{type: adaptive, initialDelay: 200, maxDelay: 30000, window: {window}s}}
    jitter: 60ms
    hold: {{max_wait: 60s}}
"""
CALLERS = 32
"""Connections that always have a call in the line."""


@dataclass
class Window:
    """What became of one window of the provider's time."""

    hidden: int
    served: int = 0
    refused: int = 0


@dataclass
class Provider:
    """A sliding log whose amount follows the phases (windows, amount), from the first call on."""

    phases: list[tuple[int, int]]
    seconds: float
    windows: list[Window] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.windows = [Window(amount) for count, amount in self.phases for _ in range(count)]
        self._log = SlidingLog(amount=0, window=round(self.seconds * SECOND))
        self._lock = threading.Lock()
        self._began = 0

    def answer(self, seen: Seen) -> Reply:
        """200, or 429 without a time."""
        with self._lock:
            now = time.monotonic_ns()
            self._began = self._began or now
            at = min((now - self._began) // round(self.seconds * SECOND), len(self.windows) - 1)
            window = self.windows[at]
            self._log.amount = window.hidden
            if self._log.fits(now, 1):
                self._log.take(now, 1)
                window.served += 1
                return Reply(body=b"ok")
            window.refused += 1
            return Reply(status=429, body=b"slow down")

    def found(self, first: int) -> int:
        """Windows from this one on until one used 85 % of its quota; more than there are: none did."""
        after = self.windows[first:]
        return next((n for n, window in enumerate(after) if window.served >= 0.85 * window.hidden), len(after))


async def load(url: str, seconds: float) -> dict[int, int]:
    """Keep the line full; how often each status was seen."""
    statuses: dict[int, int] = {}
    end = time.monotonic() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def caller() -> None:
            while time.monotonic() < end:
                async with session.get(url) as reply:
                    await reply.read()
                    if time.monotonic() < end:
                        statuses[reply.status] = statuses.get(reply.status, 0) + 1

        callers = [asyncio.ensure_future(caller()) for _ in range(CALLERS)]
        await asyncio.wait(callers, timeout=seconds + 1)
        for one in callers:
            one.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    return statuses


def main() -> int:
    """Measure and print."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--window", type=int, default=3, help="seconds")
    flags.add_argument("--amount", type=int, default=40, help="calls per window, before and after it is halved")
    chosen = flags.parse_args()
    phases = [(12, chosen.amount), (10, chosen.amount // 2), (32, chosen.amount)]
    provider = Provider(phases, chosen.window)
    total = len(provider.windows)
    with (
        tempfile.TemporaryDirectory(prefix="headgate-finding-") as name,
        StandIn(provider.answer) as upstream,
        serving(Path(name), CONFIG.format(upstream=upstream.url, window=chosen.window), more=KEY) as headgate,
    ):
        statuses = uvloop.run(load(f"{headgate.proxy}/unknown/list", total * chosen.window))
        overdue = headgate.metric('headgate_late_grants_total{service="unknown"}')
    for number, window in enumerate(provider.windows):
        share = window.served / window.hidden
        sys.stdout.write(
            f"  {number:>3}  {window.served:>4} of {window.hidden:<4} {share:>5.0%}  429s {window.refused}\n"
        )
    starts = [0, phases[0][0], phases[0][0] + phases[1][0]]
    found = [provider.found(first) for first in starts]
    used = sum(window.served for window in provider.windows) / sum(window.hidden for window in provider.windows)
    refused = [
        sum(window.refused for window in provider.windows[a:b])
        for a, b in zip(starts, [*starts[1:], total], strict=True)
    ]
    late = sum(window.refused for window in provider.windows[-10:])
    sys.stdout.write(
        f"found after {found} windows, {used:.1%} of the hidden quota used, 429s by phase {refused}, in the last ten"
        f" windows {late}; clients saw {statuses}; {overdue:.0f} grants were late\n"
    )
    return 0 if set(statuses) == {200} and used >= 0.85 and max(found) <= 5 and late <= 1 else 1


if __name__ == "__main__":
    raise SystemExit(main())
