"""proxy/measure.py: what is read of a body, what it may occupy, and the facts that come of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest
import tiktoken

from rules.meters import vocabulary
from tests.raw_server import RawServer, answering, ok, raw_server

from .corridor import CHAT, PATH, Corridor, corridor, service

ROOMY = ", limits: [{requests: 1000, window: 60}, {tokens: 9000000, window: 60}, {audio_seconds: 9000000, window: 60}]"
UPLOAD = "/openai/v1/audio/transcriptions"
ROOM = 300_000
# several reads of a connection's buffer (64 KiB)


def chat(letters: int) -> bytes:
    """A chat body with a message of so many letters."""
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "a b " * (letters // 4)}]}).encode()


@pytest.fixture
async def upstream() -> AsyncIterator[RawServer]:
    """A server that takes everything."""
    async with raw_server(answering(ok(b"{}"))) as server:
        yield server


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """A body whose length nobody says."""
    for at in range(0, len(body), 1000):
        yield body[at : at + 1000]


async def announce(front: Corridor, path: str, size: int) -> asyncio.StreamWriter:
    """A call that says how long its body is, and sends none of it."""
    _, writer = await asyncio.open_connection("127.0.0.1", front.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n".encode())
    await writer.drain()
    return writer


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_beyond_the_room_for_all_is_refused_and_leaves_no_trace(
    upstream: RawServer, chunked: bool
) -> None:
    """503 overloaded with a time; the room it had taken is free for the calls that follow."""
    async with corridor(service(upstream, ROOMY), held_bytes=ROOM) as front:
        for _ in range(3):
            big = chat(ROOM)
            reply = await front.ask(body=in_pieces(big) if chunked else big)
            assert (reply.status, reply.reason) == (503, "overloaded")
            assert int(reply.headers["Retry-After"]) >= 1
        for _ in range(5):
            assert (await front.ask(body=chat(ROOM * 3 // 4))).status == 200


async def test_bodies_that_are_announced_and_do_not_come_take_nobodys_room(upstream: RawServer) -> None:
    """Slow clients, however much they promise to send, do not shut the door for the others."""
    async with corridor(service(upstream, ROOMY), held_bytes=ROOM) as front:
        slow = [await announce(front, PATH, ROOM) for _ in range(5)]
        while front.exchange.running < len(slow):
            await front.ask("/nonesuch", None)
        assert (await front.ask(body=chat(ROOM // 2))).status == 200
        for writer in slow:
            writer.close()
        await front.quiet()
        assert (await front.ask(body=chat(ROOM * 3 // 4))).status == 200


async def test_a_chunked_chat_is_counted_and_sent_with_its_length(upstream: RawServer) -> None:
    """Read whole to be counted, it can be sent twice, and needs no coding on the way on."""
    async with corridor(service(upstream, ROOMY)) as front:
        await front.ask(body=in_pieces(CHAT))
        await front.ask()
        first, second = (line["estimate"] for line in front.lines())
    assert first == second
    assert b"Content-Length: %d\r\n" % len(CHAT) in upstream.requests[0]
    assert b"chunked" not in upstream.requests[0].lower()


async def test_a_long_body_is_counted_off_the_loop_with_the_same_result(upstream: RawServer) -> None:
    """Above 64 KiB a thread counts: twice the text costs twice the tokens, on either side of the bound."""
    async with corridor(service(upstream, ROOMY)) as front:
        await front.ask(body=chat(60_000))
        await front.ask(body=chat(120_000))
        short, long = (line["estimate"]["input_tokens"] for line in front.lines())
    assert long - 30_000 == pytest.approx(short, abs=8)


async def test_an_upload_that_is_not_metered_is_streamed_with_its_own_framing(upstream: RawServer) -> None:
    """Chunks stay chunks, a length stays a length; no room is taken."""
    async with corridor(service(upstream, ROOMY), held_bytes=10) as front:
        assert (await front.ask("/openai/v1/files", in_pieces(b"y" * 5000))).status == 200
        assert (await front.ask("/openai/v1/files", b"y" * 100_000)).status == 200
    chunked, sized = upstream.requests
    assert b"\r\nTransfer-Encoding: chunked\r\n" in chunked
    assert b"\r\nContent-Length: 100000\r\n" in sized


async def test_audio_seconds_are_charged_to_uploads_of_audio_only(upstream: RawServer) -> None:
    """By their length; a chat on the same service costs none, whatever limits the service has."""
    async with corridor(service(upstream, ROOMY)) as front:
        await front.ask(UPLOAD, b"z" * 160_000)
        await front.ask()
        audio, words = (line["estimate"] for line in front.lines())
    assert audio["audio_seconds"] == 10
    assert "audio_seconds" not in words


async def test_an_audio_upload_of_unknown_length_is_charged_a_minute(upstream: RawServer) -> None:
    """The catalogue's figure stands where nothing better is known."""
    async with corridor(service(upstream, ROOMY)) as front:
        await front.ask(UPLOAD, in_pieces(b"z" * 5000))
        (line,) = front.lines()
    assert line["estimate"]["audio_seconds"] == 60


async def test_what_cannot_be_counted_exactly_is_told_by_metrics(upstream: RawServer) -> None:
    """A model nobody knows, and a body nobody can read, each count once."""
    async with corridor(service(upstream, ROOMY)) as front:
        await front.ask(body=CHAT.replace(b"gpt-4o", b"zebra-9"))
        await front.ask(body=b"{")
        assert front.sample("headgate_unknown_model_total", service="openai") == 1
        assert front.sample("headgate_unreadable_body_total", service="openai") == 1
        assert [line.get("model") for line in front.lines()] == ["zebra-9", None]


async def test_callers_that_bring_their_own_keys_have_buckets_of_their_own(upstream: RawServer) -> None:
    """Without a pool a limit per group is a limit of each credential, and no credential stands in the log."""
    own = service(upstream, ", limits: [{requests: 1, window: 60, per: [group]}]", keys="")
    async with corridor(own) as front:
        replies = [
            (await front.ask(authorization=f"Bearer {name}", x_headgate_max_wait="0")).status
            for name in ("sk-canary-own-one", "sk-canary-own-two", "sk-canary-own-one")
        ]
        assert "canary" not in json.dumps(front.lines())
    assert replies == [200, 200, 429]


async def test_a_vocabulary_that_is_not_built_is_built_off_the_loop(
    upstream: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call of an older model is counted in a thread, the next one as ever, and both the same."""
    monkeypatch.setattr(vocabulary, "_built", {})
    off_the_loop: list[str] = []
    build = vocabulary._build

    def building(name: str) -> tiktoken.Encoding:
        off_the_loop.append(threading.current_thread().name)
        return build(name)

    monkeypatch.setattr(vocabulary, "_build", building)
    body = json.dumps({"model": "gpt-3.5-turbo", "messages": [{"role": "user", "content": "a b c"}]}).encode()
    async with corridor(service(upstream, ROOMY)) as front:
        for _ in range(2):
            assert (await front.ask(body=body)).status == 200
        first, second = (line["estimate"] for line in front.lines())
    assert first == second
    (thread,) = off_the_loop
    assert thread != threading.current_thread().name
