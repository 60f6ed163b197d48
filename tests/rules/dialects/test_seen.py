"""rules/dialects/seen.py: what headers say about one limit, and what is not believed of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.dialects import NAMES, Seen
from rules.dialects.seen import DAY_MS, MINUTE_MS, MOST_AMOUNT, OPENAI, PLAIN, read_table
from rules.dialects.speakers import speaker

NOW = 1_790_000_000.0


def seen(headers: dict[str, str], *, infers: bool = False) -> tuple[Seen, ...]:
    """What these say by the names of OpenAI and the plain ones."""
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    return read_table({**OPENAI, **PLAIN}, fields, NOW, infers=infers)


@pytest.mark.parametrize(
    "value",
    ["", "-1", "NaN", "nan", "inf", "1e9", "0x10", "9007199254740992", "1" * 70, "<html>", "1,000", "\xb2", "1;2"],
)
def test_an_amount_that_cannot_be_counted_is_not_there(value: str) -> None:
    """And of a limit without amounts nothing is said."""
    assert seen({"x-ratelimit-limit": value, "x-ratelimit-remaining": value, "x-ratelimit-reset": "5"}) == ()


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-5",
        "NaN",
        "1000000000000",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
def test_a_time_that_cannot_be_meant_is_told_from_one_that_is_missing(value: str) -> None:
    """0: it is there, and of no use."""
    assert seen({"x-ratelimit-remaining": "5", "x-ratelimit-reset": value})[0].reset_ms == 0
    assert seen({"x-ratelimit-remaining": "5"})[0].reset_ms is None


def test_the_largest_amount_that_is_believed() -> None:
    """One less than the gate's bound."""
    assert seen({"x-ratelimit-limit": str(MOST_AMOUNT - 1)})[0].limit == MOST_AMOUNT - 1


def test_the_last_of_several_fields_is_read() -> None:
    """As a client library would."""
    fields = [(b"X-RateLimit-Remaining", b"7"), (b"x-ratelimit-remaining", b"3")]
    assert read_table(PLAIN, fields, NOW)[0].remaining == 3


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "window"),
    [
        (200_000, 199_978, "6ms", MINUTE_MS),  # 54.5 s: the reset is cut to milliseconds
        (10_000, 9_481, "3.114s", MINUTE_MS),
        (10_000, 9_999, "8.64s", DAY_MS),
        (14_400, 14_370, "2m59.56s", DAY_MS),
        (150_000, 149_984, "6m0s", None),  # the documentation's own, which fits nothing (provider-facts 1.8)
        (500, 500, "1ms", None),
        (500, 501, "1s", None),
        (0, 0, "1s", None),
    ],
)
def test_the_time_until_a_bucket_is_full_tells_its_window(
    limit: int, remaining: int, reset: str, window: int | None
) -> None:
    """Where it is near a minute, an hour or a day; else nobody knows, and it is said so."""
    headers = {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": reset,
    }
    (found,) = seen(headers, infers=True)
    assert (found.window_ms, found.certain) == (window, window is not None)
    (found,) = seen(headers)
    assert (found.window_ms, found.certain) == (None, True)


def test_what_is_used_tells_the_rest() -> None:
    """Reddit names no limit, ElevenLabs no remainder."""
    assert seen({"x-ratelimit-used": "2", "x-ratelimit-remaining": "598.0"})[0].limit == 600
    assert seen({"x-ratelimit-used": "2", "x-ratelimit-limit": "5"})[0].remaining == 3
    assert seen({"x-ratelimit-used": "9", "x-ratelimit-limit": "5"})[0].remaining == 0


_NAMES = sorted({name for dialect in NAMES for name in speaker(dialect).headers} | {b"ratelimit", b"ratelimit-policy"})


@given(
    st.sampled_from(NAMES),
    st.lists(
        st.tuples(
            st.sampled_from(_NAMES), st.binary(max_size=70) | st.from_regex(rb"-?\d{1,20}(\.\d+)?s?", fullmatch=True)
        ),
        max_size=12,
    ),
)
def test_whatever_is_sent_what_is_seen_can_be_counted(dialect: str, fields: list[tuple[bytes, bytes]]) -> None:
    """No field of any name makes it raise, and no number is out of bounds."""
    for one in speaker(dialect).limits(fields, NOW):
        assert one.limit is not None or one.remaining is not None
        assert one.limit is None or 0 <= one.limit < 2 * MOST_AMOUNT
        assert one.remaining is None or 0 <= one.remaining < MOST_AMOUNT
        assert one.reset_ms is None or 0 <= one.reset_ms <= DAY_MS
