"""What may come through the door: rows of threats 2.2, A, B and D over real sockets, in several segmentations."""

from __future__ import annotations

import asyncio

import pytest

from proxy.call import Call
from proxy.door import MAX_FIELDS
from proxy.errors import STATUS
from proxy.head import Authority

from .frontdoor import CUTS, PROBE, Cut, byte_by_byte, front_door, whole
from .heads import BOUND, FRAMING, TARGETS, Row

BAD = [row for row in (*FRAMING, *TARGETS) if isinstance(row.becomes, str) and not row.stays]
INNER = Authority("a.test", 443)
# entrance -> target, Host line, the binding of the connection
ENTRANCES: dict[str, tuple[bytes, bytes, Authority | None]] = {
    "reverse": (b"/svc/x", b"Host: a.test", None),
    "forward": (b"http://a.test/x", b"Host: a.test", None),
    "intercept": (b"/x", b"Host: a.test", INNER),
}


def _raw(row: Row, entrance: str) -> bytes:
    target, host, _ = ENTRANCES[entrance]
    return row.raw.replace(b" T", b" " + target, 1).replace(b"\nH\r\n", b"\n" + host + b"\r\n", 1)


async def _check(row: Row, raw: bytes, cut: Cut, bound: Authority | None) -> None:
    def then_probe(data: bytes) -> list[bytes]:
        before, probe, _ = data.partition(PROBE)
        return [*cut(before), probe]

    async with front_door(cut=then_probe, bound=bound) as front:
        answers = await front.ask(raw + PROBE)
        seen = [call for call in front.seen if call.head.target not in ("/last", "/probe/last")]
        if isinstance(row.becomes, bytes):
            assert [answer.status for answer in answers] == [200, 200]
            assert [call.body for call in seen] == [row.becomes]
            assert front.refused == []
            return
        first = answers[0]
        assert seen == [], "the handler saw a call"
        assert first.code is not None
        assert first.code == row.becomes or (row.becomes == "400" and STATUS[first.code] == 400)
        assert first.status == STATUS[first.code]
        assert first.body != b""
        assert b"CANARY" not in first.body
        assert first.closes is not row.stays
        assert len(answers) == 1 + row.stays
        assert front.refused == [first.code]


@pytest.mark.parametrize("row", BAD, ids=lambda row: row.id)
async def test_one_segment_with_the_next_request(row: Row) -> None:
    """A bad request and a good one in one segment: one answer, and neither is served."""
    async with front_door() as front:
        (answer,) = await front.ask(_raw(row, "reverse") + PROBE)
        assert answer.status >= 400
        assert (answer.code, answer.closes, front.seen) == (front.refused[0], True, [])


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("row", FRAMING, ids=lambda row: row.id)
async def test_framing(row: Row, entrance: str, caplog: pytest.LogCaptureFixture) -> None:
    """One message in is one message out, or one answer of ours, in every segmentation; nothing is echoed or logged."""
    raw = _raw(row, entrance)
    for cut in CUTS:
        await _check(row, raw, cut, ENTRANCES[entrance][2])
    assert caplog.records == []


@pytest.mark.parametrize("row", TARGETS, ids=lambda row: row.id)
async def test_targets(row: Row) -> None:
    """What is no plain target or Host is a 400 before any handler, in every segmentation."""
    for cut in CUTS:
        await _check(row, row.raw, cut, None)


@pytest.mark.parametrize("row", BOUND, ids=lambda row: row.id)
async def test_decrypted_connections_are_bound_to_their_authority(row: Row) -> None:
    """Inside a tunnel every call is for the host the tunnel was opened for (threats D4)."""
    for cut in CUTS:
        await _check(row, row.raw, cut, INNER)


async def test_the_second_call_inside_a_tunnel_is_judged_too() -> None:
    """Host a, then Host b on the same connection: the second is 421 (threats D5)."""
    async with front_door(bound=INNER) as front:
        ask = b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n"
        answers = await front.ask(ask % b"a.test" + ask % b"b.test" + PROBE)
    assert [(answer.status, answer.code) for answer in answers] == [(200, None), (421, "misdirected")]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "target_too_long"),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 65536 + b"\r\n\r\n", "head_too_large"),
        (b"GET /a HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "head_too_large"),
        (b"GET /a HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 80 + b"\r\n", "head_too_large"),
        (b"\n" * 70000, "bad_request"),
    ],
    ids=["A20 URL of 64 KiB", "A20 field of 64 KiB", "A20 1000 fields", "A20 80 KiB", "blank"],
)
async def test_large_heads(raw: bytes, code: str) -> None:
    """414 for the target, 431 for the rest; the answer arrives although the client was still sending."""
    for cut in (whole, byte_by_byte):
        async with front_door(cut=cut) as front:
            (answer,) = await front.ask(raw + PROBE)
            assert (answer.code, answer.status, front.seen) == (code, STATUS[code], [])


async def test_a_large_head_that_does_not_end() -> None:
    """431 as soon as the bound is passed; nobody waits for the rest."""
    async with front_door() as front:
        (answer,) = await front.ask(b"GET /a HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 80)
    assert (answer.status, answer.code) == (431, "head_too_large")


async def test_a_large_head_behind_a_call_is_measured_too() -> None:
    """A pipelined head is not smaller for having been parsed while another call ran."""
    large = b"GET /a HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 80 + b"\r\n"
    async with front_door() as front:
        answers = await front.ask(b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\n" + large)
    assert [answer.status for answer in answers] == [200, 431]


async def test_heads_within_the_bounds_pass() -> None:
    """A target of 16,000 bytes, fields of 30,000, and as many fields as are allowed."""
    for middle in (
        b"/svc/" + b"a" * 16_000 + b" HTTP/1.1\r\nHost: a.test\r\n",
        b"/svc/x HTTP/1.1\r\nHost: a.test\r\nX: " + b"a" * 30_000 + b"\r\n",
        b"/svc/x HTTP/1.1\r\nHost: a.test\r\n" + b"X: y\r\n" * (MAX_FIELDS - 1),
    ):
        async with front_door() as front:
            answers = await front.ask(b"GET " + middle + b"\r\n" + PROBE)
            assert [answer.status for answer in answers] == [200, 200]


@pytest.mark.parametrize("trailers", [b"X: y\r\n", b"X: y\r\nAuthorization: Bearer z\r\n", b"Host: evil\r\n"])
async def test_trailers_never_reach_the_next_head(trailers: bytes) -> None:
    """aiohttp's parser writes the last trailer into the next request; here that request is clean, or not served."""
    ask = b"POST /svc/x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    for cut in CUTS:
        async with front_door(cut=cut) as front:
            answers = await front.ask(ask + trailers + b"\r\n" + PROBE)
            assert answers
            for call in front.seen:
                assert {name for name, _ in call.head.fields} <= {b"Host", b"Transfer-Encoding", b"Connection"}
            assert len(front.seen) == (2 if cut is not whole else min(1, len(front.seen)))


async def test_line_ends_behind_half_a_head_are_kept() -> None:
    """Half a head that came while a call ran is continued by its own line end, not by a blank line."""
    began, gate = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        seen.append([name for name, _ in call.head.fields])
        began.set()
        await gate.wait()
        call.answer.start(200, b"OK", [], length=0)
        await call.answer.end()

    seen: list[list[bytes]] = []
    async with front_door(hold) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(
            b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\n\r\nGET /svc/y HTTP/1.1\r\nHost: a.test\r\nConnection: close"
        )
        await began.wait()
        gate.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\r\nX: y\r\n\r\n")
        await reader.read()
        writer.close()
    assert seen == [[b"Host"], [b"Host", b"Connection", b"X"]]


async def test_a_body_that_holds_a_request_is_a_body() -> None:
    """GET with a request of 36 bytes as its body, then a real one: two calls (threats A15)."""
    inside = b"GET /svc/evil HTTP/1.1\r\nHost: a\r\n\r\n\r\n"[:36]
    async with front_door() as front:
        ask = b"GET /svc/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 36\r\n\r\n" + inside
        answers = await front.ask(ask + PROBE)
    assert [answer.body for answer in answers] == [inside, b""]
    assert [call.head.target for call in front.seen] == ["/x", "/last"]


async def test_what_the_handler_sees() -> None:
    """Method, service, raw target, fields in their order and spelling, controls, and the peer."""
    raw = (
        b"PUT /svc/a%0d%0aX:%20y?q=%2e HTTP/1.1\r\nhOsT: A.test:8080\r\nX-b: 1\r\nx-B:  2 \r\n"
        b"X-Headgate-User: ann\r\nX-Headgate-Max-Wait: 500ms\r\nContent-Length: 2\r\n\r\nhi"
    )
    async with front_door() as front:
        await front.ask(raw + PROBE)
    call = front.seen[0]
    head = call.head
    assert (head.entrance, head.method, head.service, head.target) == ("reverse", "PUT", "svc", "/a%0d%0aX:%20y?q=%2e")
    assert head.fields[:3] == ((b"hOsT", b"A.test:8080"), (b"X-b", b"1"), (b"x-B", b"2"))
    assert (head.control.user, head.control.max_wait_ms, call.peer, call.body) == ("ann", 500, "127.0.0.1", b"hi")


async def test_a_forward_call_keeps_the_authority_of_its_target() -> None:
    """Host and port come from the absolute form, and the target becomes its origin form."""
    async with front_door() as front:
        await front.ask(b"GET HTTP://A.test.:8080?x HTTP/1.1\r\nHost: a.test:8080\r\nConnection: close\r\n\r\n")
    (call,) = front.seen
    assert (call.head.entrance, call.head.authority, call.head.target) == ("forward", Authority("a.test", 8080), "/?x")
