"""rules/pricetable.py: the prices that are shipped."""

from __future__ import annotations

import re

import pytest

from rules.pricetable import dated, table
from rules.pricing import Price


def price(service: str, model: str) -> Price:
    """The price of a model that has one."""
    found = table()[service].of(model)
    assert found is not None
    return found


def test_every_row_has_a_source_and_a_date() -> None:
    """Where a number comes from and of when it is stands beside it."""
    rows = {(service, model) for service, prices in table().items() for model, _ in prices.rows}
    assert set(dated()) == rows
    for source, date in dated().values():
        assert source in ("openai", "anthropic", "litellm", "audio")
        assert re.fullmatch(r"2026-\d\d(-\d\d)?", date)


def test_no_price_is_negative_and_cached_input_is_not_dearer() -> None:
    """What no price list has is a slip of the pen."""
    for prices in table().values():
        for model, row in prices.rows:
            assert row.input is not None or row.minute is not None, model
            assert min(row.input or 0, row.output, row.minute or 0, row.search) >= 0, model
            if row.cached_input is not None:
                assert 0 < row.cached_input < (row.input or 0), model
            if row.cache_write is not None:
                assert row.cache_write == pytest.approx(1.25 * (row.input or 0)), model
            if row.cache_write_1h is not None:
                assert row.cache_write_1h == 2 * (row.input or 0), model


@pytest.mark.parametrize(
    ("service", "model", "prices"),
    [
        ("openai", "gpt-6.1-sol", (2, 0.1, 10)),
        ("openai", "gpt-5.4-mini", (0.75, 0.075, 4.5)),
        ("openai", "gpt-5-nano", (0.05, 0.005, 0.4)),
        ("openai", "gpt-4o", (2.5, 1.25, 10)),
        ("openai", "o3", (2, 0.5, 8)),
        ("openai", "text-embedding-3-small", (0.02, None, 0)),
        ("anthropic", "claude-opus-4-8", (5, 0.5, 25)),
        ("anthropic", "claude-haiku-4-5-20251001", (1, 0.1, 5)),
        ("gemini", "gemini-2.5-flash", (0.3, 0.03, 2.5)),
        ("deepseek", "deepseek-flash", (0.3, 0.006, 1.2)),
    ],
)
def test_prices_of_the_facts(service: str, model: str, prices: tuple[float, float | None, float]) -> None:
    """Input, cached input and output of provider-facts 5, samples of every table."""
    row = price(service, model)
    assert (row.input, row.cached_input, row.output) == prices


def test_azure_costs_what_openai_does_but_for_embeddings() -> None:
    """Of global deployments; there regions have no hosts of their own, and nothing is billed by the minute."""
    openai, azure = table()["openai"], table()["azure-openai"]
    assert azure.of("gpt-4o-2024-08-06") == openai.of("gpt-4o")
    assert azure.tiers == openai.tiers
    newer, embedding = azure.of("gpt-5.4", "eu.api.openai.com"), azure.of("text-embedding-3-small")
    assert newer is not None
    assert embedding is not None
    assert (newer.input, newer.times, embedding.input) == (2.5, 1, 0.022)
    assert azure.of("whisper-1") is None
    assert {source for (service, _), (source, _) in dated().items() if service == "azure-openai"} == {"litellm"}


def test_long_prompts_of_newer_models_cost_more() -> None:
    """From gpt-5.4 on, for the models whose context is longer than 272k tokens."""
    long = {model for model, row in table()["openai"].rows if row.long == (272_000, 2, 1.5)}
    assert {"gpt-5.4", "gpt-5.5", "gpt-6.1-sol", "gpt-5.6"} <= long
    assert not {"gpt-5.4-mini", "gpt-5.2", "gpt-4.1"} & long


@pytest.mark.parametrize("model", ["ft:gpt-4o:org::1", "gpt-4o-audio-preview", "gpt-9", "davinci-002", "", "gpt-4o-"])
def test_a_model_that_is_not_listed_has_no_price(model: str) -> None:
    """Nothing is guessed from a name that begins alike."""
    assert table()["openai"].of(model) is None
