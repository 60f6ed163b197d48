"""rules/meters/models.py: where the name of the model stands."""

from __future__ import annotations

import pytest

from rules.meters.models import in_path, in_query, model_name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash"),
        ("/v1beta/tunedModels/mine:generateContent?alt=sse", "mine"),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro:streamGenerateContent", "gemini-3-pro"),
        ("/openai/deployments/chat%2Done/chat/completions?api-version=2024-10-21", "chat-one"),
        ("/v1beta/models/gemini-2.5-flash%3AgenerateContent", "gemini-2.5-flash"),
        ("/v1beta%2Fmodels%2Fgemini%2D2.5-flash%3agenerateContent", "gemini-2.5-flash"),
        ("/v1/engines/davinci/completions", "davinci"),
        ("/v1/chat/completions", None),
        ("/v1/chat/completions?x=/models/cheap", None),
        ("/models/", None),
        ("/models/%00", None),
        ("/models/" + "m" * 300, None),
        ("", None),
    ],
)
def test_in_the_path(path: str, expected: str | None) -> None:
    """Behind `models`, `tunedModels`, `deployments` or `engines`, up to the method."""
    assert in_path(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/listen?model=nova-3&language=en", "nova-3"),
        ("/v1/listen?model_id=scribe_v1", "scribe_v1"),
        ("/v1/listen?model=a&model=b", "b"),
        ("/v1/listen?model=%0A", None),
        ("/v1/listen?" + "a=1&" * 5000 + "model=x", None),
        ("/v1/listen", None),
    ],
)
def test_in_the_query(path: str, expected: str | None) -> None:
    """The last one, where it can be a name."""
    assert in_query(path) == expected


@pytest.mark.parametrize("value", [None, 3, "", "a\nb", "m" * 257, ["gpt-4o"], "\ud800"])
def test_what_cannot_be_a_name(value: object) -> None:
    """Only printable texts of ordinary length can."""
    assert model_name(value) is None
