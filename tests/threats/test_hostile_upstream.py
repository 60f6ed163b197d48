"""Section H of the threat table, through the whole corridor: an upstream that sends what it likes.

For every row: the client has one status line and a body it can tell to be whole or cut, the request was sent once, the
call was paid for, one line of the log says what happened, and the next call is served. A 429 is not among these: it is
taken back to the gate (H8).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
from collections.abc import Callable

import pytest

from proxy.errors import STATUS
from proxy.upstream import Timeouts
from tests.proxy.corridor import CHAT, KEYS, TOKEN, Corridor, corridor, service, used
from tests.proxy.replies import ROWS, Row
from tests.raw_server import Peer, Script, answering, ok, raw_server

ONE_KEY = "[{name: a, env: KEY_A}]"
ROOMY = ", limits: [{requests: 1000, window: 600, per: [group]}]"
PATH = "/openai/v1/models"


def whole(raw: bytes) -> list[bytes]:
    """In one segment."""
    return [raw]


def by_bytes(raw: bytes) -> list[bytes]:
    """A byte at a time; long rows by 97 bytes, which is no divisor of anything in them."""
    step = 1 if len(raw) < 2000 else 97
    return [raw[at : at + step] for at in range(0, len(raw), step)]


def once(raw: bytes, cut: Callable[[bytes], list[bytes]] = whole, *, end: bool = False) -> Script:
    """The first call of the server is answered by a row, every later one well."""
    calls = 0

    async def script(peer: Peer) -> None:
        nonlocal calls
        while await peer.request() is not None:
            calls += 1
            if calls > 1:
                await peer.send(ok())
                continue
            for piece in cut(raw):
                await peer.send(piece)
            if end:
                return

    return script


async def ask(front: Corridor, method: bytes = b"GET", path: str = PATH, body: bytes = b"") -> bytes:
    """Everything that comes back to one raw request whose connection is to end behind it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    head = (
        b"%b %b HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    )
    writer.write(head % (method, path.encode(), TOKEN.encode(), len(body)) + body)
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := await reader.read(65536):
            data += piece
    writer.close()
    return data


def is_whole(answer: bytes, method: bytes) -> bool:
    """By its own framing, as a client would judge."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    if method == b"HEAD" or status in (204, 304):
        return body == b""
    if b"Transfer-Encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    found = re.search(rb"\r\nContent-Length: (\d+)", head)
    assert found, "neither a length nor chunks"
    return len(body) == int(found[1])


@pytest.mark.parametrize("cut", [whole, by_bytes])
@pytest.mark.parametrize("row", [row for row in ROWS if row.becomes != 429], ids=lambda row: row.id)
async def test_raw_answers(row: Row, cut: Callable[[bytes], list[bytes]], caplog: pytest.LogCaptureFixture) -> None:
    """H1 to H6: passed on, refused with a code, or visibly cut, as the row says."""
    async with (
        raw_server(once(row.raw, cut, end=row.end)) as upstream,
        corridor(service(upstream, ROOMY, keys=ONE_KEY)) as front,
    ):
        answer = await ask(front, row.method)
        await front.quiet()
        sent = len(upstream.requests)
        (line,) = front.lines()
        assert used(front.gate, "1000 requests") == 1
        after = await front.ask(PATH, None)
    assert sent == 1, "the request was sent again"
    assert after.status == 200
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    status = int(answer.split(b" ")[1])
    if isinstance(row.becomes, str):
        assert status == STATUS[row.becomes]
        assert b"\r\nX-Headgate-Reason: %b\r\n" % row.becomes.encode() in answer
        assert (line["code"], line["origin"]) == (row.becomes, "headgate")
    else:
        assert status == row.becomes
        assert b"X-Headgate-Reason" not in answer
        assert line.get("code") == row.cut
        assert is_whole(answer, row.method) == (row.cut is None)
    head = answer.partition(b"\r\n\r\n")[0]
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", head)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(("method", "body"), [(b"GET", b""), (b"PUT", b"x"), (b"DELETE", b""), (b"POST", CHAT)])
@pytest.mark.parametrize("reused", [False, True])
async def test_h1_an_upstream_that_closes_is_asked_once(method: bytes, body: bytes, reused: bool) -> None:
    """Also on a connection that had served a call: 502 upstream_broke, one sending, the charge stands."""

    async def script(peer: Peer) -> None:
        if reused:
            await peer.request()
            await peer.send(ok())
        await peer.request()

    async with raw_server(script) as upstream, corridor(service(upstream, ROOMY, keys=ONE_KEY)) as front:
        if reused:
            assert (await front.ask(PATH, None)).status == 200
        answer = await ask(front, method, PATH, body)
        await front.quiet()
        assert used(front.gate, "1000 requests") == 1 + reused
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"X-Headgate-Reason: upstream_broke\r\n" in answer
    assert len(upstream.requests) == 1 + reused


async def test_h3_a_reset_in_the_stream_cuts_the_client() -> None:
    """What came before it arrives, and no end mark does."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await proceed.wait()
        peer.reset()

    proceed = asyncio.Event()
    async with raw_server(script) as upstream, corridor(service(upstream)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % PATH.encode())
        got = await reader.readuntil(b"hello\r\n")
        proceed.set()
        got += await reader.read()
        writer.close()
        await front.quiet()
        (line,) = front.lines()
        assert front.sample("headgate_cut_total", service="openai", code="upstream_broke") == 1
    assert not is_whole(got, b"GET")
    assert (line["status"], line["code"]) == (200, "upstream_broke")


async def test_h4_the_second_answer_is_nobodys() -> None:
    """A poisoned connection is not used again: the next caller has its own answer."""
    poison = ok(b"mine") + ok(b"for the next caller")
    async with raw_server(once(poison)) as upstream, corridor(service(upstream)) as front:
        first, second = await front.ask(PATH, None), await front.ask(PATH, None)
    assert (first.body, second.body) == (b"mine", b"ok")
    assert len(upstream.connections) == 2


async def test_h7_a_trickle_passes_and_a_stop_is_cut() -> None:
    """A byte now and then keeps the stream alive; silence beyond the idle limit ends it, with a code of its own."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            await peer.send(b"1\r\nx\r\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await peer.closed.wait()
        await peer.until_closed()

    async with (
        raw_server(script) as upstream,
        corridor(service(upstream), timeouts=Timeouts(body_idle_s=0.5)) as front,
    ):
        answer = await ask(front)
        await front.quiet()
        (line,) = front.lines()
        assert front.sample("headgate_cut_total", service="openai", code="upstream_stalled") == 1
    assert answer.count(b"1\r\nx\r\n") == 10
    assert not is_whole(answer, b"GET")
    assert (line["status"], line["code"]) == (200, "upstream_stalled")


WAITS = ["-1", "NaN", "1000000000000", "1e999", "0x10", "", "Thu, 01 Jan 1970 00:00:00 GMT", "soon",
         "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 99 Dec 2026 23:59:59 GMT", "\xff", "9" * 400]  # fmt: skip


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after-ms", "x-ratelimit-reset-requests"])
@pytest.mark.parametrize("body", [b"<html>429</html>", b'{"error": {"code": [{}], "message": 7}}'])
async def test_h8_no_wait_that_is_told_rests_a_key_for_ever(name: str, wait: str, body: bytes) -> None:
    """The 429 is passed on or waited out, the rest is bounded by the longest the rules believe, nothing crashes."""
    fields = f"{name}: {wait}\r\n".encode("latin-1")
    slow_down = b"HTTP/1.1 429 X\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)
    async with raw_server(answering(slow_down)) as upstream, corridor(service(upstream, ROOMY, keys=ONE_KEY)) as front:
        reply = await front.ask(PATH, None, X_Headgate_Max_Wait="0")
        rests_ms = front.exchange.lessons.resting["openai"] - asyncio.get_running_loop().time() * 1000
    assert reply.status in (429, 503)
    assert len(upstream.requests) == 1
    assert 0 < rests_ms <= 86_400_000, "more than the day that rules/times.py believes"


@pytest.mark.parametrize(
    "fields",
    [
        b"x-ratelimit-limit-requests: 1000000000\r\nx-ratelimit-remaining-requests: 1000000000\r\n"
        b"x-ratelimit-reset-requests: 1ms\r\n",
        b"x-ratelimit-limit-requests: -5\r\nx-ratelimit-remaining-requests: -5\r\nx-ratelimit-reset-requests: -1s\r\n",
        b"x-ratelimit-limit-requests: 0x\r\nx-ratelimit-remaining-requests: inf\r\nx-ratelimit-reset-requests: 9e9\r\n",
    ],
)
async def test_h9_a_lie_in_the_limit_headers_raises_nothing(fields: bytes) -> None:
    """Of a bucket of five, five calls leave and the sixth does not, whatever the upstream claims to have left."""
    tight = ", limits: [{requests: 5, window: 600, burst: 5, per: [group]}]"
    async with (
        raw_server(answering(ok(fields=fields))) as upstream,
        corridor(service(upstream, tight, keys=ONE_KEY)) as front,
    ):
        replies = [await front.ask(PATH, None, X_Headgate_Max_Wait="0") for _ in range(8)]
        ((_, _, amount),) = [use for use in front.gate.usage("openai") if use[0].startswith("5 requests")]
    assert len(upstream.requests) <= 5
    assert {reply.reason for reply in replies[5:]} <= {"wait_too_long", "never_fits"}
    assert amount <= 5


@pytest.mark.parametrize("status", [401, 403])
async def test_h10_one_bad_key_is_rested_and_the_others_serve(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked once, the log names it, and twenty calls reach their answer through the other."""
    body = json.dumps({"error": {"code": "invalid_api_key", "type": "invalid_request_error", "message": "no"}}).encode()
    asked: list[bytes] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            asked.append(request)
            bad = KEYS["KEY_A"].encode() in request
            line = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
            await peer.send(line if bad else ok())

    async with raw_server(script) as upstream, corridor(service(upstream, ROOMY)) as front:
        replies = [await front.ask(PATH, None) for _ in range(20)]
    bad = [request for request in asked if KEYS["KEY_A"].encode() in request]
    if status == 401:
        assert {reply.status for reply in replies} == {200}
        assert len(bad) == 1
        assert any("key a" in record.message for record in caplog.records)
    else:
        # 403 is about the resource, the agent or the address (rules/dialects/meanings.py): no key is blamed
        assert {reply.status for reply in replies} <= {200, 403}
    assert len(asked) <= 21, "a retry storm"


async def test_h11_what_an_upstream_sets_is_the_clients_and_nothing_is_kept() -> None:
    """A redirect is not followed, a cookie not sent by the next call, hop-by-hop fields end here, the key is masked."""
    key = KEYS["KEY_A"]
    redirect = (
        "HTTP/1.1 307 Elsewhere\r\n"
        f"Location: http://169.254.169.254/?key={key}\r\n"
        'Set-Cookie: a=b\r\nAlt-Svc: h3=":443"\r\nStrict-Transport-Security: max-age=1\r\n'
        "Proxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\nKeep-Alive: timeout=5\r\n"
        "Connection: X-Hop\r\nX-Hop: 1\r\nX-Headgate-Reason: overloaded\r\nX-Headgate-Waited: 9\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()
    async with raw_server(once(redirect)) as upstream, corridor(service(upstream, ROOMY, keys=ONE_KEY)) as front:
        answer = await ask(front)
        assert (await front.ask(PATH, None)).status == 200
    head = answer.decode()
    for passed in ("HTTP/1.1 307 ", "Set-Cookie: a=b\r\n", "Alt-Svc: ", "Strict-Transport-Security: "):
        assert passed in head
    for gone in ("Proxy-Auth", "Keep-Alive", "X-Hop", "X-Headgate-Reason", "Waited: 9", key):
        assert gone not in head
    assert len(upstream.requests) == 2
    assert b"cookie" not in upstream.requests[1].lower()


def _name_errors() -> dict[str, tuple[Exception | None, str]]:
    return {
        "NXDOMAIN": (socket.gaierror(socket.EAI_NONAME, "no"), "upstream_refused"),
        "no address": (socket.gaierror(socket.EAI_NODATA, "no"), "upstream_refused"),
        "SERVFAIL": (socket.gaierror(socket.EAI_AGAIN, "no"), "upstream_dns_timeout"),
        "silence": (None, "upstream_dns_timeout"),
    }


@pytest.mark.parametrize("case", _name_errors().values(), ids=_name_errors())
async def test_h12_each_trouble_of_a_name_has_its_code(case: tuple[Exception | None, str]) -> None:
    """The charge is given back: nothing was sent."""
    error, code = case

    async def lookup(name: str) -> list[str]:
        if error is None:
            await asyncio.Event().wait()
        assert error is not None
        raise error

    config = f"services: {{openai: {{keys: {ONE_KEY}{ROOMY}}}}}\n"
    async with corridor(config, lookup=lookup, timeouts=Timeouts(dns_s=0.05)) as front:
        reply = await front.ask(PATH, None)
        again = await front.ask(PATH, None)
        assert used(front.gate, "1000 requests") <= 1
    assert (reply.status, reply.reason) == (STATUS[code], code)
    assert again.reason == code


async def test_h12_refused_and_silent_connections_have_theirs() -> None:
    """A closed port is 502 upstream_refused; one whose line of connections is full never answers: 504."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with corridor(service(unused.getsockname()[1])) as front:
            refused = await front.ask(PATH, None)
    assert (refused.status, refused.reason) == (502, "upstream_refused")
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        async with corridor(service(full.getsockname()[1]), timeouts=Timeouts(connect_s=0.1)) as front:
            silent = await front.ask(PATH, None)
    assert (silent.status, silent.reason) == (504, "upstream_connect_timeout")
