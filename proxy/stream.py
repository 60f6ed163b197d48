"""Relays a reply to the client as it comes, past the tap that finds usage.

A piece is written before the next is awaited, so no part of an event stream waits behind another; a client that reads
slowly slows the upstream down, not us.
"""

from __future__ import annotations

from collections.abc import Callable

from .call import Answer
from .upstream import Reply


async def relay(
    reply: Reply, answer: Answer, tap: Callable[[bytes], None] | None, first: tuple[bytes, ...] = ()
) -> None:
    """Send the rest of a reply's body. `first` are pieces that were read before, and come first.

    Raises ClientGone, and what Reply raises when the upstream breaks off.
    """
    for piece in first:
        if tap is not None:
            tap(piece)
        await answer.write(piece)
    held: bytes | None = None
    async for piece in reply.chunks():
        if tap is not None:
            tap(piece)
        if held is not None:
            await answer.write(held)
        if reply.complete:
            # the last piece leaves together with the end mark: one segment for a small answer
            held = piece
        else:
            held = None
            await answer.write(piece)
    await answer.end(held or b"")
