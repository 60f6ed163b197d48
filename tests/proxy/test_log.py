"""proxy/log.py: one line a call, whatever a client typed, and nothing that is secret."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import logging
from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import log
from proxy.log import CallLog, Record
from proxy.settings import LogFormat

HOSTILE = 'a\n{"level": "fake"}\r\x1b[31m\u2028\u2029\x85\x9b2J\x7f\u202e status=200 "b'
FREE_TEXT = ("service", "endpoint", "client", "user", "tier", "key", "model", "code")


def record(**fields: object) -> Record:
    """A finished call."""
    made = Record(call_id="id-1", entrance="reverse", method="POST", target="/v1/x?key=canary", started=0.0)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def written(*records: Record, json_lines: bool) -> str:
    """What the log says about these calls."""

    async def write() -> str:
        stream = io.StringIO()
        calls = CallLog(stream, json=json_lines, wall=lambda: 1_800_000_000.25)
        for one in records:
            calls.write(one)
        assert stream.getvalue() == "", "lines are written together"
        calls.flush()
        return stream.getvalue()

    return asyncio.run(write())


@pytest.fixture
def own_logger() -> Iterator[logging.Logger]:
    """The process's logger, as it was before afterwards."""
    logger = logging.getLogger("headgate")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield logger
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def test_the_json_line_of_a_call() -> None:
    """Every field that is known, none that is not, the query string never."""
    line = written(
        record(service="openai", status=200, origin="upstream", waited_ms=12, upstream_ms=34.56, attempts=2,
               estimate={"requests": 1.0}, actual={"tokens": 18}, bytes_out=99),
        json_lines=True,
    )  # fmt: skip
    found = json.loads(line)
    assert found.pop("total_ms") > 0
    assert found == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "level": "info",
        "event": "call",
        "id": "id-1",
        "entrance": "reverse",
        "service": "openai",
        "method": "POST",
        "path": "/v1/x",
        "status": 200,
        "origin": "upstream",
        "waited_ms": 12,
        "upstream_ms": 34.6,
        "attempts": 2,
        "estimate": {"requests": 1.0},
        "actual": {"tokens": 18},
        "bytes_out": 99,
    }


def test_the_console_line_of_a_call() -> None:
    """The path first, then `name=value` words; meters stand in one word."""
    made = record(user="ann lee", status=200, estimate={"requests": 1.0, "tokens": 30.0})
    line = written(made, json_lines=False)
    assert line.startswith("2027-01-15T08:00:00.250+00:00 call    /v1/x id=id-1 entrance=reverse ")
    assert ' user="ann lee" ' in line
    assert " status=200 " in line
    assert " estimate=requests:1,tokens:30 " in line


@pytest.mark.parametrize("json_lines", [True, False], ids=["json", "console"])
@pytest.mark.parametrize("field", [*FREE_TEXT, "path", "method"])
def test_what_a_client_typed_makes_one_line_and_no_field(field: str, json_lines: bool) -> None:
    """Line ends of every kind, terminal commands and text that looks like a field stay inside their value."""
    line = written(record(**{field: HOSTILE, "status": 418}), json_lines=json_lines)
    assert line.endswith("\n")
    assert len(line[:-1].splitlines()) == 1
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line[:-1])
    if json_lines:
        found = json.loads(line)
        assert (found[field], found["status"], found["level"]) == (HOSTILE, 418, "info")
    elif field != "path":
        assert line.count(" status=200 ") == 1, "inside the quoted value only"
        assert f' {field}="' in line


@pytest.mark.parametrize("json_lines", [True, False], ids=["json", "console"])
def test_a_megabyte_is_cut(json_lines: bool) -> None:
    """A line stays readable however long the text is."""
    texts = {name: "x" * (1 << 20) for name in (*FREE_TEXT, "path", "method") if name != "code"}
    assert len(written(record(**texts), json_lines=json_lines)) < 4096


@given(st.text(), st.booleans())
def test_no_text_breaks_a_line(text: str, json_lines: bool) -> None:
    """Whatever Unicode holds, lone surrogates excepted: the parser of heads and bodies lets none in."""
    line = written(record(user=text, path=text), json_lines=json_lines)
    assert len(line[:-1].splitlines()) == 1
    if json_lines:
        assert json.loads(line)["user"] == (text if len(text) <= 200 else text[:200] + "…")


def test_the_query_string_has_no_field() -> None:
    """A key in the query is cut off before anything keeps it."""
    made = record()
    assert "canary" not in repr([getattr(made, name) for name in Record.__slots__])


def test_every_field_of_the_line_is_declared_in_record() -> None:
    """Names stand in one place: what is logged beside time, level and event is a slot, or is computed from one."""
    words = (*FREE_TEXT, "path", "method", "observed", "observed_limit")
    full = record(**dict.fromkeys(words, "x"), upstream_ms=1.0, observed_wait_ms=1, estimate={"a": 1}, actual={"a": 1})
    assert set(full.fields(1.0)) - {"event", "total_ms"} == set(Record.__slots__) - {"started"}
    assert "headers" not in inspect.getsource(Record)


def test_a_reader_that_has_gone_stops_no_call() -> None:
    """Lines are lost, and the next write is tried again."""

    class Gone(io.StringIO):
        failing = True

        def write(self, text: str) -> int:
            if self.failing:
                raise BrokenPipeError
            return super().write(text)

    async def write() -> str:
        stream = Gone()
        calls = CallLog(stream, json=True, wall=lambda: 0.0)
        calls.write(record())
        calls.flush()
        stream.failing = False
        calls.write(record(status=204))
        calls.flush()
        return stream.getvalue()

    assert json.loads(asyncio.run(write()))["status"] == 204


async def test_lines_are_flushed_without_being_asked() -> None:
    """A quiet process does not keep its last call to itself."""
    done = asyncio.Event()

    class Told(io.StringIO):
        def flush(self) -> None:
            done.set()

    stream = Told()
    CallLog(stream, json=True, wall=lambda: 0.0).write(record())
    await done.wait()
    assert json.loads(stream.getvalue())["id"] == "id-1"


@pytest.mark.parametrize(
    ("chosen", "terminal", "expected"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("console", False, False)],
)
def test_auto_is_json_where_nobody_reads_along(chosen: str, terminal: bool, expected: bool) -> None:
    """A terminal gets text, everything else JSON; a choice is a choice."""

    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    assert log.wants_json(cast(LogFormat, chosen), Stream()) is expected


@pytest.mark.parametrize("chosen", ["json", "console"])
def test_the_process_s_own_lines_are_one_line_each(chosen: str, own_logger: logging.Logger) -> None:
    """Level, name and message; line ends inside a message are escaped."""
    stream = io.StringIO()
    log.set_up(cast(LogFormat, chosen), wall=lambda: 0.0, stream=stream)
    logging.getLogger("headgate.part").warning("%s", HOSTILE)
    line = stream.getvalue()
    assert len(line[:-1].splitlines()) == 1
    assert "warning" in line
    if chosen == "json":
        assert json.loads(line)["event"] == "headgate.part"


def test_other_libraries_do_not_write_what_peers_sent(own_logger: logging.Logger) -> None:
    """aiohttp's and asyncio's error lines quote peers' bytes: they are not written."""
    stream = io.StringIO()
    log.set_up("json", wall=lambda: 0.0, stream=stream)
    for name in ("aiohttp.server", "asyncio"):
        assert not logging.getLogger(name).isEnabledFor(logging.ERROR)
    assert stream.getvalue() == ""
