import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.meters.scanner import CAPTURE, Path, Scanner

OBJECTS: tuple[Path, ...] = ((b"usage",), (b"response", b"usage"))
STRINGS: tuple[Path, ...] = ((b"type",),)


def scan(text: bytes, cuts: Sequence[int] = ()) -> dict[Path, bytes]:
    """What is found in a text that comes in pieces."""
    scanner = Scanner(OBJECTS, STRINGS)
    last = 0
    for cut in (*sorted(cut % (len(text) + 1) for cut in cuts), len(text)):
        scanner.feed(text[last:cut])
        last = cut
    return scanner.found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"usage":{"a":1}}', {(b"usage",): b'{"a":1}'}),
        (b' \r\n\t{ "x" : [1,{"usage":{"a":2}}] , "usage" : { "a" : 1 } }', {(b"usage",): b'{ "a" : 1 }'}),
        (b'{"response":{"usage":{"a":1},"x":{"usage":{}}}}', {(b"response", b"usage"): b'{"a":1}'}),
        (b'{"text":"\\"usage\\":{\\"a\\":9}","usage":{"a":1}}', {(b"usage",): b'{"a":1}'}),
        (b'{"text":"\\\\","usage":{"a":"}\\"{"}}', {(b"usage",): b'{"a":"}\\"{"}'}),
        (b'{"type":"error","x":{"type":"no"}}', {(b"type",): b"error"}),
        (b'{"x":"usage","y":{"usage":{"a":9}}}', {}),
        (b'{"usage":null,"response":"usage"}', {}),
        (b'{"usage":[{"a":1}],"response":[{"usage":{}}]}', {}),
        (b'{"usage":{"a":1},"usage":{"a":2}}', {(b"usage",): b'{"a":2}'}),
        (b'{"usage":{"a":1}', {(b"usage",): b'{"a":1}'}),
        (b'{"usage":{"a":1', {}),
        (b'[{"usage":{"a":1}}]', {}),
        (b'"usage":{"a":1}', {}),
        (b'<html>{"usage":{"a":1}}', {}),
        (b'{"a":1}{"usage":{"a":1}}', {}),
        (b'{"type":"' + b"x" * 65 + b'"}', {}),
        (b'{"usage":{"a":"' + b"x" * CAPTURE + b'"}}', {}),
        (b"", {}),
    ],
)
def test_found(text: bytes, expected: dict[Path, bytes]) -> None:
    """What stands at a path is found, what only looks like it is not, however the text is cut."""
    assert scan(text) == expected
    assert scan(text, range(1, len(text))) == expected
    for cut in range(1, min(len(text), 120)):
        assert scan(text, [cut]) == expected


_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(['"usage":{', "\\", '\\"', "{", "]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["usage", "response", "type", "x", 'a"b', "\\"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["usage", "response", "type", "y"]), _JSON),
    st.lists(st.integers(0, 500), max_size=8),
)
def test_agrees_with_a_parser(document: dict[str, Any], cuts: list[int]) -> None:
    """On any JSON object, cut anyhow, the scanner finds what a parser finds."""
    found = scan(json.dumps(document).encode(), cuts)
    response = document.get("response")
    expected: dict[Path, Any] = {}
    if isinstance(document.get("usage"), dict):
        expected[b"usage",] = document["usage"]
    if isinstance(response, dict) and isinstance(response.get("usage"), dict):
        expected[b"response", b"usage"] = response["usage"]
    found.pop((b"type",), None)
    assert {path: json.loads(text) for path, text in found.items()} == expected


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='{}[]":,\\ua ', max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_any_bytes(text: str, cuts: list[int]) -> None:
    """No text raises, and the finding does not depend on the cuts."""
    assert scan(text.encode(), cuts) == scan(text.encode())


@pytest.mark.parametrize("size", [64, 65_536])
def test_bounded(size: int) -> None:
    """Megabytes of one string, one key, one usage object leave nothing behind."""
    chunk = b"x" * size
    for start in (b'{"a":"', b'{"', b'{"usage":{"', b'{"a":['):
        scanner = Scanner(OBJECTS, STRINGS)
        scanner.feed(start)
        tracemalloc.start()
        for _ in range(10_000 if size == 64 else 200):
            scanner.feed(chunk)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < (50_000 if size == 64 else 300_000)
