"""How much of a quota a ledger used, read fairly.

A gate that fills each window at once sends in bursts, and how many bursts a stretch of whole windows holds depends on
where it starts: five in the first 30 s of a 6 s window, though one comes only every 6.2 s. So the share is the mean
over every phase: of all stretches of `windows` whole windows that start between `start` and one window later, each
counted in full. It is exact, not sampled: an amount at time t is in the stretches of a share of the phases that is a
trapezoid in t.
"""

from __future__ import annotations

from collections.abc import Iterable


def share(amounts: Iterable[tuple[float, float]], *, quota: float, window: float, start: float, windows: int) -> float:
    """Mean use of `quota` a `window` over all phases; `amounts` are (time, amount), all times in seconds.

    Looks at the times from `start` to `start + (windows + 1) * window` only.
    """
    end = start + windows * window

    def phases(time: float, edge: float) -> float:
        return min(max((time - edge) / window, 0.0), 1.0)

    used = sum(amount * (phases(time, start) - phases(time, end)) for time, amount in amounts)
    return used / (windows * quota)


def fullest(amounts: Iterable[tuple[float, float]], *, window: float) -> float:
    """The most that any window of this length holds, half-open, wherever it starts."""
    most = total = 0.0
    live: list[tuple[float, float]] = []
    for time, amount in sorted(amounts):
        live.append((time, amount))
        total += amount
        while live[0][0] <= time - window:
            total -= live.pop(0)[1]
        most = max(most, total)
    return most
