"""Providers that enforce their limits to the letter, one port each, in a process of their own:
`python -m tests.upstreams.strict '[{...}, ...]'`, a list of `Provider` as JSON.

A call is counted when its head and body are there and a random delay of at most `delay` has passed, at the clock of
that one process; what exceeds any limit is answered with 429 and counts for none. Every call is written down:
`GET /ledger`.

A call's tokens are known to the caller and the provider alike without either asking the other: the prompt is words that
are one token each, 7 tokens surround a chat of one message (provider-facts 2.2: 3 a message, 1 for the role, 3 for the
reply), and the whole of `max_tokens` is produced.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

from aiohttp import web

from tests.headgate_process import ROOT

from .limiters import SECOND, FixedWindow, InFlight, Limiter, SlidingLog, TokenBucket, TwoCounters

OVERHEAD = 7
WORD = "gate"
"""One token in o200k_base, alone and after a space."""
CALL_FIELD = "X-Test-Call"
"""Names a call from its client to the ledger; Headgate passes it on as it does any field it does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One limit of a provider: `amount` of `meter`, over `seconds` or, of a bucket, refilled at `rate` a second."""

    kind: Literal["fixed", "sliding", "two_counters", "bucket", "in_flight"]
    amount: int
    meter: Literal["requests", "tokens"] = "requests"
    seconds: float = 0.0
    rate: str = "0"
    """A decimal number, so that it is exact."""

    def limiter(self, draw: random.Random) -> Limiter:
        """It, at work; where windows begin is drawn."""
        window = round(self.seconds * SECOND)
        if self.kind == "fixed":
            return FixedWindow(amount=self.amount, window=window, phase=draw.randrange(window))
        if self.kind == "sliding":
            return SlidingLog(amount=self.amount, window=window)
        if self.kind == "two_counters":
            return TwoCounters(amount=self.amount, window=window, phase=draw.randrange(window))
        if self.kind == "bucket":
            return TokenBucket(capacity=self.amount, rate=Fraction(self.rate))
        return InFlight(amount=self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider: what it enforces, how late it may count (seconds), how long it works on a call (seconds)."""

    rules: tuple[Rule, ...]
    delay: float = 0.0
    service: float = 0.0
    seed: int = 0

    @classmethod
    def read(cls, said: dict[str, Any]) -> Provider:
        """From what asdict wrote."""
        return cls(**{**said, "rules": tuple(Rule(**rule) for rule in said["rules"])})


@dataclass(slots=True, kw_only=True)
class Entry:
    """One call: when it was there, when it was counted and when its answer was written, in seconds of the monotonic
    clock, which all processes of a machine share; what it cost, and whether it was let in."""

    arrived: float
    at: float
    left: float
    tokens: int
    status: int
    key: str
    """The credential it came with."""
    call: str
    """The name its client gave it."""


def chat_body(cost: int) -> dict[str, Any]:
    """A chat completion that costs exactly `cost` tokens, a third of them the reply's."""
    reply = cost // 3
    words = " ".join([WORD] * (cost - OVERHEAD - reply))
    return {"model": "gpt-4o", "max_tokens": reply, "messages": [{"role": "user", "content": words}]}


def cost_of(body: bytes) -> tuple[int, int]:
    """Tokens of the prompt and of the reply."""
    asked = json.loads(body)
    prompt = OVERHEAD + sum(len(message["content"].split()) for message in asked["messages"])
    return prompt, asked["max_tokens"]


class Strict:
    """A provider's handler."""

    def __init__(self, provider: Provider) -> None:
        self._draw = random.Random(provider.seed)
        self._limits = [(rule.meter, rule.limiter(self._draw)) for rule in provider.rules]
        self._provider = provider
        self._ledger: list[Entry] = []

    def _admit(self, now: int, costs: dict[str, int]) -> bool:
        if not all(limiter.fits(now, costs[meter]) for meter, limiter in self._limits):
            return False
        for meter, limiter in self._limits:
            limiter.take(now, costs[meter])
        return True

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Count it, work on it, answer it, write it down."""
        body = await request.read()
        if request.raw_path == "/ledger":
            return web.json_response([asdict(entry) for entry in self._ledger])
        arrived = time.monotonic_ns()
        prompt, reply = cost_of(body)
        costs = {"requests": 1, "tokens": prompt + reply}
        await _pass(self._draw.uniform(0.0, self._provider.delay))
        now = time.monotonic_ns()
        entry = Entry(
            arrived=arrived / SECOND,
            at=now / SECOND,
            left=now / SECOND,
            tokens=prompt + reply,
            status=200 if self._admit(now, costs) else 429,
            key=request.headers.get("Authorization", ""),
            call=request.headers.get(CALL_FIELD, ""),
        )
        self._ledger.append(entry)
        if entry.status == 429:
            error = {"message": "Rate limit reached", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}
            return web.json_response({"error": error}, status=429, headers={"Retry-After": "1"})
        try:
            await _pass(self._provider.service)
        finally:  # also when the caller hangs up
            for meter, limiter in self._limits:
                limiter.leave(costs[meter])
            entry.left = time.monotonic()
        usage = {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}
        choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})


async def _pass(seconds: float) -> None:
    """Let so much time go by on the loop."""
    if seconds > 0:
        loop = asyncio.get_running_loop()
        passed: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, passed.set_result, None)
        try:
            await passed
        finally:
            timer.cancel()


async def _serve(providers: Sequence[Provider]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for provider in providers:
            runner = web.ServerRunner(web.Server(Strict(provider).handle, access_log=None))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            ports.append(runner.addresses[0][1])
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the test closes our input


@contextlib.contextmanager
def running(providers: Sequence[Provider]) -> Iterator[list[str]]:
    """The providers as a process; yields their base URLs in the same order."""
    said = json.dumps([asdict(provider) for provider in providers])
    command = [sys.executable, "-m", "tests.upstreams.strict", said]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the strict providers did not start"
        yield [f"http://127.0.0.1:{port}" for port in json.loads(line)]


if __name__ == "__main__":
    import uvloop

    # The first line printed is the list of ports.
    uvloop.run(_serve([Provider.read(said) for said in json.loads(sys.argv[1])]))
