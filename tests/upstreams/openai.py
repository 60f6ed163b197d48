"""api.openai.com as its clients see it: chat, responses, embeddings, transcriptions, models, and its errors.

Shapes and the places of usage: provider-facts 1.6 and 2.7. JSON replies are gzipped for callers that accept it, as the
real ones are; event streams are not.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from typing import Any

from .standin import Reply, Seen

WORDS = ("Good", " day", ", Ann", ".")
"""The answer of every model here, in the pieces a stream sends."""
USAGE = {"prompt_tokens": 13, "completion_tokens": 5, "total_tokens": 18}
VECTOR = (0.25, -0.5, 1.0)
"""Exact in 32 bits, so that the base64 and the list form decode to equal numbers."""
TRANSCRIPT = "The gate is open."


def answer(seen: Seen) -> Reply:
    """What the provider says to this request."""
    path = seen.target.partition("?")[0]
    if path == "/v1/models":
        return as_json({"object": "list", "data": [{"id": "gpt-4o", "object": "model", "owned_by": "openai"}]}, seen)
    if path == "/v1/audio/transcriptions":
        return as_json({"text": TRANSCRIPT, "usage": {"type": "duration", "seconds": 7}}, seen)
    asked = _parsed(seen.body)
    if asked is None:
        return error(400, "invalid_request_error", None, "We could not parse the JSON body of your request.")
    if path == "/v1/chat/completions":
        return _chat(asked, seen)
    if path == "/v1/responses":
        return _responses(asked, seen)
    if path == "/v1/embeddings":
        return _embeddings(asked, seen)
    return error(404, "invalid_request_error", None, f"Invalid URL ({seen.method} {path})")


def as_json(value: object, seen: Seen, status: int = 200) -> Reply:
    """A JSON reply, gzipped where the caller accepts it."""
    body = json.dumps(value).encode()
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"), ("x-request-id", "req_stand_in"))
    if "gzip" in (seen.header("Accept-Encoding") or ""):
        body = gzip.compress(body, mtime=0)
        headers += (("Content-Encoding", "gzip"),)
    return Reply(status=status, headers=headers, body=body)


def error(status: int, kind: str, code: str | None, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """An error in the provider's form."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Reply(
        status=status, headers=(("Content-Type", "application/json"), *headers), body=json.dumps(body).encode()
    )


def invalid_key() -> Reply:
    """The key is dead."""
    return error(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.")


def slow_down(seconds: int) -> Reply:
    """The limit is used up for now."""
    text = f"Rate limit reached for gpt-4o on requests per min (RPM): Limit 3, Used 3. Please try again in {seconds}s."
    return error(429, "requests", "rate_limit_exceeded", text, (("Retry-After", str(seconds)),))


def quota_exhausted() -> Reply:
    """The account is out of money: no wait helps."""
    text = "You exceeded your current quota, please check your plan and billing details."
    return error(429, "insufficient_quota", "insufficient_quota", text)


def events(*values: object, done: bool = True) -> tuple[bytes, ...]:
    """Server-sent events without names, one a piece."""
    pieces = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in values]
    return (*pieces, b"data: [DONE]\n\n") if done else tuple(pieces)


EVENT_STREAM = (("Content-Type", "text/event-stream; charset=utf-8"), ("x-request-id", "req_stand_in"))


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    return asked if isinstance(asked, dict) else None


def _chat(asked: dict[str, Any], seen: Seen) -> Reply:
    head = {"id": "chatcmpl-1", "created": 1700000000, "model": asked.get("model", "gpt-4o")}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(WORDS), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return as_json({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE}, seen)
    head["object"] = "chat.completion.chunk"
    deltas: list[tuple[dict[str, str], str | None]] = [({"content": word}, None) for word in WORDS]
    deltas[0][0]["role"] = "assistant"
    deltas.append(({}, "stop"))
    wants_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    rest = {"usage": None} if wants_usage else {}
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **rest} for delta, reason in deltas
    ]
    if wants_usage:
        chunks.append({**head, "choices": [], "usage": USAGE})
    return Reply(headers=EVENT_STREAM, body=events(*chunks))


def _responses(asked: dict[str, Any], seen: Seen) -> Reply:
    part = {"type": "output_text", "text": "".join(WORDS), "annotations": [], "logprobs": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {
        "input_tokens": 13,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 18,
    }
    whole: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "model": asked.get("model", "gpt-4o"),
        "status": "completed",
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }
    if not asked.get("stream"):
        return as_json(whole, seen)
    started = {**whole, "status": "in_progress", "output": [], "usage": None}
    named: list[dict[str, Any]] = [{"type": "response.created", "sequence_number": 0, "response": started}]
    for word in WORDS:
        named.append(
            {
                "type": "response.output_text.delta",
                "sequence_number": len(named),
                "item_id": "msg_1",
                "output_index": 0,
                "content_index": 0,
                "delta": word,
                "logprobs": [],
            }
        )
    named.append({"type": "response.completed", "sequence_number": len(named), "response": whole})
    pieces = tuple(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in named)
    return Reply(headers=EVENT_STREAM, body=pieces)


def _embeddings(asked: dict[str, Any], seen: Seen) -> Reply:
    inputs = asked.get("input")
    count = len(inputs) if isinstance(inputs, list) else 1
    vector: object = list(VECTOR)
    if asked.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    usage = {"prompt_tokens": 4 * count, "total_tokens": 4 * count}
    return as_json({"object": "list", "data": data, "model": asked.get("model"), "usage": usage}, seen)
