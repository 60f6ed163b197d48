"""Streams as the providers write them, and what a test looks at afterwards."""

from __future__ import annotations

import json
from typing import Any

from rules.meters.vocabulary import encoding
from tests.raw_server import Peer, RawServer, Script

from .corridor import CHAT, Corridor

WORDS = ("Good", " day", ", Ann", ". How", " are you?")
USAGE = {"prompt_tokens": 13, "completion_tokens": 500, "total_tokens": 513}
ASKED = b'"stream_options":{"include_usage":true}'
STREAMED = CHAT.replace(b'"max_tokens"', b'"stream": true, "max_tokens"')
EXACT = ", settle: exact, limits: [{tokens: 100000, window: 60}]"
ESTIMATED_INPUT = 10
"""Of the CHAT body."""


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


def expected_after(count: int) -> dict[str, float]:
    """What a stream that ended after so many words is charged: its input, and the words."""
    produced = max(count, len(encoding("o200k_base").encode_ordinary("".join(WORDS[:count]))))
    return {
        "input_tokens": float(ESTIMATED_INPUT),
        "output_tokens": float(produced),
        "tokens": float(ESTIMATED_INPUT + produced),
    }
