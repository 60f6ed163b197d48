"""A cProfile dump by room: where the time of the main path goes.

Own time of a C function (filename `~`) goes to the rooms that called it, in proportion. cProfile makes Python calls
dearer and leaves C as it is, so the shares of rooms with many small functions are somewhat too large.
"""

from __future__ import annotations

import pstats
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Function = tuple[str, int, str]
LOOP = "event loop, kernel, idle"
_LOOP_FILES = ("uvloop/", "asyncio/runners.py", "asyncio/base_events.py", "selectors.py")


def shares(dump: Path) -> list[tuple[str, float]]:
    """(room, share of the time that was not the event loop's), largest first; shares add up to 1."""
    stats: dict[Function, tuple[int, int, float, float, dict[Function, tuple[int, int, float, float]]]]
    profile: Any = pstats.Stats(str(dump))
    stats = profile.stats
    times: defaultdict[str, float] = defaultdict(float)
    for function, (_, _, own, _, callers) in stats.items():
        if function[0] != "~":
            times[room(function[0])] += own
            continue
        if not callers:
            times[LOOP] += own
        for caller, (_, _, through, _) in callers.items():
            times[LOOP if caller[0] == "~" else room(caller[0])] += through
    times.pop(LOOP, None)
    whole = sum(times.values())
    return [(name, time / whole) for name, time in sorted(times.items(), key=lambda pair: -pair[1])]


def room(filename: str) -> str:
    """The room a source file belongs to, or the library it comes from."""
    if any(part in filename for part in _LOOP_FILES):
        return LOOP
    path = Path(filename)
    if path.is_relative_to(ROOT):
        return ".".join(path.relative_to(ROOT).with_suffix("").parts)
    parts = path.parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    return "python: " + ("/".join(parts[-2:]) if parts[-2:-1] in (("asyncio",), ("json",)) else path.name)


def table(dump: Path, *, least: float = 0.005) -> list[str]:
    """Lines to print: rooms above `least`, the others as one."""
    lines, rest = [], 0.0
    for name, share in shares(dump):
        if share < least:
            rest += share
        else:
            lines.append(f"  {name:<40}{share:>7.1%}")
    return [*lines, f"  {'all others':<40}{rest:>7.1%}"]
