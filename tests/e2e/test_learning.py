"""What providers tell of their limits reaches the gate: somebody else uses half of the quota, and no call of ours is
refused by the provider for it. One call at a time: of several in flight nobody can say which the provider had counted
when it answered, so that near the end as many may be refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from tests.headgate_process import serving
from tests.upstreams.standin import Reply, Seen, StandIn

CANARY = "canary-key-of-the-pool"
LIMIT, WORKERS, CALLS = 100, 1, 90
WINDOW_S = 60.0


@dataclass
class Shared:
    """A provider that enforces LIMIT in one window of a minute, of which others use a part; it says how it stands."""

    fields: Callable[[int], tuple[tuple[str, str], ...]]
    """What a reply says when so much is left."""
    others: int
    served: int = 0
    refused: int = 0
    grows_at: int | None = None
    """After so many of our calls the others use 20 more."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, seen: Seen) -> Reply:
        """A good reply, or 429 when nothing is left."""
        del seen
        with self.lock:
            if self.served == self.grows_at:
                self.others, self.grows_at = self.others + 20, None
            left = LIMIT - self.others - self.served
            if left <= 0:
                self.refused += 1
                return Reply(status=429, headers=self.fields(0), body=b"{}")
            self.served += 1
            headers = (("Content-Type", "application/json"), *self.fields(left - 1))
            return Reply(headers=headers, body=json.dumps({"data": []}).encode())


def _openai(left: int) -> tuple[tuple[str, str], ...]:
    reset = f"{(LIMIT - left) * WINDOW_S / LIMIT:.2f}s"
    name = "x-ratelimit-{}-requests"
    return ((name.format("limit"), str(LIMIT)), (name.format("remaining"), str(left)), (name.format("reset"), reset))


def _anthropic(left: int) -> tuple[tuple[str, str], ...]:
    name = "anthropic-ratelimit-requests-{}"
    end = datetime.now(UTC).timestamp() + WINDOW_S
    return (
        (name.format("limit"), str(LIMIT)),
        (name.format("remaining"), str(left)),
        (name.format("reset"), datetime.fromtimestamp(end, UTC).isoformat()),
    )


def _reddit(left: int) -> tuple[tuple[str, str], ...]:
    return (
        ("x-ratelimit-used", str(LIMIT - left)),
        ("x-ratelimit-remaining", f"{left}.0"),
        ("x-ratelimit-reset", "60"),
    )


def _x(left: int) -> tuple[tuple[str, str], ...]:
    end = int(datetime.now(UTC).timestamp() + WINDOW_S)
    return (
        ("x-rate-limit-limit", str(LIMIT)),
        ("x-rate-limit-remaining", str(left)),
        ("x-rate-limit-reset", str(end)),
    )


def _ietf(left: int) -> tuple[tuple[str, str], ...]:
    return (
        ("RateLimit", f'"api";r={left};t=60'),
        ("RateLimit-Policy", f'"fixed window";"api";q={LIMIT};w=60'),
    )


SERVICES = {
    "openai": (_openai, "/v1/models"),
    "anthropic": (_anthropic, "/v1/models"),
    "reddit": (_reddit, "/r/python/new"),
    "x": (_x, "/2/other"),
    "huggingface": (_ietf, "/api/models"),
}


def _config(name: str, upstream: str, amount: int) -> str:
    limits = f"[{{requests: {amount}, window: 60, burst: {amount}}}]"
    # limits of the endpoint go, so that what counts is the same for every service
    endpoint = {"x": "other", "huggingface": "api"}.get(name)
    endpoints = f", endpoints: {{{endpoint}: {{limits: []}}}}" if endpoint else ""
    return f"services: {{{name}: {{keys: {{env: KEY}}, upstream: '{upstream}', limits: {limits}{endpoints}}}}}\n"


def _call(url: str) -> int:
    return requests.get(url, headers={"X-Headgate-Max-Wait": "0"}, timeout=30).status_code


@pytest.mark.parametrize("name", SERVICES)
def test_others_use_half_of_the_quota_and_the_provider_refuses_nothing(tmp_path: Path, name: str) -> None:
    """One call at a time asks for nearly twice what is left, without a pace: all of it is used, and no more is sent."""
    fields, path = SERVICES[name]
    provider = Shared(fields, others=LIMIT // 2)
    with (
        StandIn(provider.answer) as upstream,
        serving(tmp_path, _config(name, upstream.url, LIMIT), more={"KEY": CANARY}, canaries=[CANARY]) as headgate,
        ThreadPoolExecutor(WORKERS) as workers,
    ):
        statuses = list(workers.map(_call, [f"{headgate.proxy}/{name}{path}"] * CALLS))
    assert provider.refused == 0
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) == provider.served
    assert LIMIT // 2 - 2 <= provider.served <= LIMIT // 2


def test_others_that_come_in_the_middle_are_heard_of(tmp_path: Path) -> None:
    """After twenty calls of ours the others take 20 more of the quota at once."""
    provider = Shared(_openai, others=30, grows_at=20)
    with (
        StandIn(provider.answer) as upstream,
        serving(tmp_path, _config("openai", upstream.url, LIMIT), more={"KEY": CANARY}) as headgate,
        ThreadPoolExecutor(WORKERS) as workers,
    ):
        statuses = list(workers.map(_call, [f"{headgate.proxy}/openai/v1/models"] * CALLS))
    assert provider.refused == 0
    assert 48 <= statuses.count(200) == provider.served <= 50


def test_a_configured_limit_above_the_providers_is_told_and_kept_to(tmp_path: Path) -> None:
    """500 are written, the provider says 100: a hundred leave, and the log says so once."""
    provider = Shared(_anthropic, others=0)
    with (
        StandIn(provider.answer) as upstream,
        serving(tmp_path, _config("anthropic", upstream.url, 500), more={"KEY": CANARY}) as headgate,
        ThreadPoolExecutor(WORKERS) as workers,
    ):
        statuses = list(workers.map(_call, [f"{headgate.proxy}/anthropic/v1/models"] * (CALLS + 30)))
        assert headgate.log.count("the upstream says 100, not 500 requests per 60s") == 1
    assert provider.refused == 0
    assert 98 <= statuses.count(200) == provider.served <= 100
