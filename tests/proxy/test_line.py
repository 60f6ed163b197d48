"""proxy/line.py: what is settled counts in the turns of its user (test_gate.py has the rest, through the actor)."""

from __future__ import annotations

import asyncio
import dataclasses

from proxy.gate import Gate
from rules.verdict import Plan

from .test_gate import FLYING, TOKENS, granted, now_ms, plan, running, until


async def test_what_a_call_truly_used_counts_in_its_user_s_turns() -> None:
    """Two users take turns at one place in flight; the one whose first call used thirty times as much waits longer."""
    # a limit of users has no part in the share, so the tokens alone count
    alone = dataclasses.replace(FLYING, amount=1, per=("user",))
    order: list[str] = []

    async with running(Gate(now_ms=now_ms)) as gate:

        def of(user: str) -> Plan:
            return dataclasses.replace(plan((TOKENS, 10), (alone, 1)), flow=user)

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
