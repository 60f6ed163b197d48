"""How true Retry-After is with four real processes: `python -m tests.bench.retry_after [--seconds N] [--load X]`.

Random arrivals of eight users at 1.2 times the limit, with a max wait of 0, 2 s or 10 s; every refused call comes back
when `retry-after-ms` said, through a replica drawn anew. Printed: the share of returns that were admitted. Exit code 1
when it is under 95 %.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Callable

import uvloop

from proxy import tasks

from .fleet import REPLICAS, Fleet, fleet, processes

AIM = 0.95
USERS = [f"u{i}" for i in range(8)]
WEIGHTS = [8, 4, 2, 2, 1, 1, 1, 1]
WAITS = ["0", "2s", "10s"]


class Workers:
    """Calls that come back as told."""

    def __init__(self, client: Fleet, seed: int, *, alike: bool) -> None:
        self.client, self.draw, self.alike, self.count = client, random.Random(seed), alike, 0
        self.end = 0.0
        self.kept: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.untold = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def _one(self, user: str, wait: str, name: str) -> None:
        returns = False
        while True:
            answer = await self.client.call(user, self.draw.randrange(REPLICAS), max_wait=wait, end_user=name)
            admitted = answer.status == 200
            if returns:
                (self.kept if admitted else self.broken)[wait] += 1
            if admitted:
                return
            if answer.retry_after is None:
                self.untold += 1
                return
            if asyncio.get_running_loop().time() + answer.retry_after > self.end:
                return
            await self.client.rest(answer.retry_after)
            returns = True

    def name(self) -> str:
        """Of the next call; all the same with `alike`."""
        self.count += 1
        return "e" if self.alike else f"e{self.count}"

    async def run(self, rate: float, seconds: float) -> None:
        """Fresh calls for so long."""
        self.end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < self.end:
            (user,) = self.draw.choices(USERS, WEIGHTS)
            task = tasks.spawn(self._one(user, self.draw.choice(WAITS), self.name()), name=f"call of {user}")
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            await self.client.rest(self.draw.expovariate(rate))
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _run(
    bases: list[str], upstream: str, rate: float, seconds: float, alike: bool, faults: Callable[[], str]
) -> bool:
    async with fleet(bases, upstream) as client:
        workers = Workers(client, seed=1, alike=alike)
        await workers.run(rate, seconds)
        seen, refused = await client.refused_upstream()
    kept, broken = workers.kept.total(), workers.broken.total()
    share = kept / max(1, kept + broken)
    by_wait = ", ".join(f"max wait {w}: {workers.kept[w]} of {workers.kept[w] + workers.broken[w]}" for w in WAITS)
    print(f"{kept} of {kept + broken} returns admitted, {share:.1%} ({by_wait}); {workers.untold} told no time;")
    print(f"the upstream saw {seen}, refused {refused}; {faults()}")
    return share >= AIM


def main() -> int:
    """Run it."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--amount", type=int, default=120, help="requests per window")
    flags.add_argument("--window", type=int, default=6, help="seconds")
    flags.add_argument("--seconds", type=float, default=40.0)
    flags.add_argument("--load", type=float, default=1.2, help="fresh calls, as a multiple of the limit")
    flags.add_argument(
        "--alike",
        action="store_true",
        help="all calls have the same body, so that a new one may pass for another's return",
    )
    chosen = flags.parse_args()
    with processes(chosen.amount, chosen.window) as (bases, upstream, faults):
        rate = chosen.load * chosen.amount / chosen.window
        return 0 if uvloop.run(_run(bases, upstream, rate, chosen.seconds, chosen.alike, faults)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
