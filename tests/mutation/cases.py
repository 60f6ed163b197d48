"""The gate's tests as a mutation run knows them: how long each takes and which lines of the Lua it runs.

Law: what is learned is learned on the original, where every test passes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rules import gate

from . import memory, watch

LONG_SECONDS = 0.06
"""A test that takes longer is tried after all that do not."""
MOST_EXAMPLES = 12
"""Of a property, for one mutant: what one history can show, most do."""


loaded: set[str] = set()
"""Names of the Lua files that the running case has asked for."""


class Case:
    """A test, with what it did on the original."""

    def __init__(self, item: pytest.Function) -> None:
        self.item = item
        params = item.callspec.params if hasattr(item, "callspec") else {}
        host = params.get("host", params.get("lua"))
        self.on_redis = host == "redis"
        self.only_redis = host is None and "redis_of_gate" in item.fixturenames
        self.module = ""
        self.lines: set[int] = set()
        self.files: set[str] = set()
        """Where it runs some files by themselves: then the lines are those of another chunk."""
        self.seconds = 0.0

    @property
    def is_long(self) -> bool:
        """It comes after the others."""
        return self.seconds >= LONG_SECONDS

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
        loaded.clear()
        if self.only_redis or self.on_redis:
            failure = self.run(120)
        else:
            with watch.noting_lines() as self.lines:
                failure = self.run(120)
        self.seconds = time.process_time() - began
        if loaded and not loaded >= set(gate.REDIS_FILES) and not loaded >= set(gate.TABLES_FILES):
            self.files = set(loaded)
        if failure is not None:
            raise failure


def learn(cases: Sequence[Case], chunk: str) -> None:
    """How all of them go on the original, whose digest is `chunk`; what is known already is not run again."""
    known = memory.lines_learned(chunk)
    digests = memory.module_digests(Path(case.item.path) for case in cases)
    learned = {}
    for case in cases:
        case.module = digests[Path(case.item.path)]
        name = f"{case.module} {case.item.nodeid}"
        if name in known:
            case.seconds, case.lines, case.files = known[name][0], set(known[name][1]), set(known[name][2])
        else:
            case.learn()
        learned[name] = case.seconds, sorted(case.lines), sorted(case.files)
    if learned.keys() - known.keys():
        memory.keep_lines(chunk, known | learned)


def plainly(item: pytest.Function) -> None:
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
