"""What repeated failure means: how long to rest when a refusal names no time.

Law: the delay never shrinks while failures go on, never passes the configured maximum, and has no randomness of its own
(whoever waits adds it).
"""

from __future__ import annotations

import math

from .policy import Backoff


def delay_ms(backoff: Backoff, attempt: int) -> int:
    """Rest after a refusal, in milliseconds; `attempt` is how many refusals in a row went before it.

    exponential: initial x multiplier^attempt. linear: initial x (attempt + 1). adaptive: in this storey exponential,
    since the caller counts attempts per scope and a success ends the row; the rate that adapts is the gate's
    (limiter 13) and comes with it. Bounded by `max_delay_ms`, which also wins over a larger initial delay.
    """
    attempt = max(0, attempt)
    if backoff.type == "linear":
        delay = float(backoff.initial_delay_ms * (attempt + 1))
    else:
        # A multiplier below 1 would shrink the delay.
        growth = attempt * math.log2(max(1.0, backoff.multiplier))
        # 2^60 ms is above every maximum a person writes, and below where a float overflows.
        delay = backoff.initial_delay_ms * 2.0 ** min(growth, 60.0)
    return max(0, int(min(delay, backoff.max_delay_ms)))
