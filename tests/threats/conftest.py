"""What runs in the hall runs on the loop that serves in production; the rest needs asyncio's, which can be watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """By whether the item's file has taken the hall."""
    if isinstance(item, pytest.Function) and hasattr(item.module, "hall"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
