"""Bent framing lines against h11's reading of the same bytes: what we send on, h11 accepts and reads alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from .hall import JOINED, Hall, hall
from .mutations import EXHAUSTIVE, Read, fault_in, read, requests
from .row import Entrance


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place() -> AsyncIterator[Hall]:
    """One corridor for all of them."""
    async with hall() as here:
        yield here


def test_there_are_enough() -> None:
    """The specification asks for 800."""
    assert sum(1 for _ in requests()) >= 800


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("cut", [JOINED, "at line ends"])
@pytest.mark.parametrize("entrance", ["reverse", "forward"])
async def test_no_bent_line_splits_a_message(place: Hall, entrance: Entrance, cut: str) -> None:
    """Each request is refused whole, or sent on as h11 reads it, and so is what stands behind it."""
    assert await _desynced(place, entrance, cut, requests()) == []


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("entrance", ["reverse", "forward", "intercept"])
async def test_no_byte_splits_a_message(place: Hall, entrance: Entrance) -> None:
    """The same with every byte that might pass for a space or a line end."""
    assert await _desynced(place, entrance, JOINED, requests(EXHAUSTIVE)) == []


def test_a_split_message_would_be_seen() -> None:
    """The judgement tells a hidden request, a lost one and a doubled answer from what h11 reads."""
    asked = (b"POST", b"/x", b"0\r\n\r\n")
    truth = Read((asked, (b"GET", b"/last", b"")), True)
    assert fault_in(truth, (asked,), [None]) is None
    assert fault_in(truth, (), ["bad_framing"]) is None
    assert fault_in(truth, (asked,), [None, "bad_framing"]) is None
    assert fault_in(truth, ((b"POST", b"/x", b""),), [None]) == "sent what h11 does not read"
    assert fault_in(truth, (asked, (b"GET", b"/hidden", b"")), [None, None]) == "sent what h11 does not read"
    assert fault_in(truth, (asked,), [None, None]) == "answers and messages differ in number"
    assert fault_in(truth, (asked,), ["bad_framing", None]) == "more than one refusal, or an answer behind it"
    assert fault_in(truth, (), []) == "neither answered nor sent"
    assert read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /x") == Read(((b"GET", b"/", b""),), False)
    assert read(b"GET / HTTP/1.1\r\n\r\n") == Read((), True)


async def _desynced(place: Hall, entrance: Entrance, cut: str, made: Iterator[bytes]) -> list[object]:
    base, _ = place.base(entrance)
    origin = place.origin_of(entrance)
    found: list[object] = []
    for template in made:
        raw = place.filled(template, entrance)
        truth = read(raw + place.probe(entrance))
        answers = await place.talk(raw, entrance, cut)
        sent = tuple((one.method, base + one.target, one.body) for one in origin.take())
        fault = fault_in(truth, sent, [answer.code for answer in answers])
        if fault or origin.unread:
            found.append((fault, raw, sent, truth, answers, list(origin.unread)))
        origin.clear()
    return found
