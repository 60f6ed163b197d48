"""From a limit as written to integers, an id and slices."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.policy import Limit

from .given import parsed


def _limits(text: str, more: str = "") -> tuple[Limit, ...]:
    policy = parsed(f"services:\n  mine:\n    hosts: [mine.example]\n    limits: {text}\n{more}", catalogue={}).policy
    return policy.services["mine"].limits


@pytest.mark.parametrize(
    ("text", "amount", "scale"),
    [
        ("{requests: 500, window: 60}", 500, 1),
        ("{requests: 0, window: 60}", 0, 1),
        ("{requests: 0.5, window: 60}", 500, 1000),
        ("{tokens: 150000, window: 60}", 150_000, 1),
        ("{tokens: 1.5, window: 60}", 1500, 1000),
        ("{audio_seconds: 3000, window: 60}", 3_000_000, 1000),
        ("{usd: 0.29, window: 1d}", 290_000, 1_000_000),
        ("{usd: 0.0000019, window: 1d}", 1, 1_000_000),
        ("{concurrent: 50}", 50, 1),
        ("{units: 10000, window: 1d}", 10_000, 1),
        ("{images: 5, window: 60}", 5, 1),
    ],
)
def test_an_amount_is_an_integer_in_its_scale(text: str, amount: int, scale: int) -> None:
    """Whole units where nothing smaller is counted, thousandths for seconds and fractions, millionths for money."""
    limit = _limits(f"[{text}]")[0]
    assert (limit.amount, limit.scale) == (amount, scale)


def test_fractions_in_cost_mapping_or_costs_make_requests_finer() -> None:
    """A call that counts as half a request needs thousandths of one."""
    assert _limits("[{requests: 5, window: 60}]", "    costMapping: {a: 0.5}\n")[0].scale == 1000
    assert _limits("[{requests: 5, window: 60}]", "    costMapping: {a: 5}\n")[0].scale == 1
    endpoint = "    endpoints: {a: {path: /a, costs: {requests: 0.1}}}\n"
    assert _limits("[{requests: 5, window: 60}]", endpoint)[0].scale == 1000


@pytest.mark.parametrize(
    ("window", "slices"),
    [("59s", 60), ("60s", 240), ("1h", 240), ("86399s", 240), ("1d", 96), ("30d", 96), ("10ms", 10), ("1ms", 1)],
)
def test_a_window_is_cut_as_finely_as_its_length_asks(window: str, slices: int) -> None:
    """240 slices from a minute on, 60 below, 96 from a day on (limiter 4.1), and none under a millisecond."""
    assert _limits(f"[{{requests: 5, window: {window}}}]")[0].slices == slices


def test_jitter_is_the_services_and_only_of_windows() -> None:
    """J is 500 ms unless the service says otherwise; calls in flight have none."""
    window, flight = _limits("[{requests: 5, window: 60}, {concurrent: 5}]")
    assert (window.jitter_ms, window.length_ms, flight.jitter_ms, flight.window_ms) == (500, 60_500, 0, 0)
    assert _limits("[{requests: 5, window: 60}]", "    jitter: 100ms\n")[0].jitter_ms == 100


def test_an_id_names_what_is_counted_and_never_the_amount() -> None:
    """A changed amount keeps its bucket; the order of the scope does not matter; models are in it as a hash."""
    ids = [
        _limits(f"[{text}]")[0].id
        for text in (
            "{tokens: 5, window: 60, per: [group, model]}",
            "{tokens: 6, window: 1m, per: [model, group]}",
            "{tokens: 6, window: 1.5s, per: []}",
            "{concurrent: 6}",
            "{tokens: 6, window: 60, models: [b, a]}",
            "{tokens: 7, window: 60, models: [a, b]}",
        )
    ]
    assert ids[0] == ids[1] == "tokens-60s-group.model"
    assert ids[2:4] == ["tokens-1500ms-all", "concurrent-group"]
    assert ids[4] == ids[5]
    assert re.fullmatch(r"tokens-60s-group-[0-9a-f]{6}", ids[4])


def test_the_name_is_what_people_read() -> None:
    """Amount, meter, window, scope, models."""
    names = [limit.name for limit in _limits("[{tokens: 150000, window: 60, per: [group, model]}, {concurrent: 5}]")]
    assert names == ["150000 tokens per 60s per group, model", "5 in flight per group"]
    named = _limits("[{tokens: 5, window: 60, per: [], models: [a, b, c]}]")[0].name
    assert named == "5 tokens per 60s for a, b, …"


def test_others_are_the_models_no_limit_of_that_meter_names() -> None:
    """`others` excludes the patterns of its neighbours of the same meter, and its id stays when they change."""
    text = (
        "[{tokens: 5, window: 60, models: [a*, b]}, {requests: 5, window: 60, models: c},"
        " {tokens: 9, window: 60, models: others}]"
    )
    limits = _limits(text)
    assert limits[2].models == ("!a*", "!b")
    assert _limits(text.replace("b]", "d]"))[2].id == limits[2].id
    assert _limits("[{tokens: 9, window: 60, models: others}]")[0].models == ()


def test_a_bucket_of_tokens_is_a_window() -> None:
    """Capacity C refilled at r a second is C in C/r seconds, rounded up, of the meter it names."""
    limits = _limits("[{capacity: 100, refillRate: 3, meter: tokens}, {capacity: 100, refillRate: 1.67}]")
    assert [(limit.meter, limit.amount, limit.window_ms) for limit in limits] == [
        ("tokens", 100, 33_334),
        ("requests", 100, 59_881),
    ]


@given(
    meter=st.sampled_from(["requests", "tokens", "audio_seconds", "usd", "units"]),
    amount=st.floats(min_value=0, max_value=2**33) | st.integers(0, 2**33),
    window=st.integers(1, 86_400 * 300),
)
def test_no_limit_is_larger_than_what_was_written(meter: str, amount: float, window: int) -> None:
    """Rounding to integers never grants more than a millionth over, and every count is exact in a double."""
    if isinstance(amount, float) and ("e-" in repr(amount) or amount != amount):
        amount = 0.0
    limit = _limits(f"[{{{meter}: {amount!r}, window: {window}}}]")[0]
    assert limit.amount < 2**53
    assert limit.amount / limit.scale <= amount + 1e-6
    assert limit.slice_ms >= 1
    assert limit.slice_ms * limit.slices >= limit.length_ms
