"""rules/meters/gemini.py: Gemini's bodies, in both spellings."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from rules.meters.gemini import contents
from rules.meters.tokens import Counter, Uncountable

from .containers.samples import sample
from .test_pixels import picture

TURN = {"role": "user", "parts": [{"text": "hello world"}]}


def read(document: dict[str, Any], base: str = "gemini-2.5-flash") -> tuple[int, int | None]:
    """Input tokens and output bound."""
    counter = Counter("o200k_base")
    bound = contents(document, counter, base)
    return counter.text_tokens + counter.fixed, bound


def inline(data: bytes, kind: str) -> dict[str, Any]:
    """A body with that file in it."""
    return {"contents": [{"parts": [{"inlineData": {"mimeType": kind, "data": base64.b64encode(data).decode()}}]}]}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"contents": [TURN]}, (5, None)),
        ({"contents": TURN}, (5, None)),
        ({"contents": "hello world"}, (5, None)),
        ({"contents": [TURN, TURN], "systemInstruction": {"parts": [{"text": "hello"}]}}, (14, None)),
        ({"contents": [TURN], "system_instruction": {"parts": {"text": "hello"}}}, (9, None)),
        ({"contents": [TURN], "generationConfig": {"maxOutputTokens": 100, "candidateCount": 3}}, (5, 300)),
        ({"contents": [TURN], "generation_config": {"max_output_tokens": 100}}, (5, 100)),
        ({"generateContentRequest": {"contents": [TURN]}}, (5, None)),
        ({"content": {"parts": [{"text": "hello world"}]}}, (5, 0)),
        ({"requests": [{"content": TURN}, {"content": TURN}, 3]}, (10, 0)),
        ({"contents": [3, None, {"parts": 3}, {"parts": [None, "hello"]}]}, (7, None)),
        (inline(picture("png", 1536, 768), "image/png"), (3 + 516, None)),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "https://example.com/v"}}]}]}, (3 + 3000 + 4128, None)),
        # a minute, as nothing is known of its length
        ({"contents": [{"parts": [{"fileData": {"mimeType": "video/mp4"}}]}]}, (3 + 60 * 300, None)),
        ({"contents": [{"parts": [{"file_data": {"mime_type": "AUDIO/mp3"}}]}]}, (3 + 60 * 32, None)),
    ],
)
def test_counts(document: dict[str, Any], expected: tuple[int, int | None]) -> None:
    """Input and bound of every shape."""
    assert read(document) == expected


def test_sounds_and_films_count_by_their_seconds() -> None:
    """32 tokens a second, 300 with pictures."""
    assert read(inline(sample("wav"), "audio/wav"))[0] == 3 + 7 * 32 + 1
    assert read(inline(sample("mp4 with a picture"), "video/mp4"))[0] >= 7 * 300


@pytest.mark.parametrize("field", ["functionCall", "function_response", "executableCode"])
def test_calls_of_functions_count_as_their_json(field: str) -> None:
    """And so do tools and schemas."""
    bare = read({"contents": [TURN]})[0]
    assert read({"contents": [{**TURN, "parts": [{"text": "hello world"}, {field: {"name": "f"}}]}]})[0] > bare
    assert read({"contents": [TURN], "tools": [{"functionDeclarations": [{"name": "f"}]}]})[0] > bare
    assert read({"contents": [TURN], "generationConfig": {"responseSchema": {"type": "STRING"}}})[0] > bare


@pytest.mark.parametrize("document", [{}, {"contents": 3}, {"contents": None}])
def test_uncountable(document: dict[str, Any]) -> None:
    """A body whose input has a type no upstream takes."""
    with pytest.raises(Uncountable):
        read(document)
