"""Which event loops a test file runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

# What meets sockets below a call holds on both loops: they differ in resets, shutdowns and what a socket object is.
ON_BOTH_LOOPS = frozenset(
    ("test_upstream.py", "test_pool.py", "test_dialer.py", "test_listener.py", "test_call.py", "test_tunnel.py")
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The plain loop for every test, uvloop too for the files above."""
    plain: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
    return {**plain, "uvloop": uvloop.new_event_loop} if item.path.name in ON_BOTH_LOOPS else plain
