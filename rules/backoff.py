"""What repeated failure means: how long to rest when a refusal names no time.

Law: the delay never shrinks while failures go on but by its jitter, never passes the configured maximum, and has no
randomness of its own: whoever asks brings it.
"""

from __future__ import annotations

import math

from .policy import Backoff

JITTER = 0.2
"""Of the delay, at most (limiter.md 10: positive only, at most a fifth)."""


def delay_ms(backoff: Backoff, attempt: int, jitter: float = 0.0) -> int:
    """Rest after a refusal, in milliseconds; `attempt` is how many refusals in a row went before it. `jitter`, drawn
    from 0 to 1, lengthens it: services that were refused together do not come back together.

    exponential: initial x multiplier^attempt. linear: initial x (attempt + 1). adaptive: exponential too; what adapts
    is the rate, where nobody names one (learning.py, limiter 13). Bounded by `max_delay_ms`, which also wins over a
    larger initial delay.
    """
    attempt = max(0, attempt)
    if backoff.type == "linear":
        delay = float(backoff.initial_delay_ms * (attempt + 1))
    else:
        # A multiplier below 1 would shrink the delay.
        growth = attempt * math.log2(max(1.0, backoff.multiplier))
        # 2^60 ms is above every maximum a person writes, and below where a float overflows.
        delay = backoff.initial_delay_ms * 2.0 ** min(growth, 60.0)
    delay *= 1 + JITTER * min(max(jitter, 0.0), 1.0)
    return max(0, int(min(delay, backoff.max_delay_ms)))
