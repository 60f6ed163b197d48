"""A `multipart/form-data` body in memory: its parts, without copying them (RFC 7578, RFC 2046 5.1).

Law: anything that is not plainly such a body is None: whoever asked then goes by the length of all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_PARTS = 200
"""A transcription has about ten fields; beyond this a body is not read."""
_HEAD = 16_384
_BOUNDARY = re.compile(r';\s*boundary\s*=\s*(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb';\s*name\s*=\s*(?:"([^"\r\n]*)"|([^\s";]+))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"(?:^|\r\n)content-disposition\s*:([^\r\n]*)", re.IGNORECASE)
_FILE = re.compile(rb";\s*filename\*?\s*=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form."""

    name: str
    data: memoryview
    is_file: bool
    """It names a file."""


def parts_of(body: bytes, content_type: str | None) -> list[Part] | None:
    """The parts of a body of that Content-Type, in order; None when it is no form, or broken."""
    kind = content_type or ""
    boundaries = _BOUNDARY.findall(kind)
    if not kind.lstrip().lower().startswith("multipart/form-data") or len(boundaries) != 1:
        return None
    mark = b"--" + "".join(boundaries[0]).encode("latin-1", "replace")
    view = memoryview(body)
    if not body.startswith(mark):
        at = body.find(b"\r\n" + mark)
        if at < 0:
            return None
        at += 2
    else:
        at = 0
    at += len(mark)
    found: list[Part] = []
    while True:
        if body.startswith(b"--", at):
            return found
        start = body.find(b"\r\n", at, at + _HEAD)
        end = body.find(b"\r\n" + mark, at)
        if start < 0 or end < 0 or len(found) == MOST_PARTS:
            return None
        head = body.find(b"\r\n\r\n", start, min(end + 4, start + _HEAD))
        if head < 0:
            return None
        told = _DISPOSITION.search(body, start, head)
        if told is None:
            return None
        name = _NAME.search(told[1])
        named = (name[1] if name[1] is not None else name[2]) if name is not None else b""
        is_file = _FILE.search(told[1]) is not None
        found.append(Part(named.decode("utf-8", "replace"), view[min(head + 4, end) : end], is_file))
        at = end + 2 + len(mark)
