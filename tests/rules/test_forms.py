"""Rules of the forms that hold between several keys, and the defaults with a source."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rules.forms import BackoffForm, HoldForm, LimitForm, ServiceForm


def test_defaults_are_those_of_the_design() -> None:
    """60 s and 10,000 (design 4.3), 500 ms (limiter 4.1), the group as scope (limiter 4)."""
    service = ServiceForm()
    assert (HoldForm().max_wait, HoldForm().max_queue, service.jitter, service.mode) == (60_000, 10_000, 500, "enforce")
    assert LimitForm(concurrent=5).per == ["group"]
    assert BackoffForm(type="linear").multiplier == 2.0


@pytest.mark.parametrize(
    "limit",
    [
        {"requests": 5, "window": "1m", "per": "user"},
        {"capacity": 5, "refillRate": 1, "meter": "tokens"},
        {"concurrent": 0, "models": ["a*"]},
        {"tokens": 5, "window": 0.5, "burst": 3},
        {"tokens": 5, "window": 60, "quantum": 60},
        {"units": 5, "window": "day"},
        {"units": 5, "window": "month", "timezone": "America/Los_Angeles"},
    ],
)
def test_a_limit_has_one_of_four_shapes(limit: dict[str, object]) -> None:
    """A meter with a window, or with a calendar period, a bucket, or calls in flight."""
    assert LimitForm.model_validate(limit).per


@pytest.mark.parametrize(
    "limit",
    [
        {},
        {"requests": 5},
        {"requests": 5, "window": 60, "refillRate": 1},
        {"requests": 5, "window": 60, "meter": "tokens"},
        {"capacity": 5, "refillRate": 1, "window": 60},
        {"capacity": 0, "refillRate": 1},
        {"capacity": 2**52, "refillRate": 0.001},
        {"concurrent": 5, "burst": 3},
        {"requests": float("nan"), "window": 60},
        {"requests": True, "window": 60},
        {"requests": 5, "window": True},
        {"requests": 5, "window": "0.1ms"},
        {"requests": 5, "window": "week"},
        {"requests": 5, "window": "1d", "timezone": "UTC"},
        {"requests": 5, "timezone": "UTC"},
        {"requests": 5, "window": "day", "timezone": "Pacific"},
        {"requests": 5, "window": "day", "timezone": "../../etc/localtime"},
        {"requests": 5, "window": "day", "burst": 3},
        {"requests": 5, "window": "day", "quantum": 24},
        {"requests": 5, "window": 60, "quantum": 1},
        {"capacity": 5, "refillRate": 1, "quantum": 5},
        {"concurrent": 5, "quantum": 5},
    ],
)
def test_a_limit_of_mixed_shapes_is_refused(limit: dict[str, object]) -> None:
    """Every combination that could be read in two ways is a mistake."""
    with pytest.raises(ValidationError):
        LimitForm.model_validate(limit)
