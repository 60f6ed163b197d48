"""api.anthropic.com as its clients see it: messages, whole and streamed, with usage where the provider puts it.

The stream repeats usage cumulatively in `message_delta` (provider-facts 2.7).
"""

from __future__ import annotations

import json
from typing import Any

from .openai import WORDS, as_json
from .standin import Reply, Seen


def answer(seen: Seen) -> Reply:
    """What the provider says to this request."""
    path = seen.target.partition("?")[0]
    if path != "/v1/messages":
        return error(404, "not_found_error", "Not found")
    try:
        asked = json.loads(seen.body)
    except ValueError:
        return error(400, "invalid_request_error", "The request body is not valid JSON")
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.get("model"),
        "content": [{"type": "text", "text": "".join(WORDS)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 13, "output_tokens": 5},
    }
    if not asked.get("stream"):
        return as_json(message, seen)
    started = {**message, "content": [], "stop_reason": None, "usage": {"input_tokens": 13, "output_tokens": 1}}
    named: list[dict[str, Any]] = [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    pieces = tuple(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in named)
    return Reply(headers=(("Content-Type", "text/event-stream; charset=utf-8"),), body=pieces)


def error(status: int, kind: str, message: str) -> Reply:
    """An error in the provider's form."""
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return Reply(status=status, headers=(("Content-Type", "application/json"),), body=json.dumps(body).encode())
