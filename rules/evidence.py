"""What an upstream's headers say about limits -> what the gate must know of its buckets (limiter.md 13).

Law: headers are evidence of use, never of room. They make a bucket stricter, for as long as the upstream's window
lasts and never above the window's own length; what they say of a larger limit than ours is not believed at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .dialects import Seen
from .policy import Limit
from .verdict import Grant, Taken, Told

_DAY_MS = 86_400_000
_PERIOD_MS = {"day": _DAY_MS, "month": 31 * _DAY_MS}
"""How long a header's window is that speaks of a calendar period (dialects.seen)."""


def evidence(limits: Sequence[Seen], grant: Grant) -> tuple[Told, ...]:
    """What the limits that a reply told mean for the buckets of its call; only what the gate does not know.

    A header speaks of the group or the key, so common limits (a cap per user) are left alone. Where the reply does not
    say which window it speaks of, `remaining` counts for the shortest that its reset fits in: no more than that may go
    until then, whatever the limit is. The amount counts only where there is no doubt of which limit it is.
    """
    found: dict[str, Told] = {}
    for seen in limits:
        mine, sure = _buckets(seen, grant.taken)
        for taken in mine:
            told = _told(seen, taken, sure=sure)
            before = found.get(taken.charge.bucket)
            found[taken.charge.bucket] = told if before is None else _stricter(before, told)
    return tuple([told for told in found.values() if told.used or told.amount is not None])


def _buckets(seen: Seen, takens: Sequence[Taken]) -> tuple[list[Taken], bool]:
    """The charges on the limit a header speaks of, and whether it is that one without doubt."""
    same = [taken for taken in takens if taken.charge.limit.of_key and taken.charge.limit.meter == seen.meter]
    if seen.window_ms is not None:
        return [taken for taken in same if _lasts(taken.charge.limit, seen.window_ms)], True
    if len(same) < 2:
        return same, seen.certain
    fitting = [taken for taken in same if (seen.reset_ms or 0) <= _span_ms(taken.charge.limit)]
    return sorted(fitting, key=lambda taken: _span_ms(taken.charge.limit))[:1], False


def _lasts(limit: Limit, window_ms: int) -> bool:
    if limit.kind == "token_bucket":
        # it lasts as long as it takes to refill, and no two providers write that in the same way
        return window_ms / 2 < limit.window_ms < window_ms * 2
    return limit.kind == "concurrent" or _span_ms(limit) == window_ms


def _span_ms(limit: Limit) -> int:
    return _PERIOD_MS[limit.period] if limit.period is not None else limit.window_ms


def _told(seen: Seen, taken: Taken, *, sure: bool) -> Told:
    limit = taken.charge.limit
    whole = _amount(seen.limit, limit) if seen.limit else limit.amount
    used, since = 0, _since(seen, taken)
    # of an account larger than our limit others may use the rest, and nothing we charge tells how much of it they do
    refills = sure and seen.how == "refills" and _in_windows(limit)
    refills = refills and 0 < (seen.limit or 0) * limit.scale <= limit.amount
    # a window that has just ended, or a time that cannot be meant, says nothing of the one that begins
    if seen.remaining is not None and seen.reset_ms != 0 and limit.kind != "concurrent":
        used = max(0, whole - (seen.remaining + seen.blur) * limit.scale)
        if since is None and not refills and used <= taken.used:
            used = 0
    longest = max(1, limit.length_ms)
    for_ms = longest if seen.reset_ms is None else min(seen.reset_ms + limit.jitter_ms, longest)
    # what refills is told in whole units, or rounded up or down
    slack = (2 * seen.blur + 1) * limit.scale if refills else 0
    amount = whole if sure and seen.limit and whole else None
    return Told(taken, used, since, refills, slack, whole, for_ms, amount)


def _since(seen: Seen, taken: Taken) -> int | None:
    """When the upstream's window began, if it is a window: calls that left within the jitter before may be in it. The
    answer may have been made as soon as the call left, so that is when the reset counts from."""
    limit = taken.charge.limit
    if seen.how != "fixed" or not seen.reset_ms or not _in_windows(limit):
        return None
    return taken.slice + seen.reset_ms - limit.length_ms


def _in_windows(limit: Limit) -> bool:
    return limit.kind == "window" and limit.count_at == "start"


def _amount(told: int, limit: Limit) -> int:
    """The upstream's amount in the limit's units, at most the limit's own."""
    count = told * limit.scale
    if limit.kind == "token_bucket":
        # ours is what may leave at once: less by what refills within the jitter (limiter 14)
        count -= math.ceil(limit.refill[0] * limit.jitter_ms / limit.refill[1])
    return max(0, min(count, limit.amount))


def _stricter(one: Told, other: Told) -> Told:
    amounts = [told.amount for told in (one, other) if told.amount is not None]
    most = max(one, other, key=lambda told: told.used)
    return replace(most, amount=min(amounts, default=None))
