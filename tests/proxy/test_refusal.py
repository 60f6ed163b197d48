"""proxy/refusal.py: a sentence for every refusal of the gate."""

from __future__ import annotations

import pytest

from proxy.errors import STATUS
from proxy.refusal import problem_of
from rules.policy import Limit, Service
from rules.verdict import Refuse
from tests.rules.given import parsed

LIMIT = Limit(id="r", name="500 requests per 60s per group", kind="window", meter="requests", amount=500)
NOTHING = Limit(id="r", name="0 requests per 60s", kind="window", meter="requests", amount=0)
CODES = (
    "wait_too_long", "hold_expired", "never_fits", "no_key", "queue_full", "draining", "overloaded",
    "store_unavailable",
)  # fmt: skip


def openai(keys: bool = True) -> Service:
    """A service with or without a key."""
    text = "services: {openai: {keys: {env: K}}}" if keys else ""
    return parsed(text, environ={"K": "sk-canary"}).policy.services["openai"]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("limit", [LIMIT, None])
@pytest.mark.parametrize("after", [1500, None])
def test_every_refusal_is_a_problem_with_its_code_and_time(code: str, limit: Limit | None, after: int | None) -> None:
    """The code has a status, the text is a sentence of ours, the time and the limit are passed on."""
    problem = problem_of(openai(), Refuse(code=code, limit=limit, retry_after_ms=after), 2000)
    assert problem.code in STATUS
    assert (problem.code, problem.retry_after_ms, problem.limit) == (code, after, limit)
    assert problem.message
    assert "None" not in problem.message
    assert "canary" not in problem.message


@pytest.mark.parametrize(
    ("refuse", "text"),
    [
        (
            Refuse(code="wait_too_long", limit=LIMIT, retry_after_ms=1500),
            "openai: no room on 500 requests per 60s per group; the wait would be 1.5 s",
        ),
        (Refuse(code="wait_too_long"), "openai: no room; the wait would be longer than the call may be held"),
        (
            Refuse(code="hold_expired", limit=LIMIT),
            "openai: held for 2.0 s on 500 requests per 60s per group, and its time is up",
        ),
        (
            Refuse(code="no_key", retry_after_ms=60_000),
            "openai: no key can serve this call; the first returns in 60.0 s",
        ),
        (Refuse(code="no_key"), "openai: no key can serve this call; none says when it returns"),
        (Refuse(code="queue_full"), "openai: the line is full"),
        (
            Refuse(code="never_fits", limit=LIMIT),
            "openai: the call costs more than a limit holds on 500 requests per 60s per group; no wait helps",
        ),
        (Refuse(code="never_fits", limit=NOTHING), "openai: 0 requests per 60s lets nothing through"),
    ],
    ids=lambda value: value.code if isinstance(value, Refuse) else "",
)
def test_the_sentences(refuse: Refuse, text: str) -> None:
    """What a person reads names the service, the limit and the time."""
    assert problem_of(openai(), refuse, 2000).message == text


def test_a_pool_without_a_key_says_so() -> None:
    """There is nothing to wait for."""
    assert problem_of(openai(keys=False), Refuse(code="no_key"), 0).message == "openai: the pool has no key"
