"""Relays a reply to the client as it comes, past the tap that finds usage.

A piece is written before the next is awaited, so no part of an event stream waits behind another; a client that reads
slowly slows the upstream down, not us.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from rules.meters.streamusage import Unasked
from rules.meters.taps import Tap, tap
from rules.policy import BodyFormat
from rules.settling import Ending

from . import headers
from .call import Answer
from .faults import UpstreamProblem, UpstreamProtocol
from .redaction import Veil
from .upstream import Reply

_STEP = 65_536
"""Bytes unpacked at once: what is packed tightly reaches a slow client no faster than it reads."""
_PACKED = (b"gzip", b"x-gzip", b"deflate")


async def relay(
    reply: Reply,
    answer: Answer,
    tap: Callable[[bytes], None] | None,
    first: tuple[bytes, ...] = (),
    edit: Edit | None = None,
    veil: Veil | None = None,
) -> None:
    """Send the rest of a reply's body. `first` are pieces that were read before, and come first. What `edit` takes out,
    and what `veil` hides, the tap has seen.

    Raises ClientGone, and what Reply raises when the upstream breaks off.
    """
    for piece in first:
        if tap is not None:
            tap(piece)
        await answer.write(piece if veil is None else veil.feed(piece))
    if edit is not None:
        await _relay_edited(reply, answer, tap, edit, veil)
        return
    held: bytes | None = None
    async for piece in reply.chunks():
        if tap is not None:
            tap(piece)
        if veil is not None:
            piece = veil.feed(piece)
        if held is not None:
            await answer.write(held)
        if reply.complete:
            # the last piece leaves together with the end mark: one segment for a small answer
            held = piece
        else:
            held = None
            await answer.write(piece)
    await answer.end((held or b"") + (veil.finish() if veil is not None else b""))


async def _relay_edited(
    reply: Reply, answer: Answer, tap: Callable[[bytes], None] | None, edit: Edit, veil: Veil | None
) -> None:
    try:
        async for piece in reply.chunks():
            if tap is not None:
                tap(piece)
            for part in edit.feed(piece):
                await answer.write(part if veil is None else veil.feed(part))
            # the head leaves even if all that has come of the body is half an event
            await answer.flush()
        edit.close()
    except UpstreamProblem:
        # what came before the break was the client's too
        left = edit.finish()
        await answer.write(left if veil is None else veil.feed(left))
        raise
    left = edit.finish()
    await answer.end(left if veil is None else veil.feed(left) + veil.finish())


class Passage:
    """What a reply's body passes on its way to the client: the tap that reads usage, and the edit that takes out what
    only we asked for."""

    __slots__ = ("edit", "tap")

    def __init__(self, body_format: BodyFormat, reply: Reply, *, asked_usage: bool) -> None:
        self.tap = _tap_of(body_format, reply)
        self.edit = _edit_of(reply) if asked_usage else None

    def ending(self, model: str | None, margin: float) -> Ending:
        """What the call did cost, as far as the reply told it. `margin`: of tokens counted from text."""
        usage = self.tap.finish()
        told = usage is not None and usage.output_tokens is not None
        return Ending(usage=usage, produced=None if told else self.tap.produced(model, margin))


class Edit:
    """Takes out of an event stream what is in it only because we asked for usage (rules/meters/streamusage.py). One
    that is packed although nobody asked for that is unpacked."""

    __slots__ = ("_inflate", "_unasked", "drops")

    def __init__(self, *, packed: bool) -> None:
        self._unasked = Unasked()
        self._inflate = zlib.decompressobj(wbits=47) if packed else None  # 32 + 15: gzip or zlib, told by their heads
        self.drops = (b"content-encoding",) if packed else ()
        """Header fields that are no longer true, beside Content-Length."""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The client's part of the next piece, in bounded steps. Raises UpstreamProtocol for packing that is broken."""
        inflate = self._inflate
        if inflate is None:
            yield self._unasked.feed(piece)
            return
        while not inflate.eof:
            try:
                plain = inflate.decompress(piece, _STEP)
            except zlib.error:
                raise UpstreamProtocol from None
            piece = inflate.unconsumed_tail
            yield self._unasked.feed(plain)
            if not piece and len(plain) < _STEP:
                return

    def close(self) -> None:
        """The upstream has ended. Raises UpstreamProtocol when what it packed has not."""
        if self._inflate is not None and not self._inflate.eof:
            raise UpstreamProtocol

    def finish(self) -> bytes:
        """What is left at the end, or at a break."""
        return self._unasked.finish()


def _edit_of(reply: Reply) -> Edit | None:
    """The edit of a reply to a call that was made to ask for usage; None: it is no event stream, or cannot be read."""
    kind = headers.value_of(reply.headers, b"content-type") or b""
    if kind.partition(b";")[0].strip().lower() != b"text/event-stream":
        return None
    coding = (headers.value_of(reply.headers, b"content-encoding") or b"identity").strip().lower()
    if coding != b"identity" and coding not in _PACKED:
        return None
    return Edit(packed=coding != b"identity")


def _tap_of(body_format: BodyFormat, reply: Reply) -> Tap:
    """The tap for a reply, chosen by its headers."""
    kind = headers.value_of(reply.headers, b"content-type")
    coding = headers.value_of(reply.headers, b"content-encoding")
    return tap(
        body_format,
        kind.decode("latin-1") if kind is not None else None,
        content_encoding=coding.decode("latin-1") if coding is not None else None,
    )
