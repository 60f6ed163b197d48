"""What is wrong with a configuration: every mistake at once, each with its place and its cure.

A message may quote names (keys of the YAML, variables, paths), never a value: a value may be a secret in the wrong
place.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# What may be shown of a key or a variable that somebody typed: a name, not a pasted credential.
_SHOWABLE = re.compile(r"[A-Za-z_*][A-Za-z0-9_.:*/-]{0,39}\Z")


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing that is wrong, or (as advice) one that has a better form. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    path: str
    """`services.openai.limits[0].window`; empty: the file as a whole."""
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigInvalid(Exception):
    """The configuration cannot be used. `errors` holds every mistake that was found, in order of place."""

    def __init__(self, errors: Iterable[Mistake]) -> None:
        self.errors = sorted(set(errors))
        super().__init__("\n".join(str(error) for error in self.errors))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest known word, or nothing."""
    if not isinstance(word, str) or len(word) > 64:
        return ""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def shown(name: str) -> str:
    """A name as a message may quote it; what does not look like a name is not quoted."""
    return name if _SHOWABLE.match(name) else "…"


def spelled(loc: Sequence[str | int]) -> str:
    """`("services", "x", "limits", 0)` -> `services.x.limits[0]`."""
    path = ""
    for step in loc[:12]:  # nothing the forms know lies deeper
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += ("." if path else "") + shown(step)
    return path
