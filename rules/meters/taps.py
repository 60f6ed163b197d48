"""Taps: read the true usage out of a reply while it flows past, without collecting it.

Law: a tap never raises, never holds more than twice LINE bytes of the reply, and never tells what it read except as
numbers and one word of meaning. No usage found: None (provider-facts 2.7).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from ..dialects import Meaning, stream_meaning
from ..policy import BodyFormat
from .produced import Produced
from .scanner import Path, Scanner
from .usage import PATHS, WORDS, Findings, Usage

LINE = 32_768
"""Bytes of a reply, or of an event's line, that are held and parsed whole; longer ones are scanned as they come."""
INFLATED = 16_777_216
"""Bytes unpacked from a compressed reply before the tap gives up: a bomb costs 0.1 s at most, and no chat reply is as
long. Usage behind it is lost, the estimate stays."""
_STEP = 65_536

_ERROR: tuple[Path, ...] = ((b"error",), (b"response", b"error"))
_WHERE = tuple((path, tuple(key.decode() for key in path)) for path in PATHS)
_WHERE_WORDS = tuple((path, tuple(key.decode() for key in path)) for path in WORDS)
_WHERE_ERRORS = tuple(tuple(key.decode() for key in path) for path in _ERROR)
_TYPE, _CODE = (b"type",), (b"code",)
_MARKER = re.compile(rb'"(?:usage|usageMetadata|error)"\s*:\s*\{|"type"\s*:\s*"error"')
"""A line without one of these carries nothing for us: inside a string its quotes would be escaped."""
_BREAK = re.compile(rb"[\r\n]")
_BLANK = b" \t\r\n"


class Tap(Protocol):
    """Reads one reply's body, cut anyhow."""

    @property
    def failed(self) -> Meaning | None:
        """The reply itself reports a failure after its 200: what that means."""

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the body, as it came from the upstream."""

    def finish(self) -> Usage | None:
        """What the upstream said the call cost."""

    def produced(self, model: str | None, margin: float) -> int | None:
        """Output tokens that have come so far, counted from the text times `margin`; None where that is not known
        because the reply is no stream of events."""


def tap(body_format: BodyFormat, content_type: str | None, content_encoding: str | None = None) -> Tap:
    """The tap for a reply, chosen by its headers. Understands JSON and SSE, plain, gzip or (zlib-wrapped) deflate."""
    kind = (content_type or "application/json").partition(";")[0].strip().lower()
    inner: Tap
    if body_format == "none":
        return NoTap()
    if kind == "text/event-stream":
        inner = EventTap(body_format)
    elif kind == "application/json" or kind.endswith("+json"):
        inner = JsonTap(body_format)
    else:
        return NoTap()
    coding = (content_encoding or "identity").strip().lower()
    if coding == "identity":
        return inner
    return InflatingTap(inner) if coding in ("gzip", "x-gzip", "deflate") else NoTap()


class NoTap:
    """For replies that say nothing about usage."""

    __slots__ = ()
    failed: Meaning | None = None

    def feed(self, chunk: bytes) -> None:
        """Take no notice."""

    def finish(self) -> Usage | None:
        """Nothing is known."""
        return None

    def produced(self, model: str | None, margin: float) -> int | None:
        """Nothing is known."""
        return None


class _Reading:
    """Usage and failure seen in the JSON texts of one reply."""

    __slots__ = ("failed", "findings")

    def __init__(self, body_format: BodyFormat) -> None:
        self.findings = Findings(body_format)
        self.failed: Meaning | None = None

    def take_whole(self, text: bytes) -> None:
        """Take a JSON text that is complete."""
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        if not isinstance(document, dict):
            return
        for path, keys in _WHERE:
            if keys[0] in document:
                self.findings.take(path, _at(document, keys))
        for path, keys in _WHERE_WORDS:
            if keys[0] in document:
                self.findings.take_word(path, _at(document, keys))
        for keys in _WHERE_ERRORS:
            if keys[0] in document:
                self._error(_at(document, keys))
        if document.get("type") == "error" and self.failed is None:
            self._error({"code": document.get("code")})

    def take_scanned(self, scanner: Scanner) -> None:
        """Take what a scanner found in a JSON text."""
        for path in PATHS:
            self.findings.take(path, _parsed(scanner.found.get(path)))
        for path in WORDS:
            if path in scanner.found:
                self.findings.take_word(path, scanner.found[path].decode("latin-1"))
        for path in _ERROR:
            self._error(_parsed(scanner.found.get(path)))
        if scanner.found.get(_TYPE) == b"error" and self.failed is None:
            self._error({"code": scanner.found.get(_CODE, b"").decode("latin-1")})

    def _error(self, error: Any) -> None:
        if isinstance(error, dict):
            code = error.get("code") or error.get("type")
            self.failed = stream_meaning(str(code)) if isinstance(code, str | int) else "fault"


class JsonTap:
    """A JSON reply: held while short, else scanned. Of an array each element is read (Gemini streams without
    `alt=sse`)."""

    __slots__ = ("_held", "_reading", "_scanner")

    def __init__(self, body_format: BodyFormat) -> None:
        self._reading = _Reading(body_format)
        self._held = b""
        self._scanner: Scanner | None = None

    @property
    def failed(self) -> Meaning | None:
        """Known after `finish`."""
        return self._reading.failed

    def feed(self, chunk: bytes) -> None:
        """Hold or scan the next piece."""
        if self._scanner is None:
            is_array = (self._held or chunk.lstrip(_BLANK))[:1] == b"["
            if len(self._held) + len(chunk) <= LINE and not is_array:
                self._held += chunk if self._held else chunk.lstrip(_BLANK)
                return
            self._scanner = _scanner(many=is_array)
            self._scanner.feed(self._held)
            self._held = b""
        self._scanner.feed(chunk)

    def finish(self) -> Usage | None:
        """Usage of the top-level object, or of the last element that has any."""
        if self._scanner is not None:
            self._reading.take_scanned(self._scanner)
        else:
            self._reading.take_whole(self._held)
        return self._reading.findings.usage()

    def produced(self, model: str | None, margin: float) -> int | None:
        """Not known: what has not come yet may be produced all the same."""
        return None


class EventTap:
    """A stream of server-sent events, one JSON text per `data:` line, as all formats write them."""

    __slots__ = ("_line", "_passing", "_produced", "_reading", "_scanner")

    def __init__(self, body_format: BodyFormat) -> None:
        self._reading = _Reading(body_format)
        self._produced = Produced(body_format)
        self._line = b""
        self._scanner: Scanner | None = None  # of a line longer than LINE
        self._passing = False  # that line carries no data

    @property
    def failed(self) -> Meaning | None:
        """What the last error in the stream meant."""
        return self._reading.failed

    def feed(self, chunk: bytes) -> None:
        """Look at the lines that end here; most chunks are whole events of no interest, and cost two searches."""
        whole = not self._line and self._scanner is None and not self._passing
        if whole and chunk[-1:] in b"\r\n" and _MARKER.search(chunk) is None:
            self._produced.take(chunk)
            return
        *ended, rest = _BREAK.split(chunk)
        for line in ended:
            self._part(line)
            self._end()
        self._part(rest)

    def finish(self) -> Usage | None:
        """Usage of all events; a last line without its end counts too."""
        self._end()
        return self._reading.findings.usage()

    def produced(self, model: str | None, margin: float) -> int | None:
        """From the deltas seen."""
        return self._produced.tokens(model, margin)

    def _part(self, part: bytes) -> None:
        if self._scanner is not None:
            self._scanner.feed(part)
        elif not self._passing:
            self._line += part
            if len(self._line) > LINE:
                if self._line.startswith(b"data:"):
                    self._scanner = _scanner()
                    self._scanner.feed(self._line[5:])
                else:
                    self._passing = True
                self._line = b""

    def _end(self) -> None:
        if self._scanner is not None:
            self._reading.take_scanned(self._scanner)
        elif self._line.startswith(b"data:"):
            self._produced.take(self._line)
            if _MARKER.search(self._line):
                self._reading.take_whole(self._line[5:])
        self._line, self._scanner, self._passing = b"", None, False


class InflatingTap:
    """Unpacks gzip or zlib before another tap, in bounded steps and up to INFLATED bytes."""

    __slots__ = ("_inflate", "_inner", "_left")

    def __init__(self, inner: Tap) -> None:
        self._inner = inner
        self._inflate = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, told by their heads
        self._left = INFLATED

    @property
    def failed(self) -> Meaning | None:
        """The inner tap's."""
        return None if self._left < 0 else self._inner.failed

    def feed(self, chunk: bytes) -> None:
        """Unpack and pass on."""
        while self._left >= 0 and not self._inflate.eof:
            try:
                piece = self._inflate.decompress(chunk, _STEP)
            except zlib.error:
                self._left = -1
                return
            chunk = self._inflate.unconsumed_tail
            self._left -= len(piece)
            if piece:
                self._inner.feed(piece)
            if not chunk and len(piece) < _STEP:
                return

    def finish(self) -> Usage | None:
        """The inner tap's, unless unpacking was given up."""
        return None if self._left < 0 else self._inner.finish()

    def produced(self, model: str | None, margin: float) -> int | None:
        """The inner tap's, unless unpacking was given up."""
        return None if self._left < 0 else self._inner.produced(model, margin)


def _scanner(*, many: bool = False) -> Scanner:
    return Scanner((*PATHS, *_ERROR), (_TYPE, _CODE, *WORDS), many=many)


def _at(document: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document


def _parsed(text: bytes | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
