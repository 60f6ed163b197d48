"""Every row of the threat table that is bytes on the client's side, at every entrance, in every segmentation.

Beside what a row says, each run holds: the upstream sees nothing that is not stated, what it sees reads alike for two
parsers, the answers are whole and ours carry a code, a refused message costs nothing, nothing of the peer's is told in
a log or a metric, and the next connection is served.
"""

from __future__ import annotations

import importlib
import json
import logging
import pkgutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client import generate_latest

from proxy.errors import STATUS

from . import rows
from .hall import CANARY, CUTS, JOINED, POOLED, PROBE_PATH, SECRETS, Hall, by_hand, hall
from .origin import Message, Origin
from .row import OK, Entrance, Row, Sent

ROWS: list[Row] = [
    row
    for module in sorted(pkgutil.iter_modules(rows.__path__), key=lambda found: found.name)
    for row in importlib.import_module(f"{rows.__name__}.{module.name}").ROWS
]
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


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("row", "entrance"), RUNS)
async def test_row(place: Hall, row: Row, entrance: Entrance, caplog: pytest.LogCaptureFixture) -> None:
    """The row's answer, the row's messages upstream, and nothing else."""
    raw, target = place.filled(row.raw, entrance), place.origin_of(entrance)
    _, host = place.base(entrance)
    before, connections, calls = place.used(), target.connections, 0
    for cut in CUTS:
        answers = await place.talk(raw, entrance, cut, heads_only=raw.startswith(b"HEAD "))
        seen = target.take()
        probed = bool(seen) and seen[-1].target == PROBE_PATH
        calls += len(seen)
        _check_answers([answer.code or OK for answer in answers], row, probed, cut)
        for answer in answers:
            assert answer.code is None or answer.status == STATUS[answer.code]
            assert answer.code is None or answer.body or raw.startswith(b"HEAD "), "an empty answer of ours"
            assert CANARY not in answer.body
            assert not any(CANARY.decode() in value for value in answer.fields.values())
        assert len(answers) == len(row.answers) + probed
        # whether anything stands behind a chunked body is not known when its answer begins
        assert probed or row.stays or not answers or answers[-1].closes, "the answer does not say that it is the last"
        messages = seen[:-1] if probed else seen
        assert len(messages) == len(row.sees), f"{len(messages)} messages came to the upstream, {cut}"
        for message, expected in zip(messages, row.sees, strict=True):
            _check_message(message, expected, host, pooled=entrance != "egress")
        _check_upstream(target)
    if not any(answer == OK for answer in row.answers) and not row.stays:
        assert (target.connections, calls) == (connections, 0), "the upstream was spoken to"
    await _check_after(place, before + (calls if entrance != "egress" else 0))
    lines = [json.loads(line) for line in place.logged().splitlines()]
    assert CANARY.decode() not in json.dumps(lines)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def _check_answers(codes: list[str], row: Row, probed: bool, cut: str) -> None:
    expected = list(row.answers)
    if probed:
        assert row.stays, "a request behind a message that must close was served"
        expected.append(OK)
    else:
        # behind a chunked body in the same segment nothing is read: aiohttp's parser would mix its trailer in
        assert not row.stays or cut == JOINED, "the connection was closed for no reason"
    assert codes == expected, cut


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


def _check_upstream(origin: Origin) -> None:
    assert origin.unread == [], "h11 refused what we sent"
    assert origin.half == 0, "half a message was sent"


async def _check_after(place: Hall, used: int) -> None:
    """A new connection is served, and the bucket holds its call, the calls that were sent, and no other."""
    (answer,) = await place.talk(b"", "reverse")
    assert (answer.status, place.used()) == (200, used + 1)
    assert [message.target for message in place.service.take()] == [PROBE_PATH]
