"""The RateLimit fields of the IETF drafts, in every version that is met (provider-facts 1.5).

    00 to 06   RateLimit-Limit: 100, 100;w=60     RateLimit-Remaining: 50     RateLimit-Reset: 5
    07         RateLimit: limit=100, remaining=50, reset=5                    RateLimit-Policy: 100;w=60
    08 to 10   RateLimit: "day";r=50;t=30         RateLimit-Policy: "day";q=1000;w=86400;qu="requests"

Law: read by expressions that take linear time over a bounded length, because what is sent is often not valid: Hugging
Face writes a quoted string where a parameter must stand (1.4). An item that cannot be read is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .. import times
from .seen import MOST_AMOUNT, Fields, How, Seen

_LONGEST = 1024
"""Characters of a field that are looked at: the longest seen have under 200."""
_MOST_ITEMS = 16

_NAMED = re.compile(r'"([^"]{0,64})"((?:\s{0,2};\s{0,2}[a-z]{1,4}=[^;,\s]{1,40})+)')
_PARAMETER = re.compile(r"([a-z]{1,4})=\"?([^;,\s\"]{1,40})\"?")
_PAIR = re.compile(r"\b(limit|remaining|reset)=(\d{1,18})\b")
_POLICY = re.compile(r"(?:^|,)\s{0,4}(\d{1,18})((?:;[^;,]{0,40})*)\s{0,4}(?=,|\Z)")
_METERS = {"requests": "requests", "concurrent-requests": "concurrent"}
"""Quota units (`qu`) that are meters here; bytes are none."""


@dataclass(slots=True)
class _Policy:
    quota: int
    window_ms: int | None
    meter: str | None


def read_fields(fields: Fields, now_s: float, *, how: How = "unknown") -> tuple[Seen, ...]:
    """What the RateLimit fields of a reply say. `now_s`: Unix time. `how`: the provider counts."""
    said = {}
    for name, value in fields:
        lowered = name.lower()
        if lowered.startswith(b"ratelimit") and len(value) <= _LONGEST:
            said[lowered] = value.decode("latin-1")
    if not said:
        return ()
    current = said.get(b"ratelimit", "")
    if '"' in current or '"' in said.get(b"ratelimit-policy", ""):
        told = _named(current, said.get(b"ratelimit-policy", ""), now_s)
    else:
        told = _three(said, now_s)
    return told if how == "unknown" else tuple([replace(one, how=how) for one in told])


def _named(current: str, policy: str, now_s: float) -> tuple[Seen, ...]:
    policies = {name: found for name, one in _items(policy) if (found := _policy(one)) is not None}
    seen = []
    for name, one in _items(current):
        mine = policies.pop(name, None)
        meter = mine.meter if mine is not None else "requests"
        if meter is not None:
            quota, window = (mine.quota, mine.window_ms) if mine is not None else (None, None)
            reset = _reset(one.get("t"), now_s)
            seen.append(Seen(meter, quota, times.whole(one.get("r", ""), MOST_AMOUNT), reset, window, name="named"))
    # a policy alone still says how much there is
    seen += [
        Seen(one.meter, one.quota, None, None, one.window_ms, name="named") for one in policies.values() if one.meter
    ]
    return tuple([one for one in seen if one.limit is not None or one.remaining is not None])


def _items(text: str) -> list[tuple[str, dict[str, str]]]:
    """Quoted names with their parameters. A name without any is none: what follows it is."""
    return [(name, dict(_PARAMETER.findall(rest))) for name, rest in _NAMED.findall(text)[:_MOST_ITEMS]]


def _policy(one: dict[str, str]) -> _Policy | None:
    quota = times.whole(one.get("q", ""), MOST_AMOUNT)
    return None if quota is None else _Policy(quota, _window(one.get("w", "")), _METERS.get(one.get("qu", "requests")))


def _reset(written: str | None, now_s: float) -> int | None:
    return None if written is None else times.reset(written.strip(), now_s) or 0


def _window(written: str) -> int | None:
    seconds = times.whole(written, 366 * 86_400)
    return seconds * 1000 if seconds else None


def _three(said: dict[bytes, str], now_s: float) -> tuple[Seen, ...]:
    pairs = dict(_PAIR.findall(said.get(b"ratelimit", "")))
    for field in ("limit", "remaining", "reset"):
        if (written := said.get(b"ratelimit-" + field.encode())) is not None:
            pairs.setdefault(field, written)
    limits = _POLICY.findall(pairs.get("limit", ""))
    limit = times.whole(limits[0][0], MOST_AMOUNT) if limits else None
    remaining = times.whole(pairs.get("remaining", "").strip(), MOST_AMOUNT)
    reset = _reset(pairs.get("reset"), now_s)
    if limit is None and remaining is None:
        return ()
    # draft 03 carries the policies behind the limit, later ones in a field of their own
    windows: dict[int | None, int] = {}
    for quota, rest in (*limits, *_POLICY.findall(said.get(b"ratelimit-policy", "")))[:_MOST_ITEMS]:
        found = _window(dict(_PARAMETER.findall(rest)).get("w", ""))
        if found is not None:
            windows.setdefault(times.whole(quota, MOST_AMOUNT), found)
    return (Seen("requests", limit, remaining, reset, windows.get(limit), name="requests"),)
