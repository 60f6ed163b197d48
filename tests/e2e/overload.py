"""The load of the overload test: workers that each start a call on their own schedule, whatever became of the last.

Laws: nothing sleeps, the schedule is the loop's; a worker that is refused puts the call back in its own list and sends
it again when `Retry-After` says so, as a worker on a job queue does; no call waits beyond the end of the load; what is
still in a worker's list then is in its hands and not lost. Everything else that is not a 200 is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from proxy import tasks
from tests.upstreams.strict import CALL_FIELD


@dataclass(kw_only=True)
class Outcome:
    """What became of the calls. `answered` + `in_hand` + the lost ones are all that were pushed."""

    pushed: int = 0
    answered: int = 0
    in_hand: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Refusals of Headgate's that were met, by code; each is followed by another try or by `in_hand`."""
    lost: Counter[str] = field(default_factory=Counter)
    granted: dict[str, float] = field(default_factory=dict)
    """Call -> when it was granted, in seconds of the monotonic clock: when its client began to send it, and what
    Headgate says it waited. The true time is later by the way from client to gate."""


async def push(
    bases: Sequence[str],
    bodies: Sequence[dict[str, Any]],
    *,
    workers: int,
    seconds: float,
    max_wait: float,
    session: aiohttp.ClientSession,
) -> Outcome:
    """Push the bodies evenly over `seconds`, call n by worker n modulo `workers`, each worker at its own proxy; a call
    is held for at most `max_wait` seconds.

    Returns when every call has its answer.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    end = start + seconds
    outcome = Outcome(pushed=len(bodies))
    left = len(bodies)
    done = asyncio.Event()

    def finish() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    def send(number: int) -> None:
        tasks.spawn(call(number), name=f"call {number}")

    async def call(number: int) -> None:
        worker = number % workers
        sent = loop.time()
        headers = {
            "X-Headgate-User": f"worker-{worker}",
            "X-Headgate-Max-Wait": f"{max(0, round(min(max_wait, end - sent) * 1000))}ms",
            CALL_FIELD: str(number),
        }
        try:
            async with session.post(
                f"{bases[worker % len(bases)]}/chat/completions", json=bodies[number], headers=headers
            ) as reply:
                await reply.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome.lost[type(error).__name__] += 1
            finish()
            return
        if reply.status == 200:
            outcome.answered += 1
            outcome.granted[str(number)] = sent + float(reply.headers["X-Headgate-Waited"])
            finish()
        elif reply.status == 429 and reply.headers.get("X-Headgate-Reason") in ("wait_too_long", "hold_expired"):
            outcome.refused[reply.headers["X-Headgate-Reason"]] += 1
            again = int(reply.headers.get("Retry-After", 1))  # a hold that ran out need not know a time
            if loop.time() + again < end:
                loop.call_later(again, send, number)
            else:
                outcome.in_hand += 1
                finish()
        else:
            outcome.lost[f"{reply.status} {reply.headers.get('X-Headgate-Reason')}"] += 1
            finish()

    for number in range(len(bodies)):
        loop.call_at(start + number * seconds / len(bodies), send, number)
    await done.wait()
    return outcome
