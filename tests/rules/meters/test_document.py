"""rules/meters/document.py: from bytes to a JSON object."""

from __future__ import annotations

import gzip
import zlib

import orjson
import pytest

from rules.meters.document import MOST, Packed, document_of, unpacked
from rules.meters.tokens import NotAtOnce

MANY = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": 'häé\n"x"'}] * 10_000})
PACKED = gzip.compress(MANY, mtime=0)


def test_many_values_are_read_step_by_step_with_the_same_result() -> None:
    """Whether they are values or stand inside a text."""
    assert document_of(MANY, at_once=False) == orjson.loads(MANY)
    inside = orjson.dumps({"model": "gpt-4o", "text": MANY.decode()})
    assert document_of(inside, at_once=False) == orjson.loads(inside)


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-32"])
def test_many_values_in_another_coding(coding: str) -> None:
    """What a lenient upstream reads is read, however long."""
    assert document_of(MANY.decode().encode(coding), at_once=False) == orjson.loads(MANY)


def test_lenient_values() -> None:
    """NaN and lone surrogates, short and long."""
    for rest in (b"", b"[]," * 10_000):
        body = b'{"model": "gpt-4o", "a": [' + rest + b'NaN, "\\ud800"]}'
        found = document_of(body, at_once=False)
        assert found is not None
        assert found["model"] == "gpt-4o"


@pytest.mark.parametrize(
    "body", [b"[1]", b"3", b"", b"{", b"[]," * 10_000, b"[" * 50_000, b"{" * 50_000, b'{"a":' * 50_000]
)
def test_what_is_no_object(body: bytes) -> None:
    """None, for nothing, lists, and what is nested without end."""
    assert document_of(body, at_once=False) is None


@pytest.mark.parametrize("model", ['"gpt-4o"', '"gpt\\u002d4o"'])
def test_a_body_of_more_values_than_any_call_has_still_names_its_model(model: str) -> None:
    """It cannot be counted, and cannot hide from its model's limits either."""
    body = b'{"messages": [' + b"[]," * 100_000 + b'[]], "model": ' + model.encode() + b"}"
    assert document_of(body, at_once=False) == {"model": "gpt-4o"}
    assert document_of(body.replace(model.encode(), b"3"), at_once=False) == {"model": None}


def test_at_once_only_what_is_short() -> None:
    """A body of many values is for a thread."""
    with pytest.raises(NotAtOnce):
        document_of(MANY, at_once=True)
    assert document_of(b'{"a": 1}', at_once=True) == {"a": 1}


@pytest.mark.parametrize("coding", [None, "identity", " Identity "])
def test_a_plain_body_is_as_it_is(coding: str | None) -> None:
    """At once."""
    assert unpacked(b"{}", coding, at_once=True) == b"{}"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(MANY, mtime=0)),
        ("X-GZIP", gzip.compress(MANY, mtime=0)),
        ("deflate", zlib.compress(MANY)),
    ],
)
def test_a_packed_body_is_unpacked(coding: str, body: bytes) -> None:
    """In a thread only."""
    assert unpacked(body, coding, at_once=False) == MANY
    with pytest.raises(NotAtOnce):
        unpacked(body, coding, at_once=True)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("br", b"x"),
        ("zstd", b"x"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0)),
        ("gzip", b"x"),
        ("gzip", b""),
        ("gzip", PACKED[:-9]),
        ("gzip", PACKED + b"x"),
        ("gzip", gzip.compress(b"\0" * (MOST + 1), mtime=0)),
    ],
    ids=["br", "zstd", "twice", "plain", "empty", "cut", "more", "bomb"],
)
def test_what_cannot_be_unpacked(coding: str, body: bytes) -> None:
    """Another coding, broken or cut bytes, something behind the end, a bomb."""
    with pytest.raises(Packed):
        unpacked(body, coding, at_once=False)
