"""How many pages a PDF has (ISO 32000-1 7.5.7, 7.7.3): by its page objects, those packed in object streams too.

Law: never fails, unpacks at most MOST bytes, and works in steps, so that no other thread waits long. A file that shows
no page, because it is encrypted or is none, has 0: whoever asked goes by its bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from .document import MOST

_STEP = 1 << 18
_OVERLAP = 64
"""Longer than what is looked for."""
_MARK = re.compile(rb"/Type\s*/Page(?![A-Za-z])|/Count\s+(\d{1,7})|(/ObjStm)")
_STREAM = re.compile(rb"stream\r?\n")
_DICTIONARY = 4096
"""Bytes from a stream's type to its data."""
_LEAST_PAGE = 400
"""Bytes a page takes at the least, packed: a page tree of so many pages is not believed in fewer."""


def pages(data: bytes) -> int:
    """Pages of a PDF: the objects that are one, or what the page tree says, whichever is more; what that says is
    believed up to a page in each _LEAST_PAGE bytes."""
    seen = _Seen()
    left = MOST
    for found in _marks(data):
        if found[2] is None:
            seen.take(found)
            continue
        before = b""
        for piece in _unpacked(data, found.end()):
            left -= len(piece)
            if left < 0:
                break
            window = before + piece
            for inner in _MARK.finditer(window):
                if inner.end() > len(before):
                    seen.take(inner)
            before = window[-_OVERLAP:]
    return max(seen.objects, min(seen.told, len(data) // _LEAST_PAGE))


class _Seen:
    """Page objects, and the most that a page tree tells."""

    def __init__(self) -> None:
        self.objects = 0
        self.told = 0

    def take(self, found: re.Match[bytes]) -> None:
        if found[1] is not None:
            self.told = max(self.told, int(found[1]))
        elif found[2] is None:
            self.objects += 1


def _marks(data: bytes) -> Iterator[re.Match[bytes]]:
    for start in range(0, len(data), _STEP):
        for found in _MARK.finditer(data, start, start + _STEP + _OVERLAP):
            if found.start() < start + _STEP:
                yield found


def _unpacked(data: bytes, at: int) -> Iterator[bytes]:
    """The stream whose dictionary goes on at `at`, in pieces, up to where it ends or breaks."""
    begin = _STREAM.search(data, at, at + _DICTIONARY)
    inflate = zlib.decompressobj()
    start = begin.end() if begin is not None else len(data)
    rest = data[start : start + _STEP]
    while rest and not inflate.eof:
        try:
            yield inflate.decompress(rest, _STEP)
        except zlib.error:
            return
        rest = inflate.unconsumed_tail
        if not rest:
            start += _STEP
            rest = data[start : start + _STEP]
