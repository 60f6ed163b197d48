"""docs/upstreams.md, proved on a virtual clock: the gate with the setting of a row, the limiter of that row, and a
jitter that does its worst. No call is refused; with the setting of another row one is.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.policy import Limit
from tests.rules.gate.driver import Clock, Replica, TablesHost, call, charge, gauge
from tests.rules.given import parsed

from .kinds import Kind, full, short
from .limiters import SECOND

MS = SECOND // 1000
KINDS = {"6s": {kind.name: kind for kind in short()}, "60s": {kind.name: kind for kind in full()}}
JITTER_MS = {"6s": 100, "60s": 500}
SPANS = {"6s": (1, 19, 100, 400, 1000), "60s": (10, 250, 1000, 4000, 10_000)}
"""Milliseconds between looks: at each the demand takes what it gets."""
SEEDS = st.integers(0, 2**32)


def limits_of(text: str, jitter_ms: int) -> tuple[Limit, ...]:
    """As Headgate reads them."""
    whole = f"services:\n  a:\n    hosts: [a.test]\n    jitter: {jitter_ms}ms\n    limits: {text}\n"
    return parsed(whole, catalogue={}).policy.services["a"].limits


def refusals(kind: Kind, text: str, window: str, seed: int, *, jitter_ms: int | None = None) -> int:
    """How many calls the kind's limiter refuses when Headgate holds the limits of `text` and calls are counted up
    to the jitter late. The demand takes all it gets at each look, one, or three, and pauses now and then.
    """
    draw = random.Random(seed)
    jitter = JITTER_MS[window]
    limits = limits_of(text, jitter if jitter_ms is None else jitter_ms)
    clock, counted = Clock(), []
    replica = Replica(TablesHost(), clock)
    worst = draw.choice(((0, jitter), (0, 0, 0, jitter), range(jitter + 1)))
    for _ in range(150):
        clock.now += draw.choice(SPANS[window]) if draw.random() < 0.98 else SPANS[window][-1] * draw.randrange(1, 9)
        for _ in range(draw.choice((1, 3, 1000))):
            cost = draw.randrange(100, 301)
            charges = [charge(limit, (1 if limit.meter == "requests" else cost) * limit.scale) for limit in limits]
            if not replica.arrive(call(*charges, wait=0)).granted:
                break
            counted.append((clock.now + draw.choice(worst), cost))
    limiters = [(rule.meter, rule.limiter(draw)) for rule in kind.provider.rules]
    refused = 0
    for at, cost in sorted(counted):
        costs = {"requests": 1, "tokens": cost}
        if all(limiter.fits(at * MS, costs[meter]) for meter, limiter in limiters):
            for meter, limiter in limiters:
                limiter.take(at * MS, costs[meter])
        else:
            refused += 1
    return refused


@pytest.mark.parametrize("window", KINDS)
@pytest.mark.parametrize("name", ["fixed", "sliding", "two_counters", "bucket", "quantised"])
@given(seed=SEEDS)
@settings(max_examples=6, deadline=None)
def test_the_setting_for_an_upstream_earns_no_429(name: str, window: str, seed: int) -> None:
    """Whatever the demand, the phase of the provider's windows, and which calls are counted late."""
    kind = KINDS[window][name]
    assert refusals(kind, kind.limits, window, seed) == 0


@pytest.mark.parametrize(
    ("name", "text", "jitter_ms"),
    [
        ("two_counters", "[{requests: 90, window: 6}]", None),
        ("sliding", "[{capacity: 90, refillRate: 15}]", None),
        ("fixed", "[{capacity: 90, refillRate: 15}]", None),
        ("quantised", "[{requests: 90, window: 6}]", None),
        ("sliding", "[{requests: 90, window: 6}]", 0),
        ("two_counters", "[{capacity: 20, refillRate: 14.16}]", None),
        ("bucket", "[{capacity: 18000, refillRate: 3000, meter: tokens}]", 0),
    ],
)
def test_the_setting_for_another_upstream_earns_some(name: str, text: str, jitter_ms: int | None) -> None:
    """A window where two counters count, a bucket where a window counts, no quantum, no jitter: each is found out."""
    assert any(refusals(KINDS["6s"][name], text, "6s", seed, jitter_ms=jitter_ms) for seed in range(20))


@pytest.mark.parametrize("seed", range(5))
def test_calls_in_flight_are_never_too_many(seed: int) -> None:
    """A place is given on when the answer has ended, and the provider has counted the call out by then."""
    kind, draw = KINDS["6s"]["concurrency"], random.Random(seed)
    (limit,) = limits_of(kind.limits, 100)
    clock, place = Clock(), charge(limit)
    replica = Replica(TablesHost(), clock)
    (rule,) = kind.provider.rules
    limiter = rule.limiter(draw)
    events: list[tuple[int, str]] = []
    served = flying = 0
    while served < 200:
        clock.now += draw.choice((1, 10, 50))
        for event in sorted(events):
            at, what = event
            if at <= clock.now:
                events.remove(event)
                if what == "count":
                    assert limiter.fits(at * MS, 1)
                    limiter.take(at * MS, 1)
                    events.append((clock.now + draw.randrange(100, 1000), "leave"))
                else:
                    limiter.leave(1)
                    flying, served = flying - 1, served + 1
                    replica.tick(gauge(place, flying))
        while replica.arrive(call(place, wait=0)).granted:
            flying += 1
            events.append((clock.now + draw.randrange(101), "count"))
    assert flying == rule.amount


def test_every_limit_of_the_page_can_be_read() -> None:
    """What an operator copies from docs/upstreams.md is a limit, once its letters are numbers."""
    page = (Path(__file__).parents[2] / "docs/upstreams.md").read_text()
    numbers = {"N": "600", "W": "60", "C": "12", "r": "9.8", "q": "10"}
    found = 0
    for text in re.findall(r"`(\{[^`]+\})`", page):
        filled = re.sub(r": ([NWCrq])\b", lambda match: ": " + numbers[match[1]], text).replace("timezone: …", "")
        assert limits_of(f"[{filled}]", 500)
        found += 1
    assert found >= 8
