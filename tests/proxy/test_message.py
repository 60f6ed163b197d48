"""proxy/message.py: what is kept of a request head, once for all calls that are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from aiohttp.http import RawRequestMessage

from proxy import message
from proxy.message import Message

Fields = Sequence[tuple[bytes, bytes]]


class Parsed:
    """What aiohttp's parser hands over."""

    def __init__(self, fields: Fields) -> None:
        self.method, self.path, self.version = "POST", "/openai/v1/models?a=%41", (1, 1)
        self.raw_headers = tuple(fields)
        self.should_close, self.upgrade, self.chunked = False, False, True


def kept(*fields: tuple[bytes, bytes]) -> Message:
    """The message of these fields, each a new object, as a parser makes them."""
    fresh = [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in fields]
    return Message(cast(RawRequestMessage, Parsed(fresh)))


@pytest.fixture(autouse=True)
def nothing_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each case begins with an empty table."""
    monkeypatch.setattr(message, "_shared", {})


def test_the_head_stays_as_it_came() -> None:
    """Order, case and repetition of fields, the raw target, and how the body is framed."""
    fields = ((b"Host", b"h"), (b"accept", b"a"), (b"ACCEPT", b"b"), (b"accept", b"a"), (b"Content-Length", b"17"))
    one = kept(*fields)
    assert one.raw_headers == fields
    assert (one.method, one.path, one.version) == ("POST", "/openai/v1/models?a=%41", (1, 1))
    assert (one.should_close, one.upgrade, one.chunked, one.length) == (False, False, True, 17)
    assert kept((b"Host", b"h")).length == 0


def test_fields_that_are_alike_are_one_object() -> None:
    """Ten thousand held calls of one program keep its name once."""
    for field in ((b"User-Agent", b"OpenAI/Python 2.0"), (b"X-Stainless-Lang", b"python"), (b"host", b"localhost")):
        assert kept(field).raw_headers[0] is kept(field).raw_headers[0]


def test_no_secret_outlives_its_call() -> None:
    """A credential, whatever field carries it, and what a user typed, are in no table."""
    for name in (b"Authorization", b"x-api-key", b"api-key", b"Proxy-Authorization", b"Cookie", b"X-Headgate-User"):
        kept((name, b"canary"))
    assert message._shared == {}


def test_strangers_do_not_fill_the_memory() -> None:
    """The table is bounded, and so is what stands in it."""
    kept((b"User-Agent", b"x" * 10_000))
    assert message._shared == {}
    for n in range(3000):
        kept((b"User-Agent", b"stranger %d" % n))
    assert len(message._shared) <= 1024
