"""Request heads, and the lengths they declare."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.framing import declared, framing, write_head

VALUES = st.binary(max_size=20)


def test_head_is_written_as_given() -> None:
    """Line, fields in order, the framing field last, and an empty line."""
    head = write_head(b"GET", b"/?q", [(b"a", b"1"), (b"A", b"")], b"Content-Length: 0\r\n")
    assert head == b"GET /?q HTTP/1.1\r\na: 1\r\nA: \r\nContent-Length: 0\r\n\r\n"


@given(VALUES, st.lists(st.tuples(st.just(b"X"), VALUES), max_size=3))
def test_no_value_can_write_a_line(raw_target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever target and values hold, the head has as many lines as fields, or is not written."""
    try:
        head = write_head(b"GET", b"/" + raw_target, fields, b"")
    except ValueError:
        return
    lines = head.split(b"\r\n")
    assert len(lines) == len(fields) + 3
    assert lines[0].split(b" ") == [b"GET", b"/" + raw_target, b"HTTP/1.1"]
    assert lines[1:-2] == [b"X: " + value for _, value in fields]
    assert lines[-2:] == [b"", b""]


def test_declared() -> None:
    """Names are compared in any case, and a long number is one number."""
    assert declared([(b"Host", b"a"), (b"content-LENGTH", b"12")]) == (12, False)
    assert declared([(b"transfer-encoding", b"Chunked")]) == (None, True)
    assert declared([]) == (None, False)


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b" 1", b"1 ", b"1,1", b"0x1", b"1_0", "١".encode()])
def test_bad_lengths(value: bytes) -> None:
    """A length is decimal digits and nothing else."""
    with pytest.raises(ValueError, match="Content-Length"):
        declared([(b"Content-Length", value)])


def test_framing_of_a_stream() -> None:
    """A stream gets the chunked coding once, and never beside a length."""
    stream = object()
    assert framing(b"POST", stream, None, False, True) == b"Transfer-Encoding: chunked\r\n"
    assert framing(b"POST", stream, None, True, True) == b""
    assert framing(b"POST", stream, 3, False, False) == b""
