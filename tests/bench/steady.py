"""What Headgate adds at a steady rate: `python -m tests.bench.steady [--rate N] [--seconds N] [--rounds N]`.

Open loop: calls leave at their times whatever became of those before, and one that finds every connection busy has
been waiting since its time. The whole path of a small chat call on a Redis store, Headgate on a core of its own; the
upstream by itself, Redis and this program are on another. Turns alternate, so that both meet the same machine; added
p99 is that of Headgate less that of the upstream alone. Aim (limiter.md 15): below 3 ms at 2,000 calls a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import uvloop

from tests.headgate_process import serving
from tests.redis_server import redis_server

from . import load, nginx
from .main_path import CONFIG, KEY

CONNECTIONS = 64
WARM_SECONDS = 1.0
"""At the beginning of each turn, not counted."""


class Sender(asyncio.Protocol):
    """One kept-alive connection: a call at a time."""

    def __init__(self, steady: Steady) -> None:
        self._steady = steady
        self._since = 0.0
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, since: float, request: bytes) -> None:
        """A call that was due at `since`."""
        self._since, self._busy = since, True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._busy and data.endswith(b"}"):
            self._busy = False
            self._steady.answered(self, self._since, good=data.startswith(b"HTTP/1.1 200"))


class Steady:
    """One turn: `rate` calls a second to one address."""

    def __init__(self, port: int, path: str, rate: int) -> None:
        self._port, self._rate = port, rate
        body = load.BODY.encode()
        self._request = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer sk-bench-worker\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._free: deque[Sender] = deque()
        self._late: deque[float] = deque()
        self._from = 0.0
        self.milliseconds: list[float] = []
        self.errors = 0

    async def run(self, seconds: float) -> None:
        """Send, and wait for the last answers."""
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(lambda: Sender(self), "127.0.0.1", self._port) for _ in range(CONNECTIONS)]
        self._free.extend(sender for _, sender in made)
        began = time.perf_counter()
        self._from, end, sent = began + WARM_SECONDS, began + WARM_SECONDS + seconds, 0
        while (now := time.perf_counter()) < end:
            due = int((now - began) * self._rate)
            for _ in range(due - sent):
                self._send(now)
            sent = due
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while len(self._free) < CONNECTIONS:
                    await asyncio.to_thread(lambda: None)
        self.errors += CONNECTIONS - len(self._free)
        for transport, _ in made:
            transport.abort()

    def _send(self, since: float) -> None:
        if self._free:
            self._free.popleft().send(since, self._request)
        else:
            self._late.append(since)

    def answered(self, sender: Sender, since: float, *, good: bool) -> None:
        """An answer came; the connection takes the next call that waits for one."""
        if since >= self._from:
            self.milliseconds.append((time.perf_counter() - since) * 1000)
        self.errors += not good
        if self._late:
            sender.send(self._late.popleft(), self._request)
        else:
            self._free.append(sender)


@contextlib.contextmanager
def addresses(directory: Path) -> Iterator[dict[str, tuple[int, str]]]:
    """Contender -> port and path."""
    cores = sorted(os.sched_getaffinity(0))
    own, other = str(cores[0]), str(cores[-1])
    os.sched_setaffinity(0, {cores[-1]})
    with (
        nginx.upstream(directory, ["taskset", "-c", other]) as upstream,
        redis_server("--server_cpulist", other) as redis,
        serving(
            directory / "headgate",
            CONFIG.format(port=upstream),
            *("--store", redis.url),
            more=KEY,
            prefix=["taskset", "-c", own],
        ) as running,
    ):
        port = int(running.proxy.rpartition(":")[2])
        before = _cpu(running.process.pid)
        yield {
            "upstream itself": (upstream, "/v1/chat/completions"),
            "headgate, Redis": (port, "/openai/v1/chat/completions"),
        }
        calls = running.metric('headgate_granted_total{service="openai"}')
        _say(f"  Headgate took {(_cpu(running.process.pid) - before) / calls * 1e6:.0f} us of its core a call")
        if lost := running.log.count("limits are shared out"):
            _say(f"  the store did not answer in time, and was left, {lost} times: this machine is too busy to measure")


def _cpu(pid: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure and print."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rate", type=int, default=2000, help="calls a second")
    flags.add_argument("--seconds", type=float, default=5.0, help="length of a turn")
    flags.add_argument("--rounds", type=int, default=3, help="turns of each")
    chosen = flags.parse_args()
    missing = [name for name in ("redis-server", "taskset") if shutil.which(name) is None]
    if missing or nginx.program() is None:
        _say(f"not measured: {', '.join(missing) or 'nginx'} is not on the PATH")
        return 1
    found: dict[str, list[Steady]] = {}
    with tempfile.TemporaryDirectory(prefix="headgate-steady-") as name, addresses(Path(name)) as contenders:
        for _ in range(chosen.rounds):
            for contender, (port, path) in contenders.items():
                steady = Steady(port, path, chosen.rate)
                uvloop.run(steady.run(chosen.seconds))
                found.setdefault(contender, []).append(steady)
    _say(f"\n{chosen.rate:,} calls a second, {chosen.rounds} turns of {chosen.seconds:.0f} s each, ms, median turn")
    _say(f"  {'':<20}{'p50':>8}{'p99':>8}{'max':>8}{'calls':>10}{'errors':>8}")
    figures = {}
    for contender, turns in found.items():
        cuts = [statistics.quantiles(turn.milliseconds, n=100) for turn in turns]
        p50, p99 = statistics.median(cut[49] for cut in cuts), statistics.median(cut[98] for cut in cuts)
        figures[contender] = p50, p99
        most = max(max(turn.milliseconds) for turn in turns)
        calls, errors = sum(len(turn.milliseconds) for turn in turns), sum(turn.errors for turn in turns)
        _say(f"  {contender:<20}{p50:>8.2f}{p99:>8.2f}{most:>8.1f}{calls:>10,}{errors:>8}")
    base, own = figures.values()
    _say(f"  {'added':<20}{own[0] - base[0]:>8.2f}{own[1] - base[1]:>8.2f}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
