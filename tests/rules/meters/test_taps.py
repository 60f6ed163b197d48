import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.meters import Tap, tap
from rules.meters.taps import INFLATED, LINE
from rules.policy import BodyFormat

SSE = "text/event-stream; charset=utf-8"

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": 'say "usage": {"total_tokens": 9} {\n'}}],
    "usage": {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "service_tier": "default",
}
MESSAGE = {
    "type": "message",
    "content": [{"type": "text", "text": "hello"}],
    "usage": {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 7},
}
RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "error": None,
    "usage": {"input_tokens": 36, "output_tokens": 87, "total_tokens": 123},
}
GEMINI = {
    "candidates": [{"content": {"parts": [{"text": 'say "usageMetadata": {'}]}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 11,
        "candidatesTokenCount": 6,
        "thoughtsTokenCount": 40,
        "toolUsePromptTokenCount": 3,
        "totalTokenCount": 60,
        "trafficType": "ON_DEMAND",
    },
}
GEMINI_FIRST = {"candidates": [{}], "usageMetadata": {"promptTokenCount": 11, "totalTokenCount": 11}}
COHERE_USAGE = {
    "billed_units": {"input_tokens": 5, "output_tokens": 7},
    "tokens": {"input_tokens": 71, "output_tokens": 9},
}
COHERE_EMBEDDING = {"embeddings": {"float": [[0.5]]}, "meta": {"billed_units": {"input_tokens": 4}}}
MINUTES = {"text": "The gate is open.", "usage": {"type": "duration", "seconds": 7}}
TRANSCRIBED = {
    "type": "tokens",
    "input_tokens": 70,
    "output_tokens": 9,
    "total_tokens": 79,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 70},
}
EMBEDDING = {"object": "list", "data": [{"embedding": "AAAA"}], "usage": {"prompt_tokens": 8, "total_tokens": 8}}


def events(*documents: Any, named: bool = False) -> bytes:
    """Documents as server-sent events."""
    lines = []
    for document in documents:
        if named:
            lines.append(f"event: {document['type']}\n")
        lines.append(f"data: {document if isinstance(document, str) else json.dumps(document)}\n\n")
    return "".join(lines).encode()


DELTA = {"choices": [{"index": 0, "delta": {"content": 'a "usage": {'}}], "usage": None}
CHAT_STREAM = events(DELTA, DELTA, {"choices": [], "usage": CHAT["usage"]}, "[DONE]")
GROQ_STREAM = events(DELTA, {"choices": [], "x_groq": {"id": "r", "usage": CHAT["usage"]}}, "[DONE]")
RESPONSE_STREAM = events(
    {"type": "response.created", "response": {"usage": None, "error": None}},
    {"type": "response.output_text.delta", "delta": "hello"},
    {"type": "response.completed", "response": RESPONSE},
    named=True,
)
LONG_RESPONSE_STREAM = events(
    {"type": "response.completed", "response": {"output": [{"text": 'x"\n' * LINE}], **RESPONSE}}, named=True
)
# provider-facts 2.7: the web search example, whose input grows in the delta.
MESSAGE_STREAM = events(
    {"type": "message_start", "message": {"usage": {"input_tokens": 2679, "output_tokens": 3}}},
    {"type": "ping"},
    {"type": "content_block_delta", "delta": {"text": "hello"}},
    {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 10682, "output_tokens": 510}},
    {"type": "message_stop"},
    named=True,
)


def meters(given_tokens: float, output: float, total: float) -> dict[str, float]:
    """Usage by meter."""
    return {"input_tokens": given_tokens, "output_tokens": output, "tokens": total}


CASES: list[tuple[BodyFormat, str | None, bytes, dict[str, float] | None]] = [
    ("chat_completions", "application/json", json.dumps(CHAT).encode(), meters(19, 10, 29)),
    ("chat_completions", None, b"\n\n\n" + json.dumps(CHAT, indent=2).encode(), meters(19, 10, 29)),
    ("responses", "application/json; charset=utf-8", json.dumps(RESPONSE).encode(), meters(36, 87, 123)),
    ("embeddings", "application/json", json.dumps(EMBEDDING).encode(), meters(8, 0, 8)),
    ("messages", "application/json", json.dumps(MESSAGE).encode(), meters(15, 7, 22)),
    ("chat_completions", SSE, CHAT_STREAM, meters(19, 10, 29)),
    ("chat_completions", SSE, CHAT_STREAM.replace(b"\n", b"\r\n"), meters(19, 10, 29)),
    ("chat_completions", SSE, b": keep-alive\n\n" + GROQ_STREAM, meters(19, 10, 29)),
    ("chat_completions", SSE, CHAT_STREAM.replace(b"data: ", b"data:"), meters(19, 10, 29)),
    ("responses", SSE, RESPONSE_STREAM, meters(36, 87, 123)),
    ("responses", SSE, RESPONSE_STREAM.rstrip(), meters(36, 87, 123)),
    ("responses", SSE, LONG_RESPONSE_STREAM, meters(36, 87, 123)),
    ("messages", SSE, MESSAGE_STREAM, meters(10682, 510, 11192)),
    ("chat_completions", "application/json", json.dumps(GEMINI).encode(), meters(14, 46, 60)),
    ("chat_completions", "application/json", json.dumps([GEMINI_FIRST, GEMINI], indent=1).encode(), meters(14, 46, 60)),
    ("chat_completions", SSE, events(GEMINI_FIRST, GEMINI), meters(14, 46, 60)),
    ("chat_completions", "application/json", json.dumps({"usage": COHERE_USAGE}).encode(), meters(71, 9, 80)),
    (
        "chat_completions",
        SSE,
        events({"type": "message-end", "delta": {"usage": COHERE_USAGE}}, named=True),
        meters(71, 9, 80),
    ),
    ("embeddings", "application/json", json.dumps(COHERE_EMBEDDING).encode(), meters(4, 0, 4)),
    ("chat_completions", "application/json", json.dumps(MINUTES).encode(), {"audio_seconds": 7}),
    ("chat_completions", "application/json", json.dumps({"usage": TRANSCRIBED}).encode(), meters(70, 9, 79)),
    ("chat_completions", SSE, events({"type": "transcript.text.done", "usage": TRANSCRIBED}), meters(70, 9, 79)),
    # an Anthropic stream that breaks off says nothing of its output
    ("messages", SSE, MESSAGE_STREAM[:300], {"input_tokens": 2679}),
    ("chat_completions", SSE, events(DELTA, "[DONE]"), None),
    ("chat_completions", "application/json", json.dumps(CHAT).encode()[:-40], None),
    (
        "chat_completions",
        "application/json",
        b'{"usage":{"prompt_tokens":-1,"total_tokens":true,"completion_tokens":1e3}}',
        None,
    ),
    ("chat_completions", "application/json", b'{"usage":{"prompt_tokens":99999999999999}}', None),
    ("chat_completions", "application/json", b'{"usage":{"prompt_tokens":1000000000000}}', None),
    ("chat_completions", "application/json", b'{"usage":{"prompt_tokens":"5","completion_tokens":NaN}}', None),
    ("chat_completions", "application/json", b'{"usage":{"type":"duration","seconds":-1}}', None),
    ("chat_completions", "application/json", b'{"usage":{"type":"duration","seconds":1e12}}', None),
    ("chat_completions", "application/json", b'{"usage":[1]}', None),
    ("chat_completions", "application/json", b'[{"usage":{"total_tokens":5}}, 7, {"usage":', {"tokens": 5}),
    ("chat_completions", "application/json", b"[", None),
    ("chat_completions", "application/json", b"", None),
    ("chat_completions", "text/html", json.dumps(CHAT).encode(), None),
    ("none", "application/json", json.dumps(CHAT).encode(), None),
]


def pour(reader: Tap, pieces: Iterable[bytes]) -> dict[str, float] | None:
    """Feed the pieces, then ask for the usage, by meter."""
    for piece in pieces:
        reader.feed(piece)
    usage = reader.finish()
    return usage.meters() if usage is not None else None


@pytest.mark.parametrize(("body_format", "kind", "body", "expected"), CASES)
@pytest.mark.parametrize("size", [1, 7, 1000, 10_000_000])
def test_usage(
    body_format: BodyFormat, kind: str | None, body: bytes, expected: dict[str, float] | None, size: int
) -> None:
    """Every API's usage is found in JSON and in streams, for every size of the pieces."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert pour(tap(body_format, kind), pieces) == expected


def test_long_array() -> None:
    """A stream that is one long array is read element by element, and none of it is held."""
    element = {**GEMINI_FIRST, "pad": 'x[{"]}' * 500}
    body = json.dumps([element] * 200 + [GEMINI]).encode()
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    reader = tap("chat_completions", "application/json")
    tracemalloc.start()
    found = pour(reader, pieces)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == meters(14, 46, 60)
    assert held < 200_000


@pytest.mark.parametrize("place", ["first", "last"])
def test_long_replies(place: str) -> None:
    """In a reply of megabytes usage is found at either end, and the tap holds none of it."""
    usage = b'"usage":{"prompt_tokens":8,"total_tokens":8}'
    data = b'"data":[' + b",".join([b'{"embedding":[0.25,-0.5]}'] * 100_000) + b"]"
    body = b"{" + (usage + b"," + data if place == "first" else data + b"," + usage) + b"}"
    reader = tap("embeddings", "application/json")
    assert pour(reader, [body[at : at + 65_536] for at in range(0, len(body), 65_536)]) == meters(8, 0, 8)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
@pytest.mark.parametrize("size", [1, 100, 1_000_000])
def test_packed(coding: str, size: int) -> None:
    """A packed reply is read like a plain one."""
    pack = zlib.compress if coding == "deflate" else gzip.compress
    for body_format, kind, body, expected in CASES:
        if kind != "text/html" and len(body) < 100_000:
            packed = pack(body)
            reader = tap(body_format, kind, coding.upper())
            assert pour(reader, [packed[at : at + size] for at in range(0, len(packed), size)]) == expected


def test_packed_tightly() -> None:
    """One packed piece that unpacks to megabytes is read to its end."""
    body = b'{"x":"' + b"a" * 3_000_000 + b'","usage":{"total_tokens":1}}'
    assert pour(tap("chat_completions", "application/json", "gzip"), [gzip.compress(body, mtime=0)]) == {"tokens": 1}


@pytest.mark.parametrize(("kind", "start"), [(SSE, b"data: {"), (SSE, b": comment"), ("application/json", b'{"a":"')])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_bounded(kind: str, start: bytes, coding: str | None) -> None:
    """A reply of one endless line is not collected."""
    body = start + b"x" * 8_000_000
    packed = gzip.compress(body, 1, mtime=0) if coding else body
    reader = tap("chat_completions", kind, coding)
    tracemalloc.start()
    for at in range(0, len(packed), 8192):
        reader.feed(packed[at : at + 8192])
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 500_000


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_codings_not_read(coding: str) -> None:
    """A reply in a coding we cannot unpack has no usage."""
    assert pour(tap("chat_completions", "application/json", coding), [json.dumps(CHAT).encode()]) is None


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(json.dumps(CHAT).encode(), mtime=0)[:60], b""])
def test_broken_packing(body: bytes) -> None:
    """Broken packing has no usage, and raises nothing."""
    assert pour(tap("chat_completions", "application/json", "gzip"), [body]) is None


def test_bomb() -> None:
    """A bomb is given up on: usage behind the bound is not looked for."""
    body = b'{"x":"' + b"a" * (INFLATED + 1) + b'","usage":{"total_tokens":1}}'
    assert pour(tap("chat_completions", "application/json", "gzip"), [gzip.compress(body, 1, mtime=0)]) is None
    assert pour(tap("chat_completions", "application/json"), [body]) == {"tokens": 1}


@pytest.mark.parametrize(
    ("body_format", "body", "expected"),
    [
        (
            "responses",
            events({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}, "usage": None}}),
            "slow_down",
        ),
        (
            "responses",
            events({"type": "response.failed", "response": {"error": {"code": "insufficient_quota"}}}),
            "exhausted",
        ),
        ("responses", events({"type": "error", "code": "server_error", "message": "x"}), "fault"),
        ("responses", events({"pad": "x" * 2 * LINE, "type": "error", "code": "slow_down"}), "slow_down"),
        ("responses", events({"pad": "x" * 2 * LINE, "response": {"error": {"code": "slow_down"}}}), "slow_down"),
        ("messages", events({"type": "error", "error": {"type": "overloaded_error"}}, named=True), "overloaded"),
        ("messages", events({"type": "error", "error": {"type": "rate_limit_error"}}, named=True), "slow_down"),
        ("chat_completions", events({"error": {"code": 429, "message": "x"}, "choices": []}), "slow_down"),
        ("chat_completions", events({"error": {"code": None, "message": "secret"}}), "fault"),
        ("chat_completions", CHAT_STREAM, None),
        ("responses", RESPONSE_STREAM, None),
    ],
)
def test_failed(body_format: BodyFormat, body: bytes, expected: str | None) -> None:
    """A failure reported inside a stream is one word of meaning."""
    reader = tap(body_format, SSE)
    pour(reader, [body])
    assert reader.failed == expected


def test_failed_json() -> None:
    """A reply of status 200 that is itself a failure says so."""
    reader = tap("responses", "application/json")
    assert pour(reader, [b'{"status":"failed","error":{"code":"rate_limit_exceeded"},"usage":null}']) is None
    assert reader.failed == "slow_down"


_FORMATS = st.sampled_from(get_args(BodyFormat))
_KINDS = st.sampled_from([SSE, "application/json", None, "text/plain"])
_BITS = st.sampled_from(
    [
        b"data: ",
        b"\n",
        b"\r",
        b'{"usage":',
        b'{"prompt_tokens":1}',
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"event: x",
        b'"error":{',
        b'"type":"error"',
        b",",
        b":",
        b'{"response":',
        b"\x1f\x8b\x08",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    _FORMATS, _KINDS, st.sampled_from([None, "gzip", "deflate"]), st.lists(_BITS | st.binary(max_size=5), max_size=25)
)
def test_any_pieces(body_format: BodyFormat, kind: str | None, coding: str | None, pieces: list[bytes]) -> None:
    """No bytes raise, and the usage does not depend on how they are cut."""
    parted, whole = tap(body_format, kind, coding), tap(body_format, kind, coding)
    assert pour(parted, pieces) == pour(whole, [b"".join(pieces)])
    assert parted.failed == whole.failed
