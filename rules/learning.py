"""Limits that nobody publishes: a window whose N is found out (gate/learned.lua), where `backoff` is adaptive.

Law: only where neither the operator nor the catalogue names an amount for the calls of an endpoint; what is fairness
between users, or counts calls in flight, is no such amount.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import replace

from .policy import Endpoint, Limit

MOST = 1_000_000
"""Calls per window that are ever tried: far above what any provider of the catalogue documents (provider-facts 1.3)."""

_PERSONAL = {"user", "client"}


def with_learned(
    endpoints: Iterable[Endpoint],
    service_limits: Collection[Limit],
    counted: Collection[str],
    *,
    window_ms: int,
    jitter_ms: int,
    scale: int,
) -> tuple[Endpoint, ...]:
    """The endpoints, those without an amount of their own with a learned one per group and endpoint.

    `counted`: meters that bodies are read for. `scale`: of requests, where `costMapping` has fractions of them.
    """
    limit = learned_limit(window_ms, jitter_ms, scale)

    def one(endpoint: Endpoint) -> Endpoint:
        meters = {*endpoint.costs, *(counted if endpoint.body != "none" else ())}
        every = (*endpoint.limits, *service_limits) if endpoint.service_limits else endpoint.limits
        if "requests" not in endpoint.costs or any(_names_an_amount(known, meters) for known in every):
            return endpoint
        return replace(endpoint, limits=(*endpoint.limits, limit))

    return tuple(map(one, endpoints))


def _names_an_amount(limit: Limit, meters: Collection[str]) -> bool:
    return limit.kind != "concurrent" and limit.meter in meters and _PERSONAL.isdisjoint(limit.per)


def learned_limit(window_ms: int, jitter_ms: int, scale: int) -> Limit:
    """The window whose N is found out, `scale` parts of a request to one of its units."""
    seconds = f"{window_ms / 1000:.15g}s"
    return Limit(
        id=f"learned-requests-{seconds}-group.endpoint",
        name=f"requests per {seconds} per group, endpoint, as found out",
        kind="window",
        meter="requests",
        amount=MOST * scale,
        scale=scale,
        window_ms=window_ms,
        jitter_ms=jitter_ms,
        # limiter 4.1: 240 slices for a minute and more, 60 below
        slices=max(1, min(240 if window_ms >= 60_000 else 60, window_ms)),
        burst=MOST * scale // 2,
        learned=True,
        # one a second: twice the floor of botocore's adaptive mode (limiter 13)
        start=math.ceil(window_ms / 1000) * scale,
        per=("group", "endpoint"),
    )
