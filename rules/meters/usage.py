"""Taps: read the true usage out of a reply while it flows past, without collecting it.

Law: a tap never raises, never holds more than LINE bytes of the reply, and never tells what it read except as numbers
by meter and one word of meaning. No usage found: None, and the estimate stays (provider-facts 2.7).
"""

from __future__ import annotations

import re
import zlib
from typing import Any, Protocol

import orjson

from ..dialects import Meaning, stream_meaning
from ..policy import BodyFormat
from .scanner import Path, Scanner

LINE = 32_768
"""Bytes of a reply, or of an event's line, that are held and parsed whole; longer ones are scanned as they come."""
INFLATED = 16_777_216
"""Bytes unpacked from a compressed reply before the tap gives up: a bomb costs 0.1 s at most, and no chat reply is as
long. Usage behind it is lost, the estimate stays."""
_STEP = 65_536

_AMOUNT = 2**40
"""Larger numbers are not believed: see bodies.py."""

# provider-facts 2.7. Groq repeats usage under x_groq.
_USAGE: tuple[Path, ...] = ((b"usage",), (b"response", b"usage"), (b"message", b"usage"), (b"x_groq", b"usage"))
_ERROR: tuple[Path, ...] = ((b"error",), (b"response", b"error"))
_START = (b"message", b"usage")
_TYPE, _CODE = (b"type",), (b"code",)
_MARKER = re.compile(rb'"(?:usage|error)"\s*:\s*\{|"type"\s*:\s*"error"')
"""A line without one of these carries nothing for us: inside a string its quotes would be escaped."""
_BREAK = re.compile(rb"[\r\n]")


class Tap(Protocol):
    """Reads one reply's body, cut anyhow."""

    @property
    def failed(self) -> Meaning | None:
        """The reply itself reports a failure after its 200: what that means."""

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the body, as it came from the upstream."""

    def finish(self) -> dict[str, float] | None:
        """True usage by meter (input_tokens, output_tokens, tokens); meters not known are left out."""


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

    def finish(self) -> dict[str, float] | None:
        """Nothing is known."""
        return None


class _Findings:
    """Usage fields and failure seen so far; the last value of every field counts."""

    __slots__ = ("_anthropic", "_fields", "failed")

    def __init__(self, body_format: BodyFormat) -> None:
        self._anthropic = body_format == "messages"
        self._fields: dict[str, int] = {}
        self.failed: Meaning | None = None

    def take_whole(self, text: bytes) -> None:
        """Take a JSON text that is complete."""
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        for path in _USAGE:
            self._usage(path, _at(document, path))
        for path in _ERROR:
            self._error(_at(document, path))
        if isinstance(document, dict) and document.get("type") == "error" and self.failed is None:
            self._error({"code": document.get("code")})

    def take_scanned(self, scanner: Scanner) -> None:
        """Take what a scanner found in a JSON text."""
        for path in _USAGE:
            self._usage(path, _parsed(scanner.found.get(path)))
        for path in _ERROR:
            self._error(_parsed(scanner.found.get(path)))
        if scanner.found.get(_TYPE) == b"error" and self.failed is None:
            self._error({"code": scanner.found.get(_CODE, b"").decode("latin-1")})

    def _usage(self, path: Path, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        for name in (
            "prompt_tokens",
            "input_tokens",
            "completion_tokens",
            "output_tokens",
            "total_tokens",
            "cache_creation_input_tokens",
        ):
            value: Any = usage.get(name)
            # Anthropic's first output count is a beginning, not a result: a stream that breaks off keeps its estimate.
            if _believable(value) and not (path == _START and name == "output_tokens"):
                self._fields[name] = value

    def _error(self, error: Any) -> None:
        if isinstance(error, dict):
            code = error.get("code") or error.get("type")
            self.failed = stream_meaning(str(code)) if isinstance(code, str | int) else "fault"

    def usage(self) -> dict[str, float] | None:
        """By meter. Anthropic's input limit counts new and cache-creating input, not what is read from the cache
        (provider-facts 1.8); OpenAI's counts all of the prompt."""
        fields = self._fields
        given = fields.get("input_tokens", fields.get("prompt_tokens"))
        output = fields.get("output_tokens", fields.get("completion_tokens"))
        total = fields.get("total_tokens")
        if self._anthropic and given is not None:
            given += fields.get("cache_creation_input_tokens", 0)
        if output is None and given is not None and total is not None:
            output = max(0, total - given)  # embeddings name no output
        if total is None and given is not None and output is not None:
            total = given + output
        meters = {"input_tokens": given, "output_tokens": output, "tokens": total}
        return {meter: float(amount) for meter, amount in meters.items() if amount is not None} or None


class JsonTap:
    """A JSON reply: held while short, else scanned."""

    __slots__ = ("_findings", "_held", "_scanner")

    def __init__(self, body_format: BodyFormat) -> None:
        self._findings = _Findings(body_format)
        self._held = b""
        self._scanner: Scanner | None = None

    @property
    def failed(self) -> Meaning | None:
        """Known after `finish`."""
        return self._findings.failed

    def feed(self, chunk: bytes) -> None:
        """Hold or scan the next piece."""
        if self._scanner is None:
            if len(self._held) + len(chunk) <= LINE:
                self._held += chunk
                return
            self._scanner = _scanner()
            self._scanner.feed(self._held)
            self._held = b""
        self._scanner.feed(chunk)

    def finish(self) -> dict[str, float] | None:
        """Usage of the top-level object."""
        if self._scanner is not None:
            self._findings.take_scanned(self._scanner)
        else:
            self._findings.take_whole(self._held)
        return self._findings.usage()


class EventTap:
    """A stream of server-sent events, one JSON text per `data:` line, as all five formats write them."""

    __slots__ = ("_findings", "_line", "_passing", "_scanner")

    def __init__(self, body_format: BodyFormat) -> None:
        self._findings = _Findings(body_format)
        self._line = b""
        self._scanner: Scanner | None = None  # of a line longer than LINE
        self._passing = False  # that line carries no data

    @property
    def failed(self) -> Meaning | None:
        """What the last error in the stream meant."""
        return self._findings.failed

    def feed(self, chunk: bytes) -> None:
        """Look at the lines that end here; most chunks are whole events of no interest, and cost one search."""
        whole = not self._line and self._scanner is None and not self._passing
        if whole and chunk[-1:] in b"\r\n" and _MARKER.search(chunk) is None:
            return
        *ended, rest = _BREAK.split(chunk)
        for line in ended:
            self._part(line)
            self._end()
        self._part(rest)

    def finish(self) -> dict[str, float] | None:
        """Usage of all events; a last line without its end counts too."""
        self._end()
        return self._findings.usage()

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
            self._findings.take_scanned(self._scanner)
        elif self._line.startswith(b"data:") and _MARKER.search(self._line):
            self._findings.take_whole(self._line[5:])
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

    def finish(self) -> dict[str, float] | None:
        """The inner tap's, unless unpacking was given up."""
        return None if self._left < 0 else self._inner.finish()


def _scanner() -> Scanner:
    return Scanner((*_USAGE, *_ERROR), (_TYPE, _CODE))


def _at(document: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(document, dict):
            return None
        document = document.get(key.decode())
    return document


def _parsed(text: bytes | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _believable(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _AMOUNT
