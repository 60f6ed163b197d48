"""What holds for every test: no secret in anything that Headgate tells or keeps (canaries.py)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from .canaries import WATCH

_all_seen: Counter[str] = Counter()
"""Of all workers, where the tests run in several."""


def pytest_configure(config: pytest.Config) -> None:
    """Whatever our own loggers are given is looked at, whether or not anybody writes it."""
    make = logging.getLogRecordFactory()

    def looked_at(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.name.partition(".")[0] == "headgate":
            WATCH.look("log", logging.Formatter().format(record) if record.exc_info else record.getMessage())
        return record

    logging.setLogRecordFactory(looked_at)


@pytest.fixture(autouse=True)
def no_secret_is_told() -> Iterator[None]:
    """A leak fails the test it happens in, whoever caught what it raised."""
    yield
    assert WATCH.take() == []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells what it has looked at."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["canaries"] = dict(WATCH.seen)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended."""
    _all_seen.update(getattr(node, "workeroutput", {}).get("canaries", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How much was looked at."""
    seen = _all_seen + WATCH.seen
    parts = ", ".join(f"{where} {size / 1e6:.2f} MB" for where, size in sorted(seen.items()))
    terminalreporter.write_line(f"looked for secrets in: {parts or 'nothing'}")
