"""Log lines: one a call, and those of the process. JSON off a terminal, plain text on one.

Field names of the call line stand in Record and nowhere else. No header, body, query string or secret has a field
here, so none can be logged by accident; what a client typed is cut and escaped (threats F4).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO

import orjson

from rules.verdict import Observed

from .settings import LogFormat

# Lines are written together: one system call for what came within a twentieth of a second.
_FLUSH_SECONDS = 0.05
_TEXT_LIMIT = 200
# JSON lets these stand, but U+0085, U+2028 and U+2029 end a line for some readers, and the rest steer a terminal.
_LET_STAND = re.compile("[\x7f-\x9f\u2028\u2029]")
_SEPARATES = re.compile(r'[\s="]')


class Record:
    """What the log and the metrics say about one call; filled in as the call goes through the corridor."""

    __slots__ = (
        "actual", "attempts", "bytes_out", "client", "code", "endpoint", "entrance", "estimate", "id", "key",
        "method", "model", "observed", "observed_limit", "observed_wait_ms", "origin", "path", "service", "started",
        "status", "tier", "upstream_ms", "user", "waited_ms",
    )  # fmt: skip

    def __init__(self, *, call_id: str, entrance: str, method: str, target: str, started: float) -> None:
        self.id = call_id
        self.entrance = entrance
        self.method = method
        self.path = target.partition("?")[0]
        self.started = started
        self.service: str | None = None
        self.endpoint: str | None = None
        self.client: str | None = None
        self.user: str | None = None
        self.tier: str | None = None
        self.key: str | None = None
        self.model: str | None = None
        self.status = 0
        self.origin = "headgate"
        """Who made the answer: headgate or upstream."""
        self.code: str | None = None
        self.waited_ms = 0
        self.observed: str | None = None
        """What enforcing would have said, where it would not have let the call go."""
        self.observed_limit: str | None = None
        self.observed_wait_ms: int | None = None
        self.upstream_ms: float | None = None
        self.attempts = 0
        self.estimate: Mapping[str, float] | None = None
        self.actual: Mapping[str, float] | None = None
        self.bytes_out = 0

    def observe(self, would: Observed) -> None:
        """What enforcing would have said to a sending of the call; the first one counts."""
        if self.observed is None:
            self.observed, self.observed_wait_ms = would.code, would.wait_ms
            self.observed_limit = would.limit.name if would.limit is not None else None

    def fields(self, now: float) -> dict[str, object]:
        """The line, empty fields left out; `now` is loop time."""
        line: dict[str, object] = {"event": "call"}
        for name in (
            "id",
            "entrance",
            "service",
            "endpoint",
            "client",
            "user",
            "tier",
            "key",
            "model",
            "method",
            "path",
        ):
            value = getattr(self, name)
            if value is not None:
                line[name] = value if len(value) <= _TEXT_LIMIT else value[:_TEXT_LIMIT] + "…"
        line["status"], line["origin"] = self.status, self.origin
        if self.code is not None:
            line["code"] = self.code
        line["waited_ms"] = self.waited_ms
        if self.observed is not None:
            line["observed"] = self.observed
            for name in ("observed_limit", "observed_wait_ms"):
                if (known := getattr(self, name)) is not None:
                    line[name] = known
        if self.upstream_ms is not None:
            line["upstream_ms"] = round(self.upstream_ms, 1)
        line["total_ms"] = round((now - self.started) * 1000, 1)
        line["attempts"] = self.attempts
        if self.estimate:
            line["estimate"] = self.estimate
        if self.actual:
            line["actual"] = self.actual
        line["bytes_out"] = self.bytes_out
        return line


class CallLog:
    """Writes call lines, many at a time."""

    def __init__(self, stream: IO[str], *, json: bool, wall: Callable[[], float]) -> None:
        self._stream = stream
        self._json = json
        self._wall = wall
        self._lines: list[str] = []
        self._second = -1
        self._to_second = ""

    def write(self, record: Record) -> None:
        """Queue the line of a finished call."""
        loop = asyncio.get_running_loop()
        if not self._lines:
            loop.call_later(_FLUSH_SECONDS, self.flush)
        line = record.fields(loop.time())
        stamp = self._stamp(self._wall())
        self._lines.append(
            _json_line({"time": stamp, "level": "info", **line}) if self._json else _console(stamp, line)
        )

    def _stamp(self, now: float) -> str:
        """As `datetime.isoformat` writes it; the part down to the second is written once a second."""
        second, millis = divmod(int(now * 1000), 1000)
        if second != self._second:
            self._second = second
            self._to_second = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._to_second}.{millis:03d}+00:00"

    def flush(self) -> None:
        """Write what is queued. A reader that has gone, or a full disk, loses lines and stops no call."""
        lines, self._lines = self._lines, []
        if lines:
            with contextlib.suppress(OSError):
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()


def wants_json(chosen: LogFormat, stream: IO[str]) -> bool:
    """`auto` is JSON wherever nobody is reading along (operators 2.4)."""
    return chosen == "json" or (chosen == "auto" and not stream.isatty())


def set_up(chosen: LogFormat, *, wall: Callable[[], float], stream: IO[str] | None = None) -> CallLog:
    """Route the process's own log lines and return the call log, both on `stream` (default: standard error)."""
    target = stream if stream is not None else sys.stderr
    json = wants_json(chosen, target)
    handler = logging.StreamHandler(target)
    handler.setFormatter(_ProcessLines(json))
    logger = logging.getLogger("headgate")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # these two quote peers' bytes (threats 2.3); their errors reach us as exceptions and are counted there
    for foreign in ("aiohttp", "asyncio"):
        logging.getLogger(foreign).setLevel(logging.CRITICAL)
    return CallLog(target, json=json, wall=wall)


class _ProcessLines(logging.Formatter):
    def __init__(self, json: bool) -> None:
        super().__init__()
        self._json = json

    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": stamp,
            "level": record.levelname.lower(),
            "event": record.name,
            "message": record.getMessage(),
        }
        if self._json:
            return _json_line(fields)
        return f"{stamp} {fields['level']:7} {_escape(fields['message'])}"


def _json_line(fields: Mapping[str, object]) -> str:
    line = orjson.dumps(fields).decode()
    if line.isascii() and "\x7f" not in line:
        return line  # as nearly all are: looking through one for the others takes longer than writing it
    return _LET_STAND.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _console(stamp: str, line: Mapping[str, object]) -> str:
    shown = " ".join(f"{name}={_word(value)}" for name, value in line.items() if name not in ("event", "path"))
    return f"{stamp} call    {_escape(str(line.get('path', '')))} {shown}"


def _word(value: object) -> str:
    """A value that cannot be taken for the beginning of the next field."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{amount:g}" for name, amount in value.items())
    text = _escape(str(value))
    return orjson.dumps(text).decode() if _SEPARATES.search(text) else text


def _escape(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
