"""proxy/line.py: what a tick must say of buckets and quotas, and which clock decides a day."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from proxy.gate import Gate
from proxy.line import MOST_OPS, Line, Waiting
from proxy.session import Session
from rules.gate import wire
from rules.policy import Limit
from rules.verdict import Charge, Grant, Plan, Refuse, Taken

from .gates import FLYING, REQUESTS, TOKENS, granted, now_ms, plan, refused, running, until
from .gates import gate as gate
from .gates import make as make
from .gates import redis_of_actor as redis_of_actor

SLOWLY = Limit(
    id="tb",
    name="slowly",
    kind="token_bucket",
    meter="tokens",
    amount=100,
    window_ms=100_000_000,
    refill=(1, 1_000_000),
)
MONTHLY = Limit(id="q", name="monthly", kind="quota", meter="units", amount=10, period="month", timezone="UTC")


@pytest.mark.parametrize(("limit", "most"), [(SLOWLY, 100), (MONTHLY, 10)])
async def test_a_bucket_and_a_quota_are_settled_and_refunded(gate: Gate, limit: Limit, most: int) -> None:
    """Up to all of it at once; what was truly less comes back but for what refilled meanwhile, an excess counts."""
    first = await granted(gate, plan((limit, most)))
    assert (await refused(gate, plan((limit, 1), wait=0))).limit is limit
    gate.refund(first)
    half = await granted(gate, plan((limit, most - 2), wait=0))
    gate.settle(half, {limit.meter: most / 2})
    last = await granted(gate, plan((limit, most // 2 - 2), wait=0))
    gate.settle(last, {limit.meter: most})
    assert (await refused(gate, plan((limit, 1), wait=0))).limit is limit


def test_settlements_of_one_moment_are_one_of_all_that_was_charged() -> None:
    """How much a bucket may give back depends on all that was charged then (limiter 14.2)."""
    session, charge = Session(), Charge("tb:g", SLOWLY, 40)
    for delta in (-30, -40):
        session.settle(charge, 7, delta)
    (settled,) = session.settles.values()
    assert (settled[0].cost, settled[1]) == (80, -70)


@pytest.mark.parametrize(("count", "first"), [(MOST_OPS, True), (MOST_OPS + 1, False)])
def test_a_store_that_may_have_much_to_forget_hears_of_who_waits_in_the_second_tick(count: int, first: bool) -> None:
    """It forgets a tick's worth at a time, and what it is told before that is done is told in vain."""
    line = Line("s", b"a" * 16, Session())
    wish = plan((FLYING, 1))
    for n in range(1, count + 1):
        line.enter(Waiting(n, wish, wire.arrival(wish), 0, 1000, 0))
    line.restate()
    told = [b"A" in line.take(0, 1000).args for _ in range(2)]
    assert told == [first, True]


def test_of_many_that_leave_those_of_one_user_leave_together() -> None:
    """The store opens each user's line once a tick."""
    line = Line("s", b"a" * 16, Session())
    for n in range(1, 2 * MOST_OPS + 1):
        wish = replace(plan((FLYING, 1)), flow="xy"[n % 2])
        waiting = Waiting(n, wish, wire.arrival(wish), 0, 1000, 0, sent=True)
        line.waiting[n] = waiting
        line.leave(waiting)
    for _ in range(2):
        gone = line.take(0, 1000).cancels
        assert len({n % 2 for n in gone}) == 1
        assert len(gone) == MOST_OPS


def test_what_the_fallback_charged_to_a_period_is_handed_over_with_its_period() -> None:
    """A quota's day is the same on every host; a window's and a bucket's charges count in the store from now on."""
    line, there = Line("s", b"a" * 16, Session()), Session()
    taken = (
        Taken(Charge("q:g", MONTHLY, 4), 2_000_000),
        Taken(Charge("tb:g", SLOWLY, 5), 90_000),
        Taken(Charge("r:g", REQUESTS, 1), 50_000),
        Taken(Charge("f:g", FLYING, 1), 0),
    )
    grant = Grant(service="s", attempt="a", key="k", group="g", taken=taken, waited_ms=0)
    line.carry(grant)
    line.hand_over(there, 100_000.0)
    assert {key[0]: (key[2], delta) for key, (_, delta) in there.settles.items()} == {
        "q:g": (2_000_000, 4),
        "tb:g": (-1, 5),
        "r:g": (-1, 1),
    }
    here = Session()
    here.settle(taken[0].charge, 2_000_000, 3)
    here.settle(taken[1].charge, 90_000, 2)
    here.pass_excess(other := Session())
    assert {key[0]: key[2] for key in other.settles} == {"q:g": 2_000_000, "tb:g": -1}


async def test_an_embedded_quota_follows_the_wall_clock() -> None:
    """Its own clock stands still; when the day that the wall clock tells is over, the amount is free again."""
    day = replace(MONTHLY, period="day")
    wall = [86_400_000.0 * 700 - 1]
    async with running(Gate(now_ms=lambda: 5.0, wall_ms=lambda: wall[0])) as gate:
        await granted(gate, plan((day, 10), wait=0))
        assert (await refused(gate, plan((day, 1), wait=0))).retry_after_ms == 1
        wall[0] += 1
        # the one that was told comes back, too: there is room for both
        await granted(gate, plan((day, 9), wait=0))


async def test_what_a_call_truly_used_counts_in_its_user_s_turns() -> None:
    """Two users take turns at one place in flight; the one whose first call used thirty times as much waits longer."""
    # a limit of users has no part in the share, so the tokens alone count
    alone = replace(FLYING, amount=1, per=("user",))
    order: list[str] = []

    async with running(Gate(now_ms=now_ms)) as gate:

        def of(user: str) -> Plan:
            return replace(plan((TOKENS, 10), (alone, 1)), flow=user)

        async def one(user: str) -> None:
            grant = await granted(gate, of(user))
            order.append(user)
            gate.settle(grant, {"tokens": 300.0 if order.count(user) == 1 and user == "over" else 10.0})

        first = await granted(gate, of("first"))
        calls = [asyncio.ensure_future(one(user)) for user in ("over", "over", "fair", "fair", "fair")]
        await until(lambda: gate.held == 5)
        gate.settle(first, {})
        await asyncio.gather(*calls)
    assert order == ["over", "fair", "fair", "fair", "over"]


@pytest.mark.parametrize(("answer", "after"), [(b" 2 1 6 1 350", 350), (b"", None)], ids=["told", "lost"])
def test_a_call_whose_time_is_up_asks_when_to_come_back(answer: bytes, after: int | None) -> None:
    """It is answered with what the store says of it, and without a time where the store knows it no more."""
    line, wish = Line("s", b"r" * 16, Session()), plan((REQUESTS, 1))
    waiting = Waiting(
        n=1, plan=wish, arrival=wire.arrival(wish), enqueued_ms=0, deadline_ms=60, since_ms=0, held=True, binds=1
    )
    line.enter(waiting)
    line.take(0.0, 1000)
    line.expire(waiting)
    assert line.waiting
    batch = line.take(60.0, 1000)
    assert batch.args[-3:] == [b"E", 1, b"-"]
    line.apply(batch, wire.reply(b"0 0 1 -1 0 1 0 0" + answer), 60.0, lambda *_: None)
    assert waiting.verdict == Refuse(code="hold_expired", limit=REQUESTS, retry_after_ms=after, waited_ms=60)
    assert not line.waiting


def test_a_call_whose_time_is_up_before_the_store_heard_of_it_is_answered_at_once() -> None:
    """There is nothing to ask."""
    line, wish = Line("s", b"r" * 16, Session()), plan((REQUESTS, 1))
    waiting = Waiting(n=1, plan=wish, arrival=wire.arrival(wish), enqueued_ms=0, deadline_ms=60, since_ms=0)
    line.enter(waiting)
    line.expire(waiting)
    assert isinstance(waiting.verdict, Refuse)
    assert not line.has_work
