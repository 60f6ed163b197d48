"""Heads of pieces that mean something to some server, in random segments: the target, the fields, whole streams.

`HEADGATE_HISTORIES=10000` tries so many instead of the few of every day.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from proxy.headers import HOP_BY_HOP, connection_options, is_twin
from tests.proxy.frontdoor import Cut

from .hall import PROBE_PATH, Hall, hall
from .mutations import bent, fault_in, read
from .row import Entrance, ask, get

COUNT = int(os.environ.get("HEADGATE_HISTORIES", "200"))
TRIED = settings(
    max_examples=COUNT, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
ENTRANCES: st.SearchStrategy[Entrance] = st.sampled_from(["reverse", "forward"])

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(3600)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place() -> AsyncIterator[Hall]:
    """One corridor for all of them."""
    async with hall() as here:
        yield here


def _in_pieces(size: int) -> Cut:
    return lambda data: [data[start : start + size] for start in range(0, len(data), size)]


PIECES = st.integers(1, 80).map(_in_pieces)
_TARGET = st.lists(
    st.sampled_from(
        [b"/", b"//", b".", b"..", b"%2e", b"%2F", b"%5c", b"\\", b";", b"?", b"#", b"@", b":", b"http://", b"a.test",
        b"b",
         b"[::1]", b"443", b"0", b"v1", b"&", b"=", b"*", b"\xc3\xa9", b"%00", b"%0d%0a", b"\t", b"\x00", b"+", b"~",
         b"%"]
    ),
    max_size=8,
).map(lambda pieces: b"/" + b"".join(pieces))  # fmt: skip


@TRIED
@given(path=_TARGET, entrance=ENTRANCES, cut=PIECES)
async def test_any_target(place: Hall, path: bytes, entrance: Entrance, cut: Cut) -> None:
    """It goes on byte for byte, without a dot segment, or is answered by one refusal."""
    raw = place.filled(get(b"<base>" + path), entrance)
    answers = await place.talk(raw, entrance, cut)
    sent = [message for message in place.service.take() if message.target != PROBE_PATH]
    assert place.service.unread == []
    if not sent:
        assert [answer.status // 100 for answer in answers[:1]] in ([4], [5])
        return
    (message,) = sent
    assert message.target == path
    assert message.values(b"host") == [b"a.test"]
    decoded = (
        message.target.partition(b"?")[0].lower().replace(b"%2e", b".").replace(b"%2f", b"/").replace(b"%5c", b"/")
    )
    segments = [part.partition(b";")[0] for part in decoded.split(b"/")]
    assert b"." not in segments
    assert b".." not in segments
    assert not message.target.startswith(b"//")


_NAME = st.one_of(
    st.sampled_from(sorted(HOP_BY_HOP | {b"cookie", b"authorization", b"x-api-key", b"via", b"x-forwarded-for", b"x",
    b"y"})),
    st.sampled_from([b"Transfer_Encoding", b"authorization_", b"X_Forwarded_For", b"x-real-ip", b"Forwarded", b"X-A",
    b"x_b"]),
    st.from_regex(rb"[A-Za-z0-9_-]{1,8}", fullmatch=True),
)  # fmt: skip
_VALUE = st.one_of(
    _NAME, st.lists(_NAME).map(b", ".join), st.from_regex(rb"[!-~]([ -~\t]{0,20}[!-~])?", fullmatch=True), st.just(b"")
)


@TRIED
@given(fields=st.lists(st.tuples(_NAME, _VALUE), max_size=8), entrance=ENTRANCES, cut=PIECES)
async def test_any_fields(place: Hall, fields: list[tuple[bytes, bytes]], entrance: Entrance, cut: Cut) -> None:
    """What goes on is what was sent, in order and byte for byte, less what is the hop's, the client's or a twin."""
    raw = place.filled(get(b"<base>/x", *(name + b": " + value for name, value in fields)), entrance)
    answers = await place.talk(raw, entrance, cut)
    sent = [message for message in place.service.take() if message.target != PROBE_PATH]
    assert place.service.unread == []
    if not sent:
        assert answers[0].code is not None
        return
    (message,) = sent
    assert message.values(b"host") == [b"a.test"]
    assert len(message.values(b"authorization")) == 1
    named = {option for name, value in fields if name.lower() == b"connection" for option in connection_options(value)}
    rest = iter(fields)
    for name, value in message.fields:
        lower = name.lower()
        assert lower not in HOP_BY_HOP
        assert not is_twin(lower)
        assert not lower.startswith((b"x-forwarded", b"x-headgate"))
        if lower in (b"host", b"authorization") or (lower, value) == (b"via", b"1.1 headgate-test"):
            continue
        assert (name, value) in rest
        assert lower not in named


_BENT = [*dict.fromkeys([*bent(b"Transfer-Encoding: chunked"), *bent(b"Content-Length: 5")])]
_HONEST = [b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Length: 0", b"Connection: close", b"X: y"]
_LINE = st.one_of(st.integers(0, len(_BENT) - 1).map(lambda at: _BENT[at]), st.sampled_from(_HONEST))
_BODY = st.lists(
    st.sampled_from([b"5\r\nhello\r\n", b"0\r\n\r\n", b"hello", b"\r\n", b"0\r\n", b"GET <base>/y HTTP/1.1\r\n",
    b"Host: <host>\r\n",
                     b"\n", b"\r", b"1;a=b\r\nz\r\n", b"0;x\r\nX: y\r\n\r\n", b"X: y\r\n", b"ffff\r\n"]),
    max_size=5,
).map(b"".join)  # fmt: skip
_STREAM = st.lists(
    st.builds(lambda lines, body: ask(*lines, body=body), st.lists(_LINE, max_size=3), _BODY), min_size=1, max_size=3
)


@TRIED
@given(parts=_STREAM, entrance=ENTRANCES, cut=PIECES)
async def test_any_stream(place: Hall, parts: list[bytes], entrance: Entrance, cut: Cut) -> None:
    """Requests one behind the other with bent framing: each is refused, or sent on as h11 reads it."""
    base, _ = place.base(entrance)
    raw = place.filled(b"".join(parts), entrance)
    truth = read(raw + place.probe(entrance))
    assume(truth.ended)
    answers = await place.talk(raw, entrance, cut)
    sent = tuple((one.method, base + one.target, one.body) for one in place.service.take())
    place.service.clear()
    assert fault_in(truth, sent, [answer.code for answer in answers]) is None
