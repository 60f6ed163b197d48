"""Where a piece of configuration stands: its file and tree, so that whoever finds a mistake can say the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .mistakes import Mistake
from .yamlmarks import Node, locate

Loc = tuple[str | int, ...]


@dataclass(slots=True)
class Findings:
    """Everything found while reading, over all files."""

    mistakes: list[Mistake] = field(default_factory=list)
    advice: list[Mistake] = field(default_factory=list)


@dataclass(slots=True)
class Ground:
    """One file's tree, and what was found in it."""

    filename: str
    root: Node
    findings: Findings
    spoilt: set[Loc] = field(default_factory=set)
    """Places whose value could not be made; they are reported already."""

    def wrong(self, loc: Sequence[str | int], message: str, *, at_key: bool = False) -> None:
        self.findings.mistakes.append(self._said(loc, message, at_key))

    def advise(self, loc: Sequence[str | int], message: str, *, at_key: bool = True) -> None:
        self.findings.advice.append(self._said(loc, message, at_key))

    def spoil(self, loc: Sequence[str | int]) -> None:
        self.spoilt.add(tuple(loc))

    def _said(self, loc: Sequence[str | int], message: str, at_key: bool) -> Mistake:
        line, column, path = locate(self.root, loc, at_key=at_key)
        return Mistake(self.filename, line, column, path, message)
