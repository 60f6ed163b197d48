"""The promise itself: under three times their quota strict upstreams answer no 429, and their quota is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.headgate_process import Headgate
from tests.redis_server import RedisServer
from tests.upstreams.kinds import short

from .saturation import PROCESSES, run

WINDOW = 6.0
JITTER = 0.1
WINDOWS = 3
STALL_AT = 13.0
"""Seconds after the first call: windows are full, and half of them are still to come."""


@pytest.mark.alone
@pytest.mark.timeout(180)
async def test_four_processes_on_one_redis_use_six_types_of_quota_and_meet_no_429(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the calls pushed in 30 s none is lost or sent twice, no upstream refuses one, and each gives what it must.

    The table and, where something failed, what the processes said are printed.
    """
    result = await run(short(), tmp_path, window=WINDOW, jitter=JITTER, windows=WINDOWS)
    with capsys.disabled():
        print("\n" + result.table())
    assert result.faults() + result.wasted() == [], result.explain()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("who", "seconds"),
    [
        pytest.param("redis", 0.6, marks=pytest.mark.alone),
        pytest.param("redis", 1.0, marks=pytest.mark.slow),
        pytest.param("redis", 8.0, marks=pytest.mark.slow),
        pytest.param("headgate", 1.0, marks=pytest.mark.alone),
    ],
)
async def test_a_redis_or_a_headgate_that_stands_still_for_a_while_costs_no_429(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], who: str, seconds: float
) -> None:
    """In the middle of a full window one of them is stopped, for longer than the store is waited for, and goes on."""

    def disturb(redis: RedisServer, gates: Sequence[Headgate]) -> None:
        loop = asyncio.get_running_loop()
        stalled = redis if who == "redis" else gates[0]
        loop.call_later(STALL_AT, stalled.stall, True)
        loop.call_later(STALL_AT + seconds, stalled.stall, False)

    fixed_and_sliding = short()[:2]
    result = await run(fixed_and_sliding, tmp_path, window=WINDOW, jitter=JITTER, windows=WINDOWS, disturb=disturb)
    with capsys.disabled():
        print("\n" + result.table())
    assert result.faults() == [], result.explain()
    assert result.fell_back == (PROCESSES if who == "redis" else 0)
