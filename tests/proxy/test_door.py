"""The door beside the rows of tests/threats: bounds met while bytes still come, trailers, what a call holds."""

from __future__ import annotations

import asyncio

import pytest

from proxy.call import Call
from proxy.door import MAX_FIELDS
from proxy.head import Authority

from .frontdoor import CUTS, PROBE, front_door, whole


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
