"""Streams whose client leaves, and those of the APIs that tell their usage unasked: settled all the same."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic
import pytest

from rules.meters import load
from rules.meters.vocabulary import encoding
from tests.raw_server import Peer, Script, answering, raw_server

from .corridor import PATH, TOKEN, Corridor, corridor, service, used
from .streams import (
    ESTIMATED_INPUT,
    EXACT,
    SETTLED,
    STREAMED,
    USAGE,
    WORDS,
    actual,
    as_chunk,
    body_of,
    chunks,
    expected_after,
    head,
)


@pytest.fixture(autouse=True, scope="module")
def _vocabulary() -> None:
    load()


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


async def test_the_gate_takes_back_what_a_client_that_left_did_not_use() -> None:
    """Where the upstream counts what was produced, the next call finds just that in the window."""
    script, came = halting(chunks(asked=True))
    async with raw_server(script) as upstream, corridor(service(upstream, EXACT)) as front:
        charged = 0.0
        for after in range(3):
            last = chunks(asked=False)[after - 1] if after else b""
            charged += (await leave(front, PATH, STREAMED, last, came[after]))["tokens"]
        await leave(front, PATH, STREAMED, b"", came[3])
        assert used(front.gate, "100000 tokens") == charged + ESTIMATED_INPUT + 20


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


GEMINI = "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent"
GEMINI_ASKS = b'{"contents": [{"role": "user", "parts": [{"text": "Good day?"}]}]}'
GEMINI_SAYS: list[dict[str, Any]] = [
    *[
        {
            "candidates": [{"content": {"parts": [{"text": word}], "role": "model"}, "index": 0}],
            "usageMetadata": {
                "promptTokenCount": 11,
                "candidatesTokenCount": number,
                "thoughtsTokenCount": 40,
                "totalTokenCount": 51 + number,
            },
            "modelVersion": "gemini-2.5-flash",
        }
        for number, word in enumerate(WORDS, 1)
    ],
    {
        "candidates": [{"finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 11,
            "candidatesTokenCount": 6,
            "thoughtsTokenCount": 40,
            "totalTokenCount": 57,
        },
    },
]
GEMINI_EVENTS = [b"data: " + json.dumps(said).encode() + b"\r\n\r\n" for said in GEMINI_SAYS]


async def test_a_gemini_stream_passes_untouched_and_is_settled_to_its_last_word() -> None:
    """Thoughts are output, its limits count the input alone, and both stream forms are read."""
    kinds = (
        (b"text/event-stream", b"".join(GEMINI_EVENTS), "?alt=sse"),
        (b"application/json; charset=UTF-8", json.dumps(GEMINI_SAYS, indent=2).encode(), ""),
    )
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(data), data)
        for kind, data, _ in kinds
    ]
    config = service(0, ", limits: [{tokens: 1000, window: 60}]", name="gemini")
    async with (
        raw_server(answering(*answers)) as upstream,
        corridor(config.replace(":0", f":{upstream.port}")) as front,
    ):
        for _, data, query in kinds:
            reply = await front.ask(GEMINI + query, GEMINI_ASKS)
            assert reply.body == data
            assert body_of(upstream) == GEMINI_ASKS
            assert await actual(front) == {"input_tokens": 11, "output_tokens": 46, "tokens": 11}
        await front.ask(GEMINI, GEMINI_ASKS)
        estimated = front.lines()[-1]["estimate"]["tokens"]
        assert used(front.gate, "1000 tokens", "gemini") == 22 + estimated


async def test_the_client_leaves_a_gemini_stream_at_every_event() -> None:
    """The last usage that came is charged; before any came, the input that was expected."""
    script, came = halting(GEMINI_EVENTS)
    config = "services: {gemini: {keys: {env: KEY_A}, limits: [], upstream: 'http://127.0.0.1:%d'}}"
    async with raw_server(script) as upstream, corridor(config % upstream.port) as front:
        for after in range(len(GEMINI_EVENTS)):
            last = GEMINI_EVENTS[after - 1] if after else b""
            told = await leave(front, GEMINI + "?alt=sse", GEMINI_ASKS, last, came[after])
            if after:
                produced = min(after, len(WORDS)) + 40 if after <= len(WORDS) else 46
                assert told == {"input_tokens": 11, "output_tokens": produced, "tokens": 11}
            else:
                assert told["output_tokens"] == 0
                assert told["tokens"] == told["input_tokens"] > 0


COMPLETION_EVENTS = [
    b"data: " + json.dumps({"id": "c", "choices": [{"text": word, "index": 0}], "usage": None}).encode() + b"\n\n"
    for word in WORDS
] + [
    b"data: " + json.dumps({"id": "c", "choices": [], "usage": USAGE}).encode() + b"\n\n",
    b"data: [DONE]\n\n",
]
COMPLETION = b'{"model": "davinci-002", "stream": true, "max_tokens": 20, "prompt": "Good day?"}'


async def test_the_client_leaves_a_completion_at_every_event() -> None:
    """As with chats; the usage that only we asked for is not shown."""
    script, came = halting(COMPLETION_EVENTS)
    async with raw_server(script) as upstream, corridor(service(upstream, EXACT)) as front:
        for after in range(len(WORDS) + 1):
            last = WORDS[after - 1].encode() if after else b""
            told = await leave(front, "/openai/v1/completions", COMPLETION, last, came[after])
            seen = len(encoding("o200k_base").encode_ordinary("".join(WORDS[:after])))
            assert after <= told["output_tokens"] <= max(after, seen) + 2
            assert told["tokens"] == told["input_tokens"] + told["output_tokens"]
        answer = head() + b"".join(map(as_chunk, COMPLETION_EVENTS)) + b"0\r\n\r\n"
    async with raw_server(answering(answer)) as upstream, corridor(service(upstream, EXACT)) as front:
        reply = await front.ask("/openai/v1/completions", COMPLETION)
        assert reply.body == b"".join(COMPLETION_EVENTS[:-2]).replace(b', "usage": null', b"") + COMPLETION_EVENTS[-1]
        assert await actual(front) == SETTLED
