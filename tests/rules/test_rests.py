"""rules/plan.py: which scope a refusal rests, by how its provider counts, and whose key a signed call has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules.dialects import Reading
from rules.plan import OVERLOADED_MS, endpoint_scope, learn, model_scope
from rules.verdict import Block

from .test_learn import BACKOFF, GRANT, MODEL, OF_ENDPOINT, STATUS, lesson_of
from .test_plan import A, facts, planned, service


@pytest.mark.parametrize(("after", "rests"), [(1234, 1234), (86_400_000, OVERLOADED_MS)])
def test_a_service_in_trouble_rests_as_long_as_it_asks_and_a_minute_at_most(after: int, rests: int) -> None:
    """The call may have been carried out, so it is not sent again."""
    assert lesson_of("overloaded", after=after) == ((Block(MODEL, rests, "overloaded", STATUS, "a-1", "m"),), False)


def test_a_provider_that_counts_by_endpoint_rests_the_endpoint() -> None:
    """Whatever the model, and however many endpoints were refused; the others go on."""
    reading = Reading(meaning="slow_down", retry_after_ms=5, scope="endpoint", counted=True, limits=())
    made = learn(reading, GRANT, model="m", endpoint="e", backoff=BACKOFF, attempt=1, pooled=True, wide=True)
    assert made.blocks == (Block(OF_ENDPOINT, 5, "slow_down", 0, "a-1"),)


@pytest.mark.parametrize(
    ("dialect", "scope"), [("x", endpoint_scope("one", "chat")), ("openai", model_scope("one", "m"))]
)
def test_a_key_is_kept_by_the_rest_its_provider_s_refusals_ask_for(dialect: str, scope: str) -> None:
    """The scope that a refusal rests is one the key's calls look at."""
    made = planned(facts(of=replace(service((A,)), dialect=dialect)))
    assert scope in made.candidates[0].blocks


def test_a_signed_call_has_its_own_key_beside_a_pool() -> None:
    """A signature cannot be given another key."""
    made = planned(replace(facts(caller="abc"), signed=True))
    assert [candidate.key for candidate in made.candidates] == ["caller-abc"]
