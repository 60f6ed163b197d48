"""Streams through the whole corridor: usage is asked for and hidden again, and calls are settled to the token."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import aiohttp
import anthropic
import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from rules.meters import load
from rules.meters.vocabulary import encoding
from tests.raw_server import Peer, RawServer, Script, answering, raw_server

from .corridor import CHAT, PATH, TOKEN, Corridor, corridor, service, used

WORDS = ("Good", " day", ", Ann", ". How", " are you?")
USAGE = {"prompt_tokens": 13, "completion_tokens": 500, "total_tokens": 513}
ASKED = b'"stream_options":{"include_usage":true}'
STREAMED = CHAT.replace(b'"max_tokens"', b'"stream": true, "max_tokens"')
EXACT = ", settle: exact, limits: [{tokens: 100000, window: 60}]"
ESTIMATED_INPUT = 10
"""Of the CHAT body."""


@pytest.fixture(autouse=True, scope="module")
def _vocabulary() -> None:
    load()


def chunks(*, asked: bool, end: bytes = b"\n") -> list[bytes]:
    """The events of OpenAI's answer, as it writes them with and without include_usage (provider-facts 2.7)."""
    head: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    null = {"usage": None} if asked else {}
    said: list[Any] = [
        {
            **head,
            "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
            **null,
            "obfuscation": "x",
        }
        for word in WORDS
    ]
    said.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **null})
    if asked:
        said.append({**head, "choices": [], "usage": USAGE})
    return [b"data: " + text + end + end for text in (*[json.dumps(one).encode() for one in said], b"[DONE]")]


def head(*fields: bytes, length: int | None = None) -> bytes:
    """The head of a streamed answer."""
    framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    lines = (b"HTTP/1.1 200 OK", b"Content-Type: text/event-stream; charset=utf-8", framing, *fields)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def as_chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def provider(*sizes: int, end: bytes = b"\n") -> Script:
    """OpenAI's streams, with usage for those who ask; `sizes`: bytes to a piece, of one answer after another; an event
    to a piece where there are no more of them."""
    turns = iter(sizes)

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            asked = json.loads(request.partition(b"\r\n\r\n")[2]).get("stream_options", {}).get("include_usage")
            pieces = chunks(asked=bool(asked), end=end)
            if size := next(turns, 0):
                whole = b"".join(pieces)
                pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
            await peer.send(head())
            for piece in pieces:
                await peer.send(as_chunk(piece))
            await peer.send(b"0\r\n\r\n")

    return script


def body_of(upstream: RawServer) -> bytes:
    """The body of the last request that came."""
    return upstream.requests[-1].partition(b"\r\n\r\n")[2]


async def actual(front: Corridor) -> dict[str, float]:
    """The tokens of the last call, as the log has them."""
    await front.quiet()
    told: dict[str, float] = front.lines()[-1].get("actual", {})
    return {meter: amount for meter, amount in told.items() if meter != "usd"}


SETTLED = {"input_tokens": 13.0, "output_tokens": 500.0, "tokens": 513.0}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_the_client_sees_the_stream_it_asked_for(end: bytes) -> None:
    """Byte for byte what the upstream would have sent without us, however it is cut; the books have the usage."""
    script = provider(1, 3, 50, 100_000, end=end)
    async with raw_server(script) as upstream, corridor(service(upstream, EXACT)) as front:
        for _ in range(5):
            reply = await front.ask(body=STREAMED)
            assert reply.body == b"".join(chunks(asked=False, end=end))
            assert body_of(upstream) == b"{" + ASKED + b"," + STREAMED[1:]
            assert await actual(front) == SETTLED


async def test_a_client_that_asks_gets_what_it_asked_for() -> None:
    """Nothing is added to its body and nothing taken from its answer."""
    body = STREAMED.replace(b'"stream": true', b'"stream": true, "stream_options": {"include_usage": true}')
    async with raw_server(provider()) as upstream, corridor(service(upstream, EXACT)) as front:
        reply = await front.ask(body=body, accept_encoding="gzip, br")
        told = await actual(front)
    assert reply.body == b"".join(chunks(asked=True))
    assert body_of(upstream) == body
    assert b"accept-encoding: gzip\r\n" in upstream.requests[0].lower()
    assert told == SETTLED


async def test_the_gate_has_the_usage() -> None:
    """The next call finds the true cost in the window, not the estimate: more than that here."""
    async with raw_server(provider()) as upstream, corridor(service(upstream, EXACT)) as front:
        await front.ask(body=STREAMED)
        await front.quiet()
        await front.ask(body=STREAMED)
        assert used(front.gate, "100000 tokens") == 513 + ESTIMATED_INPUT + 20


@pytest.mark.parametrize(
    ("more", "fields", "body"),
    [
        (", ask_usage: false", {}, STREAMED),
        ("", {"Content_Digest": "sha-256=:x:"}, STREAMED),
        ("", {"Content_Encoding": "gzip"}, STREAMED),
        ("", {}, b"\x1f\x8b\x08 not json"),
        ("", {}, STREAMED.replace(b"{", b'{"stream": false, ', 1)),
        ("", {}, CHAT),
        ("", {}, STREAMED.replace(b"{", b'{"temperature": NaN, ', 1)),
    ],
)
async def test_what_may_not_be_edited_goes_out_as_it_came(more: str, fields: dict[str, str], body: bytes) -> None:
    """Switched off, vouched for by a digest, packed, no JSON, in doubt, or no stream."""
    plain = head() + as_chunk(b"".join(chunks(asked=True))) + b"0\r\n\r\n"
    async with raw_server(answering(plain)) as upstream, corridor(service(upstream, EXACT + more)) as front:
        reply = await front.ask(body=body, **fields)
    assert body_of(upstream) == body
    assert reply.body == b"".join(chunks(asked=True))


async def test_a_body_with_our_edit_is_replayed_with_it() -> None:
    """A call that met a 429 goes again with the same body, and its answer is still cleaned."""
    answer = head() + as_chunk(b"".join(chunks(asked=True))) + b"0\r\n\r\n"
    busy = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(answering(busy, answer)) as upstream, corridor(service(upstream, EXACT)) as front:
        reply = await front.ask(body=STREAMED)
    assert [request.count(ASKED) for request in upstream.requests] == [1, 1]
    assert reply.body == b"".join(chunks(asked=False))


@pytest.mark.parametrize("size", [1, 40, 100_000])
async def test_a_stream_that_is_packed_although_plain_text_was_asked_for(size: int) -> None:
    """It is unpacked, since something must be taken out of it; its length and coding are no longer told."""
    packed = gzip.compress(b"".join(chunks(asked=True)), mtime=0)
    answer = head(b"Content-Encoding: gzip", b"X-Other: stays", length=len(packed))

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        for at in range(0, len(packed), size):
            await peer.send(packed[at : at + size])

    async with raw_server(script) as upstream, corridor(service(upstream, EXACT)) as front:
        reply = await front.ask(body=STREAMED, accept_encoding="gzip")
        told = await actual(front)
    assert b"accept-encoding: identity\r\n" in upstream.requests[0].lower()
    assert reply.body == b"".join(chunks(asked=False))
    assert ("Content-Encoding" in reply.headers, reply.headers["X-Other"]) == (False, "stays")
    assert told == SETTLED


@pytest.mark.parametrize("broken", [b"", b"\xff" * 100])
async def test_broken_packing_is_a_cut(broken: bytes) -> None:
    """The client sees that it has not got the whole, though the upstream's framing says that it sent all."""
    packed = gzip.compress(b"".join(chunks(asked=True)), mtime=0)[:150] + broken
    answer = head(b"Content-Encoding: gzip") + as_chunk(packed) + b"0\r\n\r\n"
    async with raw_server(answering(answer)) as upstream, corridor(service(upstream, EXACT)) as front:
        with pytest.raises(aiohttp.ClientPayloadError):
            await front.ask(body=STREAMED)
        await front.quiet()
        assert front.lines()[-1]["code"] == "upstream_protocol"


async def test_a_length_is_not_told_where_something_is_taken_out() -> None:
    """The upstream's Content-Length is of other bytes."""
    stream = b"".join(chunks(asked=True))
    async with (
        raw_server(answering(head(length=len(stream)) + stream)) as upstream,
        corridor(service(upstream, EXACT)) as front,
    ):
        reply = await front.ask(body=STREAMED)
    assert "Content-Length" not in reply.headers
    assert reply.body == b"".join(chunks(asked=False))


async def test_a_stream_that_breaks_off_hands_out_what_came() -> None:
    """Half an event too, before the cut."""
    begun = b"".join(chunks(asked=True)[:2])

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head() + as_chunk(begun + b'data: {"half'))

    async with raw_server(script) as upstream, corridor(service(upstream, EXACT)) as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(
            b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (PATH.encode(), len(STREAMED), STREAMED)
        )
        got = await reader.read()
        writer.close()
        told = await actual(front)
    assert b"".join(chunks(asked=False)[:2]) in got
    assert b'data: {"half' in got
    assert not got.endswith(b"0\r\n\r\n")
    assert told == expected_after(2)


@pytest.mark.parametrize(
    "lie",
    [
        {"prompt_tokens": -5, "completion_tokens": -5, "total_tokens": -10},
        {"prompt_tokens": 10**12, "completion_tokens": 10**12, "total_tokens": 10**12},
        {"prompt_tokens": "13", "completion_tokens": None, "total_tokens": [513]},
        {"prompt_tokens": 1e999, "completion_tokens": float("nan"), "total_tokens": 0.5},
        {},
    ],
)
async def test_a_usage_that_lies_changes_nothing(lie: dict[str, Any]) -> None:
    """The charge is no less than was expected, and no more than was seen."""
    events = [*chunks(asked=True)[:-2], b"data: " + json.dumps({"choices": [], "usage": lie}).encode() + b"\n\n"]
    answer = head() + as_chunk(b"".join(events)) + b"0\r\n\r\n"
    async with raw_server(answering(answer)) as upstream, corridor(service(upstream, EXACT)) as front:
        await front.ask(body=STREAMED)
        await front.quiet()
        await front.ask(body=STREAMED)
        assert used(front.gate, "100000 tokens") == 2 * (ESTIMATED_INPUT + 20)


# The SDKs


MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Good day?"}]


@pytest.mark.parametrize("asks", [False, True])
async def test_openai_sdk(asks: bool) -> None:
    """The SDK reads the words and, only where it asked, the usage."""
    async with raw_server(provider()) as upstream, corridor(service(upstream, EXACT)) as front:
        client = openai.AsyncOpenAI(base_url=f"{front.url}/openai/v1", api_key=TOKEN)
        stream = await client.chat.completions.create(
            model="gpt-4o",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True} if asks else openai.omit,
        )
        seen = [event async for event in stream]
        await client.close()
        told = await actual(front)
    assert "".join(event.choices[0].delta.content or "" for event in seen if event.choices) == "".join(WORDS)
    assert [event.usage.total_tokens for event in seen if event.usage] == ([513] if asks else [])
    assert all(event.choices for event in seen) is not asks
    assert told == SETTLED


def expected_after(count: int) -> dict[str, float]:
    """What a stream that ended after so many words is charged: its input, and the words."""
    produced = max(count, len(encoding("o200k_base").encode_ordinary("".join(WORDS[:count]))))
    return {
        "input_tokens": float(ESTIMATED_INPUT),
        "output_tokens": float(produced),
        "tokens": float(ESTIMATED_INPUT + produced),
    }


def halting(pieces: list[bytes]) -> tuple[Script, list[asyncio.Event]]:
    """On its n-th connection it sends n pieces, says so, and nothing more until that is closed."""
    came = [asyncio.Event() for _ in range(len(pieces) + 1)]
    turns = iter(range(len(came)))

    async def script(peer: Peer) -> None:
        turn = next(turns)
        await peer.request()
        await peer.send(head())
        for piece in pieces[:turn]:
            await peer.send(as_chunk(piece))
        came[turn].set()
        await peer.until_closed()

    return script, came


async def leave(front: Corridor, path: str, body: bytes, wanted: bytes, came: asyncio.Event) -> dict[str, float]:
    """Ask, go when this stands in what came; returns what was charged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
    await came.wait()
    got = await reader.readuntil(b"\r\n\r\n")
    while wanted not in got:
        got += await reader.read(65_536)
    writer.transport.abort()
    return await actual(front)


async def test_the_client_leaves_at_every_chunk() -> None:
    """What was produced until then is charged, never less than the input; once the usage came, that."""
    pieces, shown = chunks(asked=True), chunks(asked=False)
    script, came = halting(pieces)
    async with raw_server(script) as upstream, corridor(service(upstream, EXACT)) as front:
        for after in range(len(pieces) + 1):
            last = shown[after - (2 if after > len(WORDS) + 1 else 1)] if after else b""
            told = await leave(front, PATH, STREAMED, last, came[after])
            # the usage that came last may still have been on its way when the client left
            whole = (SETTLED,) if after > len(WORDS) + 1 else ()
            assert told in (*whole, expected_after(min(after, len(WORDS)))), after


RESPONSE_EVENTS = [
    b'event: response.created\ndata: {"type":"response.created","response":{"usage":null}}\n\n',
    *[
        b"event: response.output_text.delta\ndata: "
        + json.dumps({"type": "response.output_text.delta", "delta": word}).encode()
        + b"\n\n"
        for word in WORDS
    ],
    b'event: response.completed\ndata: {"type":"response.completed","response":{"usage":'
    b'{"input_tokens":36,"output_tokens":87,"total_tokens":123}}}\n\n',
]
RESPONSE = b'{"model": "gpt-4o", "stream": true, "max_output_tokens": 20, "input": "Good day?"}'


async def test_a_responses_stream_passes_untouched_and_is_settled() -> None:
    """Its usage comes without being asked for."""
    answer = head() + b"".join(map(as_chunk, RESPONSE_EVENTS)) + b"0\r\n\r\n"
    async with raw_server(answering(answer)) as upstream, corridor(service(upstream, EXACT)) as front:
        reply = await front.ask("/openai/v1/responses", RESPONSE)
        told = await actual(front)
    assert body_of(upstream) == RESPONSE
    assert reply.body == b"".join(RESPONSE_EVENTS)
    assert told == {"input_tokens": 36, "output_tokens": 87, "tokens": 123}


async def test_the_client_leaves_a_responses_stream_at_every_event() -> None:
    """As with chats."""
    script, came = halting(RESPONSE_EVENTS)
    async with raw_server(script) as upstream, corridor(service(upstream, EXACT)) as front:
        for after in range(len(RESPONSE_EVENTS)):
            last = RESPONSE_EVENTS[after - 1] if after else b""
            told = await leave(front, "/openai/v1/responses", RESPONSE, last, came[after])
            produced = expected_after(max(0, after - 1))["output_tokens"]
            assert told["output_tokens"] == produced
            assert told["tokens"] == told["input_tokens"] + produced


CLAUDE_EVENTS = [
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
    b'"model":"claude-opus-4-8","content":[],"usage":{"input_tokens":2679,"output_tokens":3}}}\n\n',
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n',
    b'event: ping\ndata: {"type": "ping"}\n\n',
    *[
        b"event: content_block_delta\ndata: "
        + json.dumps(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        ).encode()
        + b"\n\n"
        for word in WORDS
    ],
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"input_tokens":10682,"output_tokens":510}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
CLAUDE = (
    b'{"model": "claude-opus-4-8", "stream": true, "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}'
)


async def test_anthropic_sdk() -> None:
    """Its stream passes untouched; the last value of every field of its usage is charged."""
    answer = head() + b"".join(map(as_chunk, CLAUDE_EVENTS)) + b"0\r\n\r\n"
    config = "services: {anthropic: {keys: {env: KEY_A}, upstream: 'http://127.0.0.1:%d'}}"
    async with raw_server(answering(answer)) as upstream, corridor(config % upstream.port) as front:
        client = anthropic.AsyncAnthropic(base_url=f"{front.url}/anthropic", api_key=TOKEN)
        text = ""
        async with client.messages.stream(
            model="claude-opus-4-8", max_tokens=99, messages=[{"role": "user", "content": "Hi"}]
        ) as stream:
            async for word in stream.text_stream:
                text += word
        await client.close()
        told = await actual(front)
        raw = await front.ask("/anthropic/v1/messages", CLAUDE)
    assert text == "".join(WORDS)
    assert raw.body == b"".join(CLAUDE_EVENTS)
    assert told == {"input_tokens": 10682, "output_tokens": 510, "tokens": 11192}


async def test_the_client_leaves_an_anthropic_stream_at_every_event() -> None:
    """The input is the one that was told, once it was; the output is counted with the vendor's margin."""
    script, came = halting(CLAUDE_EVENTS)
    config = "services: {anthropic: {token_margin: 1.5, keys: {env: KEY_A}, upstream: 'http://127.0.0.1:%d'}}"
    async with raw_server(script) as upstream, corridor(config % upstream.port) as front:
        for after in range(len(CLAUDE_EVENTS)):
            last = CLAUDE_EVENTS[after - 1] if after else b""
            told = await leave(front, "/anthropic/v1/messages", CLAUDE, last, came[after])
            if after > len(CLAUDE_EVENTS) - 2:
                assert told == {"input_tokens": 10682, "output_tokens": 510, "tokens": 11192}
                continue
            words = "".join(WORDS[: max(0, after - 3)])
            assert told["output_tokens"] == -(-len(encoding("o200k_base").encode_ordinary(words)) * 3 // 2)
            assert (told["input_tokens"] == 2679) is (after > 0)


async def test_a_gemini_stream_is_settled_to_its_last_word() -> None:
    """Each chunk tells the usage so far; thoughts are output, and both stream forms are read."""
    words = [
        {"candidates": [{"content": {"parts": [{"text": word}]}}], "usageMetadata": {"promptTokenCount": 11}}
        for word in WORDS
    ]
    last = {"promptTokenCount": 11, "candidatesTokenCount": 6, "thoughtsTokenCount": 40, "totalTokenCount": 57}
    words.append({"candidates": [], "usageMetadata": last})
    events = b"".join(b"data: " + json.dumps(word).encode() + b"\r\n\r\n" for word in words)
    array = json.dumps(words, indent=2).encode()
    kinds = ((b"text/event-stream", events), (b"application/json; charset=UTF-8", array))
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(data), data)
        for kind, data in kinds
    ]
    more = ", hosts: [gen.example], endpoints: {stream: {path: '/**', body: chat_completions}}"
    async with raw_server(answering(*answers)) as upstream, corridor(service(upstream, more, name="gen")) as front:
        for _, data in kinds:
            reply = await front.ask("/gen/v1beta/models/gemini-2.5-flash:streamGenerateContent", CHAT)
            assert reply.body == data
            assert await actual(front) == {"input_tokens": 11, "output_tokens": 46, "tokens": 57}


async def test_a_client_that_reads_event_by_event_waits_for_none() -> None:
    """The words leave as they come although the chunk behind them is looked for."""
    turn = [asyncio.Event() for _ in WORDS]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head())
        for step, piece in zip(turn, chunks(asked=True), strict=False):
            await peer.send(as_chunk(piece))
            await step.wait()
        await peer.send(b"0\r\n\r\n")

    async with (
        raw_server(script) as upstream,
        corridor(service(upstream, EXACT)) as front,
        httpx.AsyncClient() as client,
        client.stream("POST", front.url + PATH, content=STREAMED) as reply,
    ):
        heard = reply.aiter_raw()
        for step, event in zip(turn, chunks(asked=False), strict=False):
            assert await anext(heard) == event
            step.set()
        assert [piece async for piece in heard] == []
