"""What a caller types makes one line of the log and no series of the metrics (threats F4, F5)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from prometheus_client import generate_latest

from tests.proxy.corridor import CHAT, Corridor, corridor, service
from tests.proxy.frontdoor import talk
from tests.raw_server import RawServer, answering, ok, raw_server

# the log: one line a call


def get(path: bytes, *lines: bytes) -> bytes:
    """A request, the last of its connection."""
    head = (b"GET " + path + b" HTTP/1.1", b"Host: a", b"Connection: close", *lines)
    return b"\r\n".join((*head, b"", b""))


def post(body: bytes, kind: bytes = b"application/json") -> bytes:
    """A chat whose body is this."""
    length = b"Content-Length: %d" % len(body)
    return get(b"/openai/v1/chat/completions", length, b"Content-Type: " + kind).replace(b"GET", b"POST", 1) + body


FAKE = b'{"level":"fake"}'
TYPED = {
    "encoded line end in the path": get(b"/openai/%0a%7b%22level%22:%22fake%22%7d"),
    "U+2028 in the path": get(b"/openai/\xe2\x80\xa8"),
    "ESC in the path": get(b"/openai/\x1b[31m"),
    "ESC in the user": get(b"/openai/x", b"X-Headgate-User: a\x1b[31m"),
    "fields in the user": get(b"/openai/x", b"X-Headgate-User: " + FAKE + b" status=200"),
    # a, a line end, {"level":"fake"}, CR, ESC[1m
    "line end in credentials": get(b"/openai/x", b"Proxy-Authorization: Basic YQp7ImxldmVsIjoiZmFrZSJ9DRtbMW06eg=="),
    "line ends in the model": post(
        b'{"model": "x\\n{\\"level\\":\\"fake\\"}\\r\\u001b[31m\\u2028\\u0085", "messages": []}'
    ),
    "half a pair in the model": post(b'{"model": "\\ud800", "messages": []}'),
    "half a pair of a form": post(
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xed\xa0\x80\r\n--b--\r\n',
        b"multipart/form-data; boundary=b",
    ),
    "a long path": get(b"/openai/" + b"x" * 6000),
    "a long service": get(b"/" + b"x" * 6000 + b"/a"),
    "a long model": post(b'{"model": "' + b"x" * 9000 + b'", "messages": []}'),
}


@pytest.mark.parametrize("kind", TYPED)
async def test_whatever_is_typed_makes_one_line_a_call(kind: str) -> None:
    """No line end, terminal command or field of its own, and no more than a line is long (F4)."""
    async with raw_server(answering(ok(b"{}"))) as upstream, corridor(service(upstream, keys="")) as front:
        await talk(front.port, TYPED[kind])
        await front.quiet()
        front.call_log.flush()
        text = front.written.getvalue()
    lines = text.splitlines()
    assert len(lines) == text.count("\n") == len(front.refused) ^ 1
    assert all(json.loads(line)["level"] == "info" for line in lines)
    assert len(text) < 2000
    assert "\x1b" not in text


# metrics: closed sets


@pytest.fixture
async def far() -> AsyncIterator[RawServer]:
    """An upstream that answers every call."""
    async with raw_server(answering(ok(b"{}"))) as server:
        yield server


def series(front: Corridor) -> set[str]:
    """Names and labels of every sample there is."""
    text = generate_latest(front.metrics.registry).decode()
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


async def _many(front: Corridor, first: int, count: int) -> None:
    """Calls that differ in everything a caller can choose."""
    for number in range(first, first + count):
        body = CHAT.replace(b"gpt-4o", b"model-%d" % number)
        user = {"X_Headgate_User": f"user-{number}", "x_api_key": f"own-{number}"}
        await front.ask(f"/openai/v1/chat/completions?q={number}", body, **user)
        await front.ask(f"/openai/v1/path-{number}", None, **user)
        await front.ask(f"/nobody-{number}/x", None, **user)
        async with front.session.get(f"http://host-{number}.test/x", proxy=front.url) as reply:
            assert reply.status == 403


@pytest.mark.parametrize("count", [50, pytest.param(2500, marks=pytest.mark.slow)])
async def test_no_caller_makes_a_series(far: RawServer, count: int) -> None:
    """Users, models, hosts, paths, services and keys of callers by the thousand: no name of theirs is a label's value,
    and what is new is a histogram or two (F5)."""
    config = service(far, ", limits: [{requests: 1000000, window: 60, per: [user, model]}]", keys="")
    async with corridor(config + "egress: {allow: [other.test]}\n") as front:
        await _many(front, 0, 3)
        before = series(front)
        await _many(front, 3, count)
        after = series(front)
        assert len(after - before) <= 40
        for word in ("user-", "model-", "host-", "path-", "nobody-", "own-"):
            assert not [name for name in after if word in name]
