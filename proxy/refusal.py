"""What the gate's refusals say to a client, in a sentence."""

from __future__ import annotations

from rules.policy import Service
from rules.verdict import Refuse

from .errors import Problem


def problem_of(service: Service, verdict: Refuse, waited_ms: int) -> Problem:
    """The answer for a refused call; `waited_ms` is all the time it was held."""
    limit = f" on {verdict.limit.name}" if verdict.limit is not None else ""
    back = f"{verdict.retry_after_ms / 1000:.1f} s" if verdict.retry_after_ms is not None else None
    name = service.name
    if verdict.code == "wait_too_long":
        text = f"{name}: no room{limit}; the wait would be {back or 'longer than the call may be held'}"
    elif verdict.code == "hold_expired":
        text = f"{name}: held for {waited_ms / 1000:.1f} s{limit}, and its time is up"
        text += f"; there will be room in {back}" if back else ""
    elif verdict.code == "never_fits" and verdict.limit is not None and verdict.limit.amount == 0:
        text = f"{name}: {verdict.limit.name} lets nothing through"
    elif verdict.code == "never_fits":
        text = f"{name}: the call costs more than a limit holds{limit}; no wait helps"
    elif verdict.code == "no_key":
        rest = f"the first returns in {back}" if back else "none says when it returns"
        text = f"{name}: no key can serve this call; {rest}" if service.keys else f"{name}: the pool has no key"
    elif verdict.code == "no_price":
        text = f"{name}: the price of this call is not known, and the budget takes none without one"
    else:
        text = {
            "queue_full": f"{name}: the line is full",
            "draining": "this Headgate is shutting down",
            "store_unavailable": "the store cannot be reached",
        }.get(verdict.code, "this Headgate has too much to do")
    return Problem(verdict.code, text, retry_after_ms=verdict.retry_after_ms, limit=verdict.limit)
