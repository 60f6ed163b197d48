"""One process of a mutation run: collects the gate's tests once, and runs them against each mutant until one fails.

Law: a mutant counts as killed only when a test fails that passes on the original. Tests that run on either host run
on the one in this process; those for Redis alone run too, and all run on Redis where only Redis runs the changed file.

    python -m tests.mutation.session WORK RESULT [quick]

WORK: JSON, [[file, mutated text, what it is, is it known], ...]. RESULT: JSON, the indexes of the survivors; those not
known are named at once on standard error, with whether they are seen (witness.py). What is known to survive (known.txt)
is tried on the short tests alone: they run into an entry that no longer applies, and no test is to find one. `quick`
tries the tests named for the file and a few others, and none that takes long or is for Redis alone; it does not look
for what is seen.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rules import gate
from tests.rules.gate.driver import TablesHost

from . import watch, witness
from .cases import Case, learn, loaded, plainly
from .memory import Memory, digest

TESTS = "tests/rules/gate"
ON_REDIS = {"store_redis", "entry_redis"}
"""Files that the host in this process does not run."""
FEW = 40
KIN = {
    "answer": ("dispatch", "observe", "explain", "gauge", "turns", "place", "pool"),
    "dispatch": ("turns", "barriers", "pool", "line", "fair", "observe", "explain", "place", "batches", "tick"),
    "line": ("turns", "barriers", "batches", "leaving", "dispatch"),
    "tick": ("gauge", "engine", "agreed", "leaving", "explain", "pool", "turns", "batches", "wire", "expiry"),
    "bucket": ("gauge", "count_at", "quota", "window", "twin", "agreed", "explain", "expiry"),
    "decision": ("dispatch", "explain", "observe", "pool", "rivals"),
    "store_tables": ("store", "engine"),
    "store_redis": ("store",),
    "order": ("store",),
    "quota": ("models",),
    "twin": ("models",),
    "window": ("models",),
    "draws": ("line", "pool"),
    "rivals": ("promise", "explain"),
    "pool": ("dispatch", "turns", "expiry"),
    "place": ("fair", "barriers", "expiry"),
    "fair": ("turns", "batches", "place", "expiry"),
    "leaving": ("line", "tick", "gauge", "dispatch"),
}
"""Tests named for other files that hold one too: a quick run tries them first."""
LEAST_SECONDS = 0.5
"""A test may take this, or ten times what it takes on the original."""

_original = {name: gate.text(name) for name in {*gate.REDIS_FILES, *gate.TABLES_FILES}}


def install(file: str | None = None, text: str = "") -> None:
    """Every host made from now on runs `text` for `file`."""

    def read(name: str) -> str:
        loaded.add(name)
        return text if name == file else _original[name]

    gate.text = read


def lines_before(file: str) -> int | None:
    """How many lines of the chunk come before the file's first; None where the test build changes the file itself."""
    source = TablesHost().source
    at = source.find(_original[file])
    return source.count("\n", 0, at) if at >= 0 else None


class Session:
    """A plugin that runs the tests in its own way."""

    def __init__(self, work: list[tuple[str, str, str, bool]], *, quick: bool = False) -> None:
        self.work, self.quick = work, quick
        self.survivors: list[int] = []
        self.cases: list[Case] = []
        self.answers: list[str] = []
        self.before: dict[str, int | None] = {}
        self.memory = Memory()
        self.chunk = digest(*[text for _, text in sorted(_original.items())])
        # pytest captures the other one
        self.terminal = os.fdopen(os.dup(2), "w", buffering=1)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Learn how the tests go, then try each mutant."""
        cases = [Case(item) for item in session.items if isinstance(item, pytest.Function)]
        for case in cases:
            plainly(case.item)
        install()
        needed = {file in ON_REDIS for file, *_ in self.work}
        cases = [
            case
            for case in cases
            if ((not self.quick or True in needed) if case.only_redis else case.on_redis in needed)
        ]
        learn(cases, self.chunk)
        self.answers = [] if self.quick else list(witness.answers())
        self.before = {file: lines_before(file) for file, *_ in self.work if file not in ON_REDIS}
        self.cases = sorted(cases, key=lambda case: case.seconds)
        if self.quick:
            self.cases = [case for case in self.cases if not case.is_long]
        with watch.bounded():
            for i, (file, text, what, known) in enumerate(self.work):
                install(file, text)
                killer = self.killer(file, text, what, known)
                if killer is None:
                    self.survivors.append(i)
                    if not known:
                        seen = "" if self.quick else "seen, " if self.is_seen() else "not seen, "
                        print(f"{i + 1} of {len(self.work)}, {seen}survives: {what}", file=self.terminal)
                elif not killer.is_long:
                    self.cases.remove(killer)
                    self.cases.insert(0, killer)
        install()
        return True

    def killer(self, file: str, text: str, what: str, known: bool) -> Case | None:
        """The first test that fails."""
        # what is known to survive is tried on fewer tests
        mutant, mutated = digest(what.partition(" ")[2], file), digest(self.chunk, file, text, str(known))
        passed = self.memory.passed.get(mutated, set())
        likely = self.memory.killers.get(mutant)
        touches = self.touching(file, text)
        cases = [case for case in self.cases if case.module not in passed and touches(case)]
        if known:
            cases = [case for case in cases if not case.is_long]
        own = {case for case in cases if any(f"test_{name}" in case.item.nodeid for name in (file, *KIN.get(file, ())))}
        # a killer of last time, then the tests named for the file, then those that killed its neighbours
        cases.sort(key=lambda case: (case.item.nodeid != likely, case.is_long, case not in own))
        if self.quick:
            cases = [case for i, case in enumerate(cases) if i < FEW or case in own]
        for case in cases:
            if case.run(max(LEAST_SECONDS, 10 * case.seconds)) is not None:
                self.memory.note_killer(mutant, case.item.nodeid)
                return case
        if not self.quick:
            self.memory.note_passed(mutated, {case.module for case in cases})
        return None

    def touching(self, file: str, text: str) -> Callable[[Case], bool]:
        """Whether a case runs what is changed."""
        if file in ON_REDIS:
            return lambda case: case.only_redis or (case.on_redis and (not case.files or file in case.files))
        before = self.before[file]
        if before is None:
            return lambda case: not case.on_redis
        changed = [before + line for line in _changed_lines(file, text)]

        def runs(case: Case) -> bool:
            if case.only_redis:
                return True
            return file in case.files if case.files else not case.lines.isdisjoint(changed)

        return runs

    def is_seen(self) -> bool:
        """The gate as it is now answers otherwise in some history."""
        try:
            with watch.limit(4 * LEAST_SECONDS):
                return any(one != other for one, other in zip(witness.answers(), self.answers, strict=False))
        except watch.TooLong:
            return True


def _changed_lines(file: str, text: str) -> range:
    """Lines of the file that differ, with one on either side: Lua counts a call of several lines at one of them."""
    old, new = _original[file], text
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    start, end = old.count("\n", 0, first) + 1, old.count("\n", 0, len(old) - last) + 1
    return range(start - 1, end + 2)


def main() -> int:
    """Do the work of WORK and say in RESULT what survived."""
    work, result = map(Path, sys.argv[1:3])
    plugin = Session(json.loads(work.read_text()), quick="quick" in sys.argv[3:])
    # what one failing test leaves open must not fail another
    alone = ["-p", "no:xdist", "-p", "no:unraisableexception", "-W", "ignore::ResourceWarning", "-o", "timeout=0"]
    code = pytest.main([TESTS, "-q", "--no-header", *alone], plugins=[plugin])
    if code == pytest.ExitCode.OK or code == pytest.ExitCode.NO_TESTS_COLLECTED:
        result.write_text(json.dumps(plugin.survivors))
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
