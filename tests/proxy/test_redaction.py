"""proxy/redaction.py: lengths stay, the key goes, however it is written and wherever it is cut."""

from __future__ import annotations

import base64
import gzip
import itertools
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.redaction import Veil, writings

KEY = "sk-ssk-s1234567"
"""Begins anew inside itself, which is what a naive search for its beginning gets wrong."""


def passed(pieces: Sequence[bytes], secret: str = KEY) -> tuple[bytes, list[bytes]]:
    """What comes out of a veil: all of it, and piece by piece."""
    veil = Veil(secret)
    out = [*[veil.feed(piece) for piece in pieces], veil.finish()]
    return b"".join(out), out


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    """Pieces of `data`, cut at these places."""
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(
    st.lists(st.sampled_from([KEY, KEY[:-1], KEY[:3], KEY[3:], "s", "x", "\n"]), max_size=8), st.lists(st.integers(0))
)
@example([KEY], list(range(len(KEY))))
@example(["sk-s", KEY], [4, 8])
def test_no_key_is_left_and_no_length_changes(parts: list[str], at: list[int]) -> None:
    """Whatever stands around it, and wherever the pieces end: the same as if all had come at once."""
    data = "".join(parts).encode()
    shown, _ = passed(cut(data, at))
    assert shown == data.replace(KEY.encode(), b"*" * len(KEY))


@given(st.binary(max_size=200), st.lists(st.integers(0)))
def test_other_bytes_pass_as_they_are(data: bytes, at: list[int]) -> None:
    """None is lost, none is added."""
    assert passed(cut(data, at))[0] == data


def test_only_what_may_be_the_key_waits() -> None:
    """An event is never held back for what does not begin the key."""
    assert passed([b"data: a\n\n", b"data: sk-", b"x", b"ss"])[1] == [b"data: a\n\n", b"data: ", b"sk-x", b"s", b"s"]


@pytest.mark.parametrize(
    ("secret", "written"),
    [
        ("sk-1234567", "sk-1234567"),
        ("sk/12+34=567", "sk%2F12%2B34%3D567"),
        ("sk/12+34=567", "sk\\/12+34=567"),
        (base64.b64encode(b"name-1234:password-5678").decode(), "name-1234:password-5678"),
        (base64.b64encode(b"name-1234:password-5678").decode(), "password-5678"),
    ],
)
def test_every_writing_of_a_key_is_hidden(secret: str, written: str) -> None:
    """As it is, in a query, in JSON, and what Basic credentials hold."""
    assert passed([f"<{written}>".encode()], secret)[0] == b"<" + b"*" * len(written) + b">"


def test_what_is_too_short_to_be_a_key_hides_nothing() -> None:
    """Nor does no key at all."""
    assert writings("") == writings("abc1234") == ()
    assert passed([b"abc1234 abc1234"], "abc1234")[0] == b"abc1234 abc1234"


def test_field_values_are_hidden_and_names_kept() -> None:
    """A redirect that carries the key in its query loses the key only."""
    fields = [(b"Location", b"https://h/a?key=" + KEY.encode() + b"&b=c"), (b"Server", b"x")]
    stars = b"*" * len(KEY)
    assert Veil(KEY).over_fields(fields) == [(b"Location", b"https://h/a?key=" + stars + b"&b=c"), (b"Server", b"x")]


PACKED = {
    "gzip": gzip.compress(b"no key " + KEY.encode()),
    "x-gzip": gzip.compress(KEY.encode()),
    "deflate": zlib.compress(KEY.encode()),
}


@pytest.mark.parametrize("coding", PACKED)
def test_an_error_that_was_packed_round_the_key_is_unpacked(coding: str) -> None:
    """Its head says so, and its length is the new one."""
    body = PACKED[coding]
    fields = [(b"Content-Encoding", coding.encode()), (b"Content-Length", b"%d" % len(body)), (b"A", b"b")]
    shown_fields, shown = Veil(KEY).over_error(fields, body)
    assert shown.endswith(b"*" * len(KEY))
    assert shown_fields == [(b"A", b"b"), (b"Content-Length", b"%d" % len(shown))]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(b"another key")),
        (b"gzip", b"not packed at all"),
        (b"gzip", b""),
        (b"br", b"\x0b\x02\x80key\x03"),
        (b"identity", b"plain"),
        (b"gzip", gzip.compress(b"x" * 50_000_000, 1)),
    ],
    ids=["no key", "broken", "empty", "unknown", "plain", "bomb"],
)
def test_another_error_stays_as_it_is(coding: bytes, body: bytes) -> None:
    """Byte for byte, its head too; a bomb is looked into so far."""
    fields = [(b"Content-Encoding", coding)]
    assert Veil(KEY).over_error(fields, body) == (fields, body)
