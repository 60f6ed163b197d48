"""rules/meters/pdf.py: how many pages a PDF has."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.meters.pdf import pages


def pdf(*objects: bytes, size: int = 0) -> bytes:
    """A PDF of those objects, padded."""
    return b"%PDF-1.7\n" + b"\n".join(objects) + b"\n" + b"x" * size


def page(number: int = 1) -> bytes:
    """A page object."""
    return b"%d 0 obj <</Type /Page /Parent 1 0 R>>\n" % number


def packed(content: bytes, before: bytes = b"/Type/ObjStm/N 300/First 10", end: bytes = b"\n") -> bytes:
    """An object stream."""
    data = zlib.compress(content)
    return b"5 0 obj\n<<%b/Length %d/Filter/FlateDecode>>\nstream%b%b\nendstream" % (before, len(data), end, data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (pdf(b"<</Type /Page>>", b"<</Type/Page /Parent 1 0 R>>", b"<</Type/Pages /Count 2>>"), 2),
        (pdf(b"<</Type /Pages /Count 40>>", size=40 * 400), 40),
        (pdf(b"<</Type /Pages /Count 9999999>>", size=400 * 50), 50),
        (pdf(b"<</Type /PageLabel>>"), 0),
        (pdf(*(b"%05d 0 obj <</Type /Page>> %s" % (n, b"." * 5000) for n in range(300))), 300),
        # as nearly all writers pack them since PDF 1.5
        (pdf(packed(page() * 300)), 300),
        (pdf(packed(page() * 10), packed(page() * 20, end=b"\r\n"), page()), 31),
        (pdf(packed(b"<</Type /Pages /Count 40>>"), size=40 * 400), 40),
        (pdf(packed(random.Random(1).randbytes(900_000) + page() * 50)), 50),
        (pdf(packed(page() * 10, before=b"/Type/XObject")), 0),
        (pdf(b"<</Type/ObjStm/Filter/LZWDecode>>stream\n" + b"\x80\x0b" * 500), 0),
        (pdf(b"<</Type/ObjStm>>"), 0),
        (b"", 0),
    ],
)
def test_pages(data: bytes, expected: int) -> None:
    """As many as there are page objects, packed ones too, or as the page tree says, up to what its bytes can hold."""
    assert pages(data) == expected


def test_a_bomb_is_unpacked_within_bounds() -> None:
    """What lies behind 32 MiB of a file's streams is not looked for."""
    blank = b" " * (20 << 20)
    assert pages(pdf(packed(page() + blank), packed(blank + page()), page())) == 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"/ObjStm", b">>stream\n", b"/Type /Page", b"/Count 5", zlib.compress(b"/Type/Page"), b"x"])
    )
)
def test_no_bytes_make_it_fail(parts: list[bytes]) -> None:
    """Whatever stands where."""
    assert 0 <= pages(b" ".join(parts)) <= len(parts)
