"""rules/periods.py: when a calendar day or month ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.periods import Period, next_end, zone_name, zone_names

LA = "America/Los_Angeles"


def at(text: str) -> int:
    """Unix milliseconds of an instant in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("period", "zone", "now", "end"),
    [
        ("day", "UTC", "2026-11-24T10:00", "2026-11-25T00:00"),
        ("day", "UTC", "2026-11-24T00:00", "2026-11-25T00:00"),
        ("day", LA, "2026-11-24T07:59", "2026-11-24T08:00"),
        ("day", LA, "2026-07-01T06:59", "2026-07-01T07:00"),
        ("day", LA, "2026-07-01T07:00", "2026-07-02T07:00"),
        # 23 and 25 hours: clocks go forward on 8 March 2026, back on 1 November
        ("day", LA, "2026-03-08T08:00", "2026-03-09T07:00"),
        ("day", LA, "2026-11-01T07:00", "2026-11-02T08:00"),
        ("month", "UTC", "2026-01-31T23:59", "2026-02-01T00:00"),
        ("month", "UTC", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", LA, "2026-11-01T06:59", "2026-11-01T07:00"),
        ("month", LA, "2026-11-01T07:00", "2026-12-01T08:00"),
        # Beirut has no midnight on 29 March 2026: the day begins at 01:00, when it would have been 00:00
        ("day", "Asia/Beirut", "2026-03-28T12:00", "2026-03-28T22:00"),
        # Havana has midnight twice on 1 November 2026: the first begins the day
        ("day", "America/Havana", "2026-10-31T12:00", "2026-11-01T04:00"),
    ],
)
def test_a_period_ends_at_the_next_local_midnight(period: Period, zone: str, now: str, end: str) -> None:
    """Of the next day, or of the 1st; in summer and winter, and where a midnight is skipped or comes twice."""
    assert next_end(period, zone, at(now)) == at(end)


@given(
    zone=st.sampled_from(sorted(zone_names())),
    now=st.datetimes(datetime(2024, 1, 1), datetime(2060, 1, 1)),
    period=st.sampled_from(["day", "month"]),
)
def test_an_end_is_ahead_and_every_instant_before_it_has_the_same(zone: str, now: datetime, period: Period) -> None:
    """Whatever the zone: a millisecond before an end, and now, name that end, and the end itself the next."""
    present = round(now.replace(tzinfo=UTC).timestamp() * 1000)
    end = next_end(period, zone, present)
    assert present < end <= present + timedelta(days=32 if period == "month" else 2) // timedelta(milliseconds=1)
    assert next_end(period, zone, end - 1) == end
    assert next_end(period, zone, end) > end


@pytest.mark.parametrize(
    "name", ["", "Pacific", "../../etc/localtime", "/etc/localtime", "america/los_angeles", "Zulu "]
)
def test_only_names_of_the_database_are_zones(name: str) -> None:
    """What is no such name is refused before any file is looked for."""
    with pytest.raises(ValueError, match="must be a time zone of the IANA database"):
        zone_name(name)
