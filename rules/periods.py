"""When a calendar day or month ends in a time zone, for quotas that begin anew at midnight (limiter.md 4, Q21).

Law: the same instant, period and zone give the same end on every replica: zones come from the tzdata package, never
from the machine, and the present is an argument.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Literal
from zoneinfo import ZoneInfo

Period = Literal["day", "month"]


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every name of the IANA database."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def zone_name(written: str) -> str:
    """`written`, if it names a zone. Raises ValueError else: nothing that is no such name is looked for as a file."""
    if written not in zone_names():
        raise ValueError("must be a time zone of the IANA database, such as America/Los_Angeles or UTC")
    return written


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    with resources.files("tzdata").joinpath("zoneinfo", *zone_name(name).split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def next_end(period: Period, zone: str, unix_ms: int) -> int:
    """The first end after `unix_ms`, in milliseconds of Unix time: the next local midnight, or that of the next 1st.

    A midnight that the clocks skip is the moment they skip it; of one that comes twice, the first (PEP 495, fold 0).
    """
    local = datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone(_zone(zone)).date()
    end = _midnight(_after(period, local), zone)
    # 23:00 to 24:00 comes twice where clocks go back at midnight, and its first hour may end a day early
    return end if end > unix_ms else _midnight(_after(period, _after("day", local)), zone)


def _after(period: Period, day: date) -> date:
    if period == "day":
        return day + timedelta(days=1)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _midnight(day: date, zone: str) -> int:
    at = datetime(day.year, day.month, day.day, tzinfo=_zone(zone))
    return round(at.timestamp()) * 1000
