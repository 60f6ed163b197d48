"""proxy/tasks.py: background tasks live to their end, and their failure is heard without its text."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from proxy.tasks import spawn


async def test_a_task_that_nobody_holds_lives_to_its_end() -> None:
    """The loop holds tasks weakly; we don't."""
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        # nothing but the task refers to this future's chain
        await may_end.wait()
        ended.set()

    spawn(work(), name="work")
    await begun.wait()
    gc.collect()
    may_end.set()
    await ended.wait()


async def test_what_a_task_raises_is_logged_by_type_and_never_by_text(caplog: pytest.LogCaptureFixture) -> None:
    """The text may quote a peer's bytes."""

    async def fail() -> None:
        raise ValueError("canary")

    with caplog.at_level(logging.ERROR, "headgate.tasks"):
        await asyncio.wait([spawn(fail(), name="the name")])
    assert [entry.getMessage() for entry in caplog.records] == ["task the name ended with ValueError"]
    assert "canary" not in caplog.text


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged."""
    task = spawn(asyncio.Event().wait(), name="waiter")
    task.cancel()
    await asyncio.wait([task])
    assert caplog.records == []
