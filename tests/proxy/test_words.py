"""proxy/words.py: what is said until it was heard, and what a host that does not know it is told again."""

from __future__ import annotations

from proxy.words import Words, heard
from rules.gate.resting import KeyRest


async def test_an_order_is_done_when_the_tick_that_carried_it_was_answered() -> None:
    """And not when it was sent."""
    words = Words()
    done = words.order([b"O"], owed=False)
    first = words.take(9)
    assert not words
    words.again(first)
    second = words.take(9)
    assert not done.done()
    heard(second)
    assert done.done()


def test_a_tick_carries_a_bounded_number_in_their_order() -> None:
    """The rest goes into the next."""
    words = Words()
    for n in range(5):
        words.say([n])
    assert [[said.operation for said in words.take(3)] for _ in range(2)] == [[[0], [1], [2]], [[3], [4]]]


async def test_what_was_ordered_while_the_store_was_away_is_said_to_it_once() -> None:
    """When it is back."""
    words = Words()
    words.order([b"O"], owed=True)
    words.take(9)
    for _ in range(2):
        words.pay()
    assert [said.operation for said in words.take(9)] == [[b"O"]]


def test_a_host_that_knows_nothing_is_told_what_still_rests() -> None:
    """Less what has passed; what an operator turned off only where he cannot have turned it on since."""
    words = Words()
    words.rests = (
        KeyRest("k:a", 5000, False, True, "rate_limited", 429, 0, "a", None),
        KeyRest("k:b", 60_000, True, False, "error", 401, 0, "b", None, 60_000),
        KeyRest("k:c", None, False, True, "off", 0, 0, None, None),
    )
    words.rests_ms = 1000
    words.recall(5000, off=True)
    assert [list(said.operation[:4]) for said in words.take(9)] == [
        [b"R", b"k:a", 1000, 0],
        [b"R", b"k:b", 56_000, 60_000],
        [b"O", b"k:c", 0],
    ]
    words.recall(6000, off=False)
    assert [said.operation[1] for said in words.take(9)] == [b"k:b"]
