"""Answers of our own: their fields, and bodies that SDKs parse."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from proxy.errors import REASON, STATUS, Problem, place_of
from rules.policy import ErrorShape, Limit

LIMIT = Limit(
    id="openai-1", name="500 requests per 60s", kind="window", meter="requests", amount=5000, scale=10, window_ms=60_000
)


def fields_of(problem: Problem) -> dict[str, str]:
    """The fields that go with a problem."""
    return {name.decode(): value.decode() for name, value in problem.headers()}


@pytest.mark.parametrize("code", STATUS)
@pytest.mark.parametrize("shape", get_args(ErrorShape))
def test_every_code_in_every_shape(code: str, shape: ErrorShape) -> None:
    """Each has a status with a reason phrase, its code as a field, and a body that is not empty."""
    problem = Problem(code, "no")
    assert REASON[problem.status]
    assert fields_of(problem)["X-Headgate-Reason"] == code
    error: dict[str, Any] = json.loads(problem.body(shape, "id-1"))["error"]
    assert error["message"].startswith("headgate: no")
    assert code in json.dumps(error)


def test_shapes() -> None:
    """The four forms, as the SDKs know them (design 4.2)."""
    problem = Problem("wait_too_long", "no room", retry_after_ms=1500)
    assert json.loads(problem.body("openai", "i")) == {
        "error": {"message": "headgate: no room", "type": "rate_limit_error", "param": None, "code": "wait_too_long"}
    }
    anthropic = json.loads(problem.body("anthropic", "i"))
    assert (anthropic["type"], anthropic["error"]["type"], anthropic["request_id"]) == (
        "error",
        "rate_limit_error",
        "i",
    )
    google = json.loads(problem.body("google", "i"))["error"]
    assert (google["code"], google["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert json.loads(problem.body("plain", "i"))["error"] == {
        "code": "wait_too_long", "message": "headgate: no room", "request_id": "i", "retry_after": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("milliseconds", "seconds", "final"),
    [(0, "0", False), (1, "1", False), (1000, "1", False), (60_000, "60", False), (60_001, "61", True)],
)
def test_retry_after(milliseconds: int, seconds: str, final: bool) -> None:
    """Whole seconds rounded up, milliseconds beside them; beyond what SDKs wait they are told not to retry."""
    fields = fields_of(Problem("queue_full", "no", retry_after_ms=milliseconds))
    assert (fields["Retry-After"], fields["retry-after-ms"]) == (seconds, str(milliseconds))
    assert ("x-should-retry" in fields) is final
    assert "RateLimit" not in fields


def test_ratelimit_fields() -> None:
    """The limit that refused, in natural units; a limit of calls in flight has no window to tell."""
    fields = fields_of(Problem("wait_too_long", "no", retry_after_ms=1500, limit=LIMIT))
    assert fields["RateLimit"] == '"openai-1";r=0;t=2'
    assert fields["RateLimit-Policy"] == '"openai-1";q=500;w=60'
    flight = Limit(id="f", name="5 in flight", kind="concurrent", meter="concurrent", amount=5)
    assert "RateLimit" not in fields_of(Problem("wait_too_long", "no", retry_after_ms=1500, limit=flight))


def test_fields_that_a_status_requires() -> None:
    """RFC 9110: 401 and 407 name a scheme, 405 the methods that are taken."""
    assert fields_of(Problem("client_unknown", ""))["WWW-Authenticate"] == 'Bearer realm="headgate"'
    assert fields_of(Problem("proxy_auth_required", ""))["Proxy-Authenticate"] == 'Basic realm="headgate"'
    assert "POST" in fields_of(Problem("method_denied", ""))["Allow"]


def test_the_place_of_an_error_without_its_text() -> None:
    """Type, file and line; never the words, which may be a peer's (threats F3)."""
    try:
        raise ValueError("CANARY")
    except ValueError as error:
        place = place_of(error)
    assert place.startswith("ValueError at test_errors.py:")
    assert place_of(ValueError("CANARY")) == "ValueError"
