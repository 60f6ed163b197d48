"""Fairness of four real processes on one Redis: `python -m tests.bench.fairness [--amount N --window S] [SCENARIO]`.

`hog`: one user dumps 1,500 calls over all replicas while four light users send one call a second each; aim: the light
users' p99 wait is under 0.5 s. `skew`: A stands on one replica, B on three, both with more calls than there is room;
aim: served 1:1 within 5 %. `tiers`: weights 4 and 1; aim: served 4:1 within 5 %. `equal`: 20 users with unequal
backlogs on unequal replicas; aim: Jain's index over 0.99. The wait is X-Headgate-Waited, which begins when the call
reaches the gate. Exit code 1 when an aim is missed, or when the upstream refused a call.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

import uvloop

from tests.rules.gate.crowd import jain

from .fleet import REPLICAS, Fleet, fleet, processes

LIGHT_P99_S = 0.5
TOLERANCE = 0.05
JAIN = 0.99
SETTLING_S = 3.0
"""Seconds after the calls were sent before counting begins: the first grants are for whoever came first."""


async def hog(client: Fleet, seconds: float, draw: random.Random) -> tuple[str, bool]:
    """Light users beside a dump."""
    for i in range(1500):
        client.send("hog", i % REPLICAS)
    await client.rest(1.0)
    for _ in range(round(seconds)):
        for i in range(4):
            client.send(f"light{i}", draw.randrange(REPLICAS))
            await client.rest(0.25)
    waits = sorted(answer.waited for answer in client.answers if answer.user != "hog" and answer.status == 200)
    served = sum(answer.user == "hog" for answer in client.answers)
    sent = 4 * round(seconds)
    if len(waits) < 0.9 * sent:
        return f"only {len(waits)} of {sent} light calls were answered", False
    middle, p99 = waits[len(waits) // 2], waits[min(len(waits) - 1, int(len(waits) * 0.99))]
    said = (
        f"light wait p50 {middle:.3f} s, p99 {p99:.3f} s, most {waits[-1]:.3f} s of {len(waits)}; hog served {served}"
    )
    return said, p99 < LIGHT_P99_S


async def _served(client: Fleet, seconds: float) -> Counter[str]:
    """Calls answered per user in so many seconds, after the first ones."""
    await client.rest(SETTLING_S)
    start = len(client.answers)
    await client.rest(seconds)
    return Counter(answer.user for answer in client.answers[start:] if answer.status == 200)


async def skew(client: Fleet, seconds: float, _: random.Random) -> tuple[str, bool]:
    """One replica against three."""
    for i in range(900):
        client.send("b", 1 + i % 3)
        client.send("a", 0)
    served = await _served(client, seconds)
    ratio = served["a"] / max(1, served["b"])
    return f"A {served['a']}, B {served['b']}: {ratio:.3f}", abs(ratio - 1) <= TOLERANCE


async def tiers(client: Fleet, seconds: float, _: random.Random) -> tuple[str, bool]:
    """Weights 4 and 1."""
    for i in range(1200):
        client.send("of-gold", i % REPLICAS, tier="gold")
        if i < 400:
            client.send("of-free", i % REPLICAS, tier="free")
    served = await _served(client, seconds)
    ratio = served["of-gold"] / max(1, served["of-free"])
    return f"gold {served['of-gold']}, free {served['of-free']}: {ratio:.2f}", abs(ratio / 4 - 1) <= TOLERANCE


async def equal(client: Fleet, seconds: float, draw: random.Random) -> tuple[str, bool]:
    """Twenty users, each on one to four replicas, with 80 to 118 calls."""
    calls = []
    for i in range(20):
        on = draw.sample(range(REPLICAS), 1 + i % REPLICAS)
        calls += [(f"u{i}", on[j % len(on)]) for j in range(80 + 2 * i)]
    draw.shuffle(calls)
    for user, replica in calls:
        client.send(user, replica)
    served = await _served(client, seconds)
    amounts = [served[f"u{i}"] for i in range(20)]
    index = jain(amounts) if any(amounts) else 0.0
    return f"Jain {index:.4f}; served {min(amounts)} to {max(amounts)}", index > JAIN


SCENARIOS: dict[str, Callable[[Fleet, float, random.Random], Awaitable[tuple[str, bool]]]] = {
    "hog": hog,
    "skew": skew,
    "tiers": tiers,
    "equal": equal,
}


async def _run(name: str, bases: list[str], upstream: str, seconds: float, faults: Callable[[], str]) -> bool:
    async with fleet(bases, upstream) as client:
        said, reached = await SCENARIOS[name](client, seconds, random.Random(3))
        seen, refused = await client.refused_upstream()
    verdict = "reached" if reached and not refused else "MISSED"
    print(f"{name:<7}{verdict:<9}{said}; the upstream saw {seen}, refused {refused}; {faults()}")
    sys.stdout.flush()
    return verdict == "reached"


def main() -> int:
    """Run the scenarios, each on processes of its own."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="all of them, unless named")
    flags.add_argument("--amount", type=int, default=20, help="requests per window")
    flags.add_argument("--window", type=int, default=1, help="seconds")
    flags.add_argument("--seconds", type=float, default=20.0, help="length of a scenario")
    chosen = flags.parse_args()
    reached = True
    for name in chosen.scenario or SCENARIOS:
        with processes(chosen.amount, chosen.window) as (bases, upstream, faults):
            reached &= uvloop.run(_run(name, bases, upstream, chosen.seconds, faults))
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
