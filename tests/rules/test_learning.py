"""rules/learning.py: which endpoints have a limit that is found out."""

from __future__ import annotations

import pytest

from rules.dialects import Reading
from rules.parse import parse
from rules.plan import endpoint_scope, learn
from rules.policy import Backoff, Limit, Service
from rules.verdict import Block, Grant

from .given import Given


def service(more: str) -> Service:
    """A service nobody knows, with an adaptive back-off."""
    text = f"services:\n  s: {{hosts: [s.example], backoff: {{type: adaptive}}{more}}}\n"
    return parse(text, filename="f", sources=Given({}, {}), catalogue={}).policy.services["s"]


def learned(of: Service) -> dict[str, Limit]:
    """Endpoint -> the limit that is found out for it."""
    return {one.name: limit for one in of.endpoints for limit in one.limits if limit.learned}


def test_an_endpoint_that_nobody_limits_has_one() -> None:
    """Per group and endpoint, over a minute, beginning at one a second."""
    (limit,) = learned(service("")).values()
    assert (limit.per, limit.window_ms, limit.start, limit.kind) == (("group", "endpoint"), 60_000, 60, "window")


@pytest.mark.parametrize(
    "more",
    [
        ", limits: [{requests: 9, window: 60}]",
        ", limits: [{capacity: 9, refillRate: 1}]",
        ", limits: [{requests: 9, window: day}]",
        ", limits: [{requests: 9, window: 60, per: []}]",
        ", endpoints: {all: {path: '/**', limits: [{requests: 9, window: 60}]}}",
        ", endpoints: {all: {path: '/**', costs: {units: 1}}}",
    ],
)
def test_an_amount_that_somebody_names_is_not_searched_for(more: str) -> None:
    """A window, a bucket, a quota; of the service or of the endpoint. What makes no requests cannot be counted so."""
    assert learned(service(more)) == {}


@pytest.mark.parametrize(
    "more",
    [
        ", limits: [{requests: 9, window: 60, per: [user]}]",
        ", limits: [{concurrent: 9}]",
        ", limits: [{audio_seconds: 9, window: 60}]",
        ", limits: [{requests: 9, window: 60}], endpoints: {all: {path: '/**', service_limits: false}}",
    ],
)
def test_what_is_no_amount_of_the_upstreams_leaves_it_to_be_found_out(more: str) -> None:
    """Fairness between users, calls in flight, a meter the endpoint does not have, limits that do not count it."""
    assert len(learned(service(more))) == 1


def test_only_endpoints_without_an_amount_are_searched() -> None:
    """Others beside them are as documented."""
    more = ", endpoints: {known: {path: /known, limits: [{requests: 9, window: 60}]}, unknown: {path: /unknown}}"
    assert set(learned(service(more))) == {"unknown", "other"}


def test_another_back_off_searches_nothing() -> None:
    """It only says how long to rest."""
    text = "services:\n  s: {hosts: [s.example], backoff: {type: exponential}}\n"
    assert learned(parse(text, filename="f", sources=Given({}, {}), catalogue={}).policy.services["s"]) == {}


def test_fractions_of_requests_are_counted_in_their_parts() -> None:
    """costMapping may say that a call counts as half a one."""
    (limit,) = learned(service(", costMapping: {small: 0.5}")).values()
    assert (limit.scale, limit.start) == (1000, 60_000)


def test_a_refusal_rests_the_endpoint_alone() -> None:
    """Limits that are found out are of an endpoint (TikTok's are: provider-facts 1.1), whatever the dialect says."""
    reading = Reading(meaning="slow_down", retry_after_ms=5, scope="group", counted=True, limits=())
    grant = Grant(service="s", attempt="x", key="a-1", group="one", taken=(), waited_ms=0)
    backoff = Backoff(type="adaptive", initial_delay_ms=100, max_delay_ms=1000)
    made = learn(reading, grant, model=None, backoff=backoff, attempt=0, pooled=True, endpoint="list")
    assert made.blocks == (Block(endpoint_scope("one", "list"), 5, "slow_down", 0, "a-1"),)
