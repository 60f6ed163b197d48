"""A few of the gate's Lua files by themselves, on either host: what a test's own Lua says of them.

Law: the files are as they are; only what calls them is the test's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import redis

from rules import gate
from rules.gate.engine import Engine
from tests.redis_server import RedisServer

from .driver import STRICT

PROGRAM = """
local out = {}
local function say(...)
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if type(value) == "table" then
      say(unpack(value))
      out[#out + 1] = "."
    else
      out[#out + 1] = type(value) == "number" and order.text(value) or tostring(value)
    end
  end
end
store.open("rl:{t}:")
"""
STEPS = """
for line in string.gmatch(LINES, "[^/]+") do
  local words = {}
  for word in string.gmatch(line, "%S+") do
    words[#words + 1] = word
  end
  steps[words[1]](unpack(words, 2))
end
"""
"""The end of a program that declares `steps`: does what each line of LINES says, its first word being the step's name
and the others what it is given. Between two lines stands a slash."""
ENDING = '\nreturn table.concat(out, " ")\n'

Lua = Callable[[Sequence[str], str], str]
"""Runs a program on an empty store after the files named, order and store before them; returns all it says, in one
line. A table is said as its values and a dot. What is no file's name is Lua that stands for one."""


def _text(name: str) -> str:
    return gate.text(name) if name.isidentifier() else name


def on_tables(files: Sequence[str], program: str) -> str:
    """On the host in this process."""
    parts = [_text("order"), _text("store_tables"), STRICT, *[_text(name) for name in files]]
    source = "\n".join([*parts, "return function(now)", "store.set_clock(now)", PROGRAM, program, ENDING, "end, 1, 1"])
    return Engine(source).tick(b"", 0, []).decode()


def on_redis(server: RedisServer) -> Lua:
    """On Redis."""

    def run(files: Sequence[str], program: str) -> str:
        client = redis.Redis.from_url(server.url, protocol=2)
        client.flushall()
        parts = [_text(name) for name in ("order", "store_redis", *files)]
        answer = client.eval("\n".join(["#!lua", *parts, PROGRAM, program, ENDING]), 1, "rl:{t}:meta")
        client.close()
        assert isinstance(answer, bytes)
        return answer.decode()

    return run
