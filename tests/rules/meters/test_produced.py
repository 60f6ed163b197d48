import json
from typing import Any

import pytest

from rules.meters import load
from rules.meters.produced import HELD, Produced
from rules.meters.vocabulary import encoding
from rules.policy import BodyFormat


@pytest.fixture(autouse=True, scope="module")
def _vocabulary() -> None:
    load()


def tokens(body_format: BodyFormat, *documents: Any, margin: float = 1.0, model: str = "gpt-4o") -> int:
    """Output tokens of a stream of these events."""
    produced = Produced(body_format)
    for document in documents:
        produced.take(b"data: " + json.dumps(document).encode() + b"\n\n")
    return produced.tokens(model, margin)


def chat(**delta: Any) -> dict[str, Any]:
    """A chunk of a chat."""
    return {"choices": [{"index": 0, "delta": delta}], "obfuscation": "xxxxxxxxxx"}


TEXT = 'Wer zählt die Zeichen? 😀 "quoted" \\ and\na new line, said the gate.'


@pytest.mark.parametrize(
    ("body_format", "events"),
    [
        ("chat_completions", [chat(role="assistant", content=""), chat(content=TEXT[:30]), chat(content=TEXT[30:])]),
        ("chat_completions", [chat(tool_calls=[{"index": 0, "function": {"arguments": TEXT}}])]),
        ("chat_completions", [chat(reasoning_content=TEXT)]),
        ("completions", [{"choices": [{"text": TEXT}]}]),
        ("responses", [{"type": "response.output_text.delta", "delta": TEXT}, {"type": "x.done", "text": TEXT}]),
        ("messages", [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": TEXT}}]),
        ("messages", [{"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": TEXT}}]),
    ],
)
def test_text_seen(body_format: BodyFormat, events: list[Any]) -> None:
    """What a stream has said so far is counted as the model's vocabulary counts it, wherever its API puts it."""
    assert tokens(body_format, *events) == len(encoding("o200k_base").encode_ordinary(TEXT))


def test_deltas_count_one_at_least() -> None:
    """Pieces smaller than a token count one each: that is what the upstream produced."""
    assert tokens("chat_completions", *[chat(content=letter) for letter in "together"]) == 8


def test_names_inside_text_are_text() -> None:
    """A field's name inside a string is not the field."""
    text = 'say {"content":"a very long text"}'
    assert tokens("chat_completions", chat(content=text)) == len(encoding("o200k_base").encode_ordinary(text))


def test_nothing_seen() -> None:
    """A stream that has said nothing has produced nothing."""
    assert tokens("chat_completions", chat(role="assistant", content=""), {"choices": []}) == 0


def test_margin() -> None:
    """A vendor whose tokens are smaller is counted with its margin."""
    plain = tokens("messages", {"delta": {"text": TEXT}})
    assert tokens("messages", {"delta": {"text": TEXT}}, margin=1.5) == -(-plain * 3 // 2)


def test_text_beyond_what_is_held() -> None:
    """A long text is held up to a bound, and counted by its bytes behind it."""
    produced = Produced("completions")
    for _ in range(100):
        produced.take(b'data: {"text":"' + b"word " * 2000 + b'"}\n\n')
    assert len(produced._text) < HELD + 10_000
    assert 200_000 <= produced.tokens("gpt-4o", 1.0) <= 300_000


@pytest.mark.parametrize("text", [rb"\ud83d", rb"\q", b"\xff\xfe", rb"\\", b"\x01"])
def test_text_that_is_none(text: bytes) -> None:
    """Broken escapes and bytes that are no UTF-8 raise nothing."""
    produced = Produced("completions")
    produced.take(b'data: {"text":"' + text + b'"}\n\n')
    assert produced.tokens(None, 1.0) >= 1


def test_a_character_cut_between_two_deltas() -> None:
    """The halves of a surrogate pair in two deltas are one character."""
    produced = Produced("completions")
    produced.take(rb'data: {"text":"\ud83d"}' + b"\n\n")
    produced.take(rb'data: {"text":"\ude00"}' + b"\n\n")
    assert produced.tokens("gpt-4o", 1.0) == max(2, len(encoding("o200k_base").encode_ordinary("😀")))
