"""rules/meters/documents.py: texts, PDFs and other files inside messages."""

from __future__ import annotations

import base64

import pytest

from rules.meters.documents import count_file
from rules.meters.images import image_tokens
from rules.meters.tokens import Counter

from .test_pdf import page, pdf

PAGE = 3000 + image_tokens("gpt-4o", "high")


def counted(encoded: object, kind: object = None) -> tuple[int, int, bool]:
    """Text tokens, fixed tokens, and whether the texts are all there is."""
    counter = Counter("o200k_base")
    count_file(encoded, kind, counter, "gpt-4o")
    return counter.text_tokens, counter.fixed, counter.seen_all


def url(data: bytes, kind: str) -> str:
    """A data URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def test_a_pdf_counts_by_its_pages() -> None:
    """Each as text and image, in a data URL or bare; one that shows none by its bytes, a page at the least."""
    for data, whole in ((pdf(page() * 7), 7 * PAGE), (pdf(b"<<>>"), PAGE), (pdf(b"<<>>", size=100_000), 25_005)):
        texts, tokens, whole_seen = counted(url(data, "application/pdf"))
        assert (texts, whole_seen) == (0, False)
        assert abs(tokens - whole) < 5
        assert counted(base64.b64encode(data).decode(), "application/pdf")[1] == tokens


@pytest.mark.parametrize("kind", ["text/plain", "text/csv; charset=utf-8", "application/json"])
def test_a_text_file_counts_as_its_text(kind: str) -> None:
    """Whatever its kind of text."""
    data = b"hello world " * 300
    counter = Counter("o200k_base")
    counter.text(data.decode())
    assert counted(url(data, kind)) == (counter.text_tokens, 0, True)


def test_other_files_count_a_page_or_their_bytes() -> None:
    """An id, a URL, nothing, broken base64: a page; a large file of an unknown kind a token for four bytes."""
    for given in (None, "", "data:", 3, {"a": 1}, "data:application/pdf;base64,!!!!"):
        assert counted(given)[1] >= PAGE
    assert counted(url(b"PK\3" * 33_333, "application/zip")) == (0, 25_000, False)
    assert counted("data:text/plain;base64,!!!!", "text/plain")[1] > 0
