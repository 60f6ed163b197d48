"""One process of a mutation run: collects the gate's tests once, and runs them against each mutant until one fails.

Law: a mutant counts as killed only when a test fails that passes on the original. Tests that run on either host run
on the one in this process; those for Redis alone run too, and all run on Redis where only Redis runs the changed file.

    python -m tests.mutation.session WORK RESULT [quick]

WORK: JSON, [[file, mutated text, what it is, is it known], ...]. RESULT: JSON, the indexes of the survivors; those not
known are named at once on standard error, with whether they are seen (witness.py). What is known to survive (known.txt)
is tried on the short tests alone: they run into an entry that no longer applies, and no test is to find one. `quick`
leaves out the tests that take long and those for Redis alone, and tries what is not seen on a few tests only: more
survive, sooner.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rules import gate
from tests.rules.gate.driver import TablesHost

from . import watch, witness

TESTS = "tests/rules/gate"
ON_REDIS = {"store_redis", "entry_redis"}
"""Files that the host in this process does not run."""
LEAST_SECONDS = 0.5
"""A test may take this, or ten times what it takes on the original."""
LONG_SECONDS = 0.06
FEW = 25
MOST_EXAMPLES = 12
"""Of a property, for one mutant: what one history can show, most do."""

_original = {name: gate.text(name) for name in {*gate.REDIS_FILES, *gate.TABLES_FILES}}


def install(file: str | None = None, text: str = "") -> None:
    """Every host made from now on runs `text` for `file`."""
    gate.text = lambda name: text if name == file else _original[name]


def lines_before(file: str) -> int | None:
    """How many lines of the chunk come before the file's first; None where the test build changes the file itself."""
    source = TablesHost().source
    at = source.find(_original[file])
    return source.count("\n", 0, at) if at >= 0 else None


class Case:
    """A test, with what it did on the original."""

    def __init__(self, item: pytest.Function) -> None:
        self.item = item
        host = item.callspec.params.get("host") if hasattr(item, "callspec") else None
        self.on_redis = host == "redis"
        self.only_redis = host is None and "redis_of_gate" in item.fixturenames
        self.lines: set[int] = set()
        self.seconds = 0.0

    def run(self, seconds: float) -> BaseException | None:
        """What it fails with; None: it passes."""
        item = self.item
        item._initrequest()
        failure: BaseException | None = None
        try:
            item.ihook.pytest_runtest_setup(item=item)
            with watch.limit(seconds):
                item.ihook.pytest_runtest_call(item=item)
        except (Exception, pytest.fail.Exception) as raised:
            failure = raised
        try:
            # what belongs to the session stays: the next case may be anywhere
            item.ihook.pytest_runtest_teardown(item=item, nextitem=item.session)
        except (Exception, pytest.fail.Exception) as raised:
            failure = failure or raised
        return failure

    def learn(self) -> None:
        """Run it on the original. Raises what it fails with."""
        began = time.process_time()
        if self.only_redis or self.on_redis:
            failure = self.run(120)
        else:
            with watch.noting_lines() as self.lines:
                failure = self.run(120)
        self.seconds = time.process_time() - began
        if failure is not None:
            raise failure


class Session:
    """A plugin that runs the tests in its own way."""

    def __init__(self, work: list[tuple[str, str, str, bool]], *, quick: bool = False) -> None:
        self.work, self.quick = work, quick
        self.survivors: list[int] = []
        self.answers: list[str] = []
        self.before: dict[str, int | None] = {}
        # pytest captures the other one
        self.terminal = os.fdopen(os.dup(2), "w", buffering=1)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Learn how the tests go, then try each mutant."""
        cases = [Case(item) for item in session.items if isinstance(item, pytest.Function)]
        for case in cases:
            _plainly(case.item)
        install()
        needed = {file in ON_REDIS for file, *_ in self.work}
        cases = [
            case
            for case in cases
            if ((not self.quick or True in needed) if case.only_redis else case.on_redis in needed)
        ]
        for case in cases:
            case.learn()
        self.answers = list(witness.answers())
        self.before = {file: lines_before(file) for file, *_ in self.work if file not in ON_REDIS}
        cases.sort(key=lambda case: case.seconds)
        if self.quick:
            cases = [case for case in cases if case.seconds < LONG_SECONDS]
        with watch.bounded():
            for i, (file, text, what, known) in enumerate(self.work):
                install(file, text)
                killer = self.killer([case for case in cases if not known or case.seconds < LONG_SECONDS], file, text)
                if killer is None:
                    self.survivors.append(i)
                    if known:
                        continue
                    seen = "seen" if self.is_seen() else "not seen"
                    print(f"{i + 1} of {len(self.work)}, {seen}, survives: {what}", file=self.terminal)
                else:
                    cases.remove(killer)
                    cases.insert(0, killer)
        install()
        return True

    def killer(self, cases: list[Case], file: str, text: str) -> Case | None:
        """The first test that fails."""
        redis = file in ON_REDIS
        before = None if redis else self.before[file]
        changed = set() if before is None else {before + line for line in _changed_lines(file, text)}
        tried = 0
        for case in cases:
            if case.on_redis != redis and not case.only_redis:
                continue
            if changed and not case.only_redis and changed.isdisjoint(case.lines):
                continue
            if case.run(max(LEAST_SECONDS, 10 * case.seconds)) is not None:
                return case
            tried += 1
            if self.quick and tried == FEW and not redis and not self.is_seen():
                break
        return None

    def is_seen(self) -> bool:
        """The gate as it is now answers otherwise in some history."""
        try:
            with watch.limit(4 * LEAST_SECONDS):
                return any(one != other for one, other in zip(witness.answers(), self.answers, strict=False))
        except watch.TooLong:
            return True


def _changed_lines(file: str, text: str) -> set[int]:
    """Lines of the file that differ, with one on either side: Lua counts a call of several lines at one of them."""
    old, new = _original[file], text
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    start, end = old.count("\n", 0, first) + 1, old.count("\n", 0, len(old) - last) + 1
    return set(range(start - 1, end + 2))


def _plainly(item: pytest.Function) -> None:
    """A property fails with its first example, and has the same examples each time."""
    from hypothesis import Phase, settings  # after pytest, whose plugin wants to be the first to load it

    function: Any = getattr(item.obj, "__func__", item.obj)
    of = getattr(function, "_hypothesis_internal_use_settings", None)
    if of is not None:
        function._hypothesis_internal_use_settings = settings(
            of,
            max_examples=min(of.max_examples, MOST_EXAMPLES),
            phases=[Phase.generate],
            derandomize=True,
            database=None,
            deadline=None,
        )


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
