"""How fast the upstream room alone is: `python -m tests.bench.upstream [--uvloop] [--profile]`.

Drives Upstream.send against a local nginx that answers a small JSON; prints calls a second and microseconds a call.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import shutil
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from proxy.addresses import AddressPolicy
from proxy.upstream import Target, Upstream

from . import nginx

REQUEST = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Say hello to Ann."}]}'
HEADERS = [
    (b"Host", b"api.openai.com"),
    (b"Authorization", b"Bearer sk-bench-pool"),
    (b"Content-Type", b"application/json"),
    (b"Accept", b"application/json"),
    (b"User-Agent", b"OpenAI/Python 2.0"),
    (b"Accept-Encoding", b"gzip, deflate"),
]


async def drive(port: int, calls: int, concurrency: int) -> float:
    """Seconds that so many calls take."""
    upstream = Upstream(addresses=AddressPolicy(), client_context=lambda _: ssl.create_default_context())
    target = Target("http", "api.openai.com", 80, ("127.0.0.1", port), None, False)
    turns: Iterator[int] = iter(range(calls))

    async def worker() -> None:
        for _ in turns:
            reply = await upstream.send(target, b"POST", b"/v1/chat/completions", HEADERS, REQUEST)
            body = await reply.read(1 << 20)
            if reply.status != 200 or not body:
                raise RuntimeError("not the answer that was asked for")
            reply.release()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(worker())
    elapsed = time.perf_counter() - started
    await upstream.close()
    return elapsed


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=30_000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    # nginx on the last core, we on the others: the figure is of one core of ours
    pin = ("taskset", "-c", str((os.cpu_count() or 1) - 1)) if shutil.which("taskset") else ()
    with tempfile.TemporaryDirectory() as directory, nginx.upstream(Path(directory), pin) as port:
        profile = cProfile.Profile()
        run = uvloop.run if options.uvloop else asyncio.run
        if options.profile:
            profile.enable()
        elapsed = run(drive(port, options.calls, options.concurrency))
        if options.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    print(f"{options.calls / elapsed:,.0f} calls/s, {elapsed / options.calls * 1e6:.0f} us a call")


if __name__ == "__main__":
    main()
