import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.dialects import NAMES, Reading, Seen, read, stream_meaning
from rules.times import DAY_MS

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
PACIFIC_MS = (17 * 3600 + 46 * 60 + 40) * 1000
UTC_MS = (9 * 3600 + 46 * 60 + 40) * 1000

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


def anthropic(kind: str, message: str = "", **details: Any) -> Any:
    """An error body in Anthropic's shape."""
    return {"type": "error", "error": {"type": kind, "message": message, **details}}


def google(status: int, reason: str, domain: str = "youtube.quota") -> Any:
    """An error body in the shape of Google's older APIs."""
    return {"error": {"code": status, "message": "x", "errors": [{"reason": reason, "domain": domain}]}}


def gemini(quota: str, delay: str) -> Any:
    """A quota error in Gemini's shape."""
    return {
        "error": {
            "code": 429,
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"violations": [{"quotaId": quota}]}, {"retryDelay": delay}],
        }
    }


# (dialect, status, headers, body, meaning, scope, wait). Samples and meanings: provider-facts 1.4 and 1.6.
CASES: list[tuple[str, int, Fields, Any, str, str, int | None]] = [
    ("openai", 200, {"retry-after": "5"}, None, "ok", "group_model", None),
    ("openai", 429, {}, openai("rate_limit_exceeded", TPM, "tokens"), "slow_down", "group_model", 11_054),
    ("openai", 429, {"Retry-After": "12"}, openai("rate_limit_exceeded", TPM), "slow_down", "group_model", 12_000),
    ("openai", 429, {"Retry-After": "12", "retry-after-ms": "11500.5"}, None, "slow_down", "group_model", 11_501),
    ("openai", 429, {"Retry-After": "nonsense"}, openai(None, TPM), "slow_down", "group_model", 11_054),
    ("openai", 429, {}, openai("rate_limit_exceeded", TPM.replace("12528", "40000")), "fault", "group_model", None),
    ("openai", 429, {"retry-after": "1"}, openai("insufficient_quota"), "exhausted", "group", None),
    ("openai", 429, {}, openai(None, "You exceeded your current quota, …"), "exhausted", "group", None),
    ("openai", 429, {}, openai("billing_hard_limit_reached"), "exhausted", "group", None),
    ("openai", 429, {}, openai("project_spend_limit_exceeded"), "exhausted", "group", None),
    ("openai", 429, {}, b"<html>429</html>", "slow_down", "group_model", None),
    (
        "openai",
        429,
        {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"},
        None,
        "slow_down",
        "group_model",
        360_000,
    ),
    ("openai", 401, {}, openai("invalid_api_key"), "dead", "key", None),
    ("openai", 401, {}, openai("account_deactivated"), "dead", "key", None),
    ("openai", 401, {}, openai("ip_not_authorized", "Your IP is not authorized"), "fault", "group_model", None),
    ("openai", 401, {}, openai(None, "IP not authorized"), "fault", "group_model", None),
    (
        "openai",
        401,
        {},
        openai("mismatched_organization", "OpenAI-Organization header should match"),
        "fault",
        "group_model",
        None,
    ),
    ("openai", 403, {}, openai("unsupported_country_region_territory"), "fault", "group_model", None),
    ("openai", 403, {}, openai("model_not_found"), "fault", "group_model", None),
    ("openai", 400, {}, openai("invalid_request_error"), "fault", "group_model", None),
    ("openai", 500, {}, None, "fault", "group_model", None),
    (
        "openai",
        503,
        {},
        openai(None, "The engine is currently overloaded, please try again later"),
        "overloaded",
        "group_model",
        None,
    ),
    ("openai", 503, {}, openai(None, "Slow Down"), "slow_down", "group_model", None),
    ("openai", 429, {}, openai(None, "System is experiencing high demand"), "overloaded", "group_model", None),
    ("anthropic", 429, {"retry-after": "7"}, anthropic("rate_limit_error"), "slow_down", "group_model", 7000),
    (
        "anthropic",
        429,
        {},
        anthropic("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
        "exhausted",
        "group",
        DAY_MS,
    ),
    (
        "anthropic",
        400,
        {},
        anthropic("invalid_request_error", "You have reached your specified workspace API usage limits."),
        "exhausted",
        "group",
        None,
    ),
    ("anthropic", 400, {}, anthropic("invalid_request_error", "max_tokens: required"), "fault", "group_model", None),
    (
        "anthropic",
        400,
        {},
        anthropic("invalid_request_error", "Your credit balance is too low"),
        "exhausted",
        "group",
        None,
    ),
    ("anthropic", 402, {}, anthropic("billing_error"), "exhausted", "group", None),
    ("anthropic", 401, {}, anthropic("authentication_error"), "dead", "key", None),
    ("anthropic", 403, {}, anthropic("permission_error"), "fault", "group_model", None),
    ("anthropic", 529, {}, anthropic("overloaded_error"), "overloaded", "group_model", None),
    (
        "reddit",
        429,
        {"x-ratelimit-remaining": "0.0", "x-ratelimit-used": "600", "x-ratelimit-reset": "300"},
        None,
        "slow_down",
        "group",
        300_000,
    ),
    ("reddit", 401, {}, {"message": "Unauthorized", "error": 401}, "dead", "key", None),
    ("reddit", 403, {}, {"reason": "private", "message": "Forbidden", "error": 403}, "fault", "group", None),
    (
        "x",
        429,
        {"x-rate-limit-remaining": "0", "x-rate-limit-reset": "1790000450"},
        {"errors": [{"code": 88}]},
        "slow_down",
        "group",
        450_000,
    ),
    ("x", 429, {}, {"title": "UsageCapExceeded", "detail": "Usage cap exceeded"}, "exhausted", "group", None),
    ("x", 402, {}, {"title": "CreditsDepleted"}, "exhausted", "group", None),
    ("x", 403, {}, {"title": "Client Forbidden", "reason": "client-not-enrolled"}, "dead", "key", None),
    ("x", 403, {}, {"title": "Forbidden"}, "fault", "group", None),
    ("x", 401, {}, {"title": "Unauthorized"}, "dead", "key", None),
    ("youtube", 403, {}, google(403, "quotaExceeded"), "exhausted", "group", PACIFIC_MS),
    ("youtube", 403, {}, google(403, "dailyLimitExceeded", "usageLimits"), "exhausted", "group", PACIFIC_MS),
    ("youtube", 403, {}, google(403, "rateLimitExceeded"), "slow_down", "group", None),
    ("youtube", 403, {}, google(403, "userRateLimitExceeded"), "slow_down", "group", None),
    ("youtube", 403, {}, google(403, "forbidden"), "fault", "group", None),
    ("youtube", 403, {}, google(403, "accessNotConfigured"), "dead", "key", None),
    ("youtube", 400, {}, google(400, "keyInvalid"), "dead", "key", None),
    (
        "youtube",
        400,
        {},
        {"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}},
        "dead",
        "key",
        None,
    ),
    (
        "google",
        429,
        {},
        gemini("GenerateContentInputTokensPerModelPerMinute", "19s"),
        "slow_down",
        "group_model",
        19_000,
    ),
    ("google", 429, {}, gemini("GenerateRequestsPerDayPerProjectPerModel", "38s"), "exhausted", "group", PACIFIC_MS),
    (
        "tiktok",
        429,
        {},
        {"error": {"code": "rate_limit_exceeded", "message": "x", "log_id": "1"}},
        "slow_down",
        "group",
        None,
    ),
    ("tiktok", 429, {}, {"error": {"code": "daily_quota_limit_exceeded"}}, "exhausted", "group", UTC_MS),
    ("tiktok", 401, {}, {"error": {"code": "access_token_invalid"}}, "dead", "key", None),
    ("tiktok", 401, {}, {"error": {"code": "scope_not_authorized"}}, "fault", "group", None),
    ("generic", 429, {"retry-after": "Mon, 21 Sep 2026 14:13:50 GMT"}, None, "slow_down", "group_model", 30_000),
    ("generic", 402, {"retry-after": "30"}, None, "exhausted", "group", 30_000),
    ("generic", 503, {"retry-after": "3"}, None, "overloaded", "group_model", 3000),
    ("generic", 401, {}, None, "dead", "key", None),
    ("generic", 404, {}, None, "fault", "group_model", None),
    ("no such dialect", 429, {}, None, "slow_down", "group_model", None),
]


@pytest.mark.parametrize(("dialect", "status", "headers", "body", "meaning", "scope", "wait"), CASES)
def test_meanings(
    dialect: str, status: int, headers: Fields, body: Any, meaning: str, scope: str, wait: int | None
) -> None:
    """What each provider's answer means, whom it concerns, and how long."""
    found = reply(dialect, status, headers, body)
    assert (found.meaning, found.scope, found.retry_after_ms) == (meaning, scope, wait)
    assert found.counted is (meaning != "dead")


@pytest.mark.parametrize(
    ("dialect", "headers", "expected"),
    [
        (
            "openai",
            {
                "x-ratelimit-limit-requests": "10000",
                "x-ratelimit-remaining-requests": "9999",
                "x-ratelimit-reset-requests": "8.64s",
                "X-RateLimit-Limit-Tokens": "200000",
                "x-ratelimit-remaining-tokens": "199978",
                "x-ratelimit-reset-tokens": "6ms",
                "x-ratelimit-limit-project-tokens": "5000",
            },
            (
                Seen("requests", 10_000, 9_999, 8640),
                Seen("tokens", 200_000, 199_978, 6),
                Seen("tokens", 5000, None, None),
            ),
        ),
        (
            "anthropic",
            {
                "anthropic-ratelimit-input-tokens-limit": "2000000",
                "anthropic-ratelimit-input-tokens-remaining": "1999000",
                "anthropic-ratelimit-input-tokens-reset": "2026-09-21T14:13:50Z",
                "anthropic-priority-input-tokens-limit": "1",
            },
            (Seen("input_tokens", 2_000_000, 1_999_000, 30_000),),
        ),
        (
            "reddit",
            {"x-ratelimit-remaining": "598.0", "x-ratelimit-used": "2", "x-ratelimit-reset": "212"},
            (Seen("requests", 600, 598, 212_000),),
        ),
        (
            "x",
            {"x-rate-limit-limit": "300", "x-rate-limit-remaining": "299", "x-rate-limit-reset": "1790000900"},
            (Seen("requests", 300, 299, 900_000),),
        ),
        ("youtube", {"x-ratelimit-limit": "300"}, ()),
        (
            "generic",
            {"RateLimit-Limit": "100", "RateLimit-Remaining": "50", "RateLimit-Reset": "50"},
            (Seen("requests", 100, 50, 50_000),),
        ),
        # threats H9: lies and garbage
        (
            "openai",
            {
                "x-ratelimit-limit-requests": "-1",
                "x-ratelimit-remaining-requests": "1e9",
                "x-ratelimit-reset-requests": "2020-01-01T00:00:00Z",
                "x-ratelimit-remaining-tokens": "9007199254740993",
                "x-ratelimit-limit-tokens": "9" * 70,
            },
            (),
        ),
        ("x", {"x-rate-limit-limit": "300", "x-rate-limit-reset": "1"}, (Seen("requests", 300, None, 1000),)),
    ],
)
def test_limits(dialect: str, headers: Fields, expected: tuple[Seen, ...]) -> None:
    """The headers of each provider, in one form; what is not believable is left out."""
    assert reply(dialect, 200, headers).limits == expected


@pytest.mark.parametrize(
    "value",
    ["-1", "0", "NaN", "1000000000000", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "<html>"],
)
def test_hostile_waits(value: str) -> None:
    """A wait that cannot be meant is no wait: the back-off decides."""
    for name in ("Retry-After", "retry-after-ms", "x-ratelimit-reset-requests"):
        if (name, value) != ("retry-after-ms", "1000000000000"):
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
        ("insufficient_quota", "exhausted"),
        ("billing_error", "exhausted"),
        ("overloaded_error", "overloaded"),
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
    assert all(wait is None or 0 < wait <= DAY_MS for wait in waits)
    assert (found.meaning == "ok") is (status < 400)
