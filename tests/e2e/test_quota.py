"""The two measures of the overload test, checked on ledgers whose answer is known."""

from __future__ import annotations

import pytest

from .quota import fullest, share


def test_a_steady_flow_at_the_limit_uses_all_of_it() -> None:
    """Ten a second against 60 in 6 s is a share of 1, wherever the measuring starts."""
    steady = [(number / 10, 1.0) for number in range(400)]
    assert share(steady, quota=60, window=6, start=6, windows=3) == pytest.approx(1.0, abs=0.005)
    assert share(steady, quota=60, window=6, start=8.3, windows=3) == pytest.approx(1.0, abs=0.005)


def test_bursts_are_worth_their_period_not_the_luck_of_the_edge() -> None:
    """60 at once every 7.5 s is 80 % of 60 in 6 s, though some stretches of 18 s hold three bursts and some two."""
    bursts = [(number * 7.5 + 0.001 * call, 1.0) for number in range(8) for call in range(60)]
    # Over a common multiple of both periods the mean is exact.
    assert share(bursts, quota=60, window=6, start=0, windows=5) == pytest.approx(0.8, abs=0.05)


def test_silence_uses_nothing() -> None:
    """What came before the start does not count."""
    assert share([(1.0, 60.0), (2.0, 60.0)], quota=60, window=6, start=6, windows=3) == 0


def test_the_fullest_window_is_found_between_the_edges() -> None:
    """Two halves of different fixed windows that are less than a window apart stand in one sliding window."""
    assert fullest([(5.9, 40.0), (6.1, 50.0)], window=6) == 90
    assert fullest([(0.0, 40.0), (6.0, 50.0)], window=6) == 50
