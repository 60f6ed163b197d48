"""Four Headgate processes on one Redis before one strict upstream, and calls of named users sent through them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from proxy import tasks
from tests.headgate_process import Headgate, serving
from tests.redis_server import redis_server
from tests.upstreams import strict

REPLICAS = 4
KEY = {"KEY_OPENAI": "sk-bench-pool"}
BODY = strict.chat_body(20)
CONFIG = """
tiers:
  gold: {{weight: 4}}
  free: {{weight: 1}}
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    upstream: {upstream}
    jitter: {jitter}
    hold: {{max_wait: {max_wait}, max_queue: 10000}}
    limits: [{{requests: {amount}, window: {window}}}]
"""


@dataclass(kw_only=True, slots=True)
class Answer:
    """One answered call. `waited`: seconds it was held, as X-Headgate-Waited says; `at`: the loop's clock."""

    user: str
    at: float
    status: int
    waited: float
    reason: str | None
    retry_after: float | None
    """Seconds, from retry-after-ms."""


@dataclass(kw_only=True, slots=True)
class Fleet:
    """Where to send calls, and what came back."""

    bases: list[str]
    upstream: str
    session: aiohttp.ClientSession
    answers: list[Answer] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    def send(self, user: str, replica: int, *, tier: str | None = None, max_wait: str | None = None) -> None:
        """One call, without waiting for its answer."""
        task = tasks.spawn(self._note(user, replica, tier, max_wait), name=f"call of {user}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _note(self, user: str, replica: int, tier: str | None, max_wait: str | None) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            self.answers.append(await self.call(user, replica, tier=tier, max_wait=max_wait))

    async def call(
        self, user: str, replica: int, *, tier: str | None = None, max_wait: str | None = None, end_user: str = "e"
    ) -> Answer:
        """One call and its answer. `end_user`: the `user` of its body, which tells it from others. Raises
        aiohttp.ClientError."""
        headers = {"X-Headgate-User": user, "Content-Type": "application/json"}
        if tier is not None:
            headers["X-Headgate-Tier"] = tier
        if max_wait is not None:
            headers["X-Headgate-Max-Wait"] = max_wait
        url = f"{self.bases[replica]}/openai/v1/chat/completions"
        async with self.session.post(url, data=json.dumps({**BODY, "user": end_user}), headers=headers) as reply:
            await reply.read()
            after = reply.headers.get("retry-after-ms")
            return Answer(
                user=user,
                at=asyncio.get_running_loop().time(),
                status=reply.status,
                waited=float(reply.headers.get("X-Headgate-Waited", "0")),
                reason=reply.headers.get("X-Headgate-Reason"),
                retry_after=int(after) / 1000 if after is not None else None,
            )

    async def rest(self, seconds: float) -> None:
        """Let so much time pass."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_later(seconds, done.set_result, None)
        await done

    async def drop(self) -> None:
        """Every call that has no answer yet is given up."""
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    async def refused_upstream(self) -> tuple[int, int]:
        """Calls the upstream saw, and those it answered with 429."""
        async with self.session.get(f"{self.upstream}/ledger") as reply:
            ledger = json.loads(await reply.read())
        return len(ledger), sum(entry["status"] != 200 for entry in ledger)


def _faults(gates: Sequence[Headgate]) -> str:
    lost = sum(gate.log.count("limits are shared out among") for gate in gates)
    late = sum(gate.metric('headgate_late_grants_total{service="openai"}') for gate in gates)
    return f"store lost {lost}, late grants {late:.0f}"


@contextlib.contextmanager
def processes(
    amount: int, window: int, *, max_wait: str = "300s"
) -> Iterator[tuple[list[str], str, Callable[[], str]]]:
    """The processes, with `amount` requests per `window` seconds; yields their bases, the
    upstream's, and what tells how often they lost the store and had a grant too late."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-fleet-")))
        rule = strict.Rule(kind="sliding", amount=amount, seconds=float(window))
        (upstream,) = stack.enter_context(strict.running([strict.Provider(rules=(rule,))]))
        redis = stack.enter_context(redis_server())
        jitter = "100ms" if window < 60 else "500ms"
        config = CONFIG.format(upstream=upstream, jitter=jitter, max_wait=max_wait, amount=amount, window=window)
        gates = [
            stack.enter_context(serving(directory / f"g{i}", config, "--store", redis.url, more=KEY))
            for i in range(REPLICAS)
        ]
        yield (
            [gate.proxy for gate in gates],
            upstream,
            lambda: _faults(gates),
        )


@contextlib.asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield session


@contextlib.asynccontextmanager
async def fleet(bases: Sequence[str], upstream: str) -> AsyncIterator[Fleet]:
    """A client of these processes; calls without an answer are given up at its end."""
    async with _session() as session:
        client = Fleet(bases=list(bases), upstream=upstream, session=session)
        try:
            yield client
        finally:
            await client.drop()
