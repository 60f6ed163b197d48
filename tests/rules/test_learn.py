"""rules/plan.py, `learn`: what a reply teaches of a key, its group, and the call."""

from __future__ import annotations

import pytest

from rules.dialects import Meaning, Reading, Scope
from rules.plan import EXHAUSTED_MS, group_scope, key_scope, learn, model_scope
from rules.policy import Backoff, KeyAction, Upkeep
from rules.verdict import Block, Grant

GRANT = Grant(service="s", attempt="x", key="a-1", group="one", taken=(), waited_ms=0)
BACKOFF = Backoff(type="exponential", initial_delay_ms=100, max_delay_ms=1000)


def lesson_of(
    meaning: Meaning, *, after: int | None = None, scope: Scope = "group_model", attempt: int = 0, pooled: bool = True
) -> tuple[tuple[Block, ...], bool]:
    """What is learned: blocks, and whether the call may try again."""
    counted = meaning != "dead"
    reading = Reading(meaning=meaning, retry_after_ms=after, scope=scope, counted=counted, limits=())
    made = learn(reading, GRANT, model="m", backoff=BACKOFF, attempt=attempt, pooled=pooled, status=STATUS)
    assert (made.meaning, made.counted) == (meaning, counted)
    return made.blocks, made.retry


STATUS = 418
MODEL, GROUP, KEY = model_scope("one", "m"), group_scope("one"), key_scope("a-1")


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("meaning", ["ok", "fault", "overloaded"])
def test_what_is_no_limit_rests_nothing(meaning: Meaning, pooled: bool) -> None:
    """And is not tried again."""
    assert lesson_of(meaning, pooled=pooled) == ((), False)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize(("scope", "rests"), [("group_model", MODEL), ("group", GROUP)])
def test_slow_down_rests_the_group_for_as_long_as_was_said(scope: Scope, rests: str, pooled: bool) -> None:
    """With a pool or without one; the call goes again."""
    of = ("a-1" if pooled else "", "m" if rests == MODEL else None)
    assert lesson_of("slow_down", after=1234, scope=scope, pooled=pooled) == (
        (Block(rests, 1234, "slow_down", STATUS, *of),),
        True,
    )


def test_a_second_model_s_refusal_rests_the_whole_group() -> None:
    """What the group as a whole has used up no model of it has."""
    reading = Reading(meaning="slow_down", retry_after_ms=5, scope="group_model", counted=True, limits=())
    made = learn(reading, GRANT, model="m", backoff=BACKOFF, attempt=1, pooled=True, wide=True)
    assert made.blocks == (Block(GROUP, 5, "slow_down", 0, "a-1"),)


def test_slow_down_without_a_time_rests_longer_each_time() -> None:
    """From the first delay of the policy to its last."""
    rests = [lesson_of("slow_down", attempt=attempt)[0][0].for_ms for attempt in range(8)]
    assert rests[0] == 100
    assert rests == sorted(rests)
    assert rests[-1] == 1000


@pytest.mark.parametrize(("after", "rests"), [(None, EXHAUSTED_MS), (777, 777)])
@pytest.mark.parametrize(("scope", "what"), [("key", KEY), ("group", GROUP), ("group_model", GROUP)])
def test_the_callers_own_exhausted_key_rests_and_the_call_does_not_go_again(
    after: int | None, rests: int, scope: Scope, what: str
) -> None:
    """It is what it is."""
    assert lesson_of("exhausted", after=after, scope=scope, pooled=False) == (
        (Block(what, rests, "exhausted", STATUS),),
        False,
    )


@pytest.mark.parametrize(("after", "rests"), [(None, 60_000), (777, 777)])
@pytest.mark.parametrize(("scope", "what"), [("key", KEY), ("group", GROUP), ("group_model", GROUP)])
def test_a_pool_s_exhausted_key_is_tried_when_the_upstream_said_or_each_minute(
    after: int | None, rests: int, scope: Scope, what: str
) -> None:
    """Another key may have quota, so the call goes again."""
    block = Block(what, rests, "exhausted", STATUS, "a-1", None, 60_000, after is not None)
    assert lesson_of("exhausted", after=after, scope=scope) == ((block,), True)


def test_a_dead_key_is_taken_out_of_a_pool_alone_and_tried_each_minute() -> None:
    """Its group goes on; a caller's own key is not ours to take out."""
    block = Block(KEY, 60_000, "dead", STATUS, "a-1", None, 60_000, False)
    assert lesson_of("dead", scope="key") == ((block,), True)
    assert lesson_of("dead", scope="key", pooled=False) == ((), False)


@pytest.mark.parametrize(
    ("action", "read", "means", "scope"),
    [
        ("none", "dead", "fault", None),
        ("error", "fault", "dead", KEY),
        ("exhausted", "fault", "exhausted", KEY),
        ("rate_limited", "dead", "slow_down", MODEL),
        ("error", "dead", "dead", KEY),
    ],
)
def test_what_the_operator_says_of_a_status_goes_before_what_the_reply_means(
    action: KeyAction, read: Meaning, means: str, scope: str | None
) -> None:
    """The key alone is taken out, and a caller's own key is left as it is."""
    upkeep = Upkeep(actions={418: action}, probe_ms=5000)
    reading = Reading(meaning=read, retry_after_ms=None, scope="group_model", counted=True, limits=())
    made = learn(reading, GRANT, model="m", backoff=BACKOFF, attempt=0, pooled=True, status=418, upkeep=upkeep)
    assert (made.meaning, [block.scope for block in made.blocks]) == (means, [scope] if scope else [])
    other = learn(reading, GRANT, model="m", backoff=BACKOFF, attempt=0, pooled=True, status=419, upkeep=upkeep)
    own = learn(reading, GRANT, model="m", backoff=BACKOFF, attempt=0, pooled=False, status=418, upkeep=upkeep)
    assert (other.meaning, own.meaning) == (read, read)
