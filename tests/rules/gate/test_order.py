"""rules/gate/order.lua: bytes decide, as in Redis, and numbers become text to the last digit."""

from __future__ import annotations

import itertools

from .modules import Lua

BEGINNINGS = [b"", b"\0", b"a", b"ab", b"abc", *[b"replica-0000000-000000000001"[:i] for i in (14, 15, 16, 17, 18, 28)]]
ENDS = [b"", b"\0", b"\1", b"\1\0", b"x", b"\xff", b"xyz\0", b"xy\xff!", b"x" * 40]
WORDS = sorted({begin + end for begin in BEGINNINGS for end in ENDS})

LESS = """
for i = 1, #words do
  for j = 1, #words do
    if order.less(words[i], words[j]) ~= (i < j) then
      say(i, j)
    end
  end
end
"""


def test_words_come_in_the_order_of_their_bytes(lua: Lua) -> None:
    """Wherever they differ and whichever ends first; none comes before itself."""
    assert len(WORDS) > 80
    words = ", ".join('"' + "".join(f"\\{byte:03}" for byte in word) + '"' for word in WORDS)
    assert lua([], f"local words = {{ {words} }}" + LESS) == ""


def test_pairs_come_in_the_order_of_their_scores_and_then_of_their_words(lua: Lua) -> None:
    """Also where the word would say otherwise."""
    pairs = [(1, "b"), (2, "a"), (2, "b"), (10, "a")]
    program = "".join(
        f'say(order.before({s}, "{a}", {t}, "{b}"))\n' for (s, a), (t, b) in itertools.product(pairs, pairs)
    )
    expected = " ".join("true" if one < other else "false" for one, other in itertools.product(pairs, pairs))
    assert lua([], program) == expected


def test_numbers_become_text_to_the_last_digit(lua: Lua) -> None:
    """The largest of them is the one called far."""
    program = "say(order.FAR, order.text(order.FAR), order.text(order.FAR - 1), order.text(0))"
    assert lua([], program) == "9007199254740991 9007199254740991 9007199254740990 0"
