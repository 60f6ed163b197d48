"""rules/gate/standing.py: lanes and dominant shares."""

from __future__ import annotations

import dataclasses

import pytest

from rules.gate.standing import LONE, SHARE, share, standing

from .driver import call, charge, key, window

REQUESTS, TOKENS = window(100, name="r"), window(1000, name="t")
OF_USER = dataclasses.replace(window(3, name="u"), per=("user",))


def test_the_share_is_that_of_the_limit_the_call_takes_most_of() -> None:
    """One of 100 requests against 50 of 1000 tokens: a twentieth."""
    stands = standing(call(charge(REQUESTS), charge(TOKENS, 50)))
    assert share([1, 50], stands.bases) == -(-SHARE // 20)


def test_a_limit_of_keys_counts_with_all_groups_of_the_pool_once() -> None:
    """Two keys of one group and one of another: twice the limit (Q9)."""
    keys = [
        key("a1", charge(REQUESTS, 1, "A"), group="A"),
        key("a2", charge(REQUESTS, 1, "A"), group="A"),
        key("b", charge(REQUESTS, 1, "B"), group="B"),
    ]
    assert standing(call(keys=keys)).bases == (200,)


def test_a_limit_of_one_user_is_in_neither_lane_nor_share() -> None:
    """Two users with limits of their own stand in one lane."""
    one = standing(call(charge(OF_USER, 1, "one"), charge(REQUESTS), user="one"))
    two = standing(call(charge(OF_USER, 1, "two"), charge(REQUESTS), user="two"))
    assert one.line_class == two.line_class
    assert one.flow != two.flow
    assert one.bases == (0, 100)
    assert share([3, 1], one.bases) == -(-SHARE // 100)


def test_without_a_shared_limit_all_calls_cost_the_same() -> None:
    """There is nothing to be heavy on."""
    assert share([3], standing(call(charge(OF_USER, 3))).bases) == LONE


@pytest.mark.parametrize("other", [{"tier": "gold"}, {"keys": [key("x")]}, {"user": "f"}])
def test_lane_and_tier_make_the_class(other: dict[str, object]) -> None:
    """Other keys or another tier are another class; another amount or cost is not."""
    one = standing(call(charge(REQUESTS)))
    two = standing(call(charge(dataclasses.replace(REQUESTS, amount=7), 2), **other))  # type: ignore[arg-type]
    assert (one.line_class == two.line_class) == (other == {"user": "f"})


def test_a_share_is_at_least_one_and_never_rounded_down() -> None:
    """One of 2^52 is still a turn."""
    assert share([1], (2**52,)) == 1
    assert share([1], (3,)) * 3 > SHARE
