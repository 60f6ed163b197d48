"""The strict providers' own promises: they can say no, they write everything down, and they count what we count."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import aiohttp
import pytest

from rules.meters import estimate
from rules.spellings import duration
from tests.rules.given import parsed

from . import strict
from .kinds import Kind, full, short
from .strict import Entry, Provider, Rule


async def ask(session: aiohttp.ClientSession, base: str, call: str = "", cost: int = 100) -> int:
    """The status of one call."""
    headers = {strict.CALL_FIELD: call, "Authorization": "Bearer k"}
    async with session.post(f"{base}/chat/completions", json=strict.chat_body(cost), headers=headers) as reply:
        await reply.read()
        return reply.status


async def ledger(session: aiohttp.ClientSession, base: str) -> list[Entry]:
    """What the provider wrote down."""
    async with session.get(f"{base}/ledger") as reply:
        return [Entry(**entry) for entry in json.loads(await reply.read())]


async def test_a_call_too_many_is_refused_by_each_provider_alone() -> None:
    """Two in one process, 6 calls at once to each: one lets in 5 requests, the other 300 tokens, three calls' worth."""
    five = Provider(rules=(Rule(kind="sliding", amount=5, seconds=600),))
    tokens = Provider(
        rules=(
            Rule(kind="fixed", amount=300, seconds=600, meter="tokens"),
            Rule(kind="sliding", amount=100, seconds=600),
        )
    )
    with strict.running([five, tokens]) as bases:
        async with aiohttp.ClientSession() as session:
            for base, admitted in zip(bases, (5, 3), strict=True):
                statuses = Counter(await asyncio.gather(*[ask(session, base, str(n)) for n in range(6)]))
                assert statuses == {200: admitted, 429: 6 - admitted}
                written = await ledger(session, base)
                assert sorted(entry.call for entry in written) == [str(n) for n in range(6)]
                assert Counter(entry.status for entry in written) == statuses
                assert {(entry.tokens, entry.key) for entry in written} == {(100, "Bearer k")}


async def test_a_call_is_counted_between_its_arrival_and_the_longest_delay() -> None:
    """And stays in flight until it has been worked on: three at once, two places, one refusal, then room again."""
    provider = Provider(rules=(Rule(kind="in_flight", amount=2),), delay=0.05, service=0.5)
    with strict.running([provider]) as (base,):
        async with aiohttp.ClientSession() as session:
            statuses = await asyncio.gather(*[ask(session, base) for _ in range(3)])
            assert Counter(statuses) == {200: 2, 429: 1}
            assert await ask(session, base) == 200
            for entry in await ledger(session, base):
                assert entry.arrived <= entry.at <= entry.left
                assert (entry.left - entry.at > 0.4) == (entry.status == 200)
            delays = {round(entry.at - entry.arrived, 4) for entry in await ledger(session, base)}
            assert len(delays) > 1, "the delay is no draw"


def test_the_providers_count_what_the_tokenizer_counts() -> None:
    """A body made to cost n tokens costs n by the upstream's rule and n by Headgate's own count."""
    for cost in (100, 200, 333, 480):
        body: dict[str, Any] = strict.chat_body(cost)
        raw = json.dumps(body).encode()
        assert sum(strict.cost_of(raw)) == cost
        assert estimate("chat_completions", raw).costs["tokens"] == cost


@pytest.mark.parametrize(("made", "jitter"), [(short, "100ms"), (full, "500ms")])
def test_what_a_kind_configures_can_use_its_optimum_and_no_more_than_is_safe(made: Any, jitter: str) -> None:
    """The bounds of limiter 14, on the limits as Headgate reads them."""
    kinds: dict[str, Kind] = {kind.name: kind for kind in made()}
    seconds = duration(jitter) / 1000
    for kind in kinds.values():
        text = f"services:\n  a:\n    hosts: [a.test]\n    jitter: {jitter}\n    limits: {kind.limits}\n"
        limits = parsed(text, catalogue={}).policy.services["a"].limits
        assert kind.aim < kind.optimum <= 1
        rule = kind.provider.rules[-1]
        last = limits[-1]
        assert kind.provider.delay < seconds
        if kind.name in ("fixed", "sliding", "quantised"):
            assert (last.amount, last.window_ms) == (rule.amount, rule.seconds * 1000)
            assert kind.optimum == pytest.approx(last.window_ms / (last.length_ms + last.slice_ms), abs=1e-9), (
                "the slice of limiter 4.1"
            )
        elif kind.name == "two_counters":
            units, ms = last.refill
            rate = units / ms * 1000 / last.scale
            assert last.amount / last.scale + rate * (rule.seconds + seconds) <= rule.amount
            assert kind.optimum == pytest.approx(rate * rule.seconds / rule.amount)
        elif kind.name == "bucket":
            units, ms = last.refill
            assert last.amount + units / ms * 1000 * seconds <= rule.amount
            assert units / ms * 1000 == float(rule.rate)
        else:
            assert (last.kind, last.amount) == ("concurrent", rule.amount)
