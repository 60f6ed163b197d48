"""What is shed, by a clock and a memory of the test."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from proxy.shedding import Shedding, memory_in_use, memory_limit
from tests.raw_server import Peer, answering, ok, raw_server

from .corridor import TOKEN, corridor, service


class Machine:
    """A clock in seconds, and bytes in use."""

    def __init__(self) -> None:
        self.time = 100.0
        self.used = 0
        self.readings = 0

    def read(self) -> int:
        """What is used now."""
        self.readings += 1
        return self.used

    def shedding(self, *, limit: int = 1000, held: int = 2, held_per_client: int = 2) -> Shedding:
        """One that looks at this machine."""
        return Shedding(limit=limit, used=self.read, now=lambda: self.time, held=held, held_per_client=held_per_client)


@pytest.mark.parametrize(("used", "step"), [(0, 0), (799, 0), (800, 1), (899, 1), (900, 2), (5000, 2)])
def test_memory_is_shed_in_two_steps(used: int, step: int) -> None:
    """At 80 % no holds, at 90 % no connections (threats 4.2)."""
    machine = Machine()
    machine.used = used
    shedding = machine.shedding()
    assert shedding.step == step
    assert (shedding.why_not_hold("ann") is None) == (step == 0)


def test_without_a_bound_nothing_is_shed() -> None:
    """No limit, no reading."""
    machine = Machine()
    machine.used = 1 << 40
    assert (machine.shedding(limit=0).step, machine.readings) == (0, 0)


def test_memory_is_read_four_times_a_second_at_most() -> None:
    """However many ask; and what has been freed counts soon."""
    machine = Machine()
    shedding = machine.shedding()
    for _ in range(1000):
        assert shedding.step == 0
        machine.time += 0.0001
    assert machine.readings == 1
    machine.used, machine.time = 950, machine.time + 0.25
    assert shedding.step == 2
    machine.used, machine.time = 10, machine.time + 0.25
    assert (shedding.step, machine.readings) == (0, 3)


def test_waiting_calls_are_counted_in_all_and_by_client() -> None:
    """A place comes back when its call leaves."""
    shedding = Machine().shedding(held=3, held_per_client=2)
    for _ in range(2):
        shedding.enter("ann")
    assert shedding.why_not_hold("ann") == "too many calls of this client wait"
    assert shedding.why_not_hold("bob") is None
    shedding.enter("bob")
    assert shedding.why_not_hold("cyd") == "too many calls wait"
    for name in ("bob", "ann", "ann"):
        shedding.leave(name)
    assert [shedding.why_not_hold(name) for name in ("ann", "bob", "cyd")] == [None] * 3
    assert not shedding._waiting


def test_what_is_read_is_the_process() -> None:
    """A process that takes 64 MiB more holds about that much more; a bound, where there is one, is above it."""
    code = "from proxy.shedding import memory_in_use as m; a=m(); b=bytearray(b'x')*(64<<20); print(m()-a)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 60 << 20 < int(told) < 80 << 20
    assert memory_limit() == 0 or memory_limit() > memory_in_use()


# through the corridor

TIGHT = ", limits: [{requests: 1, window: 600, per: [group]}]"
ONE_KEY = "[{name: a, env: KEY_A}]"


async def test_a_call_that_would_wait_is_told_so_at_once() -> None:
    """503 overloaded with the time of the next room; one for which there is room goes."""
    machine = Machine()
    machine.used = 850
    async with (
        raw_server(answering(ok())) as upstream,
        corridor(service(upstream, TIGHT, keys=ONE_KEY), shedding=machine.shedding()) as front,
    ):
        assert (await front.ask()).status == 200
        refused = await front.ask()
        own = await front.ask(X_Headgate_Max_Wait="0")
    assert (refused.status, refused.reason) == (503, "overloaded")
    assert 0 < int(refused.headers["Retry-After"]) <= 610  # the window, and its margin
    assert (own.status, own.reason) == (429, "wait_too_long")
    assert TOKEN.encode() not in refused.body
    assert len(upstream.requests) == 1


async def test_the_bound_on_held_calls_refuses_the_next_and_no_other() -> None:
    """Those that wait keep waiting, and are served (threats G4)."""
    release = asyncio.Event()

    async def slowly(peer: Peer) -> None:
        while await peer.request() is not None:
            await release.wait()
            await peer.send(ok())

    in_flight = ", limits: [{concurrent: 1, per: [group]}]"
    shedding = Machine().shedding(held=2, held_per_client=9)
    async with (
        raw_server(slowly) as upstream,
        corridor(service(upstream, in_flight, keys=ONE_KEY), shedding=shedding) as front,
    ):
        asks = [asyncio.ensure_future(front.ask()) for _ in range(3)]
        while front.gate.waiting("openai") < 2:
            await asyncio.to_thread(int)
        refused = await front.ask()
        assert (refused.status, refused.reason) == (503, "overloaded")
        assert b"too many calls wait" in refused.body
        release.set()
        assert [(await one).status for one in asks] == [200] * 3
