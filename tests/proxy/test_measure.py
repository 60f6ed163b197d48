"""proxy/measure.py: what is read of a body, what it may occupy, and the facts that come of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
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


def form(sound: bytes, **fields: str) -> tuple[bytes, str]:
    """An upload as SDKs write it: body and Content-Type."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    return "".join([*parts, head]).encode() + sound + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def wav(seconds: int) -> bytes:
    """Silence, 8,000 bytes a second, as recorders to a pipe leave it: no size is right."""
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", 0)
    return head + bytes(8000 * seconds)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_an_upload_of_audio_costs_the_seconds_it_lasts(upstream: RawServer, chunked: bool) -> None:
    """Read from the form, with its model; it goes on as it came. A chat on the same service costs none."""
    body, kind = form(wav(12), model="whisper-1")
    async with corridor(service(upstream, ROOMY)) as front:
        reply = await front.ask(UPLOAD, in_pieces(body) if chunked else body, content_type=kind)
        assert reply.status == 200
        await front.ask()
        audio, words = front.lines()
    assert (audio["model"], audio["estimate"]) == (
        "whisper-1",
        {"requests": 1, "audio_seconds": 12, "usd": pytest.approx(0.0012)},
    )
    assert "audio_seconds" not in words["estimate"]
    assert upstream.requests[0].endswith(body)


async def test_limits_of_audio_hold_by_what_was_heard(upstream: RawServer) -> None:
    """A minute of sound a minute: forty seconds go, forty more wait, and what is longer than a minute never fits."""
    limits = ", limits: [{audio_minutes: 1, window: 60, burst: 60}]"
    async with corridor(service(upstream, limits)) as front:
        answers = []
        for seconds in (40, 40, 61, 15):
            body, kind = form(wav(seconds), model="whisper-1")
            answers.append(await front.ask(UPLOAD, body, content_type=kind, x_headgate_max_wait="0"))
    assert [one.status for one in answers] == [200, 429, 413, 200]
    assert answers[1].reason == "wait_too_long"
    assert answers[2].reason == "never_fits"
    assert len(upstream.requests) == 2


async def test_an_upload_that_is_no_form_costs_what_its_bytes_can_last(upstream: RawServer) -> None:
    """Nothing a client leaves out makes it cheaper."""
    async with corridor(service(upstream, ROOMY)) as front:
        await front.ask(UPLOAD, b"z" * 75_000)
        (line,) = front.lines()
    assert line["estimate"]["audio_seconds"] == pytest.approx(100)


async def test_a_packed_body_is_counted_unpacked(upstream: RawServer) -> None:
    """And a bomb, or a body that only seems packed, is charged and not obeyed."""
    async with corridor(service(upstream, ROOMY)) as front:
        for body in (chat(40_000), gzip.compress(chat(40_000))):
            coding = {} if body.startswith(b"{") else {"content_encoding": "gzip"}
            assert (await front.ask(body=body, **coding)).status == 200
        plain, packed = (line["estimate"] for line in front.lines())
        assert plain == packed
        await front.ask(body=b"not packed", content_encoding="gzip")
        assert front.lines()[2]["estimate"]["tokens"] == 20


async def test_usage_teaches_the_margin_of_a_model() -> None:
    """The upstream counts half as much again as we do: the estimates of the calls that follow come to that, of this
    model only."""
    told = b'{"usage": {"prompt_tokens": 30000, "completion_tokens": 0, "total_tokens": 30000}}'
    body = chat(40_000).replace(b"gpt-4o", b"zebra-9")
    script = answering(ok(told, fields=b"Content-Type: application/json\r\n"))
    async with raw_server(script) as upstream, corridor(service(upstream, ROOMY)) as front:
        for _ in range(30):
            await front.ask(body=body)
        await front.ask(body=body.replace(b"zebra-9", b"gpt-4o"))
        *unknown, known = (line["estimate"]["input_tokens"] for line in front.lines())
    assert unknown[0] == pytest.approx(1.2 * known, rel=0.001)
    assert unknown[29] == pytest.approx(30_000, rel=0.05)
    assert known == pytest.approx(20_000, rel=0.001)


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
