"""The ways providers write a time to wait, read into milliseconds from now.

Law: a value is believed or it is None; nothing raises, nothing is negative, nothing is above DAY_MS. A wait that is not
in the future carries no information, so it is None too, and the back-off decides (threats H8).
Grammars: provider-facts 1.5; "a bare integer above about 1e9 can only be an epoch (above 1e12: milliseconds)": 1.4.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DAY_MS = 86_400_000
_BELIEVABLE_MS = 31 * DAY_MS
"""A longer wait is garbage and not a date: the longest quota of any provider is a month (provider-facts 1.3)."""
_EPOCH_S = 1e9
_EPOCH_MS = 1e12
_LONGEST = 64
"""Characters of a header value that are looked at: the longest form, an RFC 3339 time, has under 40."""

_NUMBER = re.compile(r"\d{1,18}(?:\.\d{1,18})?")
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,12})?(?:ns|us|µs|ms|s|m|h|d)){1,8}")
_DURATION_PART = re.compile(r"([\d.]+)(ns|us|µs|ms|s|m|h|d)")
_UNIT_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6, "d": 8.64e7}
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def text(value: bytes) -> str:
    """A header value as text; what is too long to be a time or an amount is empty."""
    return value.decode("latin-1").strip() if len(value) <= _LONGEST else ""


def bounded_ms(wait: float) -> int | None:
    """A wait in milliseconds, rounded up, at most a day; None when it is past, or too far to be believed."""
    if not 0 < wait <= _BELIEVABLE_MS:
        return None
    whole_ms = int(wait)
    return min(whole_ms + (whole_ms < wait), DAY_MS)


def whole(written: str, below: int) -> int | None:
    """A whole number from 0 up to `below`. Reddit's remaining is a float (`598.0`); fractions are cut off."""
    if not _NUMBER.fullmatch(written):
        return None
    number = int(written.partition(".")[0])
    return number if number < below else None


def duration(written: str) -> int | None:
    """`6m0s`, `20ms`, `1h2m3s`, and protobuf's `38.2s`."""
    if len(written) > _LONGEST or not _DURATION.fullmatch(written):
        return None
    return bounded_ms(sum(float(number) * _UNIT_MS[unit] for number, unit in _DURATION_PART.findall(written)))


def milliseconds(written: str) -> int | None:
    """`retry-after-ms`: milliseconds, a float at times."""
    return bounded_ms(float(written)) if _NUMBER.fullmatch(written) else None


def milliseconds_of_seconds(written: str) -> int | None:
    """Seconds to go, as bodies carry them; a float at times."""
    return bounded_ms(float(written) * 1000) if _NUMBER.fullmatch(written) else None


def retry_after(written: str, now_s: float) -> int | None:
    """`Retry-After`: seconds, a float at times, or an HTTP-date (RFC 9110 section 10.2.3, IMF-fixdate only)."""
    return _number(written, now_s) if _NUMBER.fullmatch(written) else _http_date(written, now_s)


def reset(written: str, now_s: float) -> int | None:
    """A limit's reset in any of its four meanings: duration, seconds to go, epoch seconds, RFC 3339 (1.4)."""
    if _NUMBER.fullmatch(written):
        return _number(written, now_s)
    found = duration(written)
    return found if found is not None else _rfc3339(written, now_s)


def until_utc_midnight(now_s: float) -> int:
    """Milliseconds to the next 00:00 UTC."""
    return int((86_400 - now_s % 86_400) * 1000)


def until_pacific_midnight(now_s: float) -> int:
    """Milliseconds to the next 08:00 UTC: California's midnight in winter, an hour after it in summer. Late is safe."""
    return until_utc_midnight(now_s - 8 * 3600)


def until_utc_month(now_s: float) -> int:
    """Milliseconds to 00:00 UTC on the 1st."""
    now = datetime.fromtimestamp(now_s, UTC)
    first = (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)
    return int((first - now) / timedelta(milliseconds=1))


def _number(written: str, now_s: float) -> int | None:
    number = float(written)
    if number > _EPOCH_MS:
        return bounded_ms(number - now_s * 1000)
    if number > _EPOCH_S:
        return bounded_ms((number - now_s) * 1000)
    return bounded_ms(number * 1000)


def _http_date(written: str, now_s: float) -> int | None:
    found = _HTTP_DATE.fullmatch(written)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[group]) for group in (1, 3, 4, 5, 6))
    try:
        date = datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return bounded_ms((date.timestamp() - now_s) * 1000)


def _rfc3339(written: str, now_s: float) -> int | None:
    if "T" not in written:
        return None
    try:
        date = datetime.fromisoformat(written)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return bounded_ms((date.timestamp() - now_s) * 1000)
    except (ValueError, OverflowError):
        return None
