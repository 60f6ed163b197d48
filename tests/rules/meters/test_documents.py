"""rules/meters/documents.py: texts, PDFs and other files inside messages."""

from __future__ import annotations

import base64

import pytest

from rules.meters.documents import count_file, decoded
from rules.meters.images import image_tokens
from rules.meters.tokens import Counter

PAGE = 3000 + image_tokens("gpt-4o", "high")


def counted(encoded: object, kind: object = None) -> tuple[int, int, bool]:
    """Text tokens, fixed tokens, and whether the texts are all there is."""
    counter = Counter("o200k_base")
    count_file(encoded, kind, counter, "gpt-4o")
    return counter.text_tokens, counter.fixed, counter.seen_all


def url(data: bytes, kind: str) -> str:
    """A data URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def pdf(*objects: bytes, size: int = 0) -> bytes:
    """A PDF of those objects, padded."""
    return b"%PDF-1.7\n" + b"\n".join(objects) + b"\n" + b"x" * size


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        (pdf(b"<</Type /Page>>", b"<</Type/Page /Parent 1 0 R>>", b"<</Type/Pages /Count 2>>"), 2),
        (pdf(b"<</Type /Pages /Count 40>>", size=40 * 400), 40),
        (pdf(b"<</Type /Pages /Count 9999999>>", size=400 * 50), 50),
        (pdf(b"<</Type /PageLabel>>"), 1),
        (pdf(*(b"%05d 0 obj <</Type /Page>> %s" % (n, b"." * 5000) for n in range(300))), 300),
    ],
)
def test_pages_of_a_pdf(data: bytes, pages: int) -> None:
    """As many as there are page objects, or as the page tree says, up to what its bytes can hold."""
    assert counted(url(data, "application/pdf")) == (0, PAGE * pages, False)
    assert counted(base64.b64encode(data).decode(), "application/pdf")[1] == PAGE * pages


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


def test_base64_is_decoded_up_to_where_it_breaks() -> None:
    """In pieces, with or without padding."""
    data = bytes(range(256)) * 3000
    assert decoded(base64.b64encode(data).decode()) == data
    assert decoded(base64.b64encode(data).decode().rstrip("=")) == data
    assert decoded("data:audio/wav;base64,aGVsbG8=") == b"hello"
    assert decoded("\ud800") == b""
