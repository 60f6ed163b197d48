"""rules/pricing.py: what calls cost in money."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.meters.usage import Usage
from rules.pricetable import table
from rules.pricing import Price, Prices

MILLION = 1_000_000
FULL = Price(
    input=4, output=20, cached_input=0.4, cache_write=5, cache_write_1h=8, audio_input=40, audio_output=80, search=0.01
)


def usage(given_tokens: int, output: int, **more: int) -> Usage:
    """A usage with these tokens."""
    return Usage(input_tokens=given_tokens, output_tokens=output, **more)  # type: ignore[arg-type]  # all are numbers


@pytest.mark.parametrize(
    ("used", "usd"),
    [
        (usage(MILLION, 0), 4),
        (usage(0, MILLION), 20),
        (usage(MILLION, 0, cached=MILLION), 0.4),
        (usage(MILLION, 0, written=MILLION), 5),
        (usage(MILLION, 0, written=MILLION, written_1h=MILLION), 8),
        (usage(MILLION, 0, audio_input=MILLION), 40),
        (usage(0, MILLION, audio_output=MILLION), 80),
        (usage(0, 0, searches=3), 0.03),
        (
            usage(100, 50, cached=60, written=30, written_1h=10, audio_input=5),
            (5 * 4 + 60 * 0.4 + 20 * 5 + 10 * 8 + 5 * 40 + 50 * 20) / MILLION,
        ),
    ],
)
def test_every_part_has_its_price(used: Usage, usd: float) -> None:
    """Cached, written, spoken and plain tokens, each at its own."""
    assert FULL.cost(used) == pytest.approx(usd)


def test_what_a_price_leaves_open_costs_what_the_rest_costs() -> None:
    """A part without a price of its own is never free."""
    price = Price(input=4, output=20)
    parts = usage(MILLION, 0, cached=1000, written=1000, written_1h=500, audio_input=1000)
    assert price.cost(parts) == pytest.approx(4)
    assert Price(input=4, cache_write=5).cost(usage(10, 0, written=10, written_1h=10)) == pytest.approx(50 / MILLION)


def test_a_long_prompt_makes_the_whole_call_dearer() -> None:
    """Above the bound, not at it."""
    price = Price(input=2, output=10, long=(272_000, 2, 1.5))
    assert price.cost(usage(272_000, 1000)) == pytest.approx((272_000 * 2 + 1000 * 10) / MILLION)
    assert price.cost(usage(272_001, 1000)) == pytest.approx((272_001 * 4 + 1000 * 15) / MILLION)
    assert price.estimate({"input_tokens": 272_001, "output_tokens": 1000}) == price.cost(usage(272_001, 1000))


def test_audio_is_priced_by_the_minute_or_by_tokens() -> None:
    """By what the reply says; before it comes the minute is the estimate of both."""
    whisper = Price(minute=0.006)
    assert whisper.cost(Usage(audio_seconds=90)) == pytest.approx(0.009)
    assert whisper.estimate({"requests": 1, "audio_seconds": 90}) == pytest.approx(0.009)
    transcribe = Price(input=2.5, output=10, minute=0.006)
    assert transcribe.estimate({"audio_seconds": 60}) == pytest.approx(0.006)
    assert transcribe.cost(usage(1000, 100)) == pytest.approx(0.0035)
    assert Price(minute=0.06, least_seconds=10).cost(Usage(audio_seconds=1)) == pytest.approx(0.01)


def test_billed_tokens_are_what_is_billed() -> None:
    """Where a service says both what it counted and what it bills."""
    assert Price(input=1, output=2).cost(Usage(input_tokens=71, output_tokens=9, billed=(5, 7))) == 19 / MILLION


def test_a_usage_that_says_too_little_has_no_cost() -> None:
    """Then the estimate stays."""
    assert Price(input=1).cost(Usage(tokens=5)) is None
    assert Price(input=1).cost(Usage(output_tokens=5)) is None
    assert Price(minute=1).cost(usage(5, 5)) is None


def test_a_service_tier_multiplies() -> None:
    """Flex is half, priority double; a tier nobody named changes nothing."""
    openai = table()["openai"]
    price = openai.of("gpt-4o")
    whole = openai.cost(price, usage(MILLION, 0))
    assert whole == pytest.approx(2.5)
    for tier, factor in (("flex", 0.5), ("priority", 2), ("default", 1), ("x", 1)):
        used = Usage(input_tokens=MILLION, output_tokens=0, tier=tier)
        assert openai.cost(price, used) == pytest.approx(2.5 * factor)


@pytest.mark.parametrize(
    ("model", "input_price"),
    [
        ("gpt-4o", 1),
        ("gpt-4o-2024-08-06", 1),
        ("gpt-4o-20240806", 1),
        ("gpt-4o-latest", 1),
        ("gpt-4o-mini", 2),
        ("gpt-4o-mini-2024-07-18", 2),
        ("gpt-4o-2025-01-01", 3),
        ("ft:gpt-4o:org::1", 4),
        ("gpt-4o-audio", None),
        ("Gpt-4o", None),
        (None, None),
    ],
)
def test_a_name_finds_its_price(model: str | None, input_price: float | None) -> None:
    """Written out, else without its date, else by the first pattern that fits."""
    prices = Prices(
        rows=(
            ("ft:*", Price(input=4)),
            ("gpt-4o", Price(input=1)),
            ("gpt-4o-mini", Price(input=2)),
            ("gpt-4o-2025-01-01", Price(input=3)),
        )
    )
    for _ in range(2):  # the second time from what is remembered
        found = prices.of(model)
        assert (found.input if found is not None else None) == input_price


def test_names_are_remembered_within_a_bound() -> None:
    """Clients may invent any number of them."""
    prices = Prices(rows=(("a", Price(input=1)),))
    for number in range(3000):
        assert prices.of(f"m{number}") is None
    prices.of("x" * 10_000)
    assert len(prices._found) <= 1024
    assert all(len(name) < 1000 for name, _ in prices._found)


@pytest.mark.parametrize(
    ("model", "host", "times"),
    [
        ("gpt-5.4", "api.openai.com", 1),
        ("gpt-5.4", "eu.api.openai.com", 1.1),
        ("gpt-5.4-2026-03-05", "us.api.openai.com", 1.1),
        ("gpt-6.1-sol", "jp.api.openai.com", 1.1),
        ("gpt-5.2", "eu.api.openai.com", 1),
        ("gpt-5.4", "eu.api.openai.com.example", 1),
        ("gpt-5.4", "notapi.openai.com", 1),
    ],
)
def test_a_region_s_own_host_is_dearer_for_newer_models(model: str, host: str, times: float) -> None:
    """By a tenth: before the call, after it, and whatever was asked before."""
    openai = table()["openai"]
    for _ in range(2):
        here, there = openai.of(model), openai.of(model, host)
        assert here is not None
        assert there is not None
        used, expected = usage(300_000, 1000), {"input_tokens": 9.0}
        assert there.cost(used) == pytest.approx((here.cost(used) or 0) * times)
        assert there.estimate(expected) == pytest.approx(here.estimate(expected) * times)


_TOKENS = st.integers(0, 2**24)


@given(_TOKENS, _TOKENS, _TOKENS, _TOKENS, _TOKENS)
def test_no_cost_is_negative(given_tokens: int, output: int, cached: int, written: int, audio: int) -> None:
    """Whatever the parts, and even if they were more than the whole."""
    used = usage(given_tokens, output, cached=cached, written=written, written_1h=written // 2, audio_input=audio)
    for _, price in table()["openai"].rows:
        assert (price.cost(used) or 0) >= 0
