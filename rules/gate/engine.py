"""The gate's host in this process: the same Lua as on Redis, over Lua tables (limiter.md 3).

Used when there is no Redis, while Redis is away, and by the simulator. Law: it tells no time of its own, it answers
at once, and it cannot do anything the Lua of Redis could not: no files, no modules, no Python, no new globals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lupa.lua51

from . import tables_script

_MEMORY = 512 * 2**20
"""Bytes the Lua side may hold: 100,000 waiting calls take about 200 MB (tests/bench/gate.py prints it)."""

_SEAL = b"""
for _, name in ipairs({
  "os", "io", "require", "python", "package", "module", "dofile", "loadfile", "load", "loadstring", "debug",
  "collectgarbage", "print", "newproxy", "getfenv", "setfenv", "coroutine",
}) do
  _G[name] = nil
end
math.random, math.randomseed, string.dump = nil, nil, nil
setmetatable(_G, { __newindex = function(_, name) error("global " .. name) end })
"""


class Engine:
    """Runs ticks on tables kept in this object; every Engine is a store of its own."""

    def __init__(self, source: str | None = None) -> None:
        """`source`: another build of the chunk, for tests that mutate it."""
        lua = lupa.lua51.LuaRuntime(
            encoding=None, register_eval=False, register_builtins=False, unpack_returned_tuples=True, max_memory=_MEMORY
        )
        chunk = lua.compile((source or tables_script()).encode())
        lua.execute(_SEAL)
        self._lua = lua
        self._tick, self._sweep, self._size = chunk()

    def tick(self, key: bytes, now_ms: int, args: Sequence[bytes | int], *, raw_ms: int | None = None) -> bytes:
        """Run one tick (tick.lua) for the service of `key` (`rl:{<service>}:meta`) at `now_ms`.

        `raw_ms`: the wall clock, from wire.ORIGIN_MS, for calendar quotas; None: `now_ms` is that clock.
        Raises `lupa.lua51.LuaError` only on a fault of ours: arguments come from wire.py.
        """
        answer: bytes = self._tick(now_ms, now_ms if raw_ms is None else raw_ms, key, *args)
        return answer

    def sweep(self, now_ms: int) -> int:
        """Throw away what has expired; returns how many keys went. Call it now and then, outside any tick."""
        return int(self._sweep(now_ms))

    @property
    def size(self) -> int:
        """How many keys the store holds."""
        return int(self._size())

    @property
    def memory(self) -> int:
        """Bytes in use by Lua."""
        used: Any = self._lua.get_memory_used()
        return int(used)
