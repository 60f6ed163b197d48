"""Finds a few small values in a JSON text of any length, given piece by piece, without keeping the text.

Law: exact about structure (a name inside a string, or at another depth, is not the name), bounded in memory whatever
the text, and silent about text that is not JSON: it then finds nothing more. The result is the same for every way to
cut the text. Regular expressions pass over the bulk, so the cost is that of a search through the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CAPTURE = 16_384
"""Longest object kept, in bytes; a usage object has a few hundred."""
WORD = 64
"""Longest key or string kept; those looked for have under 40 bytes."""

Path = tuple[bytes, ...]

_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
"""The rest of a string: to its closing quote, to a backslash that ends the piece, or to the end."""
_PLAIN = rb'[^"{}\[\]]*+'
_QUOTED = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_LEAF = rb"%s(?:%s%s)*+" % (_PLAIN, _QUOTED, _PLAIN)
_BRANCH = rb"%s(?:(?:%s|\[%s\]|\{%s\})%s)*+" % (_PLAIN, _QUOTED, _LEAF, _LEAF, _PLAIN)
_INSIDE = re.compile(rb"%s(?:(?:%s|\[%s\]|\{%s\})%s)*+" % (_PLAIN, _QUOTED, _BRANCH, _BRANCH, _PLAIN), re.DOTALL)
"""Text, whole strings and whole values up to two levels deep: to a bracket, to a string that the piece cuts, or to the
end. The two levels keep a reply of many small objects (log-probabilities) from costing a step per bracket."""
_BETWEEN = re.compile(rb'[^"{}\[\]:,]*+')
_BLANK = b" \t\r\n"
_BETWEEN_ELEMENTS = b"[,]" + _BLANK

_QUOTE, _COLON, _COMMA = b'":,'
_BRACE, _BRACKET, _BRACE_END, _BRACKET_END = b"{[}]"


class Scanner:
    """Keeps the text of objects and strings found at given paths; the last one of a path wins, as in JSON parsers.

    A path is the keys from the top-level object down: `(b"response", b"usage")`. No path may lead into an object that
    another path keeps. Strings are kept as they are written, escapes included. `many`: the text is an array of
    objects, each of which is read as a top-level one.
    """

    __slots__ = (
        *("_capture", "_closed", "_cut", "_escaped", "_key", "_many", "_nested", "_objects", "_open", "_strings"),
        *("_trail", "_under", "_valued", "_word", "found"),
    )

    def __init__(self, objects: Iterable[Path], strings: Iterable[Path] = (), *, many: bool = False) -> None:
        self._objects = frozenset(objects)
        self._strings = frozenset(strings)
        self._under = frozenset(
            path[:length] for path in self._objects | self._strings for length in range(1, len(path))
        )
        self.found: dict[Path, bytes] = {}
        self._many = many
        self._open = False  # inside the top-level object
        self._closed = False  # behind it, or what stands there is no object
        self._trail: Path = ()  # keys of the objects entered
        self._word = b""  # the last string read
        self._key = b""
        self._valued = False  # a colon was read: what comes is the value of _key
        self._nested = 0  # brackets open inside a value that is passed over; 0: reading keys
        self._capture: bytearray | None = None  # the value passed over is kept
        self._cut = False  # the piece ended inside a string
        self._escaped = False  # and behind its backslash

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the text."""
        if self._closed:
            return
        at, end = 0, len(piece)
        if self._cut and end:
            at = self._string(piece, 0)
            self._keep(piece, 0, at)
        while at < end:
            if self._nested:
                at = self._pass_over(piece, at, end)
            elif self._open:
                at = self._read(piece, at, end)
            else:
                at = self._start(piece, at)

    def _start(self, piece: bytes, at: int) -> int:
        passed = _BETWEEN_ELEMENTS if self._many else _BLANK
        while at < len(piece):
            if piece[at] not in passed:
                self._open = piece[at] == _BRACE
                self._closed = not self._open
                return at + 1 if self._open else len(piece)
            at += 1
        return at

    def _read(self, piece: bytes, at: int, end: int) -> int:
        """Read keys; returns where the piece ends or another way of reading begins."""
        while at < end:
            between = _BETWEEN.match(piece, at)
            at = between.end() if between else at
            if at == end:
                return at
            byte = piece[at]
            at += 1
            if byte == _QUOTE:
                self._word = b""
                at = self._string(piece, at)
            elif byte == _COLON:
                self._key, self._valued = self._word, True
            elif byte == _COMMA:
                self._valued = False
            elif byte in (_BRACE, _BRACKET):
                if self._enter(byte):
                    return at
            elif byte == _BRACE_END and self._leave():
                return at if self._many else end
        return at

    def _enter(self, byte: int) -> bool:
        """Open an object or array; True when it is passed over."""
        path = (*self._trail, self._key)
        if byte == _BRACE and self._valued and path in self._under:
            self._trail, self._valued = path, False
            return False
        self._capture = bytearray(b"{") if byte == _BRACE and self._valued and path in self._objects else None
        self._nested = 1
        return True

    def _leave(self) -> bool:
        """Close an object that was entered; True when it is the top-level one."""
        self._valued = False
        if self._trail:
            self._trail = self._trail[:-1]
            return False
        self._open, self._closed = False, not self._many
        return True

    def _pass_over(self, piece: bytes, at: int, end: int) -> int:
        """Pass over a value; returns where it or the piece ends."""
        start, nested = at, self._nested
        while nested and at < end:
            inside = _INSIDE.match(piece, at)
            at = inside.end() if inside else at
            if at == end:
                break
            byte = piece[at]
            at += 1
            if byte == _QUOTE:
                at = self._string(piece, at)
            elif byte in (_BRACE, _BRACKET):
                nested += 1
            else:
                nested -= 1
        self._nested = nested
        self._keep(piece, start, at)
        if not nested and self._capture is not None:
            self.found[(*self._trail, self._key)] = bytes(self._capture)
            self._capture = None
        return at

    def _string(self, piece: bytes, at: int) -> int:
        """Pass over (the rest of) a string; returns where it or the piece ends."""
        start, end = at, len(piece)
        if self._escaped and at < end:
            at += 1
            self._escaped = False
        rest = _STRING.match(piece, at)
        at = rest.end() if rest else at
        self._cut = at == end or piece[at] != _QUOTE
        self._escaped = self._escaped or (self._cut and at < end)
        stop = at if not self._cut else end
        if not self._nested:
            if len(self._word) <= WORD:
                self._word += piece[start : min(stop, start + WORD + 1)]
            if not self._cut:
                self._string_read()
        return end if self._cut else at + 1

    def _string_read(self) -> None:
        if self._valued and len(self._word) <= WORD and (path := (*self._trail, self._key)) in self._strings:
            self.found[path] = self._word

    def _keep(self, piece: bytes, start: int, at: int) -> None:
        if self._capture is not None:
            self._capture += piece[start:at]
            if len(self._capture) > CAPTURE:
                self._capture = None
