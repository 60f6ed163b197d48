import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import times
from rules.times import DAY_MS

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("6m0s", 360_000),
        ("1s", 1000),
        ("8.64s", 8640),
        ("20ms", 20),
        ("2m59.56s", 179_560),
        ("1h2m3s", 3_723_000),
        ("65205s", 65_205_000),
        ("1d", DAY_MS),
        ("3d", DAY_MS),
        ("500us", 1),
        ("0s", None),
        ("99d", None),
        ("5", None),
        ("s", None),
        ("-5s", None),
        ("1s ", None),
        ("1s" * 40, None),
    ],
)
def test_durations(written: str, expected: int | None) -> None:
    """Go-style durations are milliseconds, rounded up, at most a day; garbage is None."""
    assert times.duration(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1", 1000),
        ("1.5", 1500),
        ("40", 40_000),
        ("7200", 7_200_000),
        ("90000", DAY_MS),
        ("0", None),
        ("-1", None),
        ("NaN", None),
        ("inf", None),
        ("1e3", None),
        ("1000000000000", None),
        ("99999999999999999999999", None),
        ("1790000030", 30_000),
        ("1790000030000", 30_000),
        ("1780000000", None),
        ("Mon, 21 Sep 2026 14:13:50 GMT", 30_000),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Mon, 31 Feb 2026 14:13:50 GMT", None),
        ("Mon, 21 Foo 2026 14:13:50 GMT", None),
        ("<html>429</html>", None),
        ("", None),
    ],
)
def test_retry_after(written: str, expected: int | None) -> None:
    """Retry-After is seconds or a date; what is past, absurd or garbage is None."""
    assert times.retry_after(written, NOW) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("8.64s", 8640),
        ("300", 300_000),
        ("1790000900", 900_000),
        ("2026-09-21T14:13:50Z", 30_000),
        ("2026-09-21T14:13:50.5+00:00", 30_500),
        ("2026-09-21T14:13:50", 30_000),
        ("2020-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("T", None),
    ],
)
def test_resets(written: str, expected: int | None) -> None:
    """A reset is read in each of its four meanings."""
    assert times.reset(written, NOW) == expected


def test_calendar() -> None:
    """Midnights and months end when they end."""
    assert times.until_utc_midnight(NOW) == (9 * 3600 + 46 * 60 + 40) * 1000
    assert times.until_pacific_midnight(NOW) == (17 * 3600 + 46 * 60 + 40) * 1000
    assert times.until_utc_month(NOW) == (9 * 86_400 + 9 * 3600 + 46 * 60 + 40) * 1000
    december = 1_798_675_200.0  # 2026-12-31T00:00:00Z
    assert times.until_utc_month(december) == DAY_MS


@given(st.binary(max_size=80), st.floats(0, 2e9))
def test_any_bytes(value: bytes, now_s: float) -> None:
    """No value raises, and every wait is within a day."""
    written = times.text(value)
    for found in (times.retry_after(written, now_s), times.reset(written, now_s), times.milliseconds(written)):
        assert found is None or 0 < found <= DAY_MS


@given(
    st.from_regex(
        r"\d{1,25}(\.\d{1,25})?"
        r"|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?",
        fullmatch=True,
    )
)
def test_near_misses(written: str) -> None:
    """Nothing that looks like a time raises either."""
    for found in (times.retry_after(written, NOW), times.reset(written, NOW)):
        assert found is None or 0 < found <= DAY_MS
