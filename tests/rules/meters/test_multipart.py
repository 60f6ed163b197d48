"""rules/meters/multipart.py: the parts of a form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.meters.multipart import MOST_PARTS, parts_of

KIND = "multipart/form-data; boundary=b0"


def part(head: str, data: bytes = b"data") -> bytes:
    """One part behind its boundary."""
    return b"--b0\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"


def named(name: str) -> str:
    """A head with that name."""
    return f'Content-Disposition: form-data; name="{name}"'


def test_names_files_and_contents() -> None:
    """In order, whatever the case of the fields and what else stands in the heads."""
    body = (
        b"preamble\r\n"
        + part("content-type: text/plain\r\ncontent-disposition: form-data; name=model", b"whisper-1")
        + part(
            'Content-Disposition: form-data; name="file"; filename="a;b=\\".mp3"\r\nContent-Type: audio/mpeg',
            b"\r\n--b\r\n\0",
        )
        + part(named(""), b"")
        + b"--b0--\r\nepilogue"
    )
    found = parts_of(body, KIND)
    assert found is not None
    assert [(one.name, one.data.tobytes(), one.is_file) for one in found] == [
        ("model", b"whisper-1", False),
        ("file", b"\r\n--b\r\n\0", True),
        ("", b"", False),
    ]


@pytest.mark.parametrize(
    "kind",
    ['Multipart/Form-Data; charset=utf-8; Boundary="b0"', "multipart/form-data;boundary=b0 ; x=y"],
)
def test_ways_to_write_the_boundary(kind: str) -> None:
    """Quoted or not, anywhere among the parameters."""
    assert parts_of(part(named("a")) + b"--b0--", kind) is not None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (part(named("a")) + b"--b0--", None),
        (part(named("a")) + b"--b0--", "application/json; boundary=b0"),
        (part(named("a")) + b"--b0--", "multipart/form-data"),
        (part(named("a")) + b"--b0--", "multipart/form-data; boundary=b0; boundary=b1"),
        (part(named("a")) + b"--b0--", "multipart/form-data; boundary=" + "b" * 71),
        (part(named("a")), KIND),
        (part("Content-Type: text/plain") + b"--b0--", KIND),
        (b"--b0\r\n\r\ndata\r\n--b0--", KIND),
        (b"--b0\r\nContent-Disposition: form-data; name=a\r\n--b0--", KIND),
        (part(named("a")) * (MOST_PARTS + 1) + b"--b0--", KIND),
        (part("X: " + "y" * 20_000 + "\r\n" + named("a")) + b"--b0--", KIND),
        (b"", KIND),
    ],
)
def test_what_is_no_form(body: bytes, kind: str | None) -> None:
    """Another type, no boundary or two, no end, a part without a name, more than any form has."""
    assert parts_of(body, kind) is None


@given(
    st.lists(
        st.sampled_from([b"--b0", b"--", b"\r\n", b"\r\n\r\n", b"content-disposition:", b"; name=a", b"x"]), max_size=30
    )
)
def test_no_bytes_make_it_fail(pieces: list[bytes]) -> None:
    """It is a form or it is none."""
    found = parts_of(b"".join(pieces), KIND)
    assert found is None or isinstance(found, list)
