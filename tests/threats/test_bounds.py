"""Rows of section G that need no process of their own: lines, leavers, fairness, and inputs made to take long."""

from __future__ import annotations

import asyncio
import io
import time

import orjson
import pytest

from proxy.call import Bounds
from proxy.log import CallLog, Record
from proxy.tasks import spawn
from rules.match import Matcher
from tests.proxy.corridor import CHAT, PATH, Corridor, corridor, service, used
from tests.raw_server import Peer, Script, answering, ok, raw_server
from tests.rules.given import parsed

ONE_KEY = "[{name: a, env: KEY_A}]"
ONE_AT_A_TIME = ", limits: [{concurrent: 1, per: [group]}]"


def gated(release: asyncio.Event, order: list[bytes]) -> Script:
    """Notes who asks, and answers once it is let go."""

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            order.append(request)
            await release.wait()
            await peer.send(ok())

    return script


async def until_waiting(front: Corridor, count: int) -> None:
    """Until so many calls are held."""
    while front.gate.waiting("openai") != count:
        await asyncio.to_thread(int)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"]
)
async def test_g1_a_body_that_hardly_begins_takes_no_connection_of_the_upstream(framing: bytes) -> None:
    """It ends in body_timeout here; no grant was spent on it, and one that has begun goes while it still comes."""

    async def script(peer: Peer) -> None:
        while await peer.head() is not None:
            begun.set()
            await peer.until_closed()

    begun = asyncio.Event()
    bounds = Bounds(body_idle_s=0.3)
    async with raw_server(script) as upstream, corridor(service(upstream, keys=ONE_KEY), bounds=bounds) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST /openai/v1/files HTTP/1.1\r\nHost: a\r\n" + framing)
        answer = await reader.read()
        writer.close()
        assert b"X-Headgate-Reason: body_timeout\r\n" in answer
        await front.quiet()
        assert (upstream.connections, front.lines()[0]["attempts"]) == ([], 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST /openai/v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 5000)
        await begun.wait()
        writer.transport.abort()
        await front.quiet()


async def test_g4_the_call_beyond_the_line_is_told_so_and_no_other_is_hurt() -> None:
    """503 queue_full with Retry-After while the line is full; those in it are served."""
    release, order = asyncio.Event(), list[bytes]()
    short = ONE_AT_A_TIME + ", hold: {max_queue: 2}"
    async with raw_server(gated(release, order)) as upstream, corridor(service(upstream, short, keys=ONE_KEY)) as front:
        asks = [spawn(front.ask(), name="ask") for _ in range(3)]
        await until_waiting(front, 2)
        refused = await front.ask()
        assert (refused.status, refused.reason) == (503, "queue_full")
        release.set()
        assert [(await one).status for one in asks] == [200] * 3
    assert len(order) == 3


async def test_g5_whoever_takes_every_place_shares_it_with_the_next() -> None:
    """One user has twenty calls in line; another's first goes before the second of those that wait."""
    release, order = asyncio.Event(), list[bytes]()
    async with (
        raw_server(gated(release, order)) as upstream,
        corridor(service(upstream, ONE_AT_A_TIME, keys=ONE_KEY)) as front,
    ):
        crowd = [spawn(front.ask(PATH + "?hog", X_Headgate_User="hog"), name="hog") for _ in range(20)]
        await until_waiting(front, 19)
        late = spawn(front.ask(PATH + "?late", X_Headgate_User="late"), name="late")
        await until_waiting(front, 20)
        release.set()
        assert (await late).status == 200
        await asyncio.gather(*crowd)
    (turn,) = [index for index, request in enumerate(order) if b"?late" in request]
    assert turn <= 2


@pytest.mark.parametrize("count", [300])
async def test_g6_callers_that_leave_while_held_leave_nothing(count: int) -> None:
    """All go at once: no call is held, none is sent afterwards, and the place is free for the next."""
    release, order = asyncio.Event(), list[bytes]()
    async with (
        raw_server(gated(release, order)) as upstream,
        corridor(service(upstream, ONE_AT_A_TIME, keys=ONE_KEY)) as front,
    ):
        first = spawn(front.ask(), name="first")
        while not order:
            await asyncio.to_thread(int)
        raw = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (PATH.encode(), len(CHAT), CHAT)
        leavers = []
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(raw)
            leavers.append(writer)
        await until_waiting(front, count)
        # half leave before there is room, and half while it is given out
        for writer in leavers[::2]:
            writer.transport.abort()
        await until_waiting(front, count // 2)
        release.set()
        for writer in leavers[1::2]:
            writer.transport.abort()
        assert (await first).status == 200
        await until_waiting(front, 0)
        await front.quiet()
        sent = len(order)
        assert (await front.ask()).status == 200
        assert len(order) == sent + 1


async def test_g7_a_caller_that_leaves_after_the_grant_is_settled_once() -> None:
    """The upstream's connection ends with him, and the charge stands, once."""
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        if not left.is_set():
            await peer.request()
            left.set()
            await peer.until_closed()
        else:
            await answering(ok())(peer)

    limits = ", limits: [{requests: 100, window: 600, per: [group]}]"
    async with raw_server(script) as upstream, corridor(service(upstream, limits, keys=ONE_KEY)) as front:
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /openai/v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
        await left.wait()
        writer.transport.abort()
        await upstream.connections[0].closed.wait()
        await front.quiet()
        assert (await front.ask("/openai/v1/models", None)).status == 200
        assert used(front.gate, "100 requests") == 2
        assert front.sample("headgate_cut_total", service="openai", code="client_gone") == 1


async def test_g9_a_full_disk_loses_lines_and_raises_nothing() -> None:
    """Bodies never touch a disk; the log does, and no call depends on it."""
    stream = open("/dev/full", "w", encoding="utf-8")  # noqa: ASYNC230, SIM115  (a device; closing it fails)
    log = CallLog(stream, json=True, wall=time.time)
    record = Record(call_id="c", entrance="reverse", method="GET", target="/" + "x" * 100_000, started=0.0)
    for _ in range(3):
        log.write(record)
        log.flush()
    with pytest.raises(OSError, match="No space"):
        stream.close()


def test_g10_no_pattern_makes_a_path_take_long() -> None:
    """Twenty wildcards against the longest path that is read, made to backtrack: a linear matcher has its answer."""
    many = "/".join(["*"] * 20)
    text = (
        f"services:\n  svc: {{hosts: [a.test], endpoints: {{one: {{path: '/{many}/end'}}, rest: {{path: '/**'}}}}}}\n"
    )
    policy = parsed(text, environ={}).policy
    matcher, found = Matcher(policy), policy.services["svc"]
    for path in ("/a" * 8000, "/" * 16_000, "/a" * 20 + "/en", "/" + "a" * 16_000):
        assert matcher.endpoint(found, "GET", path).name == "rest"
    assert matcher.endpoint(found, "GET", "/a" * 20 + "/end").name == "one"


DEEP = {
    "arrays": b"[" * (1 << 20),
    "objects": b'{"a":' * (1 << 18),
    "closed": b"[" * 500_000 + b"]" * 500_000,
    "in a field": b'{"model": "gpt-4o", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", DEEP.values(), ids=DEEP)
async def test_g11_a_deep_body_breaks_nothing_and_is_charged_by_its_bytes(body: bytes) -> None:
    """No parser of ours goes down with it: it is counted as what cannot be read, and its upstream judges it."""
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)
    limits = ", limits: [{tokens: 100000000, window: 600, per: [group]}]"
    async with raw_server(answering(ok())) as upstream, corridor(service(upstream, limits, keys=ONE_KEY)) as front:
        reply = await front.ask(PATH, io.BytesIO(body))
        tokens = max(use for name, use, _ in front.gate.usage("openai") if "tokens" in name)
        assert (await front.ask()).status == 200
    assert reply.status in (200, 400)
    assert tokens >= len(body) // 8
