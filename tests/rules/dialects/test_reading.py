"""rules/dialects/reading.py: a reply's meaning, and what is not believed."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.dialects import NAMES, Reading, explains_success, in_stream, read, rests, stream_meaning
from rules.times import DAY_MS

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z

Fields = dict[str, str]

TPM = (
    "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 22999, Requested 12528. "
    "Please try again in 11.054s."
)


def reply(dialect: str, status: int, headers: Fields | None = None, body: Any = None) -> Reading:
    """Read a reply at NOW."""
    fields = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    return read(dialect, status, fields, raw, now_s=NOW)


def openai(code: str | None, message: str = "", kind: str | None = None) -> Any:
    """An error body in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


# (dialect, status, headers, body, meaning, scope, wait) of providers that are in no catalogue; the others: cases/
CASES: list[tuple[str, int, Fields, Any, str, str, int | None]] = [
    ("openai", 200, {"retry-after": "5"}, None, "ok", "group_model", None),
    ("openai", 429, {"Retry-After": "nonsense"}, openai(None, TPM), "slow_down", "group_model", 11_054),
    ("openai", 429, {}, b"<html>429</html>", "slow_down", "group_model", None),
    ("generic", 429, {"retry-after": "Mon, 21 Sep 2026 14:13:50 GMT"}, None, "slow_down", "group_model", 30_000),
    ("generic", 402, {"retry-after": "30"}, None, "exhausted", "group", 30_000),
    ("generic", 503, {"retry-after": "3"}, None, "overloaded", "group_model", 3000),
    ("generic", 401, {}, None, "dead", "key", None),
    ("generic", 403, {}, None, "fault", "group_model", None),
    ("generic", 404, {}, None, "fault", "group_model", None),
    ("generic", 302, {}, None, "ok", "group_model", None),
    ("no such dialect", 429, {}, None, "slow_down", "group_model", None),
]


@pytest.mark.parametrize(("dialect", "status", "headers", "body", "meaning", "scope", "wait"), CASES)
def test_meanings(
    dialect: str, status: int, headers: Fields, body: Any, meaning: str, scope: str, wait: int | None
) -> None:
    """What an answer means where its provider says nothing else, whom it concerns, and how long."""
    found = reply(dialect, status, headers, body)
    assert (found.meaning, found.scope, found.retry_after_ms) == (meaning, scope, wait)
    assert found.counted is (meaning != "dead")


def test_a_good_reply_s_body_is_read_only_where_it_may_be_an_error() -> None:
    """Slack's; elsewhere the words of an error are what was asked for."""
    body = {"ok": False, "error": "ratelimited"}
    assert reply("slack", 200, {}, body).meaning == "slow_down"
    assert reply("slack", 201, {}, body).meaning == "ok"
    assert reply("openai", 200, {}, openai("insufficient_quota")).meaning == "ok"
    assert [name for name in NAMES if explains_success(name)] == ["slack"]


def test_what_rests_is_said_before_anything_is_refused() -> None:
    """The scope that a key's calls look at."""
    assert (rests("x"), rests("openai"), rests("reddit")) == ("endpoint", "group_model", "group")


def test_what_a_stream_says_is_used_up_is_the_group_s() -> None:
    """A code alone does not say which model."""
    assert in_stream("openai", "exhausted").scope == "group"
    assert in_stream("openai", "slow_down") == Reading(
        meaning="slow_down", retry_after_ms=None, scope="group_model", counted=True, limits=()
    )


@pytest.mark.parametrize(
    "value",
    ["-1", "0", "NaN", "1000000000000", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "<html>"],
)
def test_hostile_waits(value: str) -> None:
    """A wait that cannot be meant is no wait: the back-off decides."""
    for name in ("Retry-After", "retry-after-ms", "x-ratelimit-reset-requests"):
        assert reply("openai", 429, {name: value, "x-ratelimit-remaining-requests": "0"}).retry_after_ms is None


def test_packed_error() -> None:
    """The codes of a gzip error body are read."""
    body = gzip.compress(json.dumps(openai("insufficient_quota")).encode())
    assert reply("openai", 429, {"Content-Encoding": "gzip"}, body).meaning == "exhausted"


def test_no_text_leaves() -> None:
    """Neither header nor body text is in what is returned."""
    found = reply(
        "openai",
        429,
        {"retry-after": "CANARY", "x-ratelimit-limit-tokens": "CANARY"},
        openai("CANARY", "CANARY", "CANARY"),
    )
    assert "CANARY" not in repr(found)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("rate_limit_exceeded", "slow_down"),
        ("rate_limit_error", "slow_down"),
        ("429", "slow_down"),
        ("RESOURCE_EXHAUSTED", "slow_down"),
        ("insufficient_quota", "exhausted"),
        ("project_spend_limit_exceeded", "exhausted"),
        ("billing_error", "exhausted"),
        ("overloaded_error", "overloaded"),
        ("UNAVAILABLE", "overloaded"),
        ("whatever", "fault"),
    ],
)
def test_codes_in_streams(code: str, meaning: str) -> None:
    """An error code inside a stream has the meaning it has in an error body."""
    assert stream_meaning(code) == meaning


_HEADER_NAMES = st.sampled_from(
    [
        b"Retry-After",
        b"retry-after-ms",
        b"x-ratelimit-reset",
        b"x-ratelimit-remaining",
        b"x-ratelimit-limit-tokens",
        b"x-rate-limit-reset",
        b"anthropic-ratelimit-tokens-reset",
        b"ratelimit-reset",
        b"content-encoding",
    ]
)
_HEADER_VALUES = st.binary(max_size=40) | st.from_regex(rb"-?\d{1,20}(\.\d+)?[smh]?|gzip", fullmatch=True)


@given(
    st.sampled_from(NAMES),
    st.integers(100, 599),
    st.lists(st.tuples(_HEADER_NAMES, _HEADER_VALUES), max_size=8),
    st.binary(max_size=60) | st.just(json.dumps(openai("rate_limit_exceeded", TPM)).encode()),
)
def test_any_reply(dialect: str, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """No reply raises, and no time in it is above a day."""
    found = read(dialect, status, headers, body, now_s=NOW)
    waits = [found.retry_after_ms, *(seen.reset_ms for seen in found.limits)]
    assert all(wait is None or 0 <= wait <= DAY_MS for wait in waits)
    assert found.retry_after_ms != 0
    assert (found.meaning == "ok") is (status < 400) or (dialect == "slack" and status == 200)
