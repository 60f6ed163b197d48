"""Every single change that is tried on the gate's Lua.

Law: one change at a time, and each a text that still loads. A swap of two branches is the negation of its condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .lua import Part, parts

_SWAPS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "~=",
    "~=": "==",
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "%": "*",
    "and": "or",
    "or": "and",
}
_ROUNDINGS = {"min": "max", "max": "min", "floor": "ceil", "ceil": "floor"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A file with one change. `before` and `after`: the statement, or head of one, in one line of single spaces.

    `lines`: first and last line of that statement, from 1; for reports and for choosing tests, never for identity.
    """

    file: str
    within: str
    before: str
    after: str
    text: str
    lines: tuple[int, int]

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What names it in the list of known survivors, wherever it stands in its file."""
        return self.file, self.within, self.before, self.after


def mutants(file: str, text: str) -> Iterator[Mutant]:
    """All changes of one file, in the order of its text."""
    for part in parts(text):
        for new in _replacements(part, text[part.start : part.end]):
            before = text[part.first : part.last]
            after = text[part.first : part.start] + new + text[part.end : part.last]
            if _one_line(before) == _one_line(after):
                continue
            lines = text.count("\n", 0, part.first) + 1, text.count("\n", 0, part.last) + 1
            changed = text[: part.start] + new + text[part.end :]
            yield Mutant(file, part.within, _one_line(before), _one_line(after), changed, lines)


def _replacements(part: Part, old: str) -> list[str]:
    match part.what:
        case "binary":
            return [_SWAPS[old]] if old in _SWAPS else []
        case "number":
            return [str(int(old) + 1), str(int(old) - 1)] if old.isdigit() else []
        case "truth":
            return ["false" if old == "true" else "true"]
        case "not" | "minus":
            return [""]
        case "rounding":
            return ["math." + _ROUNDINGS[old.removeprefix("math.")]]
        case "condition":
            return [f"not ({old})", "true", "false"]
        case "loop":
            return [f"not ({old})", "false"]
        case _:
            # an empty block stays a block, and a break or return need not be the last any more
            return [""]


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", text)).strip() or "(nothing)"
