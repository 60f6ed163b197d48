"""Streams through the whole corridor: usage is asked for and hidden again, and calls are settled to the token."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import aiohttp
import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from rules.meters import load
from tests.raw_server import Peer, answering, raw_server

from .corridor import CHAT, PATH, TOKEN, corridor, service, used
from .streams import (
    ASKED,
    ESTIMATED_INPUT,
    EXACT,
    SETTLED,
    STREAMED,
    WORDS,
    actual,
    as_chunk,
    body_of,
    chunks,
    expected_after,
    head,
    provider,
)


@pytest.fixture(autouse=True, scope="module")
def _vocabulary() -> None:
    load()


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
