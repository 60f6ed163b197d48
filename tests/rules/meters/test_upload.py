"""rules/meters/upload.py: what an upload of audio is, and what estimate makes of it."""

from __future__ import annotations

import gzip

import pytest

from rules.meters import estimate
from rules.meters.audio import ELSEWHERE, most
from rules.meters.upload import read

from .containers.samples import LASTS, sample

KIND = "multipart/form-data; boundary=b0"


def form(*fields: tuple[str, bytes]) -> bytes:
    """A form; a field named `file` has a file's name."""
    parts = []
    for name, data in fields:
        file = '; filename="a.mp3"' if name == "file" else ""
        parts.append(f'--b0\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n")
    return b"".join(parts) + b"--b0--\r\n"


SOUND = sample("mp3 without Xing header")


def test_a_form_costs_the_seconds_of_its_file() -> None:
    """With its model, its prompt, and whether it streams."""
    found = read(form(("model", b"whisper-1"), ("file", SOUND), ("prompt", b"hi"), ("stream", b"true")), KIND, "/v1/a")
    assert (found.model, found.prompt, found.stream, found.readable) == ("whisper-1", "hi", True, True)
    assert found.seconds == pytest.approx(LASTS, rel=0.02)


def test_several_files_cost_all_of_them() -> None:
    """However they are named."""
    assert read(form(("file", SOUND), ("file", SOUND), ("audio", SOUND)), KIND, "").seconds >= 3 * LASTS


def test_two_models_are_none() -> None:
    """Which of them the upstream takes is not known, so neither's limits are dodged for the other's."""
    assert read(form(("model", b"a"), ("model", b"b"), ("file", SOUND)), KIND, "").model is None
    assert read(form(("model", b"a"), ("model", b"a"), ("file", SOUND)), KIND, "").model == "a"


def test_audio_alone_is_the_upload() -> None:
    """As Deepgram takes it, with the model in the query."""
    found = read(SOUND, "audio/mpeg", "/v1/listen?model=nova-3")
    assert (found.model, found.readable) == ("nova-3", True)
    assert found.seconds == pytest.approx(LASTS, rel=0.02)


@pytest.mark.parametrize("kind", ["multipart/form-data", KIND])
def test_a_form_that_cannot_be_read_costs_what_its_bytes_can_last(kind: str) -> None:
    """From above."""
    found = read(b"no form" * 1000, kind, "")
    assert (found.seconds, found.readable) == (most(7000), False)


def test_audio_elsewhere_costs_a_minute_until_usage_tells() -> None:
    """A URL says nothing of its length."""
    body = b'{"url": "https://example.com/a.mp3", "model": "nova-3"}'
    found = estimate("audio", body, content_type="application/json")
    assert (found.model, found.costs) == ("nova-3", {"audio_seconds": ELSEWHERE})


def test_models_that_count_tokens_cost_tokens_too() -> None:
    """Of the prompt and of each second; whisper costs seconds only."""
    body = form(("model", b"gpt-4o-transcribe"), ("prompt", b"hello world"), ("file", SOUND))
    costs = estimate("audio", body, content_type=KIND).costs
    assert costs["input_tokens"] == costs["tokens"] == 2 + 71
    whisper = estimate("audio", body.replace(b"gpt-4o-transcribe", b"whisper-1"), content_type=KIND)
    assert set(whisper.costs) == {"audio_seconds"}


def test_a_packed_form_is_unpacked() -> None:
    """And one that cannot be costs what its bytes can last, twice over."""
    body = form(("model", b"whisper-1"), ("file", SOUND))
    plain = estimate("audio", body, content_type=KIND)
    assert estimate("audio", gzip.compress(body), content_type=KIND, content_encoding="gzip") == plain
    broken = estimate("audio", body, content_type=KIND, content_encoding="br")
    assert (broken.costs, broken.readable) == ({"audio_seconds": most(2 * len(body))}, False)


@pytest.mark.parametrize("body", [b"", b"\0", b"--b0--", b"--b0\r\n", form(("file", b"")), form(("model", b"\xff"))])
@pytest.mark.parametrize("kind", [None, KIND, "application/json", "audio/wav", ";;;"])
def test_no_upload_makes_it_fail_or_costs_nothing(body: bytes, kind: str | None) -> None:
    """Some seconds are charged for every body."""
    assert estimate("audio", body, content_type=kind).costs["audio_seconds"] > 0
