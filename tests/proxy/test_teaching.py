"""What the replies of the catalogue's services teach, over real sockets: each provider's own way to say no."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import AsyncIterator

import pytest

from proxy.measure import METERED_BYTES
from tests.raw_server import Peer, answering, ok, raw_server

from .corridor import KEYS, TOKEN, corridor, service, used
from .test_exchange import keys_of, per_key

JSON = b"Content-Type: application/json\r\n"


def reply(status: int, body: object, fields: bytes = b"") -> bytes:
    """A JSON answer."""
    raw = json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\n%b%bContent-Length: %d\r\n\r\n%b" % (status, JSON, fields, len(raw), raw)


async def aiter_of(body: bytes) -> AsyncIterator[bytes]:
    """A body without a length."""
    yield body


async def test_a_dead_key_that_comes_with_status_200_is_taken_out() -> None:
    """Slack's: the other key serves, and the client sees that answer alone."""
    answers = {
        KEYS["KEY_A"]: reply(200, {"ok": False, "error": "token_revoked"}),
        KEYS["KEY_B"]: reply(200, {"ok": True, "channel": "C1"}),
    }

    async def script(peer: Peer) -> None:
        await per_key(peer, answers)

    async with raw_server(script) as upstream, corridor(service(upstream, name="slack")) as front:
        for _ in range(3):
            answer = await front.ask("/slack/api/users.info", b"user=U1")
            assert (answer.status, json.loads(answer.body)) == (200, {"ok": True, "channel": "C1"})
        await front.quiet()
    # whichever came first, the dead one was tried once at most
    assert sum(KEYS["KEY_A"] in key for key in keys_of(upstream)) <= 1


async def test_a_token_in_a_form_does_not_leave_beside_ours() -> None:
    """As older callers of Slack send it: the pool's key goes in the header, the form goes on without theirs."""
    form = "application/x-www-form-urlencoded; charset=utf-8"
    own = b"token=xoxb-canary-own&channel=C1&text=token%3D1"
    async with (
        raw_server(answering(ok(b'{"ok": true}'))) as upstream,
        corridor(service(upstream, name="slack")) as front,
    ):
        for body, kind in ((own, form), (aiter_of(own), form), (own, "text/plain")):
            assert (await front.ask("/slack/api/users.info", body, Content_Type=kind)).status == 200
    left = [request.partition(b"\r\n\r\n")[2] for request in upstream.requests]
    assert left == [b"channel=C1&text=token%3D1", b"channel=C1&text=token%3D1", own]
    assert all(key.removeprefix("Bearer ") in KEYS.values() for key in keys_of(upstream))


async def test_a_form_too_large_to_be_searched_for_a_token_is_refused() -> None:
    """It might carry the client's own; nothing of it leaves."""
    form = "application/x-www-form-urlencoded"
    async with (
        raw_server(answering(ok(b'{"ok": true}'))) as upstream,
        corridor(service(upstream, name="slack")) as front,
    ):
        large = io.BytesIO(b"a=" + b"x" * METERED_BYTES)
        answer = await front.ask("/slack/api/users.info", large, Content_Type=form)
        assert (answer.status, answer.reason) == (413, "body_too_large")
    assert upstream.requests == []


async def test_an_answer_of_such_a_service_passes_whole_whatever_its_length() -> None:
    """Read as far as an error could reach, and then relayed."""
    body = {"ok": True, "messages": ["x" * 1000] * 300}
    async with raw_server(answering(reply(200, body))) as upstream, corridor(service(upstream, name="slack")) as front:
        answer = await front.ask("/slack/api/users.info", None)
    assert json.loads(answer.body) == body


@pytest.mark.parametrize(
    ("name", "refused", "other"),
    [
        ("tiktok", "/tiktok/v2/user/info/", "/tiktok/v2/video/list/"),
        ("x", "/x/2/tweets/search/recent", "/x/2/tweets/1"),
    ],
)
async def test_a_refusal_of_one_endpoint_leaves_the_others_alone(name: str, refused: str, other: str) -> None:
    """Where the provider counts by endpoint, the group rests there, and goes on elsewhere."""

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            limited = refused.removeprefix(f"/{name}").encode() in request
            await peer.send(reply(429, {"error": {"code": "x"}}, b"Retry-After: 60\r\n") if limited else ok(b"{}"))

    async with raw_server(script) as upstream, corridor(service(upstream, name=name)) as front:
        first = await front.ask(refused, None, x_headgate_max_wait="0")
        assert first.status == 503
        again = await front.ask(refused, None, x_headgate_max_wait="0")
        assert (again.status, again.headers["Retry-After"]) == (503, "60")
        assert (await front.ask(other, None, x_headgate_max_wait="0")).status == 200
    assert len(upstream.requests) == 2


async def test_a_service_in_trouble_is_left_alone_for_as_long_as_it_asks() -> None:
    """The call that met it gets its answer; the next ones are not sent until then."""
    broken = reply(529, {"type": "error", "error": {"type": "overloaded_error"}}, b"Retry-After: 20\r\n")
    async with raw_server(answering(broken)) as upstream, corridor(service(upstream, name="anthropic")) as front:
        first = await front.ask("/anthropic/v1/models", None)
        assert (first.status, first.reason, first.headers["Retry-After"]) == (529, None, "20")
        again = await front.ask("/anthropic/v1/models", None, x_headgate_max_wait="1s")
        assert again.reason is not None
        assert again.headers["Retry-After"] == "20"
    assert len(upstream.requests) == 1


async def test_a_signed_call_passes_as_it_is_beside_a_pool() -> None:
    """No key of the pool is put in, and the signature arrives; who signed is what is counted."""
    signed = 'OAuth oauth_consumer_key="ck", oauth_nonce="n", oauth_signature="s", oauth_token="tk"'
    async with raw_server(answering(ok(b"{}"))) as upstream, corridor(service(upstream, name="x")) as front:
        assert (await front.ask("/x/2/tweets/1", None, Authorization=signed)).status == 200
        assert (await front.ask("/x/2/tweets/1", None)).status == 200
    assert keys_of(upstream)[0] == signed
    assert keys_of(upstream)[1].removeprefix("Bearer ") in KEYS.values()


async def test_a_refused_signature_kills_no_key_of_the_pool() -> None:
    """It is its signer's own affair, and his 401."""
    signed = 'OAuth oauth_consumer_key="ck", oauth_token="tk"'
    answers = {signed: reply(401, {"title": "Unauthorized"}), "Bearer": ok(b"{}")}

    async def script(peer: Peer) -> None:
        await per_key(peer, answers)

    async with raw_server(script) as upstream, corridor(service(upstream, name="x")) as front:
        assert (await front.ask("/x/2/tweets/1", None, Authorization=signed)).status == 401
        for _ in range(2):
            assert (await front.ask("/x/2/tweets/1", None)).status == 200


async def test_a_service_of_many_hosts_has_no_base_url_of_its_own() -> None:
    """Azure's resources: a reverse call must be told which."""
    async with corridor("") as front:
        answer = await front.ask("/azure-openai/openai/v1/responses", b"{}")
        assert answer.reason == "service_unknown"
        assert b"give it an upstream" in answer.body


HOSTILE = (
    (b"x-ratelimit-limit-requests", b"NaN", b"-1", b"1000000000000", b"999999999999999999999", b"0", b"1e9", b"<html>"),
    (b"x-ratelimit-remaining-requests", b"NaN", b"-5", b"1000000000000", b"inf", b"\xff\xfe", b"9007199254740993"),
    (
        b"x-ratelimit-reset-requests",
        b"Thu, 01 Jan 1970 00:00:00 GMT",
        b"9999-12-31T23:59:59Z",
        b"-1s",
        b"1000000000000d",
    ),
)


async def test_hostile_headers_raise_no_limit_and_stop_nothing() -> None:
    """NaN, negatives, 10^12, dates of 1970 and 9999: the call passes, and the books say what they said."""
    more = ", limits: [{requests: 50, window: 60}]"
    for name, *values in HOSTILE:
        for value in values:
            fields = b"%b: %b\r\nx-ratelimit-limit-tokens: 1\r\n" % (name, value)
            async with (
                raw_server(answering(ok(b"{}", fields=fields))) as upstream,
                corridor(service(upstream, more)) as front,
            ):
                for _ in range(2):
                    assert (await front.ask("/openai/v1/models", None, x_headgate_max_wait="0")).status == 200
                assert used(front.gate, "50 requests") == 2
    assert TOKEN.encode() not in b"".join(upstream.requests)


PACKED = gzip.compress(b"<html>Too many requests</html>")


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"Retry-After: NaN\r\n", b"<html><h1>429</h1></html>"),
        (b"Retry-After: -5\r\nretry-after-ms: -1\r\n", b""),
        (b"Retry-After: 1000000000000\r\n", b"{"),
        (b"Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n", b"[[[[[[[["),
        (b"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n", b'{"error": {"message": "try again in 99999999h"}}'),
        (b"x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 9999-12-31T23:59:59Z\r\n", b"\xff\xfe"),
        (b"Content-Encoding: gzip\r\n", PACKED),
        (b"Content-Encoding: gzip\r\n", PACKED[:20]),
        (b"Content-Encoding: gzip\r\n", gzip.compress(b" " * 20_000_000, 1)),
    ],
    ids=["NaN", "negative", "10^12", "1970", "9999", "reset", "gzip", "broken gzip", "a bomb"],
)
async def test_a_refusal_that_says_nonsense_is_a_refusal_for_as_long_as_the_backoff_says(
    fields: bytes, body: bytes
) -> None:
    """No time of it is believed, nothing breaks, and the next call goes when the rest is over."""
    head = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: %d\r\n%b\r\n" % (len(body), fields)
    answers = iter((head + body, ok(b"{}")))

    async def script(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(next(answers))

    more = ", limits: [{requests: 50, window: 60}], backoff: {type: exponential, initialDelay: 40, maxDelay: 1000}"
    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, more, keys="[{name: a, env: KEY_A}]")) as front,
    ):
        refused = await front.ask("/openai/v1/models", None, x_headgate_max_wait="0")
        assert (refused.status, refused.headers["retry-after-ms"]) == (503, "40")
        assert (await front.ask("/openai/v1/models", None)).status == 200
        assert used(front.gate, "50 requests") == 2
