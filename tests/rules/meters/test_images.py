import pytest

from rules.meters.images import audio_tokens, image_tokens


@pytest.mark.parametrize(
    ("model", "detail", "expected"),
    [
        ("gpt-4o", "low", 85),
        ("gpt-4o", "high", 1445),
        ("gpt-4o", None, 1445),
        ("gpt-4o-mini", "low", 2833),
        ("gpt-4o-mini", "auto", 48169),
        ("gpt-4.1-mini", "high", 2488),
        ("gpt-5", "high", 1190),
        ("gpt-5-nano", "high", 3779),
        ("gpt-5.2", None, 1536),
        ("gpt-5.5", "high", 2500),
        ("gpt-5.5", "original", 10_000),
        ("gpt-6.1-sol", None, 10_000),
        ("o3", "high", 1275),
        ("claude-sonnet-4-5", None, 1568),
        ("claude-opus-4-6", None, 1568),
        ("claude-opus-4-7", None, 4784),
        ("claude-sonnet-5", None, 4784),
        ("something-else", ["high"], 2500),
    ],
)
def test_most_of_an_image(model: str, detail: object, expected: int) -> None:
    """An image counts the ceiling its model has for the detail asked for."""
    assert image_tokens(model, detail) == expected


@pytest.mark.parametrize(("form", "expected"), [("mp3", 25), ("wav", 4), (None, 4), ({}, 4)])
def test_audio(form: object, expected: int) -> None:
    """A sound counts ten tokens for each second its bytes can hold at the lowest rate of its form."""
    assert audio_tokens(13_333, form) == expected
