"""Heads on the upstream's side: how a request's is written, and what is wrong with an answer's.

The law: bytes are passed on or refused, never altered; and a message's length has one meaning (RFC 9112 section 6).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiohttp.http_parser import RawResponseMessage

from .faults import UpstreamProtocol
from .wire import MAX_HEAD

# A control byte in a reason phrase or a field value (RFC 9110 section 5.5): the client's side could not write it (H5).
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_VERSIONS = ((1, 1), (1, 0))

# Methods whose request has content: an empty one is said to be empty (RFC 9110 section 8.6).
_WITH_CONTENT = (b"POST", b"PUT", b"PATCH")


def declared(headers: Sequence[tuple[bytes, bytes]]) -> tuple[int | None, bool]:
    """The list's Content-Length, and whether it says `Transfer-Encoding: chunked`.

    Raises ValueError for two of either, a length that is no number, or another coding.
    """
    length, coded = None, False
    for name, value in headers:
        size = len(name)
        if size == 14 and name.lower() == b"content-length":
            if length is not None or not value.isdigit():
                raise ValueError("Content-Length is one decimal number")
            length = int(value)
        elif size == 17 and name.lower() == b"transfer-encoding":
            if coded or value.lower() != b"chunked":
                raise ValueError("Transfer-Encoding is chunked or nothing")
            coded = True
    return length, coded


def framing(method: bytes, body: object, length: int | None, coded: bool, chunked: bool) -> bytes:
    """The framing field that the list lacks, with its line end. Raises ValueError when list and body disagree."""
    if body is None or isinstance(body, bytes):
        size = len(body) if body else 0
        if coded or (length is not None and length != size):
            raise ValueError("the list's framing is not the body's")
        if length is None and body is not None and (size or method in _WITH_CONTENT):
            return b"Content-Length: %d\r\n" % size
        return b""
    if chunked == (length is not None) or (coded and not chunked):
        raise ValueError("a streamed body is either chunked or has a Content-Length")
    return b"Transfer-Encoding: chunked\r\n" if chunked and not coded else b""


def write_head(method: bytes, raw_target: bytes, headers: Sequence[tuple[bytes, bytes]], framing: bytes) -> bytes:
    """Request line and fields as bytes (RFC 9112 section 3). Raises ValueError if a value breaks a line."""
    fields = b"".join([b"%b: %b\r\n" % field for field in headers])
    head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, raw_target, fields, framing)
    lines = len(headers) + (3 if framing else 2)
    # a line end inside a value would write fields of the value's choosing: a key read from a file may end in one
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise ValueError("a field or the target holds a line end")
    if b" " in raw_target or not raw_target:
        raise ValueError("the request target is empty or holds a space")
    return head


def judge(message: RawResponseMessage) -> None:
    """Raises UpstreamProtocol for a head that must not reach the client (threats 2.3 rows 2 to 5, H2, H5, H6)."""
    if message.version not in _VERSIONS or not 200 <= message.code <= 599:
        raise UpstreamProtocol
    size = 0
    codings = lengths = 0
    for name, value in message.raw_headers:
        size += len(name) + len(value)
        width = len(name)
        if width == 17 and name.lower() == b"transfer-encoding":
            codings += 1
            # "reads to close, hangs to the time-out" is what any other coding would mean
            if value.lower() != b"chunked":
                raise UpstreamProtocol
        elif width == 14 and name.lower() == b"content-length":
            lengths += 1
            if not value.isdigit():
                raise UpstreamProtocol
    if size > MAX_HEAD or codings + lengths > 1 or (codings and message.version == (1, 0)):
        raise UpstreamProtocol
    if holds_control(message):
        raise UpstreamProtocol


def holds_control(message: RawResponseMessage) -> bool:
    """Whether a field value or the reason phrase holds a control byte."""
    if _CONTROL.search(b"".join([value for _, value in message.raw_headers])):
        return True
    return bool(message.reason and _CONTROL.search(message.reason.encode("utf-8", "surrogateescape")))
