"""Whether a change can be seen at all: what the gate answers in random histories, word for word.

Law: it judges nothing. A survivor whose answers differ from the original's wants a test; one whose answers are the same
is first of all a candidate for known.txt. The histories are wilder than any replica: gauges, acknowledgements and
settlements come as they like, clocks step back, replicas restart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from rules.gate import wire
from rules.verdict import Plan
from tests.rules.gate.driver import (
    Clock,
    Replica,
    TablesHost,
    ack,
    block,
    bucket,
    call,
    cancel,
    charge,
    flying,
    gauge,
    key,
    quota,
    window,
)

COUNT, TICKS = 30, 60


def answers() -> Iterator[str]:
    """What is answered in each history; the text of what failed where the Lua did."""
    for seed in range(COUNT):
        yield from _history(random.Random(seed))


def _plans(rng: random.Random) -> list[Plan]:
    fast, slow = window(6, ms=600, jitter=20, slices=8, name="fast"), window(40, ms=1500, slices=12, name="slow")
    seats, twin, day = (
        flying(3, name="seats"),
        bucket(50, 9, 300, jitter=40, name="twin"),
        quota(60, jitter=400, name="day"),
    )
    sets = [
        [charge(fast), charge(slow, rng.choice([1, 8, 30]))],
        [charge(seats), charge(fast)],
        [charge(seats, rng.choice([1, 2])), charge(slow, 5), charge(flying(2, name="more"))],
        [charge(twin, rng.choice([1, 10, 45]))],
        [charge(day, rng.choice([1, 9]))],
        [],
    ]
    out = []
    for charges in sets:
        for count in (1, 2, 3):
            cost = rng.choice([1, 6, 25, 39])
            keys = [
                key(f"k{i}", charge(slow, cost, f"g{i}"), charge(seats, 1, f"k{i}"), group=f"g{i % 2}")
                for i in range(count)
            ]
            out.append(
                call(
                    *charges,
                    keys=keys if charges == [] or rng.random() < 0.4 else None,
                    wait=rng.choice([0, 0, 700, 3000, 20_000]),
                    queue=rng.choice([4, 12, 100]),
                    observe=rng.random() < 0.04,
                    user=rng.choice("uvw"),
                    tier=(tier := rng.choice(["", "", "gold"])),
                    weight=3.0 if tier else 1.0,
                    priority=rng.choice([0, 0, 0, 4, 9]),
                )
            )
    return out


def _history(rng: random.Random) -> Iterator[str]:
    host, clock = TablesHost(), Clock(86_400_000 - rng.choice([3000, 20_000]))
    replicas = [Replica(host, clock, name) for name in "abc"]
    plans, slices = _plans(rng), [(charge(window(6, name="fast")), 0)]
    for _ in range(TICKS):
        clock.now += rng.choice([0, 0, 1, 20, 75, 200, rng.choice([-50, 600, 1700, 11_000])])
        replica = rng.choice(replicas)
        if rng.random() < 0.03:
            replica.restart()
        replica.share = rng.choice([1000] * 20 + [300])
        calls: list[Plan] = []
        ops: list[list[bytes | int]] = []
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            plan = rng.choice(plans)
            match rng.randrange(12):
                case 0 if plan.charges:
                    ops.append(gauge(rng.choice(plan.charges), rng.randrange(3)))
                case 1:
                    ops.append(cancel(rng.randint(max(1, replica.count - 8), replica.count + 1)))
                case 2:
                    ops.append(block(f"g{rng.randrange(2)}", rng.choice([40, 900])))
                case 3:
                    ops.append(ack(rng.randint(max(1, replica.count - 8), replica.count + 1)))
                case 4:
                    ops.append(wire.correct(wire.arrival(plan).standing, rng.choice([-1, 1, 2]) * 2**28))
                case 5 | 6:
                    of, slice_ = rng.choice(slices[-6:])
                    ops.append(wire.settle(of, slice_, rng.choice([-of.cost, -1, 2])))
                case _:
                    calls.append(plan)
        first = replica.count + 1
        try:
            reply = replica.tick(*ops, *[replica.arrival(plan, age=rng.choice([0, 0, 0, 90])) for plan in calls])
        except Exception as failed:
            yield f"{type(failed).__name__} {str(failed)[:60]}"
            return
        yield repr(reply)
        for granted in reply.granted:
            if first <= granted.n < first + len(calls):
                plan = calls[granted.n - first]
                taken = (*plan.charges, *plan.candidates[granted.candidate].charges)
                slices += [one for one in zip(taken, granted.slices, strict=True) if one[0].limit.kind != "concurrent"]
