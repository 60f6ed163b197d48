"""proxy/exchange.py: the corridor over real sockets, from a client's bytes to the upstream's and back."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from tests.raw_server import Peer, RawServer, answering, ok, raw_server

from .corridor import CHAT, KEYS, PATH, TOKEN, TWO_GROUPS, Corridor, corridor, service, used

USAGE = b'{"id": "x", "choices": [], "usage": {"prompt_tokens": 13, "completion_tokens": 5, "total_tokens": 18}}'
DONE = ok(USAGE, fields=b"Content-Type: application/json\r\n")
ROOMY = ", limits: [{requests: 1000, window: 60}, {tokens: 100000, window: 60}]"


def refusal(status: int, code: str, message: str = "no", fields: bytes = b"", kind: str = "requests") -> bytes:
    """An error as OpenAI writes it."""
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (
        status,
        fields,
        len(body),
    )
    return head + body


SLOW_DOWN = refusal(429, "rate_limit_exceeded", fields=b"retry-after-ms: 40\r\n")
DEAD = refusal(401, "invalid_api_key", "Incorrect API key provided.", kind="invalid_request_error")
NO_QUOTA = refusal(429, "insufficient_quota", "You exceeded your current quota", kind="insufficient_quota")


def keys_of(server: RawServer) -> list[str]:
    """The keys that arrived, in the order of the requests of each connection."""
    found = []
    for request in server.requests:
        for line in request.split(b"\r\n"):
            if line.lower().startswith(b"authorization: "):
                found.append(line.partition(b" ")[2].decode())
    return found


async def per_key(peer: Peer, answers: dict[str, bytes]) -> None:
    """Answer by the key that a request carries."""
    while (request := await peer.request()) is not None:
        await peer.send(next(answer for key, answer in answers.items() if key.encode() in request))


# substitution


async def test_the_pooled_key_arrives_and_the_clients_token_never_does() -> None:
    """Bodies pass byte for byte; the client's credential is replaced whatever its place."""
    async with raw_server(answering(DONE)) as upstream, corridor(service(upstream, ROOMY)) as front:
        reply = await front.ask(PATH + "?x=1", x_headgate_user="ann", x_api_key=TOKEN)
        assert (reply.status, reply.body, reply.reason) == (200, USAGE, None)
    (request,) = upstream.requests
    assert request.endswith(b"\r\n\r\n" + CHAT)
    assert request.startswith(b"POST /v1/chat/completions?x=1 HTTP/1.1\r\n")
    assert keys_of(upstream)[0].removeprefix("Bearer ") in KEYS.values()
    assert b"x-headgate" not in request.lower()


async def test_reply_headers_say_which_service_and_how_long_it_was_held() -> None:
    """Three headers on every answer; an upstream's own of the same names are dropped."""
    forged = ok(b"{}", fields=b"X-Headgate-Reason: forged\r\nX-Headgate-Waited: 9\r\n")
    async with raw_server(answering(forged)) as upstream, corridor(service(upstream, ROOMY)) as front:
        reply = await front.ask()
    assert reply.reason is None
    assert reply.headers["X-Headgate-Service"] == "openai"
    assert reply.headers["X-Headgate-Waited"] == "0.000"
    assert reply.headers["X-Headgate-Request-Id"].startswith("call-")


async def test_a_key_that_the_upstream_echoes_is_hidden_from_the_client() -> None:
    """Errors and redirects lose the key and nothing else (threats F2)."""
    key = KEYS["KEY_A"].encode()
    echo = refusal(400, "bad", f"key {KEYS['KEY_A']} may not do this", fields=b"X-Key: " + key + b"\r\n")
    moved = b"HTTP/1.1 302 Found\r\nLocation: /a?key=%b&b=c\r\nContent-Length: %d\r\n\r\n%b" % (key, len(key), key)
    async with (
        raw_server(answering(echo, moved)) as upstream,
        corridor(service(upstream, ROOMY, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        error = await front.ask()
        async with front.session.get(front.url + "/openai/v1/models", allow_redirects=False) as redirect:
            location, body = redirect.headers["Location"], await redirect.read()
    assert error.status == 400
    assert json.loads(error.body)["error"]["message"] == f"key {'*' * len(key)} may not do this"
    assert error.headers["X-Key"] == "*" * len(key)
    assert (location, body) == (f"/a?key={'*' * len(key)}&b=c", b"*" * len(key))


_A = KEYS["KEY_A"].encode()
_SSE = b"Content-Type: text/event-stream\r\n"


def _pieces(*pieces: bytes, head: bytes = b"") -> bytes:
    """A 200 in chunks."""
    chunks = b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b"")])
    return b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%b" % (head, chunks)


def _packed(body: bytes) -> bytes:
    """A 400 that is packed."""
    data = gzip.compress(body)
    head = b"HTTP/1.1 400 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    return head % len(data) + data


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (ok(b"<" + _A + b">"), b"<*>"),
        (_pieces(b"<", _A[:5], _A[5:], b">"), b"<*>"),
        (_pieces(b"<" + _A + _A[:7], b"x"), b"<*" + _A[:7] + b"x"),
        (_pieces(b"<" + _A[:7]), b"<" + _A[:7]),
        (_pieces(b'data: {"a":"' + _A[:9], _A[9:] + b'"}\n\n', b"data: [DONE]\n\n", head=_SSE),
         b'data: {"a":"*"}\n\ndata: [DONE]\n\n'),
        (_packed(b"<" + _A + b">"), b"<*>"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 70000\r\n\r\n" + (b"x" * 65_530 + _A).ljust(70_000, b"y"),
         b"x" * 65_530 + b"*" + b"y" * (70_000 - 65_530 - len(_A))),
    ],
    ids=["whole", "cut", "begun twice", "never whole", "event stream", "packed error", "across the first piece"],
)  # fmt: skip
@pytest.mark.parametrize("stream", [b"", b', "stream": true'])
async def test_a_key_that_is_echoed_in_a_body_is_hidden_wherever_it_is_cut(
    answer: bytes, shown: bytes, stream: bytes
) -> None:
    """Of good answers too: whoever may use a pool may not take its keys home."""
    body = CHAT[:-1] + stream + b"}"
    async with (
        raw_server(answering(answer)) as upstream,
        corridor(service(upstream, ROOMY, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        reply = await front.ask(body=body)
    assert reply.body == shown.replace(b"*", b"*" * len(_A))


# what a reply teaches


async def test_a_429_goes_back_to_the_gate_and_the_client_sees_200() -> None:
    """The call rests as long as the upstream said and is sent again, byte for byte, under its own place."""
    async with (
        raw_server(answering(SLOW_DOWN, DONE)) as upstream,
        corridor(service(upstream, ROOMY, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        reply = await front.ask()
        assert reply.status == 200
        assert float(reply.headers["X-Headgate-Waited"]) >= 0.039
        assert front.sample("headgate_held_total", service="openai") == 1
        (line,) = front.lines()
    assert (line["attempts"], line["status"], line["origin"]) == (2, 200, "upstream")
    assert len(upstream.requests) == 2
    assert upstream.requests[0] == upstream.requests[1]


async def test_a_retry_goes_before_calls_that_came_later() -> None:
    """The call that met the 429 keeps the place in the line that its first attempt had."""
    order: list[bytes] = []
    second_waits = asyncio.Event()

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            order.append(request[-1:])
            if len(order) == 1:
                await second_waits.wait()
                await peer.send(SLOW_DOWN)
            else:
                await peer.send(ok(b"{}"))

    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, ", limits: [{concurrent: 1}]", keys="[{name: a, env: KEY_A}]")) as front,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(front.ask("/openai/v1/x", b"1"))
        await until(lambda: bool(order))
        second = group.create_task(front.ask("/openai/v1/x", b"2"))
        await until(lambda: front.gate.waiting("openai") == 1)
        second_waits.set()
        assert (await first).status == (await second).status == 200
    assert order == [b"1", b"1", b"2"]


@pytest.mark.parametrize("refused", [DEAD, NO_QUOTA], ids=["401", "insufficient_quota"])
async def test_a_key_that_is_of_no_use_is_taken_out_and_the_other_serves(refused: bytes) -> None:
    """The client sees 200 each time; the bad key is asked once."""
    answers = {KEYS["KEY_A"]: refused, KEYS["KEY_B"]: DONE}
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS)) as front,
    ):
        assert [(await front.ask()).status for _ in range(4)] == [200] * 4
    assert sum(KEYS["KEY_A"] in key for key in keys_of(upstream)) == 1


async def test_a_pool_of_dead_keys_answers_no_key_in_the_shape_of_the_service() -> None:
    """503 after each key was asked once, and no later call asks again."""
    async with raw_server(answering(DEAD)) as upstream, corridor(service(upstream, ROOMY)) as front:
        for _ in range(2):
            reply = await front.ask()
            assert (reply.status, reply.reason) == (503, "no_key")
            assert json.loads(reply.body)["error"]["code"] == "no_key"
        assert front.sample("headgate_refused_total", service="openai", code="no_key") == 2
    assert sorted(keys_of(upstream)) == sorted(f"Bearer {key}" for key in KEYS.values())


async def test_a_key_that_the_caller_brought_is_not_taken_out() -> None:
    """Without a pool a 401 is the caller's own affair: passed on, and the next call goes out again."""
    async with (
        raw_server(answering(DEAD, DONE)) as upstream,
        corridor(service(upstream, ROOMY, keys="")) as front,
    ):
        first, second = await front.ask(), await front.ask()
    assert (first.status, first.reason, second.status) == (401, None, 200)
    assert keys_of(upstream) == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize("status", [400, 403, 404, 418, 500, 502, 503, 529])
async def test_what_teaches_nothing_is_passed_on_as_it_is(status: int) -> None:
    """A client's mistake and an upstream's trouble reach the client whole, after one sending."""
    answer = refusal(status, "whatever", kind="whatever")
    async with raw_server(answering(answer)) as upstream, corridor(service(upstream, ROOMY)) as front:
        reply = await front.ask()
    assert (reply.status, reply.reason) == (status, None)
    assert answer.endswith(b"\r\n\r\n" + reply.body)
    assert len(upstream.requests) == 1


async def test_a_body_that_cannot_be_sent_twice_passes_the_429_on() -> None:
    """A streamed upload is sent once; the client learns what the upstream said."""
    upload = b"x" * 100_000
    async with raw_server(answering(SLOW_DOWN)) as upstream, corridor(service(upstream, ROOMY)) as front:
        reply = await front.ask("/openai/v1/files", upload)
    assert (reply.status, reply.headers["retry-after-ms"], reply.reason) == (429, "40", None)
    assert len(upstream.requests) == 1
    assert upstream.requests[0].endswith(upload)


async def test_a_429_without_end_is_given_up_after_a_bounded_number_of_sendings() -> None:
    """Each sending had its grant; the last 429 is passed on."""
    again = refusal(429, "rate_limit_exceeded", fields=b"retry-after-ms: 1\r\n")
    async with (
        raw_server(answering(again)) as upstream,
        corridor(service(upstream, ROOMY, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        reply = await front.ask()
        (line,) = front.lines()
    assert reply.status == 429
    assert line["attempts"] == len(upstream.requests) == 8


async def test_a_429_that_outlasts_the_call_is_told_at_once() -> None:
    """The rest is longer than the call may wait: the client gets our refusal with the upstream's time."""
    long = refusal(429, "rate_limit_exceeded", fields=b"Retry-After: 3600\r\n")
    async with (
        raw_server(answering(long)) as upstream,
        corridor(service(upstream, ROOMY, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        reply = await front.ask()
        assert front.exchange.lessons.resting["openai"] > 0
    assert reply.reason in ("wait_too_long", "no_key")
    assert 3590 <= int(reply.headers["Retry-After"]) <= 3600
    assert len(upstream.requests) == 1


async def test_all_attempts_together_wait_no_longer_than_the_call_may() -> None:
    """The deadline is the call's, not the attempt's: what the first one waited is gone for the second."""
    async with (
        raw_server(answering(SLOW_DOWN)) as upstream,
        corridor(service(upstream, ROOMY, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        reply = await front.ask(x_headgate_max_wait="70ms")
    assert reply.reason is not None
    assert 1 <= len(upstream.requests) <= 2


async def test_an_attempt_takes_from_the_deadline_only_what_has_passed() -> None:
    """Seven rests of 40 ms fit into 800 ms: the call is sent as often as a call may be."""
    async with (
        raw_server(answering(SLOW_DOWN)) as upstream,
        corridor(service(upstream, ROOMY, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        reply = await front.ask(x_headgate_max_wait="800ms")
    assert (reply.status, reply.reason, len(upstream.requests)) == (429, None, 8)


async def test_refusals_in_a_row_rest_longer_until_a_call_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    """A 429 without a time: the backoff's first delay, then its next, and the first again after a success."""
    silent, row = refusal(429, "rate_limit_exceeded"), ", backoff: {type: linear, initialDelay: 60, maxDelay: 60000}"
    answers = iter([silent, silent, DONE, silent, DONE])

    async def next_answer(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(next(answers))

    async with (
        raw_server(next_answer) as upstream,
        corridor(service(upstream, ROOMY + row, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        assert (await front.ask()).status == 200
        assert (await front.ask()).status == 200
    rests = [text.partition(" rests ")[2] for text in caplog.messages if " rests " in text]
    assert rests == ["60 ms", "120 ms", "60 ms"]


async def test_refusals_of_two_models_rest_the_group_and_of_one_only_that_model() -> None:
    """While one model rests another is served; when a second is refused too, a third has to wait."""
    rest = refusal(429, "rate_limit_exceeded", fields=b"retry-after: 30\r\n")
    answers = iter([rest, DONE, rest, rest])

    async def next_answer(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(next(answers))

    served, arrived = [], []
    async with (
        raw_server(next_answer) as upstream,
        corridor(service(upstream, ROOMY, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        for model in (b"gpt-4o", b"gpt-4.1", b"gpt-4o", b"o1", b"o3", b"gpt-4.1"):
            reply = await front.ask(body=CHAT.replace(b"gpt-4o", model), x_headgate_max_wait="0")
            served.append(reply.status == 200)
            arrived.append(len(upstream.requests))
    assert served == [False, True, False, False, False, False]
    assert arrived == [1, 2, 2, 3, 4, 4]


# refusals


async def test_no_patience_is_refused_with_the_true_time() -> None:
    """`X-Headgate-Max-Wait: 0` on a full limit: 429 wait_too_long, and the upstream is not asked."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, ", limits: [{requests: 1, window: 60}]")) as front,
    ):
        assert (await front.ask()).status == 200
        reply = await front.ask(x_headgate_max_wait="0")
        assert (reply.status, reply.reason) == (429, "wait_too_long")
        told = int(reply.headers["retry-after-ms"])
        assert 59_000 < told <= 62_500
        assert int(reply.headers["Retry-After"]) == -(-told // 1000)
        assert reply.headers["RateLimit"].endswith(f"t={reply.headers['Retry-After']}")
        assert json.loads(reply.body)["error"]["code"] == "wait_too_long"
        assert front.sample("rate_limit_checks_total", service="openai", result="refused") == 1
    assert len(upstream.requests) == 1


async def test_a_call_whose_time_is_up_was_held_for_as_long_as_it_asked() -> None:
    """429 hold_expired when something that cannot be foreseen does not come in time."""
    leave = asyncio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await leave.wait()
            await peer.send(DONE)

    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, ", limits: [{concurrent: 1}]")) as front,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(front.ask())
        await until(lambda: bool(upstream.requests))
        reply = await front.ask(x_headgate_max_wait="30ms")
        leave.set()
        assert (await first).status == 200
    assert (reply.status, reply.reason) == (429, "hold_expired")
    assert float(reply.headers["X-Headgate-Waited"]) >= 0.03


async def test_a_call_larger_than_a_limit_never_fits() -> None:
    """413 at once: no wait helps."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, ", limits: [{tokens: 5, window: 60}]")) as front,
    ):
        reply = await front.ask()
        assert (reply.status, reply.reason) == (413, "never_fits")
        assert "Retry-After" not in reply.headers
    assert upstream.requests == []


async def test_a_full_line_refuses_at_once() -> None:
    """503 queue_full for the call beyond `max_queue`; those in the line go on."""
    leave = asyncio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await leave.wait()
            await peer.send(DONE)

    more = ", limits: [{concurrent: 1}], hold: {max_wait: 30s, max_queue: 1}"
    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, more)) as front,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(front.ask())
        await until(lambda: bool(upstream.requests))
        second = group.create_task(front.ask())
        await until(lambda: front.gate.waiting("openai") == 1)
        reply = await front.ask()
        assert (reply.status, reply.reason) == (503, "queue_full")
        leave.set()
        assert (await first).status == (await second).status == 200


async def test_an_empty_pool_answers_no_key_and_never_the_callers_own() -> None:
    """A service with a pool for another tier only: nothing goes out."""
    config = "tiers: {gold: {weight: 1}}\n" + service(1, keys="[{name: a, env: KEY_A, reserve_for: [gold]}]")
    async with corridor(config) as front:
        reply = await front.ask()
    assert (reply.status, reply.reason) == (503, "no_key")


async def test_a_draining_corridor_takes_no_call() -> None:
    """503 draining with a Retry-After, and the connection closes."""
    async with raw_server(answering(DONE)) as upstream, corridor(service(upstream)) as front:
        front.exchange.draining = True
        reply = await front.ask()
    assert (reply.status, reply.reason) == (503, "draining")
    assert reply.headers["Connection"] == "close"
    assert int(reply.headers["Retry-After"]) >= 1
    assert upstream.requests == []


async def test_an_unknown_service_and_a_loop_are_refused() -> None:
    """404 and 508, each before any key is chosen."""
    async with raw_server(answering(DONE)) as upstream, corridor(service(upstream)) as front:
        unknown = await front.ask("/nonesuch/v1")
        looped = await front.ask(via="1.1 headgate-test")
    assert (unknown.status, unknown.reason) == (404, "service_unknown")
    assert (looped.status, looped.reason) == (508, "loop")
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/nonesuch/v1", PATH])
async def test_an_answer_of_our_own_says_when_it_was_made(path: str) -> None:
    """Date, once, by the clock we were given (RFC 9110 section 6.6.1)."""
    async with raw_server(answering(DONE)) as upstream, corridor(service(upstream)) as front:
        front.exchange.draining = path == PATH
        reply = await front.ask(path)
    assert reply.reason is not None
    assert reply.headers["Date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("said", [b"Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n", b"date: never\r\n", b""])
async def test_an_upstreams_date_is_its_own(said: bytes) -> None:
    """It passes as it came, and is added where there is none."""
    async with raw_server(answering(ok(fields=said))) as upstream, corridor(service(upstream)) as front:
        reply = await front.ask()
    assert reply.headers["Date"] == (said.decode().strip().partition(": ")[2] or "Sun, 06 Nov 1994 08:49:37 GMT")


# the books


async def test_the_true_usage_replaces_the_estimate() -> None:
    """JSON: the tokens that were truly used stand where fewer were charged, and the ratio is observed."""
    more = ok(USAGE.replace(b"18", b"418"), fields=b"Content-Type: application/json\r\n")
    async with (
        raw_server(answering(more)) as upstream,
        corridor(service(upstream, ", limits: [{tokens: 1000, window: 60}]")) as front,
    ):
        await front.ask()
        await front.quiet()
        (line,) = front.lines()
        assert line["actual"]["tokens"] == 418
        assert line["estimate"]["tokens"] < 418
        assert front.sample("headgate_estimate_ratio_count", service="openai", meter="tokens") == 1
        await front.ask()
        assert used(front.gate, "1000 tokens") == 418 + line["estimate"]["tokens"]


async def test_usage_is_read_from_a_stream_too() -> None:
    """SSE: the last event's usage settles the call, each piece having reached the client as it came."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = (b'data: {"choices": []}\n\n', b"data: " + USAGE + b"\n\n", b"data: [DONE]\n\n")
    steps = [asyncio.Event() for _ in pieces]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        for step, piece in zip(steps, pieces, strict=True):
            await step.wait()
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await peer.send(b"0\r\n\r\n")
        await peer.until_closed()

    async with raw_server(script) as upstream, corridor(service(upstream, ROOMY)) as front:
        async with front.session.post(front.url + PATH, data=CHAT) as reply:
            for step, piece in zip(steps, pieces, strict=True):
                step.set()
                assert await reply.content.readany() == piece
            assert await reply.read() == b""
        await front.quiet()
        (line,) = front.lines()
    assert line["actual"]["tokens"] == 18


@pytest.mark.parametrize(
    "body", [b"this is not JSON", b"\xff\xfe\x00", b'{"model": "gpt-4o", ', b"[1, 2]", b"null"], ids=repr
)
async def test_a_body_that_is_no_json_is_forwarded_and_counted_by_its_bytes(body: bytes) -> None:
    """The upstream gets it as it is; one request and a token for four bytes are charged."""
    async with raw_server(answering(DONE)) as upstream, corridor(service(upstream, ROOMY)) as front:
        reply = await front.ask(body=body)
        (line,) = front.lines()
    assert reply.status == 200
    assert upstream.requests[0].endswith(b"\r\n\r\n" + body)
    assert line["estimate"]["requests"] == 1
    assert 0 < line["estimate"]["tokens"] < 2 + len(body)


async def test_an_upstream_that_cannot_be_reached_costs_nothing() -> None:
    """502 upstream_refused, and the charge is taken back: a limit of one call lets the next try."""
    async with raw_server(answering(DONE)) as upstream:
        port = upstream.port
    async with corridor(service(port, ", limits: [{requests: 1, window: 60}]")) as front:
        for _ in range(3):
            reply = await front.ask(x_headgate_max_wait="0")
            assert (reply.status, reply.reason) == (502, "upstream_refused")
        assert front.sample("headgate_refused_total", service="openai", code="upstream_refused") == 3


async def test_an_upstream_that_breaks_off_has_counted_the_call() -> None:
    """Sent once, answered 502; the charge stands, because nobody can tell whether it was counted."""

    async def script(peer: Peer) -> None:
        await peer.request()

    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, ", limits: [{requests: 1, window: 60}]")) as front,
    ):
        first = await front.ask(x_headgate_max_wait="0")
        second = await front.ask(x_headgate_max_wait="0")
    assert (first.status, first.reason) == (502, "upstream_broke")
    assert (second.status, second.reason) == (429, "wait_too_long")
    assert len(upstream.requests) == 1


async def test_a_reply_that_breaks_off_is_cut_for_the_client_and_settled() -> None:
    """The client must not take half an answer for the whole; the log names what happened."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(half)

    async with raw_server(script) as upstream, corridor(service(upstream, ROOMY)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"POST /openai/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
        got = await reader.read()
        writer.close()
        await front.quiet()
        (line,) = front.lines()
    assert got.endswith(b"\r\n\r\nhalf")
    assert b"Content-Length: 100\r\n" in got
    assert (line["status"], line["origin"], line["code"]) == (200, "upstream", "upstream_broke")


# clients that leave


async def test_a_client_that_leaves_while_it_is_held_gives_its_place_back() -> None:
    """The call is never sent, and the next one takes its turn."""
    leave = asyncio.Event()

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await leave.wait()
            await peer.send(DONE)

    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, ", limits: [{concurrent: 1}]")) as front,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(front.ask())
        await until(lambda: bool(upstream.requests))
        _, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /openai/v1/gone HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: front.gate.waiting("openai") == 1)
        writer.close()
        await until(lambda: front.gate.waiting("openai") == 0)
        leave.set()
        assert (await first).status == 200
        assert (await front.ask()).status == 200
        gone = next(line for line in front.lines() if line["path"] == "/v1/gone")
    assert (gone["code"], gone["attempts"]) == ("client_gone", 0)
    assert not any(b"/v1/gone" in request for request in upstream.requests)


@pytest.mark.parametrize("answered", [False, True], ids=["before the answer", "in the stream"])
async def test_a_client_that_leaves_after_the_grant_ends_the_upstreams_work_and_is_settled_once(answered: bool) -> None:
    """The upstream's connection is closed, and the slot is free for the next call."""

    async def script(peer: Peer) -> None:
        if await peer.request() is None:
            return
        if len(upstream.connections) > 1:
            await peer.send(DONE)
            return
        if answered:
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await peer.until_closed()

    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, ", limits: [{concurrent: 1}, {requests: 2, window: 60}]")) as front,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(b"GET /openai/v1/models HTTP/1.1\r\nHost: h\r\n\r\n")
        if answered:
            await reader.readuntil(b"ok\r\n")
        await until(lambda: bool(upstream.requests))
        writer.close()
        await upstream.connections[0].closed.wait()
        await front.quiet()
        assert (await front.ask()).status == 200
        # both calls count: the first was sent
        assert (await front.ask(x_headgate_max_wait="0")).status == 429
        assert front.lines()[0]["code"] == "client_gone"


# modes


async def test_observe_counts_and_never_holds_or_refuses() -> None:
    """Three calls on a limit of one go at once, and the use is seen above the limit."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, ", mode: observe, limits: [{requests: 1, window: 60}]")) as front,
    ):
        assert [(await front.ask(x_headgate_max_wait="0")).status for _ in range(3)] == [200] * 3
        assert used(front.gate, "1 requests") == 3


async def test_off_counts_nothing_and_still_substitutes_the_key() -> None:
    """No limit of the service is kept; the pool works as ever."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, ", mode: off, limits: [{requests: 1, window: 60}]")) as front,
    ):
        assert [(await front.ask(x_headgate_max_wait="0")).status for _ in range(3)] == [200] * 3
        assert front.gate.usage("openai") == []
    assert all(any(secret in key for secret in KEYS.values()) for key in keys_of(upstream))


@pytest.mark.parametrize("mode", ["observe", "off"])
async def test_a_dead_key_is_taken_out_whatever_the_mode(mode: str) -> None:
    """Modes are about limits; a key that the upstream refuses serves nobody."""
    answers = {KEYS["KEY_A"]: DEAD, KEYS["KEY_B"]: DONE}
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, f", mode: {mode}, limits: [{{requests: 9, window: 60}}]")) as front,
    ):
        assert [(await front.ask()).status for _ in range(4)] == [200] * 4
    assert sum(KEYS["KEY_A"] in key for key in keys_of(upstream)) == 1


# hosts outside the catalogue


@pytest.fixture
async def outside() -> AsyncIterator[RawServer]:
    """A server that no service names."""
    async with raw_server(answering(ok(b"outside"))) as server:
        yield server


def allowed(server: RawServer) -> str:
    """A configuration that lets forward calls reach the server."""
    return f"egress: {{addresses: [{{range: 127.0.0.1/32, port: {server.port}}}]}}\n"


async def forward(front: Corridor, target: str, fields: str = "") -> bytes:
    """One absolute-form call, read to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {target.split('/')[2]}\r\nConnection: close\r\n{fields}\r\n".encode())
    got = await reader.read()
    writer.close()
    return got


async def test_a_forward_call_to_another_host_passes_without_a_key(outside: RawServer) -> None:
    """Its own credential is its own affair; no pooled key and nothing of ours goes with it."""
    async with corridor(allowed(outside)) as front:
        got = await forward(front, f"http://127.0.0.1:{outside.port}/a?b=c", "Authorization: Bearer theirs\r\n")
        (line,) = front.lines()
    assert got.endswith(b"\r\n\r\noutside")
    (request,) = outside.requests
    assert request.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert b"Authorization: Bearer theirs\r\n" in request
    assert b"sk-canary" not in request
    assert "service" not in line


async def test_a_client_token_never_reaches_another_host(outside: RawServer) -> None:
    """A client that shows its token to us by Authorization on a forward call does not hand it to the world."""
    config = allowed(outside) + "clients: {tokens: [{name: ann, env: TOKEN_ANN}]}\n"
    async with corridor(config) as front:
        got = await forward(front, f"http://127.0.0.1:{outside.port}/a", f"Authorization: Bearer {TOKEN}\r\n")
        assert front.lines()[0]["client"] == "ann"
    assert got.endswith(b"outside")
    assert TOKEN.encode() not in outside.requests[0]


async def until(condition: object) -> None:
    """Let the loop run until something is so; the test's own time-out is the bound."""
    assert callable(condition)
    loop = asyncio.get_running_loop()
    while not condition():
        turn = loop.create_future()
        loop.call_later(0.005, turn.set_result, None)
        await turn
