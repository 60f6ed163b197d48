"""Keys, tokens, cookies and prompts through every kind of failure: none stands in an answer of ours, a log line or a
metric (threats F). What a corridor wrote is looked at when it ends (tests/canaries.py); here is what makes it write.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

import proxy.exchange
from proxy import outgoing
from proxy.clients import Doorman
from proxy.gate import Gate
from proxy.lessons import Lessons
from proxy.measure import Measure
from proxy.redaction import Veil
from proxy.upstream import Timeouts, Upstream
from rules.verdict import Grant
from tests.canaries import WATCH
from tests.headgate_process import Headgate, serving
from tests.proxy.corridor import KEYS, PATH, TOKEN, Corridor, corridor, service
from tests.proxy.frontdoor import replies, talk
from tests.raw_server import Peer, Script, answering, ok, raw_server
from tests.redis_server import redis_server

BODY = b'{"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "canary-prompt-6666"}]}'
COOKIE = "session=canary-cookie-4444"
QUERY = "?key=canary-query-5555"
_ONE = "[{name: a, env: KEY_A}]"


async def tell(front: Corridor) -> Any:
    """One call with a secret in every place that takes one."""
    return await front.ask(PATH + QUERY, BODY, Cookie=COOKIE, x_api_key="canary-own-7777")


# every kind of failure

_HEAD = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\nX-Echo: %b\r\n\r\n%b"


async def echoing(peer: Peer, status: int) -> None:
    """Answer with the whole request, in the body and in a field."""
    while (request := await peer.request()) is not None:
        told = request.replace(b"\r\n", b" ")
        await peer.send(_HEAD % (status, len(request), told, request))


async def silent(peer: Peer) -> None:
    """Take the request and say nothing."""
    await peer.until_closed()


def saying(data: bytes) -> Script:
    """Send this after the request, and close."""

    async def script(peer: Peer) -> None:
        if (request := await peer.request()) is not None:
            await peer.send(data.replace(b"<request>", request))

    return script


UPSTREAMS: dict[str, tuple[Script, int, str | None]] = {
    "401": (lambda peer: echoing(peer, 401), 503, "no_key"),
    "403": (lambda peer: echoing(peer, 403), 403, None),
    "400": (lambda peer: echoing(peer, 400), 400, None),
    "404": (lambda peer: echoing(peer, 404), 404, None),
    "429": (lambda peer: echoing(peer, 429), 503, "no_key"),
    "500": (lambda peer: echoing(peer, 500), 500, None),
    "a good answer": (lambda peer: echoing(peer, 200), 200, None),
    "silence": (silent, 504, "upstream_timeout"),
    "the end": (saying(b""), 502, "upstream_broke"),
    "no HTTP": (saying(b"<request>"), 502, "upstream_protocol"),
    "a bad field": (saying(b"HTTP/1.1 200 OK\r\nX\x07: <request>\r\n\r\n"), 502, "upstream_protocol"),
    "a bad first chunk": (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz<request>"), 502, None),
    "two lengths": (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 502, None),
    "status 999": (saying(b"HTTP/1.1 999 <request>\r\n\r\n"), 502, "upstream_protocol"),
    "another protocol": (saying(b"HTTP/1.1 101 <request>\r\n\r\n"), 502, "upstream_protocol"),
}


@pytest.mark.parametrize("kind", UPSTREAMS)
async def test_no_answer_of_an_upstream_makes_us_tell_a_secret(kind: str) -> None:
    """The upstream's own answer passes without the pooled key; an answer of ours holds nothing of the call."""
    script, status, code = UPSTREAMS[kind]
    async with raw_server(script) as upstream:
        # what the call still needs is gone after its first refusal: it is told so at once
        config = service(upstream, ", hold: {max_wait: 0s}, limits: [{requests: 1000, window: 60}]", keys=_ONE)
        async with corridor(config, timeouts=Timeouts(first_byte_s=0.2, body_idle_s=0.2)) as front:
            try:
                answer = await tell(front)
            except aiohttp.ClientError:
                answer = None  # a cut is an answer, too
            if answer is not None:
                assert answer.status == status, answer
                assert code is None or answer.reason == code
                for key in KEYS.values():
                    assert key.encode() not in answer.body
                    assert key not in repr(answer.headers)
            assert len(front.lines()) == 1


NO_WAY = {
    "nobody listens": (502, "upstream_refused"),
    "no TLS there": (502, "upstream_tls"),
    "no such name": (502, "upstream_refused"),
    "an address inside": (403, "address_denied"),
}


@pytest.mark.parametrize("kind", NO_WAY)
async def test_no_way_to_the_upstream_makes_us_tell_a_secret(kind: str) -> None:
    """Refused, not TLS, no name, denied: our own words only."""
    async with raw_server(answering(ok())) as plain:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            where = {
                "nobody listens": f"upstream: 'http://127.0.0.1:{unused.getsockname()[1]}'",
                "no TLS there": f"upstream: 'https://127.0.0.1:{plain.port}'",
                "no such name": "hosts: [gone.test]",
                "an address inside": "hosts: [inside.test]",
            }[kind]

            async def lookup(name: str) -> list[str]:
                if name.startswith("gone"):
                    raise socket.gaierror(socket.EAI_NONAME, "canary-gone")
                return ["10.0.0.1"]

            config = (
                f"services: {{svc: {{keys: {_ONE}, {where if 'hosts' in where else 'hosts: [a.test], ' + where}}}}}"
            )
            async with corridor(config, lookup=lookup) as front:
                answer = await front.ask("/svc/x" + QUERY, BODY, Cookie=COOKIE)
                assert (answer.status, answer.reason) == NO_WAY[kind]


# an error of our own, in every stage, with the key at hand


class Broken(RuntimeError):
    """Quotes what it should not."""


def breaking(*_: object, **__: object) -> Any:
    """Raise what quotes every secret."""
    secrets = (*KEYS.values(), TOKEN, BODY)
    raise Broken(*secrets)


async def breaking_later(*_: object, **__: object) -> Any:
    """The same of a coroutine."""
    breaking()


STAGES: dict[str, tuple[object, str, Callable[..., Any]]] = {
    "identify": (Doorman, "identify", breaking),
    "match": (proxy.exchange, "service_of", breaking),
    "look": (Measure, "look", breaking_later),
    "facts": (Measure, "facts", breaking),
    "plan": (proxy.exchange, "plan", breaking),
    "acquire": (Gate, "acquire", breaking_later),
    "address": (outgoing, "addressed", breaking),
    "send": (Upstream, "send", breaking_later),
    "learn": (Lessons, "of_reply", breaking),
    "hide": (Veil, "over_fields", breaking),
    "relay": (proxy.exchange, "relay", breaking_later),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_an_error_of_our_own_tells_its_place_only(
    stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 in general words, and one line that names type and place (F3)."""
    owner, name, broken = STAGES[stage]
    async with raw_server(answering(ok())) as upstream, corridor(service(upstream, keys=_ONE)) as front:
        monkeypatch.setattr(owner, name, broken)
        answer = await tell(front)
        monkeypatch.undo()
        assert (answer.status, answer.reason) == (500, "internal")
        (told,) = [record.getMessage() for record in caplog.records if record.name.startswith("headgate")]
        assert "Broken at test_secrets.py:" in told
        assert (await tell(front)).status == 200


async def test_an_error_when_the_books_are_closed_tells_its_place_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client has its answer by then; the log has one line."""
    granted: list[Grant] = []
    async with raw_server(answering(ok())) as upstream, corridor(service(upstream, keys=_ONE)) as front:
        acquire = front.gate.acquire

        async def remembering(*args: Any, **named: Any) -> Any:
            granted.append(await acquire(*args, **named))  # type: ignore[arg-type]
            return granted[-1]

        monkeypatch.setattr(front.gate, "acquire", remembering)
        monkeypatch.setattr(proxy.exchange, "settlement", breaking)
        with contextlib.suppress(aiohttp.ClientError):
            assert (await tell(front)).status == 200
        await front.quiet()
        monkeypatch.undo()
        assert any("Broken at test_secrets.py:" in record.getMessage() for record in caplog.records)
        front.gate.refund(granted[0])  # what was never settled is the test's doing


# what is no call at all

BAD = {
    "a control byte in a field": b"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer canary\x07\r\n\r\n",
    "a control byte in the target": b"GET /a?canary\x07 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a byte above 0x7f in a cookie": b"GET /a HTTP/1.1\r\nHost: a\r\nCookie: canary=\xff\r\n\r\n",
    "no colon": b"GET /a HTTP/1.1\r\nHost: a\r\ncanary\r\n\r\n",
    "no HTTP": b"canary canary canary\r\n\r\n",
    "another version": b"GET /canary HTTP/9.9\r\nHost: a\r\n\r\n",
    "userinfo": b"GET http://canary:canary@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "userinfo of a tunnel": b"CONNECT canary:canary@a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "an unknown method": b"CANARY /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bad host": b"GET /a HTTP/1.1\r\nHost: canary canary\r\n\r\n",
    "a bad control header": b"GET /a HTTP/1.1\r\nHost: a\r\nX-Headgate-Max-Wait: canary\r\n\r\n",
    "a bad length": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: canary\r\n\r\n",
    "a bad chunk": b"POST /svc/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n\r\n",
    "bad credentials": b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic canary\r\n\r\n",
    "a host that is denied": b"GET http://a.test/x?canary HTTP/1.1\r\nHost: a.test\r\nCookie: canary\r\n\r\n",
    "a huge head": b"GET /a HTTP/1.1\r\nHost: a\r\nCookie: " + b"canary" * 20_000 + b"\r\n\r\n",
    "a service nobody knows": b"GET /nobody/a?canary HTTP/1.1\r\nHost: a\r\nCookie: canary\r\n\r\n",
}


@pytest.mark.parametrize("kind", BAD)
async def test_what_is_no_call_is_answered_without_its_bytes(kind: str) -> None:
    """Neither the answer nor the log repeats a malformed head (F1, A11)."""
    async with corridor("egress: {allow: [other.test]}") as front:
        data = await talk(front.port, BAD[kind].replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n"))
        (answer,) = replies(data)
        assert 400 <= answer.status <= 505
        assert answer.code is not None
        WATCH.look("answers", data)


# a real process, and its store


def test_a_process_whose_store_dies_tells_no_secret(tmp_path: Path) -> None:
    """Served, refused and turned away while the store lives, is dead, and is back: log, metrics, admin port and the
    store's own contents are looked through at the end."""
    config = """
services:
  openai:
    keys: [{name: a, env: KEY}]
    upstream: http://127.0.0.1:9
    limits: [{requests: 4, window: 60, per: [user]}, {requests: 100, window: 60, per: [model]}]
    hold: {max_wait: 0s}
  anthropic: {upstream: 'http://127.0.0.1:9', limits: [{requests: 4, window: 60, per: [key]}]}
clients: {anonymous: nobody, tokens: [{name: ann, env: TOKEN}]}
"""
    secrets = {"KEY": "sk-canary-8888", "TOKEN": TOKEN}

    def call(headgate: Any, token: str, where: str = "openai") -> int:
        headers = {"Authorization": f"Bearer {token}", "Cookie": COOKIE, "x-api-key": "canary-own-9999"}
        url = f"{headgate.proxy}/{where}/v1/chat/completions{QUERY}"
        reply = requests.post(url, data=BODY, headers=headers, timeout=30)
        WATCH.look("answers", reply.content + repr(reply.headers).encode())
        return reply.status_code

    with redis_server() as redis, serving(tmp_path, config, "--store", redis.url, more=secrets) as headgate:
        for _ in range(2):
            seen = {call(headgate, TOKEN) for _ in range(8)} | {call(headgate, TOKEN, "anthropic") for _ in range(8)}
            assert seen <= {429, 502, 503}
            assert 502 in seen
            assert call(headgate, "sk-canary-wrong") == 401
            redis.kill()
        redis.start()
        assert call(headgate, TOKEN) in (429, 502)


ASKED = 100_000
"""Calls: their log lines, the answers to them and the metrics make more than the 100 MB of threats 5.1."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_hundred_megabytes_hold_no_secret(tmp_path: Path) -> None:
    """Refused, denied, unreachable, malformed, by the thousand: a secret in each, and none in what was told."""
    config = """
services:
  openai: {keys: [{name: a, env: KEY}], upstream: 'http://127.0.0.1:9', limits: [{requests: 9, window: 60}]}
  anthropic: {upstream: 'http://127.0.0.1:9', limits: [{requests: 9, window: 60, per: [key]}]}
egress: {allow: ["*"]}
"""
    rest = b" HTTP/1.1\r\nHost: %b\r\nX-Headgate-User: " + b"u" * 200 + b"\r\nX-Headgate-Max-Wait: 0\r\n"
    rest += b"Cookie: canary=1\r\nAuthorization: Bearer canary-%d\r\nContent-Length: 12\r\n\r\ncanary-body!"
    long = b"/" + b"p" * 190
    kinds = (
        (b"POST /openai" + long + b"?key=canary", b"a"),
        (b"POST /anthropic" + long + b"?key=canary", b"a"),
        (b"POST /nobody" + long + b"?key=canary", b"a"),
        (b"POST http://10.0.0.1" + long + b"?key=canary", b"10.0.0.1"),
    )
    watched = sum(WATCH.seen.values())

    async def ask(headgate: Headgate, number: int) -> None:
        """Calls one after the other, on one connection until it is closed."""
        port = int(headgate.proxy.rpartition(":")[2])
        writer: asyncio.StreamWriter | None = None
        for turn in range(ASKED // 16):
            if writer is None or writer.is_closing():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            line, host = kinds[(turn + number) % len(kinds)]
            writer.write(line + rest % (host, turn))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            WATCH.look("answers", head + await reader.readexactly(length))
            if b"\r\nConnection: close" in head:
                writer.close()
        if writer is not None:
            writer.close()

    with serving(tmp_path, config, more={"KEY": "sk-canary-8888"}) as headgate:
        await asyncio.gather(*[ask(headgate, number) for number in range(16)])
        headgate.look_at_admin()
    assert sum(WATCH.seen.values()) - watched > 100e6
