"""What a test build of the gate does besides: it notes which lines ran, and no loop in it is endless.

Law: nothing here changes what the Lua computes. The host in this process seals `debug` away before the gate runs, so
the hook is set when its runtime is made.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

import lupa.lua51

_EVERY = 1_000_000
"""Instructions after which a runtime lets Python see its signals: about 10 ms."""

_MOST_COMPILED = 8

_LINES = b"""
local hits = {}
debug.sethook(function(_, line) hits[line] = true end, "l")
return hits
"""
_COUNT = b"""
local look, every = ...
debug.sethook(function() look() end, "", every)
"""


class TooLong(Exception):
    """A test took many times what it takes on the original."""


class _Watched(lupa.lua51.LuaRuntime):  # type: ignore[misc]
    """A runtime with the hook of the moment."""

    hook: Callable[[Any], None] | None = None
    compiled: ClassVar[dict[bytes, bytes]] = {}

    def __init__(self, **options: object) -> None:
        super().__init__()
        if _Watched.hook is not None:
            _Watched.hook(self)

    def compile(self, text: bytes) -> Any:
        """A chunk is read once for all runtimes: that takes longer than most tests."""
        if text not in _Watched.compiled:
            if len(_Watched.compiled) > _MOST_COMPILED:
                _Watched.compiled.clear()
            _Watched.compiled[text] = self.eval("string.dump")(super().compile(text))
        return super().compile(_Watched.compiled[text])


@contextmanager
def _hooked(hook: Callable[[Any], None]) -> Iterator[None]:
    original = lupa.lua51.LuaRuntime
    _Watched.hook = staticmethod(hook)
    lupa.lua51.LuaRuntime = _Watched
    try:
        yield
    finally:
        lupa.lua51.LuaRuntime = original
        _Watched.hook = None


@contextmanager
def noting_lines() -> Iterator[set[int]]:
    """Lines of the chunk that ran inside, complete when it ends."""
    tables: list[Any] = []
    lines: set[int] = set()
    with _hooked(lambda runtime: tables.append(runtime.execute(_LINES))):
        yield lines
    for table in tables:
        lines.update(table.keys())


@contextmanager
def bounded() -> Iterator[None]:
    """Within, `limit` can end a test that is inside Lua."""
    with _hooked(lambda runtime: runtime.execute(_COUNT, lambda: None, _EVERY)):
        yield


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise TooLong


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raises TooLong after so many seconds of processor time, and again as often."""
    before = signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
