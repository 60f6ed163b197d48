"""How long a grant may be on its way before the call leaves (limiter.md 14, Q10).

Law: what is charged at t and leaves by t + J_send is counted by the upstream within J of t; what leaves later may fall
into a window where it was never charged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..verdict import Charge

OWN_PART = 0.5
"""J_send as a part of J. J is for all that can differ between a grant and its count: our way to the socket (nudge, a
busy loop, connect, TLS) has half of it, the network, the upload and the upstream's own queue the other half."""


def longest_way_ms(charges: Iterable[Charge]) -> float:
    """J_send of a call: a part of the smallest jitter that one of its limits allows for.

    Infinite where none allows for any. What is held while the call is in flight is counted for as long as it is
    charged, so a late one is no harm. A rate limit whose J is 0 says that the upstream counts at the moment of the
    grant, which no call could keep: it gets no bound rather than no calls.
    """
    jitters = [c.limit.jitter_ms for c in charges if c.cost and c.limit.jitter_ms and not c.limit.in_flight]
    return min(jitters) * OWN_PART if jitters else math.inf
