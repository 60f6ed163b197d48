"""proxy/gate.py and proxy/line.py: limits that change while calls wait, on the embedded gate and on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from proxy.gate import Gate
from proxy.line import Line, Waiting
from proxy.redis_host import RedisHost
from proxy.session import Session
from rules.gate import wire
from rules.policy import Limit
from rules.verdict import Grant, Plan, Refuse
from tests.redis_server import RedisServer

from .gates import FLYING, REQUESTS, granted, make, now_ms, plan, redis_of_actor, running, until
from .gates import gate as gate

__all__ = ["make", "redis_of_actor"]  # fixtures


class Calls:
    """Calls that wait, and the plan they would get now."""

    def __init__(self, gate: Gate, wish: Plan | Refuse) -> None:
        self.gate, self.wish, self.held = gate, wish, gate.held
        self.tasks: list[asyncio.Task[Grant | Refuse]] = []

    async def acquire(self, wish: Plan) -> Grant | Refuse:
        """One call, planned anew with what `wish` is then."""
        return await self.gate.acquire(wish, anew=lambda: self.wish)

    async def hold(self, count: int = 1) -> None:
        """So many calls wait, in this order."""
        for _ in range(count):
            assert isinstance(self.wish, Plan)
            self.tasks.append(asyncio.ensure_future(self.acquire(self.wish)))
            self.held += 1
            await until(lambda: self.gate.held >= self.held)

    async def change(self, wish: Plan | Refuse) -> None:
        """A new configuration comes into force, and has reached the store."""
        self.wish = wish
        self.gate.replan(["s", "unheard of"])
        await settled(self.gate)
        self.held = self.gate.held

    @property
    def done(self) -> list[bool]:
        """Which have their verdict."""
        return [task.done() for task in self.tasks]


async def settled(gate: Gate) -> None:
    """What was said before has been answered: a call on another limit has gone round."""
    other = Limit(id="o", name="other", kind="concurrent", meter="concurrent", amount=1)
    for _ in range(2):
        gate.refund(await granted(gate, plan((other, 1), scope="elsewhere")))


async def finish(verdict: Awaitable[Grant | Refuse]) -> Grant:
    """The grant of a call that must have gone."""
    found = await verdict
    assert isinstance(found, Grant), found
    return found


async def test_a_raised_limit_lets_a_waiting_call_go_at_once(gate: Gate) -> None:
    """Nothing else happens: the window is full for a minute, and the call may wait for half of one."""
    await granted(gate, plan((REQUESTS, 10)))
    calls = Calls(gate, plan((REQUESTS, 1), wait=90_000))
    await calls.hold(2)
    await calls.change(plan((replace(REQUESTS, amount=11), 1)))
    await finish(calls.tasks[0])
    assert calls.done == [True, False]
    await calls.change(plan((replace(REQUESTS, amount=12), 1)))
    await finish(calls.tasks[1])


async def test_a_lowered_limit_lets_nobody_go_until_use_is_below_it(gate: Gate) -> None:
    """Four are in flight when 4 becomes 1: three landings free nothing, the fourth frees one place and no more."""
    four = replace(FLYING, amount=4)
    flying = [await granted(gate, plan((four, 1))) for _ in range(4)]
    calls = Calls(gate, plan((four, 1)))
    await calls.hold(2)
    await calls.change(plan((replace(FLYING, amount=1), 1)))
    for grant in flying[:3]:
        gate.settle(grant, {})
        await settled(gate)
        assert calls.done == [False, False]
    gate.settle(flying[3], {})
    first = await finish(calls.tasks[0])
    await settled(gate)
    assert calls.done == [True, False]
    gate.settle(first, {})
    gate.settle(await finish(calls.tasks[1]), {})


@pytest.mark.parametrize("amount", [0, 2])
async def test_a_call_that_no_longer_fits_is_told_so_at_once(gate: Gate, amount: int) -> None:
    """Nothing may go, or less than this call takes: no wait helps."""
    await granted(gate, plan((REQUESTS, 10)))
    calls, lowered = Calls(gate, plan((REQUESTS, 3), wait=90_000)), replace(REQUESTS, amount=amount)
    await calls.hold()
    await calls.change(plan((lowered, 3)))
    verdict = await calls.tasks[0]
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.limit) == ("never_fits", lowered)


async def test_a_removed_limit_holds_nobody(gate: Gate) -> None:
    """Who waited for it goes, and its bucket is left as it was for the day it comes back."""
    await granted(gate, plan((REQUESTS, 10)))
    calls = Calls(gate, plan((REQUESTS, 1), wait=90_000))
    await calls.hold(3)
    await calls.change(plan((FLYING, 1)))
    gate.refund(await finish(calls.tasks[0]))
    gate.refund(await finish(calls.tasks[1]))
    gate.refund(await finish(calls.tasks[2]))
    assert isinstance(await gate.acquire(plan((REQUESTS, 1), wait=0)), Refuse)


async def test_calls_keep_their_order_and_go_before_those_that_come_later(gate: Gate) -> None:
    """The place is that of the arrival, not that of the change."""
    first = await granted(gate, plan((FLYING, 2)))
    calls = Calls(gate, plan((FLYING, 2)))
    await calls.hold(3)
    await calls.change(plan((FLYING, 2), (REQUESTS, 1)))
    await calls.hold(1)
    gate.settle(first, {})
    for n in range(4):
        grant = await finish(calls.tasks[n])
        await settled(gate)
        assert calls.done == [True] * (n + 1) + [False] * (3 - n)
        gate.settle(grant, {})


async def test_a_deadline_is_not_moved_by_a_change(gate: Gate) -> None:
    """The call expires when it would have, with the limit it waits for now; both numbers it had are free again."""
    first = await granted(gate, plan((FLYING, 2)))
    calls, other = Calls(gate, plan((FLYING, 2), wait=300)), replace(FLYING, id="g", name="other")
    await calls.hold()
    second = await granted(gate, plan((other, 2)))
    await calls.change(plan((other, 2), wait=60_000))
    verdict = await calls.tasks[0]
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.limit) == ("hold_expired", other)
    gate.settle(first, {})
    gate.settle(second, {})
    await granted(gate, plan((FLYING, 2), (other, 2), wait=0))
    assert gate.waiting("s") == 0


async def test_a_call_cancelled_after_a_change_leaves_nothing(gate: Gate) -> None:
    """Neither under its old number nor under the new one, told to the store already or not."""
    first = await granted(gate, plan((FLYING, 2)))
    calls = Calls(gate, plan((FLYING, 1)))
    await calls.hold(2)
    await calls.change(plan((FLYING, 2)))
    calls.wish = plan((FLYING, 1))
    gate.replan(["s"])
    for task in calls.tasks:
        task.cancel()
    await asyncio.wait(calls.tasks)
    await settled(gate)
    assert gate.waiting("s") == 0
    gate.settle(first, {})
    await granted(gate, plan((FLYING, 2), wait=0))


async def test_a_pool_that_has_no_key_any_more_refuses_who_waits(gate: Gate) -> None:
    """The plan itself is a refusal, with the time the call was held."""
    await granted(gate, plan((FLYING, 2)))
    calls = Calls(gate, plan((FLYING, 1)))
    await calls.hold()
    await calls.change(Refuse(code="no_key"))
    verdict = await calls.tasks[0]
    assert isinstance(verdict, Refuse)
    assert verdict.code == "no_key"
    assert gate.waiting("s") == 0


async def test_a_full_line_loses_nobody_when_it_is_shortened(gate: Gate) -> None:
    """Who stands in it was let in; only who comes later finds it full."""
    first = await granted(gate, plan((FLYING, 2)))
    calls = Calls(gate, plan((FLYING, 2)))
    await calls.hold(3)
    short = plan((replace(FLYING, amount=3), 2))
    short.max_queue = 1
    await calls.change(short)
    verdict = await gate.acquire(short)
    assert isinstance(verdict, Refuse)
    assert verdict.code == "queue_full"
    gate.settle(first, {})
    for task in calls.tasks:
        gate.settle(await finish(task), {})


async def test_two_processes_change_one_after_the_other_and_lose_nobody(redis_of_actor: RedisServer) -> None:
    """Four wait in each when 2 becomes 3, first in one process, then in the other: never more than 3 fly, all go."""
    redis_of_actor.command("FLUSHALL")
    async with (
        running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))) as one,
        running(Gate(now_ms=now_ms, store=RedisHost(redis_of_actor.url, try_timeout=5.0))) as other,
    ):
        first = await granted(one, plan((FLYING, 2)))
        sides = [Calls(one, plan((FLYING, 1))), Calls(other, plan((FLYING, 1)))]
        for side in sides:
            await side.hold(4)
        flying, most = 0, 0

        async def fly(gate: Gate, task: asyncio.Task[Grant | Refuse]) -> None:
            nonlocal flying, most
            grant = await finish(task)
            flying += 1
            most = max(most, flying)
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int))])
            flying -= 1
            gate.settle(grant, {})

        flights = [asyncio.ensure_future(fly(side.gate, task)) for side in sides for task in side.tasks]
        await sides[0].change(plan((replace(FLYING, amount=3), 1)))
        one.settle(first, {})
        await sides[1].change(plan((replace(FLYING, amount=3), 1)))
        await asyncio.gather(*flights)
        assert most <= 3


def line_of(*calls: Plan) -> tuple[Line, list[Waiting]]:
    """A line in which these calls wait, numbered from 1, none told to the store yet."""
    line = Line("s", b"a" * 16, Session(incarnation=1))
    waiting = [
        Waiting(n=n, plan=wish, arrival=wire.arrival(wish), enqueued_ms=n, deadline_ms=9e9, since_ms=n)
        for n, wish in enumerate(calls, 1)
    ]
    for one in waiting:
        line.enter(one)
    return line, waiting


def change(line: Line, waiting: Waiting, wish: Plan, n: int) -> None:
    """The call's plan is another from now on."""
    line.replan(waiting, wish, wire.arrival(wish, keeps_place=True), n)


def operations(line: Line) -> list[tuple[bytes | int, bytes | int]]:
    """Cancellations and arrivals of all ticks it takes, in their order; each cancellation with the arrival for it."""
    told: list[tuple[bytes | int, bytes | int]] = []
    while line.has_work:
        args = line.take(100, 1000).args
        told += [(word, args[i + 1]) for i, word in enumerate(args) if word in (b"A", b"C")]
        assert not told or told[-1][0] == b"A"
    return told


def test_the_old_number_goes_and_the_new_one_comes_in_one_tick() -> None:
    """However many calls there are: nobody passes between two ticks, and one that is unchanged says nothing."""
    wish, other = plan((FLYING, 1)), plan((replace(FLYING, amount=9), 1))
    line, waiting = line_of(*[wish] * 700)
    operations(line)
    for n, one in enumerate(waiting, 1):
        change(line, one, wish if n == 1 else other, 1000 + n)
    assert operations(line) == [(verb, base + n) for n in range(2, 701) for verb, base in ((b"C", 0), (b"A", 1000))]


def test_a_call_the_store_has_not_heard_of_just_changes() -> None:
    """It arrives once, with the last plan."""
    line, (one,) = line_of(plan((FLYING, 1)))
    change(line, one, plan((FLYING, 2)), 7)
    assert operations(line) == [(b"A", 1)]
    change(line, one, plan((FLYING, 1)), 8)
    change(line, one, plan((FLYING, 3)), 9)
    assert operations(line) == [(b"C", 1), (b"A", 8)]
    assert [charge.cost for charge in one.plan.candidates[0].charges] == [3]


def test_a_grant_of_the_old_plan_that_crosses_the_change_is_given_back() -> None:
    """It names what the call asked for then; the call itself waits on under its new number."""
    old = plan((FLYING, 1))
    line, (one,) = line_of(old)
    batch = line.take(0, 1000)
    change(line, one, plan((FLYING, 1), (REQUESTS, 1)), 2)
    given: list[Waiting] = []
    crossing = wire.Granted(1, 0, 1, (0,), (1,), pushed=False)
    reply = wire.Reply(0, 0, 5, None, 0, 1, 0, 0, (crossing,), (), (), ())
    line.apply(batch, reply, 0, lambda waiting, _, __: given.append(waiting))
    assert [(ghost.gone, ghost.plan) for ghost in given] == [(True, old)]
    assert line.waiting == {2: one}
    assert not one.gone


def test_a_host_that_does_not_know_us_hears_of_the_new_number_only() -> None:
    """A resync begins with an empty line there."""
    line, (one,) = line_of(plan((FLYING, 1)))
    line.take(0, 1000)
    change(line, one, plan((FLYING, 2)), 2)
    line.restate()
    assert operations(line) == [(b"A", 2)]
