import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.meters.usage import MOST, PATHS, Findings, Usage
from rules.policy import BodyFormat

USAGE = (b"usage",)


def found(*usages: Any, body_format: BodyFormat = "chat_completions") -> Usage:
    """What these objects, one after another, say."""
    findings = Findings(body_format)
    for usage in usages:
        findings.take(USAGE, usage)
    result = findings.usage()
    assert result is not None
    return result


def test_openai_details() -> None:
    """Cached, written and audio tokens are parts of the prompt; reasoning is part of what was produced."""
    usage = found(
        {
            "prompt_tokens": 1000,
            "completion_tokens": 500,
            "total_tokens": 1500,
            "prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 100, "audio_tokens": 50},
            "completion_tokens_details": {"reasoning_tokens": 400, "audio_tokens": 20},
        }
    )
    assert (usage.input_tokens, usage.output_tokens, usage.tokens) == (1000, 500, 1500)
    assert (usage.cached, usage.written, usage.audio_input, usage.audio_output) == (600, 100, 50, 20)


def test_responses_details() -> None:
    """The Responses API has the same parts under other names."""
    usage = found(
        {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 6},
            "total_tokens": 17,
        },
        body_format="responses",
    )
    assert (usage.input_tokens, usage.cached, usage.written, usage.output_tokens) == (10, 4, 5, 7)


def test_anthropic_details() -> None:
    """Anthropic's total input is the sum of three fields; its limits do not count what came from the cache."""
    usage = found(
        {
            "input_tokens": 10,
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 100,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens": 7,
            "server_tool_use": {"web_search_requests": 2},
        },
        body_format="messages",
    )
    assert (usage.input_tokens, usage.cached, usage.written, usage.written_1h) == (140, 100, 30, 20)
    assert (usage.searches, usage.meters()) == (2, {"input_tokens": 40.0, "output_tokens": 7.0, "tokens": 47.0})


def test_deepseek_and_cohere_details() -> None:
    """DeepSeek tells hits of its cache; Cohere tells what it bills beside what it counted."""
    assert found({"prompt_tokens": 9, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1}).cached == 8
    both = {"billed_units": {"input_tokens": 5, "output_tokens": 7}, "tokens": {"input_tokens": 71}}
    assert found(both).billed == (5, 7)


@pytest.mark.parametrize(
    "lie",
    [-1, 10**12, MOST, 2**64, 1.5, "7", True, None, math.nan, math.inf, [3], {"a": 1}],
)
def test_what_cannot_be_believed_is_left_out(lie: Any) -> None:
    """A number that no call can have is as if absent; the others stay."""
    usage = found({"prompt_tokens": 5, "completion_tokens": lie, "prompt_tokens_details": {"cached_tokens": lie}})
    assert (usage.input_tokens, usage.output_tokens, usage.cached, usage.tokens) == (5, None, 0, None)


def test_parts_are_never_more_than_the_whole() -> None:
    """Cached and written tokens beyond the prompt are cut to it, so that nothing is paid for less than nothing."""
    usage = found({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 900}})
    assert (usage.cached, usage.written, usage.audio_input) == (5, 0, 0)


def test_the_last_value_of_every_field_counts() -> None:
    """What a stream repeats replaces what it said before."""
    usage = found({"input_tokens": 2679}, {"input_tokens": 10682, "output_tokens": 510}, body_format="messages")
    assert usage.meters() == {"input_tokens": 10682.0, "output_tokens": 510.0, "tokens": 11192.0}


def test_the_service_tier_is_a_short_word() -> None:
    """At which price a call went is kept; anything else is not."""
    findings = Findings("chat_completions")
    findings.take(USAGE, {"total_tokens": 1})
    for tier in ("flex", 5, "x" * 300, None):
        findings.take_word((b"service_tier",), tier)
    usage = findings.usage()
    assert usage is not None
    assert usage.tier == "flex"


def test_the_model_and_the_bill_are_kept() -> None:
    """Where the reply tells them; what cannot be either is as if absent."""
    findings = Findings("chat_completions")
    for model in ("", "gpt-4o-2024-08-06", None, 7, "x" * 300, "a\0b"):
        findings.take_word((b"model",), model)
    for cost in (0.25, -1, float("nan"), 1e9, "1", True, None):
        findings.take(USAGE, {"cost": cost})
    usage = findings.usage()
    assert usage is not None
    assert (usage.model, usage.usd, usage.tokens) == ("gpt-4o-2024-08-06", 0.25, None)


def test_gemini_s_spoken_input_is_told_apart() -> None:
    """It has a price of its own."""
    details = [{"modality": "TEXT", "tokenCount": 7}, {"modality": "AUDIO", "tokenCount": 32}, {"modality": "AUDIO"}, 3]
    usage = found({"promptTokenCount": 39, "promptTokensDetails": details}, body_format="gemini")
    assert (usage.input_tokens, usage.audio_input) == (39, 32)


_KEYS = st.sampled_from(
    [
        *("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens", "billed_units"),
        *("cache_read_input_tokens", "cache_creation_input_tokens", "prompt_tokens_details", "cached_tokens"),
        *("cache_write_tokens", "audio_tokens", "thoughtsTokenCount", "promptTokenCount", "type", "seconds", "tokens"),
        *("cost", "promptTokensDetails", "modality", "tokenCount"),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(
    st.sampled_from(["chat_completions", "messages"]),
    st.lists(st.tuples(st.sampled_from(PATHS), st.dictionaries(_KEYS, _VALUES) | _VALUES), max_size=4),
)
def test_any_values(body_format: BodyFormat, usages: list[tuple[tuple[bytes, ...], Any]]) -> None:
    """No value raises, no amount is negative or beyond belief, and no part is more than the whole."""
    findings = Findings(body_format)
    for path, usage in usages:
        findings.take(path, usage)
    result = findings.usage()
    if result is None:
        return
    assert all(0 <= amount < 4 * MOST for amount in result.meters().values())
    whole = result.input_tokens or 0
    assert result.written_1h <= result.written
    assert result.cached + result.written + result.audio_input <= whole
    assert result.audio_output <= (result.output_tokens or 0)
