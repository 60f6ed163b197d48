"""proxy/patience.py: a time-out that does not count the time in which the loop stood still."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.patience import Patience


def stand_still(seconds: float) -> None:
    """Keep the loop from turning for so long."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        pass


async def test_an_answer_that_came_while_the_loop_stood_still_is_in_time() -> None:
    """It lay in the socket when the time was over: it is read, not given up."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    theirs.send(b"x")
    asyncio.get_running_loop().call_soon(stand_still, 0.2)
    async with Patience(0.05):
        assert await reader.readexactly(1) == b"x"
    writer.close()
    theirs.close()


async def test_what_never_comes_is_given_up_by_a_loop_that_turns() -> None:
    """As asyncio.timeout does."""
    with pytest.raises(TimeoutError):
        async with Patience(0.01):
            await asyncio.get_running_loop().create_future()


async def test_an_end_in_time_leaves_no_timer() -> None:
    """Whoever left is not cancelled later, and what was raised inside passes."""
    with pytest.raises(LookupError):
        async with Patience(0.01):
            raise LookupError
    async with Patience(0.01):
        pass
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.get_running_loop().create_future()
