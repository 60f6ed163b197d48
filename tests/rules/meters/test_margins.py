"""rules/meters/margins.py: where margins start, and what usage makes of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.meters.margins import MOST, Learned, start


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", 1.0),
        ("ft:gpt-4.1-mini:acme::id", 1.0),
        ("text-embedding-3-small", 1.0),
        ("claude-sonnet-4-5", 1.25),
        ("claude-opus-4-6", 1.25),
        ("claude-3-5-haiku-latest", 1.25),
        ("claude-opus-4-7", 1.6),
        ("anthropic/claude-opus-5", 1.6),
        ("gemini-2.5-flash", 1.2),
        ("gpt-6.1-sol", 1.2),
        ("mistral-large", 1.2),
        ("", 1.2),
    ],
)
def test_where_a_margin_starts(model: str, expected: float) -> None:
    """1 where the encoding is published, the facts' cautious figure for Claude, 1.2 where nothing is known."""
    assert start(model) == expected


@pytest.mark.parametrize(("begin", "true"), [(1.2, 1.0), (1.2, 1.1), (1.6, 1.31), (1.25, 1.5), (1.0, 1.4)])
def test_twenty_calls_teach_the_margin(begin: float, true: float) -> None:
    """Of ordinary chats whose ratio scatters by 2 %: then at most one call in ten is estimated too low, and none by
    much; and not much is reserved for nothing."""
    dice = random.Random(3)
    learned = Learned(begin)
    short: list[float] = []
    for call in range(220):
        counted = dice.choice((200, 800, 3000))
        ratio = dice.gauss(true, 0.02)
        if call >= 20:
            short.append(max(0.0, ratio / learned.margin - 1))
            assert learned.margin <= max(1.0, true * 1.12 if call < 60 else true * 1.09)
        learned = learned.after(counted, ratio * counted)
    assert sum(1 for one in short if one > 0) <= 20
    assert max(short) < 0.05


def test_one_call_that_costs_more_raises_at_once() -> None:
    """By about half of what it was short."""
    assert 1.2 < Learned(1.0).after(2000, 3000).margin < 1.5


def test_a_count_that_is_right_stays_exact() -> None:
    """Some tokens of overhead that nobody publishes do not move the counts of published encodings."""
    learned = Learned(1.0)
    for counted in (10, 200, 1000, 3000) * 20:
        learned = learned.after(counted, counted + 4)
        assert learned.margin == 1.0


def test_a_lie_moves_little_and_is_forgotten() -> None:
    """One reply of a million tokens for ten does not make the estimates of all that follow useless."""
    learned = Learned(1.0).after(10, 1_000_000)
    assert learned.margin < 1.05
    learned = learned.after(1_000_000, 10**12)
    assert learned.margin <= MOST
    for _ in range(300):
        learned = learned.after(500, 500)
    assert learned.margin < 1.1


@given(st.floats(1, 10), st.lists(st.tuples(st.floats(), st.floats()), max_size=50))
def test_no_usage_leaves_the_bounds(begin: float, calls: list[tuple[float, float]]) -> None:
    """NaN, negatives, 10^300: the margin stays a number from 1 to MOST."""
    learned = Learned(begin)
    for counted, true in calls:
        learned = learned.after(counted, true)
        assert 1.0 <= learned.margin <= MOST
