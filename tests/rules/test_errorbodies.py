import gzip
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errorbodies import LONGEST, ErrorBody, read_error

TPM = (
    "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): "
    "Limit 30000, Used 22999, Requested 12528. Please try again in 11.054s. Visit the dashboard to learn more."
)


def test_openai() -> None:
    """Codes, the wait in the message, and a request that fits later."""
    error = read_error(
        json.dumps({"error": {"message": TPM, "type": "tokens", "code": "rate_limit_exceeded"}}).encode()
    )
    assert error.codes == {"tokens", "rate_limit_exceeded"}
    assert (error.retry_ms, error.never_fits) == (11_054, False)


def test_never_fits() -> None:
    """A request larger than its limit can never succeed."""
    text = TPM.replace("Requested 12528", "Requested 30001")
    assert read_error(json.dumps({"error": {"message": text}}).encode()).never_fits


@pytest.mark.parametrize(
    ("words", "expected"),
    [("6m0s", 360_000), ("20ms", 20), ("1h2m3s", 3_723_000), ("forever", None), ("9" * 40 + "s", None)],
)
def test_waits_in_words(words: str, expected: int | None) -> None:
    """The wait in a message is read in every unit."""
    body = json.dumps({"error": {"message": f"Please try again in {words}."}}).encode()
    assert read_error(body).retry_ms == expected


def test_gemini() -> None:
    """Quota ids become periods, the retry delay a wait, in an array too."""
    error = {
        "error": {
            "code": 429,
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.2s"},
            ],
        }
    }
    for document in (error, [error]):
        found = read_error(json.dumps(document).encode())
        assert found.codes == {"429", "RESOURCE_EXHAUSTED", "quota:PerDay"}
        assert found.retry_ms == 38_200


def test_packed() -> None:
    """A gzip body is unpacked, within the bound; a broken one says nothing."""
    body = json.dumps({"error": {"code": "insufficient_quota"}}).encode()
    assert read_error(gzip.compress(body), "gzip").codes == {"insufficient_quota"}
    assert read_error(gzip.compress(b" " * 10 * LONGEST + body), "gzip") == ErrorBody()
    assert read_error(body, "gzip") == ErrorBody()
    assert read_error(body, "br").codes == {"insufficient_quota"}


def test_bomb() -> None:
    """A packed body that is a bomb is unpacked to the bound and no further."""
    bomb = gzip.compress(b" " * 20_000_000, 1)
    tracemalloc.start()
    assert read_error(bomb, "gzip") == ErrorBody()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 10 * LONGEST


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"3", b"[" * 5000, b'{"error":' + b" " * LONGEST + b"1}"]
)
def test_says_nothing(body: bytes) -> None:
    """A body that is no JSON object, or too long, says nothing."""
    assert read_error(body) == ErrorBody()


def test_message_is_not_printed() -> None:
    """The text of the body does not appear when the value is printed."""
    assert "CANARY" not in repr(read_error(b'{"error":{"message":"CANARY"}}'))


_KEYS = st.sampled_from(
    ["error", "errors", "details", "violations", "code", "type", "message", "retryDelay", "quotaId", "detail"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=15,
)


@given(_VALUES)
def test_any_document(document: object) -> None:
    """No document raises."""
    read_error(json.dumps(document).encode())


@given(st.binary(max_size=200), st.sampled_from(["", "gzip"]))
def test_any_bytes(body: bytes, coding: str) -> None:
    """No bytes raise."""
    read_error(body, coding)
