"""Background tasks that are kept alive, and whose failure is heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger("headgate.tasks")
_running: set[asyncio.Task[Any]] = set()


def spawn(coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Start a task, hold a reference until it ends (the loop holds only a weak one), and log what it raises by type.

    The text of the exception is not logged: it may quote a peer's bytes (threats 2.3).
    """
    task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task %s ended with %s", task.get_name(), type(error).__name__)
