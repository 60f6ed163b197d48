"""What earlier runs found out, so that the next one tries only what changed: `.mutation/`, never checked in.

Law: nothing is taken for killed because it was once; its killer is only tried first. What passed is not tried again
while the whole mutated text and the test's module are the same to the byte.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".mutation"
Learned = tuple[float, list[int], list[str]]
"""Seconds, lines of the whole chunk that ran, files that ran by themselves."""
_MOST_BYTES = 64 * 2**20


def digest(*texts: str) -> str:
    """A short name of a content."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def module_digests(modules: Iterable[Path]) -> dict[Path, str]:
    """Each test module's content, and of what they share: everything else in Python beside them and beside the Lua."""
    modules = sorted(set(modules))
    beside = {one for module in modules for one in module.parent.glob("*.py") if not one.name.startswith("test_")}
    gate = Path(__file__).parents[2] / "rules"
    shared = digest(*[one.read_text() for one in (*sorted(beside), *sorted(gate.rglob("*.py")))])
    return {module: digest(shared, module.read_text()) for module in modules}


class Memory:
    """Killers by mutant, and test modules that passed by mutated text. Several processes write to one journal."""

    def __init__(self) -> None:
        FOLDER.mkdir(exist_ok=True)
        self.killers: dict[str, str] = {}
        self.passed: dict[str, set[str]] = {}
        self._journal = FOLDER / "journal"
        if self._journal.exists() and self._journal.stat().st_size < _MOST_BYTES:
            for line in self._journal.read_text().splitlines():
                kind, of, what = line.split(" ", 2)
                if kind == "killed":
                    self.killers[of] = what
                else:
                    self.passed.setdefault(of, set()).update(what.split())
        self._file = self._journal.open("a")

    def _write(self, kind: str, of: str, what: str) -> None:
        # one write to a file opened for appending: lines of two processes do not mix
        os.write(self._file.fileno(), f"{kind} {of} {what}\n".encode())

    def note_killer(self, mutant: str, test: str) -> None:
        """The test killed the mutant."""
        if self.killers.get(mutant) != test:
            self.killers[mutant] = test
            self._write("killed", mutant, test)

    def note_passed(self, text: str, modules: Iterable[str]) -> None:
        """All tests of these modules that touch the change passed on the text."""
        new = set(modules) - self.passed.setdefault(text, set())
        if new:
            self.passed[text] |= new
            self._write("passed", text, " ".join(sorted(new)))


def lines_learned(chunk: str) -> dict[str, Learned]:
    """What each test took on the original chunk, and which of its lines ran: by test and its module's digest."""
    file = FOLDER / f"lines.{chunk}"
    known: dict[str, Learned] = json.loads(file.read_text()) if file.exists() else {}
    return known


def keep_lines(chunk: str, learned: dict[str, Learned]) -> None:
    """For the next run on the same chunk; what was kept of another goes."""
    for old in FOLDER.glob("lines.*"):
        if old.name != f"lines.{chunk}":
            old.unlink(missing_ok=True)
    part = FOLDER / f"part.{os.getpid()}"
    part.write_text(json.dumps(learned))
    part.replace(FOLDER / f"lines.{chunk}")
