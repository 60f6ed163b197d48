"""Ten thousand held calls in one process: `python -m tests.bench.held [--calls N] [--body BYTES] [--store NAME]`.

A real `headgate serve`, real sockets, chat bodies of ordinary size, on the embedded gate and on a real Redis. Printed:
resident memory and what a held call takes of it; Redis commands a second while all wait; how late a call leaves once
it could (limits: calls in flight, where an answer makes room, and a token bucket, where time does); calls that were
lost; and how long slots and places take to come back when all clients leave at once. Asserts nothing.

Lateness is counted here, from the upstream's last byte of an answer to its first byte of the next request, so the
way to the client and back, this program's own turn of the loop included, is in it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvloop

from tests.headgate_process import Headgate, serving
from tests.redis_server import RedisServer, redis_server

from .crowd import Crowd, Upstream, in_turns, raise_descriptors

CONFIG = """
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}, {{name: b, env: KEY_OPENAI}}]
    upstream: http://127.0.0.1:{port}
    limits:
      - {{requests: 1000000000, window: 60, per: [group, model]}}
      - {{tokens: 100000000000, window: 60, per: [group, model]}}
      - {{requests: 1000000000, window: 60, per: [user]}}
      - {{concurrent: 1}}
    hold: {{max_wait: 600s, max_queue: 100000}}
  anthropic:
    keys: [{{name: a, env: KEY_OPENAI}}]
    upstream: http://127.0.0.1:{port}
    algorithm: token_bucket
    limits:
      - {{capacity: {capacity}, refillRate: {rate}}}
    jitter: 0ms
    hold: {{max_wait: 600s, max_queue: 100000}}
"""
RATE, CAPACITY = 200, 50
"""Refill of the bucket that is waited for by time, calls a second, and its capacity."""
USERS = 100
MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5")
TEXT = (
    "the of and to in is that for it as with on be at by this from or have an they which one you were all her she "
    "there would their we him been has when who will no more if out so what up said about than its into them can only "
    "other time new some could these two may first then do any like my now over such our man me even most made after "
)


def chat(size: int, seed: int) -> bytes:
    """A chat completion of about `size` bytes: a system prompt, and turns of ordinary words, another text each."""
    turns = [{"role": "system", "content": "You are a friendly clerk who answers in one short sentence."}]
    at, left = seed % len(TEXT), size - 200
    while left > 0:
        text = (TEXT[at:] + TEXT[:at])[: max(16, left)]
        turns.append({"role": "user" if len(turns) % 2 else "assistant", "content": f"{seed} {text}"})
        left -= len(text) + 40
    return json.dumps({"model": MODELS[seed % len(MODELS)], "max_tokens": 256, "messages": turns}).encode()


def request(service: str, seed: int, size: int) -> bytes:
    """One call as an OpenAI client writes it."""
    body = chat(size, seed)
    path = "/anthropic/v1/messages" if service == "anthropic" else "/openai/v1/chat/completions"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"
        "Content-Type: application/json\r\nUser-Agent: OpenAI/Python 2.0.0\r\nX-Stainless-Lang: python\r\n"
        "X-Stainless-Async: async:asyncio\r\nAuthorization: Bearer sk-bench-worker\r\n"
        f"X-Headgate-User: user-{seed % USERS}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Bench:
    """One Headgate, its store, its clients and its upstream."""

    def __init__(self, running: Headgate, redis: RedisServer | None, upstream: Upstream, calls: int, body: int) -> None:
        self.running, self.redis, self.upstream = running, redis, upstream
        self.calls, self.body = calls, body
        self.host, port = running.proxy.removeprefix("http://").split(":")
        self.port = int(port)

    async def run(self) -> None:
        """Measure and print."""
        await self._warm()
        before = self._resident()
        _say(f"  resident before any call is held: {before:.0f} MiB")
        crowd = await self._hold("openai", self.calls)
        after = self._resident()
        each = (after - before) * 1024 / self.calls
        _say(
            f"  resident with {self.calls:,} held: {after:.0f} MiB ({each:.1f} KiB a call, of it {self.body} B of body)"
        )
        if self.redis is not None:
            await self._commands()
        await self._release(crowd)
        await self._by_time()
        await self._leave()
        _say(f"  resident at the end: {self._resident():.0f} MiB")
        if lost := self.running.log.count("limits are shared out"):
            _say(f"  the store did not answer in time, and was left, {lost} times: this machine is too busy to measure")

    async def _warm(self) -> None:
        """What is loaded at the first call of a kind is loaded."""
        self.upstream.hold(False)
        for seed in range(len(MODELS)):
            crowd = Crowd(self.host, self.port)
            await crowd.send([request("openai", seed, self.body)])
            await crowd.answered(1)
            crowd.leave()

    async def _hold(self, service: str, count: int) -> Crowd:
        """So many calls wait; one more is with the upstream, which keeps it."""
        self.upstream.hold(True)
        crowd = Crowd(self.host, self.port)
        requests = [request(service, seed, self.body) for seed in range(count + 1)]
        started = time.perf_counter()
        await crowd.send(requests)
        await in_turns(lambda: self._waiting(service) >= count)
        _say(f"  {count:,} calls took their place in {time.perf_counter() - started:.1f} s")
        return crowd

    async def _commands(self) -> None:
        """What Redis is asked while all wait."""
        assert self.redis is not None
        before = _commandstats(self.redis)
        seconds = 5.0
        await asyncio.wait_for(asyncio.shield(self.upstream.quiet(seconds)), seconds + 5)
        after = _commandstats(self.redis)
        ticks = (after["fcall"] - before["fcall"]) / seconds
        inside = (sum(after.values()) - sum(before.values())) / seconds
        memory = self.redis.command("INFO", "memory")
        used = next(line for line in memory.splitlines() if line.startswith("used_memory:")).partition(":")[2]
        _say(
            f"  Redis while they wait: {ticks:.1f} commands/s from Headgate ({inside:.0f}/s inside scripts), "
            f"{int(used) / 2**20:.0f} MiB in use"
        )

    async def _release(self, crowd: Crowd) -> None:
        """One in flight: each answer lets the next go, so the time between them is all lateness."""
        self.upstream.gaps.clear()
        started = time.perf_counter()
        self.upstream.hold(False)
        await crowd.answered(self.calls + 1)
        seconds = time.perf_counter() - started
        lost = self.calls + 1 - crowd.good
        _say(
            f"  woken by an answer, one after another: {_lateness(self.upstream.gaps)}; all left in {seconds:.1f} s,"
            f" {lost} lost"
        )
        crowd.leave()

    async def _by_time(self) -> None:
        """The bucket refills at RATE: when each call may go is known from when the first went."""
        count = min(self.calls, 10 * RATE)
        self.upstream.arrivals.clear()
        crowd = Crowd(self.host, self.port)
        await crowd.send([request("anthropic", seed, self.body) for seed in range(count)])
        await crowd.answered(count)
        times = self.upstream.arrivals[CAPACITY:]
        late = [at - times[0] - k / RATE for k, at in enumerate(times)]
        earliest = min(late)
        lost = count - crowd.good
        _say(f"  woken by time, {RATE}/s: {_lateness([x - earliest for x in late])}, {lost} of {count:,} lost")
        crowd.leave()

    async def _leave(self) -> None:
        """All clients go at once."""
        crowd = await self._hold("openai", self.calls)
        started, burnt = time.perf_counter(), self._cpu()
        crowd.leave()
        # the metrics page takes some milliseconds of the very process that is measured
        await in_turns(lambda: self._waiting("openai") == 0, pause=0.05)
        told = time.perf_counter() - started
        said = f"  {self.calls:,} clients left at once: nobody waits by Headgate's metric after {told:.2f} s"
        if self.redis is not None:
            await in_turns(lambda: self._reserved() == 0)
            said += f", nothing waits or is in flight in the store after {time.perf_counter() - started:.2f} s"
        _say(f"{said}; {self._cpu() - burnt:.2f} s of a core")
        self.upstream.hold(False)
        one = Crowd(self.host, self.port)
        started = time.perf_counter()
        await one.send([request("openai", 1, self.body)])
        await one.answered(1)
        _say(f"  the next call is answered in {(time.perf_counter() - started) * 1000:.1f} ms")
        one.leave()

    def _waiting(self, service: str) -> int:
        return int(self.running.metric(f'headgate_waiting{{service="{service}"}}'))

    def _reserved(self) -> int:
        """Calls that wait, calls in flight and cost asked for, as the store has them."""
        assert self.redis is not None
        left = int(self.redis.command("HGET", "rl:{openai}:meta", "waiting") or 0)
        for key in self._gauges:
            left += int(self.redis.command("HGET", key, "used") or 0) + int(self.redis.command("HGET", key, "q") or 0)
        return left

    @property
    def _gauges(self) -> list[str]:
        assert self.redis is not None
        listed = self.redis.command("EVAL", "return table.concat(redis.call('KEYS', 'rl:{openai}:g:*'), ' ')", "0")
        return listed.split()

    def _cpu(self) -> float:
        """Seconds of a core that the process has used."""
        fields = Path(f"/proc/{self.running.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _resident(self) -> float:
        """MiB that the process holds in memory."""
        status = Path(f"/proc/{self.running.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


def _commandstats(redis: RedisServer) -> dict[str, int]:
    """Command -> times it was called, those of scripts included."""
    found = {}
    for line in redis.command("INFO", "commandstats").splitlines():
        if line.startswith("cmdstat_"):
            name, _, figures = line.removeprefix("cmdstat_").partition(":")
            if name not in ("info", "hget", "eval"):
                found[name] = int(figures.partition(",")[0].removeprefix("calls="))
    return found


def _lateness(seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"late by p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms, at most {max(seconds) * 1000:.1f} ms"


@contextlib.contextmanager
def _store(name: str) -> Iterator[RedisServer | None]:
    if name == "embedded":
        yield None
    else:
        with redis_server() as server:
            yield server


async def _measure(name: str, calls: int, body: int, directory: Path) -> None:
    _say(f"  load of this machine: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} cores")
    upstream = Upstream()
    port = await upstream.start()
    config = CONFIG.format(port=port, rate=RATE, capacity=CAPACITY)
    with _store(name) as redis:
        url = redis.url if redis is not None else "memory"
        with serving(directory / name, config, "--store", url, more={"KEY_OPENAI": "sk-bench-pool"}) as running:
            await Bench(running, redis, upstream, calls, body).run()
            upstream.close()


def main() -> int:
    """Measure both stores."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--calls", type=int, default=10_000, help="calls held at once")
    flags.add_argument("--body", type=int, default=1024, help="bytes of a chat body")
    flags.add_argument("--store", choices=("embedded", "redis"), action="append", help="default: both")
    chosen = flags.parse_args()
    stores = chosen.store or ["embedded", "redis"]
    if shutil.which("redis-server") is None and "redis" in stores:
        _say("redis-server is not on the PATH: only the embedded gate is measured. Debian's package: `redis-server`.")
        stores.remove("redis")
    allowed = raise_descriptors()
    if allowed < chosen.calls + 100:
        _say(f"{allowed} file descriptors are allowed (ulimit -n): {chosen.calls} calls cannot be held.")
        return 1
    with tempfile.TemporaryDirectory(prefix="headgate-held-") as directory:
        for name in stores:
            _say(f"\n{name} gate, {chosen.calls:,} held calls")
            try:
                uvloop.run(_measure(name, chosen.calls, chosen.body, Path(directory)))
            except TimeoutError:
                _say("  given up: what should have come did not come in time. Is the machine busy?")
            _say(f"  load of this machine: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} cores")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
