"""Slow peers beside honest ones: `python -m tests.bench.slow [--count N] [--only heads|bodies|readers]`.

Thousands of clients that send a byte of a head or of a body every five seconds, or do not read an answer of 32 MiB,
join at 500 a second; one honest client asks a hundred times a second all the while. Printed, for each kind: how the
slow ones ended, by code; how late the last of them was closed, beyond its time; the honest client's p50, p99 and
longest, before and meanwhile. Aim (threats 5.1): all closed within their time and a second; honest p99 below twice
what it was.

The slow ones, the upstream and the honest client are a process each, beside Headgate's. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from tests.headgate_process import Headgate, serving
from tests.raw_server import Peer, ok, raw_server
from tests.threats.slow_peers import large, pause, slow_body, slow_head, slow_reader

from .crowd import raise_descriptors

KINDS = {"heads": (slow_head, 5000, 10.0), "bodies": (slow_body, 5000, 15.0), "readers": (slow_reader, 2000, 15.0)}
"""Whom, how many (threats G1), and after how many seconds they must be closed: threats 4.3, and for readers a time-out
set so, because they would have two minutes."""
JOIN_PER_S = 500
PAUSE_S = 5.0
HONEST_PER_S = 100
BASE_S = 10.0
CONFIG = """
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    upstream: http://127.0.0.1:{port}
    limits: [{{requests: 1000000, window: 60}}]
"""
REQUEST = b"GET /openai/v1/models HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def crowd(kind: str, port: int, count: int) -> dict[str, object]:
    """The slow ones, at their rate; how they ended, and the longest any of them lived, in seconds."""
    peer = KINDS[kind][0]
    loop = asyncio.get_running_loop()
    lived: list[float] = []
    ends: Counter[str] = Counter()

    async def one(after: float) -> None:
        await pause(after)
        began = loop.time()
        try:
            ends[await peer(port, PAUSE_S if peer is not slow_reader else 0.5)] += 1
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            ends[type(error).__name__] += 1
        lived.append(loop.time() - began)

    await asyncio.gather(*(one(index / JOIN_PER_S) for index in range(count)))
    return {"ends": ends, "longest": max(lived)}


async def honest(port: int, until: asyncio.Future[Any]) -> list[float]:
    """Seconds a call took, of a hundred a second on one connection, until the other is done."""
    took: list[float] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not until.done():
        began = time.perf_counter()
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\nok")
        took.append(time.perf_counter() - began)
        await pause(max(0.0, 1 / HONEST_PER_S - took[-1]))
    writer.close()
    return took


async def upstream() -> None:
    """Says where it listens, and answers until it is ended."""

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            await (large(peer) if b"?large" in request else peer.send(ok()))

    async with raw_server(script) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def _line(name: str, took: Sequence[float]) -> str:
    cuts = statistics.quantiles(took, n=100)
    p50, p99, most = (seconds * 1000 for seconds in (cuts[49], cuts[98], max(took)))
    return f"  honest, {name}: {len(took)} calls, p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {most:.0f} ms"


async def _child(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.slow", *arguments, stdout=asyncio.subprocess.PIPE
    )


async def measure(kind: str, count: int, headgate: Headgate) -> None:
    """One kind, in lines."""
    port = int(headgate.proxy.rpartition(":")[2])
    before = await honest(port, asyncio.ensure_future(pause(BASE_S)))
    child = await _child("crowd", kind, str(port), str(count))
    told = asyncio.ensure_future(child.communicate())
    meanwhile = await honest(port, told)
    found = json.loads((await told)[0])
    late = found["longest"] - KINDS[kind][2]
    print(f"{count} slow {kind}: {found['ends']}; the last was closed {late:+.2f} s from its time")
    print(_line("before", before))
    print(_line("meanwhile", meanwhile))


async def run(kinds: Sequence[str], count: int | None) -> None:
    """Every kind, each on a Headgate of its own."""
    server = await _child("upstream")
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    try:
        for kind in kinds:
            more = {"KEY_OPENAI": "sk-bench", "HEADGATE_TIMEOUT_WRITE_IDLE": "15"}
            text = CONFIG.format(port=port)
            with (
                tempfile.TemporaryDirectory() as place,
                serving(Path(place) / "headgate", text, "--drain", "1", more=more) as headgate,
            ):
                await measure(kind, count or KINDS[kind][1], headgate)
    finally:
        server.terminate()
        await server.wait()


def main() -> None:
    """Print the figures."""
    raise_descriptors()
    if sys.argv[1:2] == ["crowd"]:
        found = asyncio.run(crowd(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
        print(json.dumps(found))
        return
    if sys.argv[1:2] == ["upstream"]:
        asyncio.run(upstream())
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="slow peers of each kind; the aim's where it is left out")
    parser.add_argument("--only", choices=KINDS)
    told = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run([told.only] if told.only else list(KINDS), told.count))


if __name__ == "__main__":
    main()
