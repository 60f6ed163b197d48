"""A time-out for what another machine owes us: time in which this process itself stood still does not count.

An answer that is here already lies unread while the loop is busy (ten thousand clients that leave at once keep it so
for half a second), and the loop looks at its timers before it looks at its sockets. Law: what is given up had the
whole time, and the loop turned meanwhile; a loop that turns gives up when the time is over.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

SLICES = 5
"""The time is counted in so many parts, each for at most its length however late the loop came back to it. An answer
takes three turns of the loop from the socket to whoever awaits it."""


class Patience:
    """`async with Patience(seconds):` raises TimeoutError as asyncio.timeout does."""

    __slots__ = ("_left", "_limit", "_loop", "_slice", "_timer")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._slice = seconds / SLICES
        self._left = SLICES
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()
        self._next()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _next(self) -> None:
        if self._left:
            self._left -= 1
            self._timer = self._loop.call_later(self._slice, self._next)
        else:
            self._timer = None
            self._limit.reschedule(self._loop.time())
