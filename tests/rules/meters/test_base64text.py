"""rules/meters/base64text.py: files as they stand in JSON."""

from __future__ import annotations

import base64

import pytest

from rules.meters.base64text import decoded, pieces

DATA = bytes(range(256)) * 3000
PLAIN = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "encoded",
    [
        PLAIN,
        PLAIN.rstrip("="),
        "data:audio/wav;base64," + PLAIN,
        "DATA:;base64," + PLAIN,
        base64.urlsafe_b64encode(DATA).decode(),  # as google-genai writes it
        base64.encodebytes(DATA).decode(),  # with line ends
        PLAIN[:1001] + "!\u00e9 " + PLAIN[1001:],
    ],
)
def test_base64_is_decoded_as_lenient_decoders_do(encoded: str) -> None:
    """In either alphabet, with or without padding, line ends and a head."""
    assert decoded(encoded) == DATA


@pytest.mark.parametrize(
    ("encoded", "expected"), [("aGVsbG8", b"hello"), ("aGVsbG8h", b"hello!"), ("a", b""), ("", b"")]
)
def test_what_breaks_off_is_decoded_up_to_there(encoded: str, expected: bytes) -> None:
    """And nothing raises."""
    assert decoded(encoded) == expected


def test_it_is_decoded_in_steps() -> None:
    """So that no other thread waits for all of it."""
    assert max(map(len, pieces(PLAIN))) <= 200_000
