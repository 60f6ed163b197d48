"""What a reply's headers say about one limit, and which headers each provider says it with (provider-facts 1.4).

Law: a reply is untrusted. An amount the gate cannot count and a time that cannot be meant are not there; the last of
several fields of one name is read; nothing raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .. import times

Field = Literal["limit", "remaining", "used", "reset"]
Fields = Sequence[tuple[bytes, bytes]]
Table = Mapping[bytes, tuple[str, Field]]
"""Header name in lower case -> (limit, field). A limit is a meter, behind a slash where it has more of a name; a period
before the slash is its window: `month/tokens`."""

MOST_AMOUNT = 2**53
"""Amounts from here on are not believed: the gate cannot count them (limiter 4.3)."""

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS, MONTH_MS = 1000, 60_000, 3_600_000, 86_400_000, 31 * 86_400_000
How = Literal["fixed", "refills", "unknown"]
"""fixed: in windows that follow each other, and the reset is when this one ends · refills: a bucket that fills
continuously, and the reset is when it is full · unknown: the provider does not say (provider-facts 1.3, 1.8)."""

PERIODS = {"second": SECOND_MS, "minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS, "month": MONTH_MS}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the headers say about one limit. None: not said, or not believable."""

    meter: str
    limit: int | None
    remaining: int | None
    reset_ms: int | None
    """From now. OpenAI and Groq: until the bucket is full; others: until the window ends (provider-facts 1.8). 0: a
    time is there, and cannot be meant or is over."""
    window_ms: int | None = None
    """How long the limit's window is, where the reply tells; a month counts as 31 days."""
    blur: int = 0
    """How much larger `remaining` may be than it says: Anthropic rounds to the nearest thousand (1.4)."""
    name: str = ""
    """As the table names the limit: what its meter does not say."""
    how: How = "unknown"
    """How it is counted."""
    certain: bool = True
    """False: the provider uses this name for windows of more than one length, and nothing here tells which."""


def pattern(written: str, limits: Mapping[str, str]) -> dict[bytes, tuple[str, Field]]:
    """The table of names built from `{field}` (limit, remaining, reset) and `{name}` -> the limit it is of."""
    fields: tuple[Field, ...] = ("limit", "remaining", "reset")
    return {
        written.format(field=field, name=name).encode(): (to, field) for name, to in limits.items() for field in fields
    }


OPENAI = pattern(
    "x-ratelimit-{field}-{name}",
    {"requests": "requests", "tokens": "tokens", "project-tokens": "project/tokens", "audio-seconds": "audio_seconds"},
)
# The names of OpenAI, and another meaning: requests are always per day, tokens per minute (1.4).
GROQ = pattern(
    "x-ratelimit-{field}-{name}",
    {"requests": "day/requests", "tokens": "minute/tokens", "audio-seconds": "audio_seconds"},
)
# Priority Tier and fast mode have buckets of their own and are left out.
ANTHROPIC = pattern(
    "anthropic-ratelimit-{name}-{field}",
    {"requests": "requests", "tokens": "tokens", "input-tokens": "input_tokens", "output-tokens": "output_tokens"},
)
MISTRAL: dict[bytes, tuple[str, Field]] = {
    b"x-ratelimitbysize-limit-minute": ("minute/tokens", "limit"),
    b"x-ratelimitbysize-remaining-minute": ("minute/tokens", "remaining"),
    b"x-ratelimitbysize-limit-month": ("month/tokens", "limit"),
    b"x-ratelimitbysize-remaining-month": ("month/tokens", "remaining"),
    # the same minute once more, with the reset
    b"ratelimitbysize-limit": ("minute/tokens", "limit"),
    b"ratelimitbysize-remaining": ("minute/tokens", "remaining"),
    b"ratelimitbysize-reset": ("minute/tokens", "reset"),
}
COHERE: dict[bytes, tuple[str, Field]] = {
    b"x-endpoint-monthly-call-limit": ("month/requests", "limit"),
    b"x-trial-endpoint-call-limit": ("minute/requests", "limit"),
    b"x-trial-endpoint-call-remaining": ("minute/requests", "remaining"),
}
ELEVENLABS: dict[bytes, tuple[str, Field]] = {
    b"maximum-concurrent-requests": ("concurrent", "limit"),
    b"current-concurrent-requests": ("concurrent", "used"),
}
PLAIN = pattern("x-ratelimit-{field}", {"": "requests"}) | {b"x-ratelimit-used": ("requests", "used")}
X = pattern("x-rate-limit-{field}", {"": "requests"})
ANYBODY = {**OPENAI, **X, **PLAIN}


def read_table(
    table: Table, fields: Fields, now_s: float, *, how: How = "unknown", infers: bool = False, blur: int = 0
) -> tuple[Seen, ...]:
    """What fields of the names in `table` say. `now_s`: Unix time. `infers`: how long a window is must be found out
    from the time until the bucket is full. `blur`: of remaining tokens."""
    said: dict[str, dict[Field, int]] = {}
    for name, value in fields:
        place = table.get(name.lower())
        if place is None:
            continue
        limit, field = place
        written = times.text(value)
        found = times.reset(written, now_s) or 0 if field == "reset" else times.whole(written, MOST_AMOUNT)
        if found is not None:
            said.setdefault(limit, {})[field] = found
    told = [_seen(limit, one, how, infers, blur) for limit, one in said.items()]
    return tuple([seen for seen in told if seen.limit is not None or seen.remaining is not None])


def _seen(limit: str, said: dict[Field, int], how: How, infers: bool, blur: int) -> Seen:
    total, remaining, used, reset = said.get("limit"), said.get("remaining"), said.get("used"), said.get("reset")
    if total is None and used is not None and remaining is not None:
        total = used + remaining  # Reddit names no limit
    elif remaining is None and used is not None and total is not None:
        remaining = max(0, total - used)
    period, _, meter = limit.rpartition("/")
    window = PERIODS.get(period)
    if window is None and infers:
        window = _refilled_in(total, remaining, reset)
    rounded = blur if meter.endswith("tokens") else 0
    certain = window is not None or not infers
    return Seen(meter, total, remaining, reset, window, rounded, limit, how, certain)


def _refilled_in(limit: int | None, remaining: int | None, reset: int | None) -> int | None:
    """The window of a bucket that refills continuously, from the time until it is full: reset x limit / used (1.8).

    Resets are rounded, so only what is near a minute, an hour or a day is believed.
    """
    if not limit or remaining is None or not reset or remaining >= limit:
        return None
    window = reset * limit / (limit - remaining)
    return next((period for period in (MINUTE_MS, HOUR_MS, DAY_MS) if period / 2 < window < period * 2), None)
