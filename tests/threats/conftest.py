"""Rows run on the loop that serves in production."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

OWN_SOCKETS = "test_inside_addresses.py"
"""Watches what is dialled through asyncio's own loop, which lets itself be watched."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop, where the tests of a file do not need asyncio's."""
    if item.path.name == OWN_SOCKETS:
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}
