"""A provider that enforces its limit to the letter, as a process of its own: `python -m tests.upstreams.strict`.

It counts a call when its head and body are there, at the clock of one process, and answers 429 when the window has no
room. `sliding` is the strictest there is, since no window of any phase may hold more than the limit; `fixed` starts its
windows at a phase nobody is told. Every call is written down: `GET /ledger`.

A call's tokens are known to the caller and the provider alike without either asking the other: the prompt is words that
are one token each, 7 tokens surround a chat of one message (provider-facts 2.2: 3 a message, 1 for the role, 3 for the
reply), and the whole of `max_tokens` is produced.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.headgate_process import ROOT

OVERHEAD = 7
WORD = "gate"
"""One token in o200k_base, alone and after a space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One call that arrived: seconds on the provider's clock, what it cost, and whether it was let in."""

    at: float
    tokens: int
    status: int
    key: str
    """The credential it came with."""


@dataclass(kw_only=True)
class Limiter:
    """So many requests and tokens a window; a call that does not fit is refused and counts nothing."""

    kind: Literal["sliding", "fixed"]
    window: float
    requests: int
    tokens: int
    phase: float = 0.0
    _live: deque[tuple[float, int]] = field(default_factory=deque)

    def admit(self, now: float, cost: int) -> bool:
        """Whether the call is let in; counts it if so. `now` in seconds, never smaller than the last."""
        start = now - self.window
        if self.kind == "fixed":
            start = now - (now - self.phase) % self.window
        while self._live and (self._live[0][0] < start if self.kind == "fixed" else self._live[0][0] <= start):
            self._live.popleft()
        used = sum(tokens for _, tokens in self._live)
        if len(self._live) + 1 > self.requests or used + cost > self.tokens:
            return False
        self._live.append((now, cost))
        return True


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
    """The provider's handler."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._ledger: list[Entry] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.raw_path == "/ledger":
            return web.json_response([asdict(entry) for entry in self._ledger])
        prompt, reply = cost_of(body)
        now = time.monotonic()
        admitted = self._limiter.admit(now, prompt + reply)
        status = 200 if admitted else 429
        key = request.headers.get("Authorization", "")
        self._ledger.append(Entry(at=now, tokens=prompt + reply, status=status, key=key))
        if not admitted:
            error = {"message": "Rate limit reached", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}
            return web.json_response({"error": error}, status=429, headers={"Retry-After": "1"})
        usage = {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}
        choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
        return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})


async def _serve(limiter: Limiter) -> None:
    runner = web.ServerRunner(web.Server(Strict(limiter).handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the test closes our input
    await runner.cleanup()


@contextlib.contextmanager
def running(kind: str, *, window: float, requests: int, tokens: int, phase: float = 0.0) -> Iterator[str]:
    """The provider as a process; yields its base URL."""
    numbers = {"--window": window, "--requests": requests, "--tokens": tokens, "--phase": phase}
    flags = [str(part) for flag, value in numbers.items() for part in (flag, value)]
    command = [sys.executable, "-m", "tests.upstreams.strict", kind, *flags]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the strict provider did not start"
        yield f"http://127.0.0.1:{port}"


def main() -> None:
    """Serve until the input is closed; the first line printed is the port."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("kind", choices=("sliding", "fixed"))
    flags.add_argument("--window", type=float, required=True)
    flags.add_argument("--requests", type=int, required=True)
    flags.add_argument("--tokens", type=int, required=True)
    flags.add_argument("--phase", type=float, default=0.0)
    asyncio.run(_serve(Limiter(**vars(flags.parse_args()))))


if __name__ == "__main__":
    main()
