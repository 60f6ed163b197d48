"""Relays a reply to the client as it comes, past the tap that finds usage.

A piece is written before the next is awaited, so no part of an event stream waits behind another; a client that reads
slowly slows the upstream down, not us.
"""

from __future__ import annotations

from collections.abc import Callable

from rules.meters.usage import Tap, tap
from rules.policy import BodyFormat

from . import headers
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


def tap_of(body_format: BodyFormat, reply: Reply) -> Tap:
    """The tap for a reply, chosen by its headers."""
    kind = headers.value_of(reply.headers, b"content-type")
    coding = headers.value_of(reply.headers, b"content-encoding")
    return tap(
        body_format,
        kind.decode("latin-1") if kind is not None else None,
        content_encoding=coding.decode("latin-1") if coding is not None else None,
    )
