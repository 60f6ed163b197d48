"""From a limit as written to integers, an id and slices."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.mistakes import ConfigInvalid
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
        ("{audio_minutes: 50, window: 60}", 3_000_000, 1000),
        ("{usd: 0.29, window: 1d}", 29_000_000, 100_000_000),
        ("{usd: 0.000000019, window: 1d}", 1, 100_000_000),
        ("{concurrent: 50}", 50, 1),
        ("{units: 10000, window: 1d}", 10_000, 1),
        ("{images: 5, window: 60}", 5, 1),
    ],
)
def test_an_amount_is_an_integer_in_its_scale(text: str, amount: int, scale: int) -> None:
    """Whole units where nothing smaller is counted, thousandths for seconds and fractions, microcents for money."""
    limit = _limits(f"[{text}]")[0]
    assert (limit.amount, limit.scale) == (amount, scale)


def test_fractions_in_cost_mapping_or_costs_make_requests_finer() -> None:
    """A call that counts as half a request needs thousandths of one."""
    assert _limits("[{requests: 5, window: 60}]", "    costMapping: {a: 0.5}\n")[0].scale == 1000
    assert _limits("[{requests: 5, window: 60}]", "    costMapping: {a: 5}\n")[0].scale == 1
    endpoint = "    endpoints: {a: {path: /a, costs: {requests: 0.1}}}\n"
    assert _limits("[{requests: 5, window: 60}]", endpoint)[0].scale == 1000


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("{tokens: 0.0004, window: 60}", "tokens in 1/1000"),
        ("{usd: 0.000000004, window: day}", "usd in 1/100000000"),
        ("{usd: 0.0000000000004, window: 1d}", "usd in 1/100000000"),
    ],
)
def test_an_amount_too_small_to_be_counted_is_refused(text: str, counted: str) -> None:
    """It would round to 0, which lets nothing through: who means that writes 0."""
    with pytest.raises(ConfigInvalid) as refused:
        _limits(f"[{text}]")
    assert f"the amount is smaller than what can be counted ({counted})" in str(refused.value.errors[0])


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("{requests: 1000000000, window: 60}", 10**9),
        ("{tokens: 180000000, window: 60}", 180_000_000),
        ("{tokens: 9007199254740991, window: 60}", 2**53 - 1),
        ("{audio_seconds: 9007199254740, window: 60}", 9_007_199_254_740_000),
        ("{usd: 90071992, window: day}", 9_007_199_200_000_000),
        ("{usd: 1000000, window: 1d}", 10**14),
        ("{concurrent: 9007199254740991}", 2**53 - 1),
        ("{capacity: 1800000000, refillRate: 3000000, meter: tokens}", 1_800_000_000 - 1_500_000),
    ],
)
def test_large_amounts_are_exact(text: str, amount: int) -> None:
    """Up to what a double counts in the limit's scale (Q19); a token bucket less what refills within the jitter."""
    assert _limits(f"[{text}]")[0].amount == amount


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{tokens: 9007199254740992, window: 60}", "less than 9007199254740992"),
        ("{concurrent: 9007199254740992}", "less than 9007199254740992"),
        ("{tokens: 9007199254741.5, window: 60}", "too large to be counted exactly (tokens in 1/1000)"),
        ("{audio_seconds: 9007199254741, window: 60}", "too large to be counted exactly (audio_seconds in 1/1000)"),
        ("{usd: 90071993, window: day}", "too large to be counted exactly (usd in 1/100000000)"),
        ("{capacity: 90071993, refillRate: 3000, meter: usd}", "too large to be counted exactly (usd in 1/100000000)"),
    ],
)
def test_an_amount_beyond_what_a_double_counts_is_refused(text: str, says: str) -> None:
    """With the reason, at load (Q19): never rounded in silence."""
    with pytest.raises(ConfigInvalid) as refused:
        _limits(f"[{text}]")
    assert says in str(refused.value.errors[0])


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


def test_a_bucket_is_mirrored_less_what_refills_within_the_jitter() -> None:
    """B = C - rate x J rounded down, at exactly the rate (limiter 14); ids and names say what it is."""
    limits = _limits("[{capacity: 100, refillRate: 3, meter: tokens}, {capacity: 100, refillRate: 1.67}]")
    assert [(limit.kind, limit.meter, limit.amount, limit.refill, limit.window_ms) for limit in limits] == [
        ("token_bucket", "tokens", 98, (3, 1000), 33_334),
        ("token_bucket", "requests", 99, (167, 100_000), 59_881),
    ]
    assert [limit.id for limit in limits] == ["tokens-bucket-group", "requests-bucket-group"]
    assert limits[1].name == "100 requests refilled at 1.67 per second per group"


def test_a_bucket_of_hardly_a_call_spaces_calls_by_rate_and_jitter() -> None:
    """Where B would be under one request, requests leave one at a time, 1/rate + J apart: 1 a second and 500 ms."""
    limit = _limits("[{capacity: 1, refillRate: 1}]")[0]
    assert (limit.amount, limit.refill) == (1, (1, 1500))


@pytest.mark.parametrize(
    "text",
    [
        "{capacity: 10, refillRate: 50, meter: tokens}",
        "{capacity: 0.5, refillRate: 0.1}",
        "{capacity: 0.001, refillRate: 1, meter: usd}",
    ],
)
def test_a_bucket_that_refills_within_the_jitter_is_refused(text: str) -> None:
    """No order of calls is safe there (limiter 14.1), so nothing pretends to be."""
    with pytest.raises(ConfigInvalid) as refused:
        _limits(f"[{text}]")
    assert "capacity must be larger than what refills within the jitter of 500ms" in str(refused.value.errors[0])
    assert _limits("[{capacity: 10, refillRate: 10, meter: tokens}]")[0].amount == 5


@given(
    capacity=st.integers(1000, 2**40),
    rate=st.decimals("0.0001", "1000", places=4).map(float) | st.floats(0.0001, 1000, allow_subnormal=False),
)
def test_a_rate_is_never_rounded_up_and_stays_exact_in_doubles(capacity: int, rate: float) -> None:
    """p/q is at most the rate and within a thousandth of it; p * q leaves room for a share of a thousandth (Q19)."""
    # smaller ones may need more digits than the gate's numbers have, and are refused then
    if capacity / rate > 31_000_000 or "e-" in repr(rate) or (rate < 0.001 and len(repr(rate)) > 12):
        capacity, rate = 1000, 100.0
    limit = _limits(f"[{{capacity: {capacity}, refillRate: {rate!r}}}]", "    jitter: 1ms\n")[0]
    units, in_ms = limit.refill
    exact = Fraction(repr(rate)) * limit.scale / 1000
    assert exact * Fraction(999, 1000) < Fraction(units, in_ms) <= exact
    assert units * in_ms * 1000 < 2**53


def test_a_calendar_quota_names_its_period_and_zone() -> None:
    """In id and name; a day is UTC's unless it says otherwise, and 1d is any 24 hours."""
    day, month, rolling = _limits(
        "[{units: 9, window: day}, {units: 99, window: month, timezone: America/Los_Angeles}, {units: 9, window: 1d}]"
    )
    assert (day.kind, day.period, day.timezone, day.jitter_ms) == ("quota", "day", "UTC", 500)
    assert (month.kind, month.period, month.timezone) == ("quota", "month", "America/Los_Angeles")
    assert (rolling.kind, rolling.window_ms) == ("window", 86_400_000)
    assert [day.id, month.id] == ["units-day-UTC-group", "units-month-America/Los_Angeles-group"]
    assert month.name == "99 units per month (America/Los_Angeles) per group"


def test_a_quantum_adds_the_part_the_provider_enforces() -> None:
    """N/q per W/q, the amount rounded down and the time up, with the same jitter, beside N per W."""
    whole, part = _limits("[{requests: 100, window: 61, quantum: 60}]")
    assert (whole.amount, whole.window_ms, whole.jitter_ms) == (100, 61_000, 500)
    assert (part.kind, part.amount, part.window_ms, part.jitter_ms, part.slices) == ("window", 1, 1017, 500, 60)
    assert part.id == "requests-1017ms-group"


def test_a_quantum_that_leaves_less_than_a_call_is_refused() -> None:
    """Fifty a minute in sixty parts would let nothing through."""
    with pytest.raises(ConfigInvalid) as refused:
        _limits("[{requests: 50, window: 60, quantum: 60}]")
    assert "quantum leaves less than one of requests per part of the window" in str(refused.value.errors[0])


@given(
    meter=st.sampled_from(["requests", "tokens", "audio_seconds", "usd", "units"]),
    amount=st.floats(min_value=0, max_value=2**33) | st.integers(0, 2**33),
    window=st.integers(1, 86_400 * 300),
)
def test_no_limit_is_larger_than_what_was_written(meter: str, amount: float, window: int) -> None:
    """Rounding to integers never grants more than a millionth over, and every count is exact in a double."""
    if isinstance(amount, float) and amount < 0.001:
        amount = 0.0
    if meter == "usd":
        amount = min(amount, 90_000_000)
    limit = _limits(f"[{{{meter}: {amount!r}, window: {window}}}]")[0]
    assert limit.amount < 2**53
    assert limit.amount / limit.scale <= amount + 1e-6
    assert limit.slice_ms >= 1
    assert limit.slice_ms * limit.slices >= limit.length_ms


@pytest.mark.parametrize(
    ("text", "burst", "busy"),
    [
        ("{requests: 600, window: 60}", 300, 60),
        ("{requests: 600, window: 60, burst: 100}", 100, 60),
        ("{requests: 600, window: 60, burst: 20}", 20, 20),
        ("{requests: 600, window: 60, burst: 600}", 0, 0),
        ("{requests: 11, window: 60}", 6, 2),
        ("{requests: 9, window: 60}", 0, 0),
        ("{requests: 9, window: 60, burst: 1}", 1, 1),
        ("{tokens: 30001, window: 60}", 15_001, 3001),
        ("{audio_seconds: 3000, window: 60}", 1_500_000, 300_000),
        ("{audio_seconds: 3000, window: 60, burst: 100}", 100_000, 100_000),
        ("{requests: 1000, window: 1h}", 0, 0),
        ("{requests: 1000, window: 59m}", 500, 100),
        ("{requests: 1000, window: 1d}", 0, 0),
        ("{requests: 1000, window: 1d, burst: 200}", 200, 100),
    ],
)
def test_half_a_window_may_leave_at_once_unless_burst_says_otherwise(text: str, burst: int, busy: int) -> None:
    """A tenth where somebody waits, but two calls; a window of few calls or of an hour or more is not paced."""
    limit = _limits(f"[{text}]")[0]
    assert (limit.burst, limit.busy_burst) == (burst, busy)


def test_a_quantum_has_its_part_of_the_burst() -> None:
    """A burst of 60 of 600 a minute is 1 of 10 a second."""
    assert [limit.burst for limit in _limits("[{requests: 600, window: 60, quantum: 60, burst: 60}]")] == [60, 1]


def test_a_burst_that_cannot_be_counted_exactly_is_refused() -> None:
    """N x L must stay below 2^53; without `burst` such a window is simply not paced."""
    assert _limits("[{tokens: 1e12, window: 1d}]")[0].burst == 0
    with pytest.raises(ConfigInvalid, match="burst cannot be kept exactly"):
        _limits("[{tokens: 1e12, window: 1d, burst: 1e6}]")


def test_a_limit_says_when_its_provider_counts() -> None:
    """`count_at: end` holds a call's cost while it is in flight, and stands only in a window."""
    assert [limit.in_flight for limit in _limits("[{tokens: 500, window: 60, count_at: end}, {concurrent: 5}]")] == [
        True,
        True,
    ]
    assert not _limits("[{tokens: 500, window: 60}]")[0].in_flight
    with pytest.raises(ConfigInvalid, match="count_at belongs to a window"):
        _limits("[{concurrent: 5, count_at: end}]")
