"""What an upstream's headers say of its limits, as the wire carries it: operations of others.lua and announced.lua."""

from __future__ import annotations

from ..verdict import Charge, Told
from . import wire

_UNKNOWN, _REFILLS = -1, -2
"""Since when an upstream counts: nobody knows, or its bucket refills (others.lua)."""


def told(what: Told) -> list[bytes | int]:
    """The upstream counts more of a bucket than our books knew."""
    charge, limit = what.taken.charge, what.taken.charge.limit
    one, two = limit.refill if limit.kind == "token_bucket" else (limit.slice_ms, limit.length_ms)
    since = _REFILLS if what.refills else _UNKNOWN if what.since_ms is None else max(0, what.since_ms)
    books = [what.taken.slice, since, what.taken.used]
    theirs = [min(number, wire.MOST) for number in (what.used, what.slack, what.whole)]
    return [
        b"V",
        wire.kind_of(limit).encode(),
        wire.word(charge.bucket).encode(),
        one,
        two,
        *books,
        *theirs,
        what.for_ms,
    ]


def announced(charge: Charge, amount: int) -> list[bytes | int]:
    """The upstream says that a bucket holds `amount`, in the limit's integer units."""
    return [b"N", wire.word(charge.bucket).encode(), min(amount, wire.MOST), charge.limit.length_ms]
