"""The promise itself: under three times its quota the upstream answers no 429, and its quota is used."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.headgate_process import serving
from tests.redis_server import redis_server
from tests.upstreams import strict

from .conftest import POOLED
from .overload import push
from .quota import fullest, share

WINDOW = 6.0
REQUESTS = 60
TOKENS = 20_000
SECONDS = 30.0
WORKERS = 64
TIMES = 3
"""How many quotas are pushed (issue 2, Shown by)."""
CONFIG = """
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    upstream: {upstream}
    jitter: 100ms
    hold: {{max_wait: 12s}}
    limits:
      - {{requests: 60, window: 6}}
      - {{tokens: 20000, window: 6}}
"""


@pytest.mark.alone
@pytest.mark.timeout(180)
async def test_two_processes_on_one_redis_use_the_quota_and_meet_no_429(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 900 calls pushed in 30 s none is lost, the upstream refuses none, and at least 90 % of its quota is used.

    The upstream keeps a sliding log, the strictest limiter there is. Used is the share of the limit that binds (of
    requests and tokens the fuller one), as the mean over all phases of three whole windows after one of warm-up.
    """
    pushed = round(TIMES * REQUESTS * SECONDS / WINDOW)
    draw = random.Random(2)
    mean = TOKENS // REQUESTS
    bodies = [strict.chat_body(draw.randint(mean - 150, mean + 150)) for _ in range(pushed)]
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(strict.running("sliding", window=WINDOW, requests=REQUESTS, tokens=TOKENS))
        redis = stack.enter_context(redis_server())
        config = CONFIG.format(upstream=upstream)
        gates = [
            stack.enter_context(
                serving(tmp_path / name, config, "--store", redis.url, more=POOLED, canaries=tuple(POOLED.values()))
            )
            for name in ("one", "two")
        ]
        bases = [f"{gate.proxy}/openai/v1" for gate in gates]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            outcome = await push(bases, bodies, workers=WORKERS, seconds=SECONDS, session=session)
            async with session.get(f"{upstream}/ledger") as reply:
                ledger = [strict.Entry(**entry) for entry in json.loads(await reply.read())]

    refused = [entry for entry in ledger if entry.status != 200]
    requests = [(entry.at, 1.0) for entry in ledger]
    tokens = [(entry.at, float(entry.tokens)) for entry in ledger]
    shares = {"requests": _share(requests, REQUESTS), "tokens": _share(tokens, TOKENS)}
    with capsys.disabled():
        print(
            f"\noverload: {outcome.pushed} pushed, {outcome.answered} answered, {outcome.in_hand} in workers' hands,",
            f"{sum(outcome.lost.values())} lost; refusals met: {dict(outcome.refused)};",
            f"the upstream saw {len(ledger)} and refused {len(refused)};",
            f"used of the quota: requests {shares['requests']:.1%}, tokens {shares['tokens']:.1%}; fullest window:",
            f"{fullest(requests, window=WINDOW):.0f} requests, {fullest(tokens, window=WINDOW):.0f} tokens",
        )
    assert refused == []
    assert not outcome.lost
    assert outcome.answered + outcome.in_hand == outcome.pushed
    assert outcome.answered == len(ledger), "a call was sent twice, or its answer was made up"
    assert {entry.key for entry in ledger} == {f"Bearer {POOLED['KEY_OPENAI']}"}
    assert max(shares.values()) >= 0.90


def _share(amounts: list[tuple[float, float]], quota: float) -> float:
    first = min(at for at, _ in amounts)
    return share(amounts, quota=quota, window=WINDOW, start=first + WINDOW, windows=3)


def test_the_strict_upstream_refuses_what_no_headgate_paces(tmp_path: Path) -> None:
    """The stand-in can say no: 61 calls at once meet one 429, so the 0 of the other test means something."""
    limiter = strict.Limiter(kind="sliding", window=WINDOW, requests=REQUESTS, tokens=TOKENS)
    assert [limiter.admit(0.0, 100) for _ in range(61)].count(False) == 1
    assert not limiter.admit(5.99, 100)
    assert limiter.admit(6.0, 100)


def test_the_stand_in_counts_what_the_tokenizer_counts() -> None:
    """A body made to cost n tokens costs n by the upstream's rule and n by Headgate's own count."""
    from rules.meters import estimate

    for cost in (200, 333, 480):
        body: dict[str, Any] = strict.chat_body(cost)
        raw = json.dumps(body).encode()
        assert sum(strict.cost_of(raw)) == cost
        assert estimate("chat_completions", raw).costs["tokens"] == cost
