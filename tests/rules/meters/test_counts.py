"""rules/meters/counts.py: what was counted before."""

from __future__ import annotations

import random

from rules.meters import tokens, vocabulary
from rules.meters.counts import Counts, digest
from rules.meters.tokens import Counter


def counted(text: str, encoding: str = "o200k_base") -> int:
    """Tokens of a text."""
    counter = Counter(encoding)
    counter.text(text)
    return counter.text_tokens


def test_what_was_not_asked_for_longest_goes_first() -> None:
    """The table holds at least `most` and at most twice as many, and what is asked for stays."""
    counts = Counts(most=100)
    for number in range(1000):
        counts.keep(b"%d" % number, number)
        assert counts.find(b"0") == 0
        assert len(counts) <= 201
    assert counts.find(b"999") == 999
    assert counts.find(b"500") is None


def test_a_text_is_encoded_once() -> None:
    """The second count of a long text asks the tokenizer for nothing, and is the same."""
    text = " ".join(random.Random(7).choices(("alpha", "beta", "gamma"), k=500))
    first = counted(text)
    again = Counter("o200k_base")
    again._encode = lambda text: []
    again.text(text)
    assert again.text_tokens == first == len(vocabulary.encoding("o200k_base").encode_ordinary(text))


def test_each_vocabulary_has_counts_of_its_own() -> None:
    """A text counted for one model is counted anew for a model of another vocabulary."""
    text = "Übergrößenträgerüberprüfung " * 20
    assert counted(text) != counted(text, "cl100k_base")
    for name in vocabulary.NAMES:
        assert counted(text, name) == len(vocabulary.encoding(name).encode_ordinary(text))


def test_nothing_of_a_text_is_kept() -> None:
    """Sixteen bytes stand for it, lone surrogates or not."""
    assert len(digest("x" * 1000)) == len(digest("\ud800" * 200)) == 16
    counted("secret " * 100)
    assert all(isinstance(key, bytes) and len(key) == 16 for key in tokens._remembered["o200k_base"]._young)


def test_two_texts_alike_but_for_a_letter_are_two() -> None:
    """No count is another text's."""
    text = "word " * 100
    assert counted(text + "ä" * 9) > counted(text)
    assert digest(text + "a") != digest(text + "b")
