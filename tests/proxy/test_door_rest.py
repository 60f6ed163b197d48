"""proxy/door.py: a connection whose call is held keeps no parser, and what comes next is read as ever."""

from __future__ import annotations

import pytest

from proxy.call import Call
from proxy.door import Door

from .frontdoor import PROBE, Cut, byte_by_byte, front_door, whole

HOST = b"Host: a.test\r\n"
# a body that looks like the end of a head and the beginning of a request
TRAP = b"x\r\n\r\nGET /trap HTTP/1.1\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(TRAP) + TRAP
CHUNKED = b"POST /b HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
GET = b"GET /c HTTP/1.1\r\n" + HOST + b"\r\n"


def in_two(at: int) -> Cut:
    """Two segments."""
    return lambda data: [piece for piece in (data[:at], data[at:]) if piece]


def at_ends(*requests: bytes) -> Cut:
    """A segment per request."""
    return lambda data: [*requests, data[sum(map(len, requests)) :]]


@pytest.mark.parametrize("first", [POST, GET, POST + GET], ids=["body", "no body", "both"])
async def test_requests_are_the_same_however_they_are_cut(first: bytes) -> None:
    """Each place where two segments can meet, in a row of requests on one connection: nothing is lost or read twice."""
    raw = first + POST + GET
    expected = [("/", TRAP if part.startswith(b"POST") else b"") for part in _requests(raw)]
    for at in range(1, len(raw), 3):
        async with front_door(cut=in_two(at)) as front:
            answers = await front.ask(raw + PROBE)
        assert [answer.status for answer in answers] == [200] * (len(expected) + 1), at
        assert [("/", one.body) for one in front.seen[:-1]] == expected, at


async def test_a_request_per_segment_with_bodies_in_pieces() -> None:
    """Kept alive, with and without bodies: the parser that went is replaced by one that remembers nothing."""
    for cut in (at_ends(POST, GET, POST, CHUNKED), at_ends(POST[:60], POST[60:], GET, POST + CHUNKED), byte_by_byte):
        async with front_door(cut=cut) as front:
            answers = await front.ask(POST + GET + POST + CHUNKED + PROBE)
        assert [answer.status for answer in answers] == [200] * 5
        assert [one.body for one in front.seen] == [TRAP, b"", TRAP, b"abc", b""]


@pytest.mark.parametrize("cut", [whole, in_two(len(POST) - len(TRAP)), in_two(len(POST) - 3)])
async def test_a_held_call_keeps_no_parser(cut: Cut) -> None:
    """It would keep every field of the request a second and a third time, as long as the call is held."""
    kept: list[object] = []

    async def handler(call: Call) -> None:
        assert isinstance(call.door, Door)
        await call.body.read(1000)
        kept.append(call.door._parser)
        kept.append(call.body._payload._buffer)
        call.answer.keep_alive = False
        call.answer.start(200, b"OK", [], length=0)
        await call.answer.end()

    async with front_door(handler, cut=cut) as front:
        await front.ask(POST)
    assert kept == [None, ()]


def _requests(raw: bytes) -> list[bytes]:
    """The requests of POST and GET in a row."""
    out = []
    while raw:
        one = POST if raw.startswith(b"POST") else GET
        out.append(one)
        raw = raw[len(one) :]
    return out
