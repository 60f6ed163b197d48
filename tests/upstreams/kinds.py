"""The six types of upstream (limiter 14): what each enforces, what an operator writes for it (docs/upstreams.md), the
share of its quota that this configuration can use, and the share that must be used.

The optimum is what Headgate sends when the line is never empty, over what the provider lets through for ever, from
limiter 14.1 and the YAML alone. W: window, J: jitter, w: slice, N: amount; seconds. For sliced windows it is the sure
part: a call that leaves the moment a slice does, and in the middle of its own, does better, up to W/(W + J).

    fixed, sliding   one sliced window of length W + J             W / (W + J + w), w = (W + J)/k
    two counters     a bucket of B + r(W + J) <= N, written as
                     capacity C, refillRate r with C + rW <= N     rW / N
    token bucket     its twin, B = C - rho J                       1
    quantised        a sliced window of length W/q + J             (W/q) / (W/q + J + w)
    concurrency      in flight: a slot is ours while the call is
                     on its way (D/2 in the mean) and worked on    S / (S + D/2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .strict import Provider, Rule

MEAN_TOKENS = 200
"""Of a call, where costs are drawn evenly from half to one and a half of it."""
SERVED = 1.0
"""Seconds the concurrency type works on a call: long beside the turn from one call to the next."""
BURST = 3
"""Calls the two-counter configuration may send at once: a late wake then costs no refill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A type of upstream with the configuration for it."""

    name: str
    provider: Provider
    limits: str
    """The YAML list."""
    meter: str
    """What the quota is counted in: requests, tokens, or in_flight (seconds of calls in flight)."""
    quota: float
    """Of the meter, in a window."""
    calls: float
    """How many calls use the quota up in a window, in the mean."""
    optimum: float
    aim: float


def kinds(*, window: int, jitter: float, amount: int, quantum: int, aim: float) -> list[Kind]:
    """The six, for windows of so many seconds and so many calls; `aim` is that of fixed windows and the sliding log.

    Providers count up to three tenths of the jitter late; the rest is for the machine.
    """
    late, rate = jitter * 0.3, amount / window
    tokens = amount * MEAN_TOKENS
    part = window // quantum
    # what is left of N for the refill, to the hundredth below
    capacity = math.ceil(BURST + rate * jitter)
    refill = math.floor((amount - capacity) / window * 100) / 100
    slots = round(rate * SERVED)
    windows = _share_of_window(window, jitter)
    parts = _share_of_window(part, jitter)

    def kind(
        name: str,
        rules: tuple[Rule, ...],
        limits: str,
        optimum: float,
        least: float,
        *,
        meter: str = "requests",
        quota: float = amount,
        calls: float = amount,
        service: float = 0.0,
    ) -> Kind:
        provider = Provider(rules=rules, delay=late, service=service, seed=len(name))
        return Kind(
            name=name,
            provider=provider,
            limits=limits,
            meter=meter,
            quota=quota,
            calls=calls,
            optimum=optimum,
            aim=least,
        )

    return [
        kind(
            "fixed",
            (Rule(kind="fixed", amount=amount, seconds=window),),
            f"[{{requests: {amount}, window: {window}}}]",
            windows,
            aim,
        ),
        kind(
            "sliding",
            # tokens that nearly bind, so that both are counted
            (
                Rule(kind="sliding", amount=amount, seconds=window),
                Rule(kind="sliding", amount=tokens * 11 // 10, seconds=window, meter="tokens"),
            ),
            f"[{{requests: {amount}, window: {window}}}, {{tokens: {tokens * 11 // 10}, window: {window}}}]",
            windows,
            aim,
        ),
        kind(
            "two_counters",
            (Rule(kind="two_counters", amount=amount, seconds=window),),
            f"[{{capacity: {capacity}, refillRate: {refill}}}]",
            refill * window / amount,
            refill * window / amount - 0.02,
        ),
        kind(
            "bucket",
            (Rule(kind="bucket", amount=tokens, rate=str(round(rate * MEAN_TOKENS)), meter="tokens"),),
            f"[{{capacity: {tokens}, refillRate: {round(rate * MEAN_TOKENS)}, meter: tokens}}]",
            1.0,
            0.99,
            meter="tokens",
            quota=tokens,
        ),
        kind(
            "quantised",
            (
                Rule(kind="sliding", amount=amount, seconds=window),
                Rule(kind="sliding", amount=amount // quantum, seconds=part),
            ),
            f"[{{requests: {amount}, window: {window}, quantum: {quantum}}}]",
            parts,
            parts - 0.02,
        ),
        kind(
            "concurrency",
            (Rule(kind="in_flight", amount=slots),),
            f"[{{concurrent: {slots}}}]",
            SERVED / (SERVED + late / 2),
            SERVED / (SERVED + late / 2) - 0.02,
            meter="in_flight",
            quota=slots * window,
            calls=slots * window / SERVED,
            service=SERVED,
        ),
    ]


def short() -> list[Kind]:
    """W = 6 s, J = 100 ms: what fits into a test."""
    return kinds(window=6, jitter=0.1, amount=90, quantum=6, aim=0.96)


def full() -> list[Kind]:
    """W = 60 s, J = 500 ms, the defaults."""
    return kinds(window=60, jitter=0.5, amount=600, quantum=10, aim=0.98)


def _share_of_window(window: int, jitter: float) -> float:
    slices = 240 if window >= 60 else 60  # limiter 4.1
    length = round((window + jitter) * 1000)
    return window * 1000 / (length + math.ceil(length / slices))
