"""rules/gate/order.lua: bytes decide, as in Redis, and numbers become text to the last digit."""

from __future__ import annotations

import itertools

import redis

from rules import gate
from rules.gate.engine import Engine
from tests.redis_server import RedisServer

from .test_store import on_redis, on_tables

BEGINNINGS = [b"", b"\0", b"a", b"ab", b"abc", *[b"replica-0000000-000000000001"[:i] for i in (14, 15, 16, 17, 18, 28)]]
WORDS = sorted(
    {a + b for a in BEGINNINGS for b in (b"", b"\0", b"\1", b"\1\0", b"x", b"\xff", b"xyz\0", b"xy\xff!", b"x" * 40)}
)

LESS = """
local out = {}
for i = 1, #words do
  for j = 1, #words do
    if order.less(words[i], words[j]) ~= (i < j) then
      out[#out + 1] = order.text(i) .. "/" .. order.text(j)
    end
  end
end
return table.concat(out, " ")
"""


def test_words_come_in_the_order_of_their_bytes(redis_of_gate: RedisServer) -> None:
    """On both hosts, wherever they differ and whichever ends first; none comes before itself."""
    assert len(WORDS) > 80
    source = "\n".join(
        [gate.text("order"), "return function(now, raw, key, ...)", "local words = {...}", LESS, "end, 1, 1"]
    )
    assert Engine(source).tick(b"", 0, WORDS) == b""
    client = redis.Redis.from_url(redis_of_gate.url, protocol=2)
    script = "\n".join(["#!lua", gate.text("order"), "local words = ARGV", LESS])
    assert client.eval(script, 0, *WORDS) == b""
    client.close()


def test_pairs_come_in_the_order_of_their_scores_and_then_of_their_words(redis_of_gate: RedisServer) -> None:
    """Also where the word would say otherwise."""
    pairs = [(1, "b"), (2, "a"), (2, "b"), (10, "a")]
    program = "".join(
        f'say(order.before({s}, "{a}", {t}, "{b}"))\n' for (s, a), (t, b) in itertools.product(pairs, pairs)
    )
    expected = " ".join("true" if one < other else "false" for one, other in itertools.product(pairs, pairs))
    assert on_tables(program).decode() == expected
    assert on_redis(redis_of_gate, program).decode() == expected


def test_numbers_become_text_to_the_last_digit(redis_of_gate: RedisServer) -> None:
    """The largest of them is the one called far."""
    program = "say(order.FAR) say(order.text(order.FAR)) say(order.text(order.FAR - 1)) say(order.text(0))"
    assert (
        on_tables(program)
        == on_redis(redis_of_gate, program)
        == b"9007199254740991 9007199254740991 9007199254740990 0"
    )
