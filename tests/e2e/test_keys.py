"""Two replicas, four keys in two organisations, a strict provider: keys are used up, revoked and slowed down by others
while calls go on, and no client sees any of it."""

from __future__ import annotations

import itertools
import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.headgate_process import Headgate, serving
from tests.redis_server import redis_server
from tests.upstreams.keyed import Keyed
from tests.upstreams.standin import StandIn
from tests.upstreams.strict import CALL_FIELD

KEYS = {f"KEY_{name}": f"sk-canary-{name.lower() * 4}" for name in "ABCD"}
A, B, C, D = KEYS.values()
AMOUNT, SECONDS = 40, 2.0
CONFIG = """
services:
  openai:
    keys:
      - {{name: a, env: KEY_A, group: one}}
      - {{name: b, env: KEY_B, group: one}}
      - {{name: c, env: KEY_C, group: two}}
      - {{name: d, env: KEY_D, group: two}}
    upstream: {upstream}
    limits: [{{requests: 40, window: 2, per: [group]}}]
    jitter: 200ms
    key_upkeep: {{probe_every: 1s}}
    hold: {{max_wait: 30s}}
"""


def states(headgate: Headgate) -> dict[str, tuple[str, str]]:
    """Name of each key -> state and reason, as the admin port has them."""
    with urllib.request.urlopen(f"{headgate.admin}/api/keys", timeout=30) as reply:
        said = json.loads(reply.read())
    return {key["key"].rpartition("-")[0]: (key["state"], key["reason"]) for key in said["keys"]}


def metric(headgate: Headgate, state: str) -> int:
    """How many keys are in the state, by the metric."""
    with urllib.request.urlopen(f"{headgate.admin}/metrics", timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    return sum(line.startswith("headgate_key_state{") and f'state="{state}"}} 1.0' in line for line in lines)


def test_no_client_sees_what_becomes_of_keys(tmp_path: Path) -> None:
    """Every call is answered with 200 and served once; states and reasons are the same on both replicas; keys that are
    good again come back."""
    provider = Keyed(keys={A: "one", B: "one", C: "two", D: "two"}, amount=AMOUNT, seconds=SECONDS)
    names = itertools.count()
    with StandIn(provider.answer) as upstream, redis_server() as redis:
        config = CONFIG.format(upstream=upstream.url)
        flags = ("--store", redis.url)
        with (
            serving(tmp_path / "first", config, *flags, more=KEYS, canaries=list(KEYS.values())) as first,
            serving(tmp_path / "second", config, *flags, more=KEYS, canaries=list(KEYS.values())) as second,
            ThreadPoolExecutor(8) as workers,
        ):
            replicas = (first, second)
            answered: list[int] = []

            def ask(n: int) -> int:
                body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Good day"}]}
                reply = requests.post(
                    f"{replicas[n % 2].proxy}/openai/v1/chat/completions",
                    json=body,
                    headers={CALL_FIELD: f"call-{n}"},
                    timeout=60,
                )
                return reply.status_code

            def burst(count: int) -> None:
                answered.extend(workers.map(ask, list(itertools.islice(names, count))))

            def used(key: str) -> int:
                return sum(entry.key == key and entry.status == 200 for entry in provider.ledger)

            burst(40)
            assert all(used(key) for key in (A, B, C, D))
            assert metric(first, "active") == 4

            provider.fates[A] = provider.fates[B] = "exhausted"
            burst(30)
            for headgate in replicas:
                found = states(headgate)
                assert found["a"][0] == found["b"][0] == "exhausted"
                assert "the upstream answered 429: its quota is used up" in found["a"][1]
                assert found["c"][0] == found["d"][0] == "active"

            provider.revoke = (C, 10)
            burst(30)
            for headgate in replicas:
                assert states(headgate)["c"] == ("error", "the upstream answered 401: the key is refused")
                assert metric(headgate, "error") == 1

            provider.neighbour("two")
            burst(20)

            refused = [entry for entry in provider.ledger if entry.status != 200]
            provider.fates.clear()

            def all_active() -> bool:
                burst(4)
                return set(states(first).values()) == {("active", "")}

            first.until(all_active)
            first.until(lambda: metric(second, "active") == 4)
            before = {key: used(key) for key in (A, B, C, D)}
            burst(40)
            assert all(used(key) > before[key] for key in before), "a key that is good again serves"

            served = [entry.call for entry in provider.ledger if entry.status == 200]
            shown = {
                name: sum(entry.key == key and entry.status != 200 for entry in refused)
                for name, key in zip("abcd", (A, B, C, D), strict=True)
            }
            sys.stdout.write(
                f"{len(answered)} calls, {answered.count(200)} answered with 200; the provider refused by key {shown}\n"
            )
            assert set(answered) == {200}
            assert sorted(served) == sorted(f"call-{n}" for n in range(len(answered)))
            assert shown["d"] >= 1, "the neighbour was felt"
            for headgate in replicas:
                for state in ("exhausted", "error", "rate_limited", "active"):
                    assert f'state="{state}"' in changes(headgate)


def changes(headgate: Headgate) -> str:
    """The counters of changes of state."""
    with urllib.request.urlopen(f"{headgate.admin}/metrics", timeout=30) as reply:
        return "\n".join(
            line for line in reply.read().decode().splitlines() if line.startswith("headgate_key_state_changes_total{")
        )
