"""Asks for usage in a stream where the API hides it (`stream_options.include_usage`), and takes the answer out again.

Law: the upstream reads what the client wrote, and the client reads what the upstream would have written without us
(provider-facts 2.7, 6.3: clients that index `choices[0]` break on the extra chunk). A body or an event that leaves
any doubt is not touched: then the estimate stays.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from ..policy import BodyFormat

FORMATS: tuple[BodyFormat, ...] = ("chat_completions", "completions")
"""Those whose streams keep usage back unless asked (provider-facts 2.7)."""
EVENT = 262_144
"""Bytes of one event that are held until it is whole; a longer one passes as it comes. A chunk that carries usage has
a few hundred, one with the log-probabilities of twenty alternatives a few thousand."""

_ASKED = b'"include_usage":true'
_OPTIONS = re.compile(rb'"stream_options"\s*:\s*')
_INCLUDE = re.compile(rb'"include_usage"\s*:\s*')
_STREAM = re.compile(rb'"stream"\s*:')
_NOT_YET = re.compile(rb"false|null")

# The end of an event: two line ends, of any of the three kinds (the SSE standard, section 9.2.6).
_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_DATA = re.compile(rb"(?:\A|[\r\n])data: ?([^\r\n]*)")
# With the comma before it; in a first member, behind it.
_NULL = re.compile(rb',\s*"usage"\s*:\s*null')
_NULL_FIRST = re.compile(rb'"usage"\s*:\s*null\s*(?:,\s*)?')


def ask(body: bytes) -> bytes | None:
    """`body` with `stream_options.include_usage` set, by the smallest edit there is; None: it is not to be touched.

    That is so when it is no JSON object, is no stream, asks already, or names one of the fields twice.
    """
    document = _loads(body)
    if not isinstance(document, dict) or document.get("stream") is not True or len(_STREAM.findall(body)) != 1:
        return None
    found = list(_OPTIONS.finditer(body))
    if "stream_options" not in document:
        if found:
            return None
        at = body.index(b"{") + 1
        return b'%b"stream_options":{%b},%b' % (body[:at], _ASKED, body[at:])
    if len(found) != 1:
        return None
    options = document["stream_options"]
    edited = _edited(body, found[0].end(), options)
    if edited is None:
        return None
    document["stream_options"] = {**(options or {}), "include_usage": True}
    # the one place where the name stands may be inside another object
    return edited if _loads(edited) == document else None


def _edited(body: bytes, at: int, options: Any) -> bytes | None:
    """`at`: where the value of `stream_options` begins."""
    if options is None:
        return b"%b{%b}%b" % (body[:at], _ASKED, body[at + 4 :])
    if not isinstance(options, dict) or body[at : at + 1] != b"{":
        return None
    found = list(_INCLUDE.finditer(body))
    if "include_usage" not in options:
        if found:
            return None
        comma = b"," if options else b""
        return b"%b%b%b%b" % (body[: at + 1], _ASKED, comma, body[at + 1 :])
    value = _NOT_YET.match(body, found[0].end()) if len(found) == 1 else None
    return b"%btrue%b" % (body[: value.start()], body[value.end() :]) if value is not None else None


class Unasked:
    """Takes out of a stream what it holds only because we asked: the chunk that carries usage and no choices, and the
    `usage` of the others, which is null (provider-facts 2.7)."""

    __slots__ = ("_held", "_passing")

    def __init__(self) -> None:
        self._held = b""
        self._passing = False  # an event that is too long goes by as it comes

    def feed(self, piece: bytes) -> bytes:
        """What the client gets of the stream so far. Every event that is whole leaves at once."""
        if not self._held and not self._passing and piece[-2:] == b"\n\n" and b"\r" not in piece:
            # whole events, as nearly all pieces are
            *events, rest = piece.split(b"\n\n")
            if not rest:
                return b"".join([_without_usage(event + b"\n\n") for event in events])
        held = self._held + piece
        out, start = [], 0
        for end in _END.finditer(held, max(0, len(self._held) - 3)):
            if end.end() == len(held) and held.endswith(b"\r"):
                break  # the second half of a line end may follow
            event = held[start : end.end()]
            out.append(event if self._passing else _without_usage(event))
            start, self._passing = end.end(), False
        rest = held[start:]
        if self._passing or len(rest) > EVENT:
            # what may be the beginning of its end is kept
            keep = len(rest) - len(rest.rstrip(b"\r\n"))
            out.append(rest[: len(rest) - keep])
            rest, self._passing = rest[len(rest) - keep :], True
        self._held = rest
        return b"".join(out)

    def finish(self) -> bytes:
        """What is left when the stream ends: an event without its end."""
        rest, self._held = self._held, b""
        return rest if self._passing else _without_usage(rest)


def _without_usage(event: bytes) -> bytes:
    if b'"usage"' not in event:
        return event
    document = _chunk(event)
    if document is None or "usage" not in document:
        return event
    usage = document.pop("usage")
    if isinstance(usage, dict) and document.get("choices") == []:
        return b""
    if usage is not None:
        return event
    # what stands there once, and is not written with escapes elsewhere, is the member that was read
    sure = event.count(b'"usage"') == 1 and b"\\u00" not in event
    for pattern in (_NULL, _NULL_FIRST):
        for member in pattern.finditer(event):
            edited = event[: member.start()] + event[member.end() :]
            if sure or _chunk(edited) == document:
                return edited
    return event


def _chunk(event: bytes) -> dict[str, Any] | None:
    """The JSON object of an event that has one line of data."""
    plain = event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event
    lines = [event[6:-2]] if plain else _DATA.findall(event)
    found = _loads(lines[0]) if len(lines) == 1 else None
    return found if isinstance(found, dict) else None


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
