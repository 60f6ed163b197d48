"""How true Retry-After is on a virtual clock: `python -m tests.bench.promises [--seconds N] [--probes SHARE]`.

Random arrivals at the embedded gate, 0.7 to 1.5 times what the limits let through, from eight users who ask unequally;
every refused call comes back at the time it was told. Printed: the share of returns that were admitted, and of calls
asked again earlier (on a copy of the same history) those that would have been granted more than 2 s before that time.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable

from rules.policy import Limit
from rules.verdict import Plan
from tests.rules.gate.driver import call, charge, key, window
from tests.rules.gate.returns import Market

USERS = [f"u{i}" for i in range(8)]
WEIGHTS = [8, 4, 2, 2, 1, 1, 1, 1]
Plans = Callable[[random.Random], tuple[str, Plan]]


def requests(waits: list[int], amount: int, ms: int) -> tuple[Plans, float]:
    """One limit of all: plans, and calls a second it lets through."""
    limit = window(amount, ms=ms, jitter=100, slices=60)

    def plans(draw: random.Random) -> tuple[str, Plan]:
        (user,) = draw.choices(USERS, WEIGHTS)
        return user, call(charge(limit), user=user, wait=draw.choice(waits))

    return plans, amount * 1000 / limit.length_ms


def _tokens(amount: int) -> Limit:
    return Limit(
        id="t", name="t", kind="window", meter="tokens", amount=amount, window_ms=6000, jitter_ms=100, slices=60
    )


def models(waits: list[int]) -> tuple[Plans, float]:
    """Requests and tokens of each of two models, and requests of both: a lane per model."""
    each, tokens, both = (
        window(60, ms=6000, jitter=100, slices=60),
        _tokens(20_000),
        window(90, ms=6000, jitter=100, slices=60, name="all"),
    )

    def plans(draw: random.Random) -> tuple[str, Plan]:
        (user,) = draw.choices(USERS, WEIGHTS)
        model, cost = draw.choice("mn"), draw.randint(180, 480)
        charges = (charge(both), charge(each, scope=model), charge(tokens, cost, model))
        return user, call(*charges, user=user, wait=draw.choice(waits))

    return plans, 90 / 6.2


def groups(waits: list[int]) -> tuple[Plans, float]:
    """A pool of two groups with requests and tokens each."""
    each, tokens = window(60, ms=6000, jitter=100, slices=60), _tokens(20_000)

    def plans(draw: random.Random) -> tuple[str, Plan]:
        (user,) = draw.choices(USERS, WEIGHTS)
        cost = draw.randint(180, 480)
        keys = [key(f"k{g}", charge(each, 1, g), charge(tokens, cost, g), group=g) for g in ("g", "h")]
        return user, call(keys=keys, user=user, wait=draw.choice(waits))

    return plans, 120 / 6.2


def main() -> int:
    """Print the table."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--seconds", type=int, default=60)
    flags.add_argument("--probes", type=float, default=0.05)
    flags.add_argument("--seeds", type=int, default=1)
    flags.add_argument("--returns", type=float, default=1.0, help="share of refused calls that come back")
    flags.add_argument("--whole", action="store_true", help="clients read whole seconds")
    flags.add_argument("--only", default="", help="limits whose name contains this")
    chosen = flags.parse_args()
    shapes: dict[str, Callable[[list[int]], tuple[Plans, float]]] = {
        "20 per 1 s": lambda waits: requests(waits, 20, 1000),
        "60 per 6 s": lambda waits: requests(waits, 60, 6000),
        "200 per 20 s": lambda waits: requests(waits, 200, 20_000),
        "two models": models,
        "two groups": groups,
    }
    heads = ("load", "returns", "admitted", "asked", "early", "used", "told p50", "untold")
    print(f"{'limits':<14}{'max_wait':<10}" + "".join(f"{head:>10}" for head in heads))
    for name, shape in shapes.items():
        if chosen.only not in name:
            continue
        for label, waits in {"0": [0], "2 s": [2000], "10 s": [10_000], "mixed": [0, 2000, 10_000]}.items():
            for load in (0.7, 1.0, 1.2, 1.5):
                plans, capacity = shape(waits)
                kept = back = asked = early = granted = untold = 0
                told: list[int] = []
                for seed in range(chosen.seeds):
                    market = Market(
                        plans,
                        rate=load * capacity,
                        seed=seed,
                        probes=chosen.probes,
                        returns=chosen.returns,
                        whole=chosen.whole,
                    )
                    outcome = market.run(chosen.seconds * 1000)
                    kept, back = kept + outcome.kept, back + outcome.kept + outcome.broken
                    asked, early = asked + outcome.asked, early + outcome.early
                    granted, untold = granted + outcome.granted, untold + sum(outcome.untold.values())
                    told += outcome.told
                middle = sorted(told)[len(told) // 2] / 1000 if told else 0.0
                used = granted / (capacity * chosen.seconds * chosen.seeds)
                share = f"{kept / back:.1%}" if back else "-"
                late = f"{early / asked:.1%}" if asked else "-"
                print(
                    f"{name:<14}{label:<10}{load:>10}{back:>10}{share:>10}{asked:>10}{late:>10}{used:>10.1%}"
                    f"{middle:>10.1f}{untold:>10}"
                )
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
