"""proxy/learning.py: what upstreams said of our buckets, until a tick has carried it."""

from __future__ import annotations

from proxy.learning import REPEAT_MS, Learning
from rules.policy import Limit
from rules.verdict import Charge, Taken, Told

LIMIT = Limit(id="l", name="l", kind="window", meter="requests", amount=500, window_ms=60_000, per=("group",))


def told(used: int = 0, *, knew: int = 0, amount: int | None = None, scope: str = "x") -> Told:
    """An upstream's word on one bucket."""
    return Told(Taken(Charge(f"l:{scope}", LIMIT, 1), 1000, knew), used, 900, False, 0, 500, 5000, amount)


def carried(learning: Learning, most: int = 100, now_ms: float = 0.0) -> list[bytes | int]:
    """The next tick's operations."""
    args: list[bytes | int] = []
    learning.take(args, most, now_ms)
    return args


def test_use_is_carried_once() -> None:
    """And there is nothing to carry before and after."""
    learning = Learning()
    assert not learning
    learning.note([told(300, knew=10)], 0.0)
    assert learning
    assert carried(learning) == [b"V", b"w", b"l:x", 60_000, 60_000, 1000, 900, 10, 300, 0, 500, 5000]
    assert not learning
    assert carried(learning) == []


def test_of_two_words_on_a_bucket_that_which_surprises_more_is_carried() -> None:
    """Whichever came first."""
    for words in ([told(300, knew=10), told(310, knew=200)], [told(310, knew=200), told(300, knew=10)]):
        learning = Learning()
        learning.note(words, 0.0)
        assert carried(learning)[7:9] == [10, 300]


def test_an_amount_is_said_when_it_is_news() -> None:
    """Ours is none; a smaller one is, once; then only so that it is remembered, and when it changes."""
    learning = Learning()
    assert learning.note([told(amount=500)], 0.0) == []
    assert not learning
    small = told(amount=200)
    assert learning.note([small], 0.0) == [small]
    assert carried(learning) == [b"N", b"l:x", 200, 60_000]
    assert learning.note([small], 29_999.0) == []
    assert not learning
    assert learning.note([small], 30_000.0) == []
    assert carried(learning) == [b"N", b"l:x", 200, 60_000]
    whole = told(amount=500)
    assert learning.note([whole], 30_001.0) == [whole]
    assert carried(learning) == [b"N", b"l:x", 500, 60_000]


def test_a_long_windows_amount_is_repeated_each_minute() -> None:
    """So that the store does not forget it."""
    day = Limit(id="d", name="d", kind="window", meter="requests", amount=500, window_ms=86_400_000, per=("group",))
    word = Told(Taken(Charge("d:x", day, 1), 1000, 0), 0, None, False, 0, 500, 1, 200)
    learning = Learning()
    learning.note([word], 0.0)
    carried(learning)
    learning.note([word], REPEAT_MS - 1)
    assert not learning
    learning.note([word], REPEAT_MS)
    assert learning


def test_a_tick_carries_so_many_and_the_rest_goes_in_the_next() -> None:
    """Nothing is lost."""
    learning = Learning()
    learning.note([told(300, amount=200, scope=str(i)) for i in range(5)], 0.0)
    first, second = carried(learning, 3), carried(learning, 3)
    assert (first.count(b"V"), first.count(b"N"), second.count(b"V"), second.count(b"N")) == (3, 3, 2, 2)
    assert not learning


def test_what_may_not_have_arrived_is_said_again() -> None:
    """Unless something newer on the bucket is there to be said."""
    learning = Learning()
    learning.note([told(300, amount=200), told(100, amount=100, scope="y")], 0.0)
    args: list[bytes | int] = []
    heard = learning.take(args, 100, 0.0)
    learning.note([told(400, amount=150)], 1.0)
    learning.again(heard)
    again = carried(learning)
    assert again.count(b"V") == 2
    assert 400 in again
    assert 100 in again
    assert 300 not in again
    assert 150 in again
    assert 200 not in again


def test_what_is_remembered_is_bounded() -> None:
    """A caller's own key is a bucket each."""
    learning = Learning()
    for i in range(6000):
        learning.note([told(amount=200, scope=str(i))], 0.0)
    assert len(learning._said) == 5000


def test_what_our_books_may_explain_is_asked_once_in_a_slice() -> None:
    """And what they did not have is told at once."""
    learning = Learning()
    learning.note([told(300, knew=400)], 0.0)
    assert carried(learning, now_ms=0.0)
    learning.note([told(310, knew=410)], 59_999.0)
    assert not learning
    learning.note([told(320, knew=419)], 60_000.0)
    assert carried(learning, now_ms=60_000.0)[7:9] == [419, 320]
    learning.note([told(310, knew=300)], 60_001.0)
    assert learning
