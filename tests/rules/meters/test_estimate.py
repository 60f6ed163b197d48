import base64
import json
import random
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.meters import Estimate, estimate
from rules.meters.estimate import CLAUDE_OUTPUT
from rules.policy import BodyFormat

WEATHER = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
}
QUESTION = [
    {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]


def of(body_format: BodyFormat, document: Any, margin: float = 1.0) -> Estimate:
    """The estimate of a document."""
    return estimate(body_format, orjson.dumps(document), margin=lambda _model: margin)


@pytest.mark.parametrize(
    ("model", "expected"), [("gpt-4o", 101), ("gpt-4o-mini", 101), ("gpt-4", 105), ("gpt-3.5-turbo", 105)]
)
def test_as_the_cookbook_measured(model: str, expected: int) -> None:
    """Messages with a tool count to the token what the cookbook's authors saw the API charge."""
    body = {"model": model, "messages": QUESTION, "tools": [{"type": "function", "function": WEATHER}]}
    assert of("chat_completions", body).costs["input_tokens"] == expected


def test_reserves_the_bound() -> None:
    """OpenAI's tokens are the input and the bound of the output, times the number of choices."""
    seen = of("chat_completions", {"model": "gpt-4o", "messages": QUESTION, "max_tokens": 100, "n": 2})
    given_tokens = seen.costs["input_tokens"]
    assert seen.costs == {"input_tokens": given_tokens, "output_tokens": 200, "tokens": given_tokens + 200}
    assert seen.max_output == 200


def test_reserves_the_character_estimate() -> None:
    """Without a bound, tokens are never below the character estimate the upstream may charge."""
    seen = of("chat_completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": " " * 4000}]})
    assert seen.costs["input_tokens"] < 1000
    assert seen.costs["tokens"] == 1000


def test_reserves_little_output_of_claude() -> None:
    """Anthropic counts what is produced, so a large max_tokens is not reserved; a small one is."""
    body = {"model": "claude-sonnet-5", "messages": QUESTION, "max_tokens": 64_000}
    large = of("messages", body)
    assert large.costs["output_tokens"] == CLAUDE_OUTPUT
    assert large.max_output == 64_000
    assert large.costs["tokens"] == large.costs["input_tokens"] + CLAUDE_OUTPUT
    assert of("messages", {**body, "max_tokens": 10}).costs["output_tokens"] == 10


def test_margin() -> None:
    """The margin multiplies the texts, not the images."""
    text = {"model": "claude-sonnet-5", "messages": [{"role": "user", "content": " hello" * 100}]}
    image = {"model": "claude-sonnet-5", "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}
    # 7 fixed: message, role and primer
    assert of("messages", text, 1.5).costs["input_tokens"] == (of("messages", text).costs["input_tokens"] - 7) * 1.5 + 7
    assert of("messages", image, 1.5).costs == of("messages", image).costs


def test_stream_options() -> None:
    """Streaming and the wish for usage are read from the body, and only from true."""
    body = {"model": "gpt-4o", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
    seen = of("chat_completions", body)
    assert (seen.stream, seen.include_usage) == (True, True)
    seen = of("chat_completions", {**body, "stream": 1, "stream_options": [True]})
    assert (seen.stream, seen.include_usage) == (False, False)


@pytest.mark.parametrize(("model", "known"), [("gpt-4o", True), ("ft:gpt-4.1-mini:a::b", True), ("mystery-1", False)])
def test_known_models(model: str, known: bool) -> None:
    """A model nobody knows is counted all the same, and said to be unknown."""
    seen = of("embeddings", {"model": model, "input": "hello world"})
    assert (seen.model, seen.known_model, seen.readable, seen.costs["input_tokens"]) == (model, known, True, 2)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[1, 2]",
        b'{"model": "gpt-4o"}',
        b'{"model": "gpt-4o", "messages": {}}',
        b"[" * 100_000,
        b'{"model": "gpt-4o", "messages": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b"\xff\xfe\xfd",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_unreadable(body: bytes) -> None:
    """A body that cannot be read counts its bytes / 4, and is never an exception."""
    seen = estimate("chat_completions", body)
    assert not seen.readable
    assert seen.costs == {"input_tokens": -(-len(body) // 4), "output_tokens": 0, "tokens": -(-len(body) // 4)}


@pytest.mark.parametrize(
    "named", ["", '"model": 7,', '"model": "",', '"model": "a\\u0000",', f'"model": "{"m" * 257}",']
)
def test_a_call_that_names_no_model_counts_as_one_of_a_model_nobody_knows(named: str) -> None:
    """Its texts and its bound: where the upstream has a model for such calls, base64 is not a token for four bytes."""
    said = base64.b64encode(random.Random(3).randbytes(3000)).decode()
    body = '{%s "messages": [{"role": "user", "content": "%s"}], "max_tokens": 7}'
    seen = estimate("chat_completions", (body % (named, said)).encode())
    known = estimate("chat_completions", (body % ('"model": "gpt-4o",', said)).encode())
    assert (seen.model, seen.known_model, seen.readable) == (None, False, True)
    assert seen.costs["input_tokens"] == pytest.approx(known.costs["input_tokens"] * 1.2, abs=3)
    assert seen.costs["output_tokens"] == 7


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "gpt-4o", "temperature": NaN, "messages": []}',
        b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'\xef\xbb\xbf{"model": "gpt-4o", "messages": []}',
        b'{"model": "gpt-4o", "messages": [], "max_tokens": 1e999}',
        '{"model": "gpt-4o", "messages": []}'.encode("utf-16"),
    ],
)
def test_cannot_hide_its_model(body: bytes) -> None:
    """A body that only lenient parsers read still counts for its model."""
    assert estimate("chat_completions", body).model == "gpt-4o"


def test_hundred_deep() -> None:
    """A megabyte nested a hundred deep is read without a stack error."""
    nested = b'[{"type":"tool_result","content":' * 50 + b'"' + b"x" * 1_000_000 + b'"' + b"}]" * 50
    seen = estimate("messages", b'{"model":"claude-opus-5","messages":[{"role":"user","content":' + nested + b"}]}")
    assert seen.readable
    assert seen.costs["input_tokens"] > 100_000


def test_no_format() -> None:
    """A body that is not metered costs no tokens and is not looked at."""
    assert estimate("none", b"\x00" * 10).costs == {}


# Documents near the real shapes: the keys that are read, with values of every type.
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_KEYS = st.sampled_from(
    [
        "type",
        "text",
        "content",
        "role",
        "image_url",
        "source",
        "data",
        "function",
        "name",
        "parameters",
        "properties",
        "items",
        "enum",
        "input",
        "arguments",
        "tool_calls",
        "detail",
        "schema",
        "json_schema",
        "input_audio",
        "output",
        *("parts", "inlineData", "mime_type", "file", "file_data", "url", "result", "variables", "maxOutputTokens"),
    ]
)
_KINDS = st.sampled_from(["text", "image_url", "document", "input_audio", "tool_use", "function", "content", "file"])
_VALUES = st.recursive(
    _LEAVES | _KINDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)
_BODIES = st.dictionaries(
    st.sampled_from(
        [
            "messages",
            "input",
            "prompt",
            "system",
            "tools",
            "functions",
            "max_tokens",
            "n",
            "best_of",
            "response_format",
            "text",
            "stream",
            "stream_options",
            "instructions",
            "tool_choice",
            "max_output_tokens",
            *(
                "contents",
                "content",
                "systemInstruction",
                "generation_config",
                "requests",
                "inputs",
                "texts",
                "documents",
            ),
            *("prediction", "generateContentRequest"),
        ]
    ),
    _VALUES,
)
_FORMATS = st.sampled_from(get_args(BodyFormat))


@settings(max_examples=150, deadline=None)
@given(_FORMATS, _BODIES)
def test_any_document(body_format: BodyFormat, document: dict[str, Any]) -> None:
    """No document raises, and every cost is a finite amount from 0 up."""
    seen = estimate(body_format, json.dumps({"model": "gpt-4o", **document}).encode())
    assert all(0 <= cost < 2**45 for cost in seen.costs.values())


@settings(max_examples=100, deadline=None)
@given(_FORMATS, st.binary(max_size=200))
def test_any_bytes(body_format: BodyFormat, body: bytes) -> None:
    """No bytes raise."""
    assert all(0 <= cost <= 200 for cost in estimate(body_format, body).costs.values())


# names that the formats know, anywhere: denser in odd bodies than what hypothesis draws
_NAMES = (
    *("role", "content", "type", "text", "image_url", "url", "detail", "source", "data", "media_type", "file"),
    *("file_data", "input_audio", "format", "name", "function", "tool_calls", "custom", "input", "arguments"),
    *("output", "outputs", "results", "summary", "tools", "parameters", "properties", "items", "enum"),
    *("required", "description", "$defs", "additionalProperties", "response_format", "json_schema", "schema"),
    *("messages", "prompt", "texts", "images", "inputs", "n", "contents", "parts", "inlineData", "mimeType"),
    *("fileData", "functionCall", "generationConfig", "maxOutputTokens", "candidateCount", "requests", "system"),
    *("max_tokens", "best_of", "instructions", "encrypted_content", "reasoning", "reasoning_details"),
    *("documents", "prediction", "action", "tool_choice", "output_config", "mcp_servers", "audio", "stream"),
    *("stream_options", "queries", "error", "video_url", "image_base64", "operation"),
)
_WORDS = (
    *("text", "input_text", "image_url", "input_image", "image", "input_audio", "file", "document", "tool_use"),
    *("tool_result", "redacted_thinking", "function", "custom", "message", "function_call", "mcp_call"),
    *("image_generation_call", "video_url", "search_result", "data:image/png;base64,iVBORw0KGgo"),
    *("data:application/pdf;base64,JVBERi0xLjc=", "https://x/y.png", "UklGRg==", "<|endoftext|>"),
)
_ODD = (None, True, 0, -1, 1e308, 10**30, "", "\ud800", "A" * 500, " " * 3000)


def _drawn(dice: random.Random, depth: int) -> Any:
    drawn = dice.random()
    if depth == 0 or drawn < 0.45:
        return dice.choice(_ODD if drawn < 0.2 else _WORDS)
    if drawn < 0.65:
        return [_drawn(dice, depth - 1) for _ in range(dice.randrange(4))]
    return {dice.choice(_NAMES): _drawn(dice, depth - 1) for _ in range(dice.randrange(5))}


@pytest.mark.parametrize("seed", range(4))
def test_known_names_in_unknown_places(seed: int) -> None:
    """Raise nothing and cost a finite amount, in every format."""
    dice = random.Random(seed)
    readable = 0
    for _ in range(700):
        document = {dice.choice(_NAMES): _drawn(dice, 6) for _ in range(6)}
        for name in ("messages", "input", "contents", "prompt", "tools"):
            if dice.random() < 0.6:
                document[name] = [_drawn(dice, 5) for _ in range(3)]
        document["model"] = dice.choice(("gpt-4o", "claude-opus-5", "gemini-2.5-flash", 7))
        seen = estimate(dice.choice(get_args(BodyFormat)), json.dumps(document).encode())
        assert all(0 <= cost < 2**45 for cost in seen.costs.values())
        readable += seen.readable
    assert readable > 300
