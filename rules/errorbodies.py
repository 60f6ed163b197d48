"""The error body of a reply: the codes in it, the wait it names, whether the request can ever fit.

Law: looks only where providers put such things (provider-facts 1.6), a bounded number of places, and never raises. The
message is kept, in lower case, for the dialects' tables to look for phrases; it must not leave `rules`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from . import times

LONGEST = 65_536
"""Bytes of body that are read; error bodies have a few thousand."""
_ENTRIES = 16
_CODE = 128
_CODES = (
    *("code", "type", "status", "reason", "title", "error_code"),
    *("error_type", "limit_source", "rate_limit_reason", "err_code"),
)
_MESSAGE = 2000

# "Limit 30000, Used 22999, Requested 12528. Please try again in 11.054s." (1.6, OpenAI)
_TRY_AGAIN = re.compile(r"try again in ([0-9][0-9.hmsuµnd]{0,30}[a-z])")
_REQUESTED = re.compile(r"limit:? (\d{1,15})\b.{0,80}?\brequested:? (\d{1,15})\b", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an error body says."""

    codes: frozenset[str] = frozenset()
    """As written, and `quota:PerDay`, `quota:PerMinute` for Google's quota ids."""
    message: str = field(default="", repr=False)
    retry_ms: int | None = None
    never_fits: bool = False


_NOTHING = ErrorBody()


def read_error(body: bytes, coding: str = "") -> ErrorBody:
    """Read an error body, packed with the content coding; one that is not JSON, or too long, says nothing."""
    if coding in ("gzip", "x-gzip", "deflate"):
        body = _unpacked(body)
    if len(body) > LONGEST:
        return _NOTHING
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _NOTHING
    codes: set[str] = set()
    messages: list[str] = []
    delays: list[int] = []
    for place in _places(document):
        _read_place(place, codes, messages, delays)
    message = " ".join(messages).lower()
    retry_ms = max(delays, default=None)
    if retry_ms is None and (found := _TRY_AGAIN.search(message)):
        retry_ms = times.duration(found[1])
    sizes = _REQUESTED.search(message)
    never_fits = sizes is not None and int(sizes[2]) > int(sizes[1])
    return ErrorBody(frozenset(codes), message, retry_ms, never_fits)


def _unpacked(body: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=47).decompress(body, LONGEST + 1)  # 32 + 15: gzip or zlib
    except zlib.error:
        return b""


def _places(document: Any) -> Iterator[dict[str, Any]]:
    """The objects that may carry a code: the document, its `error` or `detail`, what those keep aside (OpenRouter's
    `metadata`, Notion's `additional_data`), and the entries of their lists."""
    if isinstance(document, list):  # Gemini streams wrap the error in an array
        document = document[0] if document else None
    if not isinstance(document, dict):
        return
    yield document
    for name in ("error", "detail"):
        inner = document.get(name)
        if isinstance(inner, dict):
            yield inner
            yield from _aside(inner)
            yield from _entries(inner)
        elif isinstance(inner, str):
            yield {"code": inner, "message": inner}
    yield from _aside(document)
    yield from _entries(document)


def _aside(holder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("metadata", "additional_data"):
        inner = holder.get(name)
        if isinstance(inner, dict):
            yield inner


def _entries(holder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("details", "errors", "violations"):
        listed = holder.get(name)
        for entry in listed[:_ENTRIES] if isinstance(listed, list) else (listed,):
            if isinstance(entry, dict):
                yield entry
                if name != "violations":
                    yield from _entries({"violations": entry.get("violations")})


def _read_place(place: dict[str, Any], codes: set[str], messages: list[str], delays: list[int]) -> None:
    for name in _CODES:
        value = place.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            codes.add(str(value))
        elif isinstance(value, str) and len(value) <= _CODE:
            codes.add(value)
    quota = place.get("quotaId")
    if isinstance(quota, str):
        codes.update(f"quota:{period}" for period in ("PerDay", "PerMinute") if period in quota[:_CODE])
    message = place.get("message")
    if isinstance(message, str):
        messages.append(message[:_MESSAGE])
    delay = place.get("retryDelay")
    if isinstance(delay, str) and (found := times.duration(delay)) is not None:
        delays.append(found)
    seconds = place.get("retry_after")  # Notion: a text
    written = str(seconds)[:_CODE] if isinstance(seconds, (str, int, float)) else ""
    if (found := times.milliseconds_of_seconds(written)) is not None:
        delays.append(found)
