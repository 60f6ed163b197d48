from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.backoff import delay_ms
from rules.policy import Backoff

Type = Literal["exponential", "linear", "adaptive"]


@pytest.mark.parametrize(
    ("kind", "multiplier", "expected"),
    [
        ("exponential", 2.0, [2000, 4000, 8000, 16_000, 30_000]),
        ("exponential", 1.5, [2000, 3000, 4500, 6750, 10_125]),
        ("exponential", 0.5, [2000, 2000, 2000, 2000, 2000]),
        ("adaptive", 2.0, [2000, 4000, 8000, 16_000, 30_000]),
        ("linear", 2.0, [2000, 4000, 6000, 8000, 10_000]),
    ],
)
def test_grows(kind: Type, multiplier: float, expected: list[int]) -> None:
    """The delay grows by its kind, up to the maximum."""
    backoff = Backoff(type=kind, initial_delay_ms=2000, max_delay_ms=30_000, multiplier=multiplier)
    assert [delay_ms(backoff, attempt) for attempt in range(5)] == expected


@given(
    st.sampled_from(["exponential", "linear", "adaptive"]),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.floats(0, 1e6),
    st.integers(-5, 10**6),
)
def test_bounds(kind: Type, initial: int, most: int, multiplier: float, attempt: int) -> None:
    """For any configuration and attempt the delay is from 0 to the maximum and does not shrink."""
    backoff = Backoff(type=kind, initial_delay_ms=initial, max_delay_ms=most, multiplier=multiplier)
    assert 0 <= delay_ms(backoff, attempt) <= delay_ms(backoff, attempt + 1) <= most
