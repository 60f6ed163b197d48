"""Every row of the threat table that is bytes on the client's side, at every entrance, in every segmentation.

Beside what a row says, each run holds: the upstream sees nothing that is not stated, what it sees reads alike for two
parsers, the answers are whole and ours carry a code, a refused message costs nothing, nothing of the peer's is told in
a log or a metric, and the next connection is served.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import pkgutil
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import generate_latest

from proxy.errors import STATUS
from tests.proxy.frontdoor import Answered

from . import rows
from .hall import CANARY, CUTS, JOINED, POOLED, PROBE_PATH, SECRETS, Hall, by_hand, hall
from .origin import Message
from .row import OK, Entrance, Row, Sent

ROWS: list[Row] = [
    row
    for module in sorted(pkgutil.iter_modules(rows.__path__), key=lambda found: found.name)
    for row in importlib.import_module(f"{rows.__name__}.{module.name}").ROWS
]
LINES = {"A": 20, "B": 11, "D": 12, "E": 9}
"""Lines of the threat table by section, as far as they are a client's bytes."""
RUNS = [pytest.param(row, entrance, id=f"{row.id}, {entrance}") for row in ROWS for entrance in row.entrances]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place() -> AsyncIterator[Hall]:
    """One corridor for all rows: a row that hurts it hurts the next one."""
    async with hall() as here:
        yield here
        assert CANARY not in generate_latest(here.front.metrics.registry)


def test_every_row_is_there_once() -> None:
    """Ids are unique, and so are the bytes at each entrance."""
    assert len({row.id for row in ROWS}) == len(ROWS)
    assert len({(row.raw, row.entrances) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("section", "lines"), LINES.items())
def test_every_line_of_the_threat_table_is_held(section: str, lines: int) -> None:
    """By a row, or by a test that names it."""
    held = {row.id.split()[0] for row in ROWS}
    for path in Path(__file__).parents[1].rglob("test_*.py"):
        for named in re.findall(r"\(threats ([A-J0-9, ]+)", path.read_text()):
            held.update(re.findall(r"[A-J]\d+", named))
    assert [f"{section}{line}" for line in range(1, lines + 1) if f"{section}{line}" not in held] == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("row", "entrance"), RUNS)
async def test_row(place: Hall, row: Row, entrance: Entrance, caplog: pytest.LogCaptureFixture) -> None:
    """The row's answer, the row's messages upstream, and nothing else, whole and cut at each byte (threats A19)."""
    raw, target = place.filled(row.raw, entrance), place.origin_of(entrance)
    target.clear()
    place.logged()
    before, connections, calls = place.used(), target.connections, 0
    for cut in CUTS:
        place.front.refused.clear()
        answers = await place.talk(raw, entrance, cut)
        calls += _check_run(place, row, entrance, answers, target.take(), cut)
    if OK not in row.answers and not row.stays and not row.begun:
        assert (target.connections, calls) == (connections, 0), "the upstream was spoken to"
    await _check_after(place)
    charged = place.used() - before - 1
    # a call that left and broke off may have been counted by the upstream: it is charged
    most = len(CUTS) if row.begun else calls
    assert charged == 0 if entrance == "egress" else calls <= charged <= most
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def _check_run(
    place: Hall, row: Row, entrance: Entrance, answers: list[Answered], seen: list[Message], cut: str
) -> int:
    """One connection: what came back, what went upstream, what was told. Returns the calls that were sent."""
    codes = [answer.code or OK for answer in answers]
    if row.lumped is not None and codes == [row.lumped] and cut in (JOINED, "whole"):
        row = dataclasses.replace(row, answers=(row.lumped,), sees=(), stays=False)
    probed = bool(seen) and seen[-1].target == PROBE_PATH
    messages = seen[:-1] if probed else seen
    assert codes == [*row.answers, *([OK] if probed else [])], cut
    assert row.stays or not probed, "a request behind a message that must close was served"
    # behind a chunked body in the same segment nothing is read: aiohttp's parser would mix its trailer in
    assert probed or not row.stays or cut == JOINED, "the connection was closed for no reason"
    # whether anything stands behind a chunked body is not known when its answer begins
    assert probed or row.stays or not answers or answers[-1].closes, "the answer does not say that it is the last"
    for answer in answers:
        assert answer.code is None or answer.status == STATUS[answer.code]
        assert answer.code is None or answer.body or row.raw.startswith(b"HEAD "), "an empty answer of ours"
        assert CANARY.decode() not in repr(answer)
    origin = place.origin_of(entrance)
    assert len(messages) == len(row.sees), f"{len(messages)} messages came to the upstream, {cut}"
    for message, expected in zip(messages, row.sees, strict=True):
        _check_message(message, expected, place.base(entrance)[1], pooled=entrance != "egress")
    assert origin.unread == [], "h11 refused what we sent"
    # the upstream may notice the end of one that broke off while the next row runs already
    place.begun += row.begun
    assert place.service.half + place.outside.half <= place.begun, "half a message was sent"
    text = place.logged()
    assert CANARY.decode() not in text
    lines = [json.loads(line) for line in text.splitlines()]
    told = place.front.refused + [
        line["code"] for line in lines if line["origin"] == "headgate" and line["status"] >= 400
    ]
    assert sorted(told) == sorted(code for code in codes if code != OK), (
        "not one line of the log for each answer of ours"
    )
    return len(seen)


def _check_message(message: Message, expected: Sent, host: bytes, *, pooled: bool) -> None:
    assert by_hand(message) == message.head, "h11 and the bytes differ"
    assert (message.method, message.target, message.body) == (expected.method, expected.path, expected.body)
    assert message.values(b"host") == [host]
    assert len(message.values(b"via")) == 1
    framing = message.values(b"content-length"), message.values(b"transfer-encoding")
    assert framing in (([b"%d" % len(expected.body)], []), ([], [b"chunked"]), ([], []))
    assert framing != ([], []) or expected.body == b""
    if pooled:
        assert message.values(b"authorization") == [POOLED]
    added = {b"host", b"via", b"content-length", b"transfer-encoding", *([b"authorization"] if pooled else [])}
    rest = tuple(pair for pair in message.fields if pair[0].lower() not in added)
    assert rest == expected.fields
    for secret in SECRETS:
        assert secret not in message.head or (pooled and secret in POOLED)


async def _check_after(place: Hall) -> None:
    """A new connection is served, and nothing but its call reaches the service."""
    (answer,) = await place.talk(b"", "reverse")
    assert answer.status == 200
    assert [message.target for message in place.service.take()] == [PROBE_PATH]
