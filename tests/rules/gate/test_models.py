"""rules/gate/window.lua, twin.lua, quota.lua and gauge.lua, held to models of them: the same verdict, the same wait."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from rules.gate import wire

from .checker import DAY
from .driver import Clock, Replica, ack, bucket, call, charge, flying, gauge, quota, window
from .models import Quota, Twin, Window

SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_window_answers_as_its_model(a: Replica, clock: Clock, seed: int) -> None:
    """Over changes of amount and slices, settlements soon, late and from elsewhere, several of each in a tick."""
    rng = random.Random(seed)
    model, ending = Window(), list[tuple[int, int, int]]()
    slices, amount = 10, 40
    for _ in range(400):
        clock.now += rng.choice([0, 1, 7, 99, 100, 130, 260, 260, 700, rng.choice([1000, 1100, 1240, 5000])])
        if rng.random() < 0.04:
            slices = rng.choice([10, 25, 40])
        if rng.random() < 0.04:
            amount = rng.choice([25, 40, 70])
        limit = window(amount, ms=1000, jitter=40, slices=slices)
        ops: list[list[bytes | int]] = []
        for _ in range(rng.choice([0, 0, 1, 2])):
            if ending:
                name, cost, w = ending.pop(rng.randrange(len(ending)))
                of = window(amount, ms=1000, jitter=40, slices=round(1040 / w) if w else slices)
                delta = rng.choice([-cost, -cost // 2, -1, 0, 1, 2, 15])
                assert of.slice_ms == w
                if not ops:
                    model.look(of, clock.now)
                ops.append(wire.settle(charge(of, cost), name, delta))
                model.settle(clock.now, name, delta)
        if rng.random() < 0.05:
            delta = rng.choice([-5, 2])
            if not ops:
                model.look(limit, clock.now)
            ops.append(wire.settle(charge(limit, 5), -1, delta))
            model.settle(clock.now, -1, delta)
        costs = [rng.choice([1, 1, 2, 5, 12, 20, 24]) for _ in range(rng.choice([1, 1, 1, 3]))]
        if not ops:
            model.look(limit, clock.now)
        reply = a.tick(*ops, *[a.arrival(call(charge(limit, cost), wait=0)) for cost in costs])
        first = a.count - len(costs) + 1
        granted = {granted.n: granted.slices[0] for granted in reply.granted}
        refused = {refused.n: refused.wait_ms for refused in reply.refused}
        for n, cost in enumerate(costs, first):
            wait = model.wait(limit, clock.now, cost)
            if wait == 0:
                assert granted[n] == model.charge(clock.now, cost)
                ending.append((granted[n], cost, limit.slice_ms))
            else:
                assert refused[n] == wait
        ending = ending[-12:]


@pytest.mark.parametrize(("seed", "rate"), list(enumerate([(7, 50), (1, 3), (2, 1)])))
def test_a_token_bucket_answers_as_its_model(a: Replica, clock: Clock, seed: int, rate: tuple[int, int]) -> None:
    """Over changes of capacity, with settlements soon and late."""
    rng = random.Random(seed)
    model, ending, capacity = Twin(), list[tuple[int, int]](), 60
    for _ in range(400):
        clock.now += rng.choice([0, 1, 3, 10, 50, 51, 173, rng.choice([600, 5000])])
        if rng.random() < 0.05:
            capacity = rng.choice([30, 60, 90])
        limit = bucket(capacity, *rate)
        model.look(limit, clock.now)
        ops: list[list[bytes | int]] = []
        if ending and rng.random() < 0.5:
            at, cost = ending.pop(rng.randrange(len(ending)))
            delta = rng.choice([-cost, -cost // 2, -1, 1, 20])
            ops.append(wire.settle(charge(limit, cost), at, delta))
            model.settle(limit, (at, cost), delta)
        costs = [rng.choice([1, 1, 2, 5, 12, 30]) for _ in range(rng.choice([0, 1, 1, 3]))]
        reply = a.tick(*ops, *[a.arrival(call(charge(limit, cost), wait=0)) for cost in costs])
        first = a.count - len(costs) + 1
        granted = {granted.n: granted.slices[0] for granted in reply.granted}
        refused = {refused.n: refused.wait_ms for refused in reply.refused}
        for n, cost in enumerate(costs, first):
            wait = model.wait(limit, cost)
            if wait == 0:
                assert granted[n] == model.charge(cost)
                ending.append((clock.now, cost))
            else:
                assert refused[n] == wait
        ending = ending[-12:]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_quota_answers_as_its_model(a: Replica, clock: Clock, seed: int) -> None:
    """Around many midnights, with settlements before and after them."""
    rng = random.Random(seed)
    limit, model = quota(30, jitter=500), Quota()
    ending: list[tuple[int, int, list[int]]] = []
    clock.now = 5 * DAY - 2000
    for _ in range(400):
        clock.now += rng.choice([0, 1, 100, 250, 500, 700])
        if clock.now % DAY > 2000 and clock.now % DAY < DAY - 3000 and rng.random() < 0.2:
            clock.now += DAY - clock.now % DAY - rng.choice([1500, 501, 500, 499, 1])
        ops: list[list[bytes | int]] = []
        if ending and rng.random() < 0.5:
            name, cost, ends = ending.pop(rng.randrange(len(ending)))
            delta = rng.choice([-cost, -1, 3])
            ops.append(wire.settle(charge(limit, cost), name, delta))
            model.settle(clock.now, ends, delta)
        costs = [rng.choice([1, 2, 5, 12, 30]) for _ in range(rng.choice([0, 1, 1, 3]))]
        reply = a.tick(*ops, *[a.arrival(call(charge(limit, cost), wait=0)) for cost in costs])
        first = a.count - len(costs) + 1
        granted = {granted.n: granted for granted in reply.granted}
        refused = {refused.n: refused.wait_ms for refused in reply.refused}
        for n, cost in enumerate(costs, first):
            wait = model.wait(limit, clock.now, cost, DAY)
            if wait == 0:
                ends = model.charge(limit, clock.now, cost, DAY)
                assert granted[n].slices[0] == 2 * ends[0] + len(ends) - 1
                assert granted[n].uses == (max(model.used[end] for end in ends),)
                ending.append((granted[n].slices[0], cost, ends))
            else:
                assert refused[n] == wait
        ending = ending[-12:]


@pytest.mark.parametrize("seed", SEEDS)
def test_calls_in_flight_are_those_that_each_replica_says_and_those_pushed_to_it(
    a: Replica, b: Replica, clock: Clock, seed: int
) -> None:
    """Whoever asks finds N less what all have; a statement replaces a replica's own part and leaves what was pushed."""
    rng = random.Random(seed)
    of, has = charge(flying(6)), Counter[str]()
    unseen: dict[str, list[int]] = {"a": [], "b": []}
    replicas = {"a": a, "b": b}
    for _ in range(300):
        name = rng.choice("ab")
        replica = replicas[name]
        ops: list[list[bytes | int]] = [ack(n) for n in unseen[name]]
        has[name] += len(unseen[name])
        has["pushed to " + name] -= len(unseen[name])
        unseen[name] = []
        if ops or rng.random() < 0.5:
            if not ops:
                has[name] = rng.choice([has[name], max(0, has[name] - 1), max(0, has[name] - 1), 0])
            ops.append(gauge(of, has[name]))
        reply = replica.tick(*ops)
        other = "b" if name == "a" else "a"
        assert reply.waiting == 0
        asked = rng.choice([1, 1, 2])
        free = 6 - has.total()
        reply = replica.tick(*[replica.arrival(call(of, wait=0)) for _ in range(asked)])
        assert len(reply.granted) == max(0, min(asked, free))
        has[name] += len(reply.granted)
        if has.total() == 6 and rng.random() < 0.3:
            # one call of the other waits, and this one's landing serves it
            replicas[other].arrive(call(of))
            landed = min(1, has[name])
            has[name] -= landed
            replica.tick(gauge(of, has[name]))
            if landed:
                has["pushed to " + other] += 1
                told = [granted.n for granted in replicas[other].tick().granted]
                assert told == [*unseen[other], replicas[other].count]
                unseen[other] = told
            else:
                replicas[other].tick([b"C", replicas[other].count])
