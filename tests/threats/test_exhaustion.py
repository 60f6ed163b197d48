"""Section G of the threat table against a real process: slow peers, bombs, bodies without end, no descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.headgate_process import Headgate, serving
from tests.raw_server import Peer, ok, raw_server

from .slow_peers import crowd, large, slow_body, slow_head, slow_reader

GIB = 1 << 30
STEP = 1 << 20
SPARE = 8 << 20
"""What a bomb may add to the process (threats G2)."""
SHORT = {f"HEADGATE_TIMEOUT_{name}": "1" for name in ("HEAD", "BODY_IDLE", "WRITE_IDLE")}
CHAT = json.dumps({"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": "Good day?"}]})


@contextlib.contextmanager
def headgate(
    directory: Path, port: int, *, limits: str = "", prefix: Sequence[str] = (), **more: str
) -> Iterator[Headgate]:
    """In front of a server of the test."""
    config = f"""
services:
  openai:
    keys: [{{name: a, env: KEY_A}}]
    upstream: http://127.0.0.1:{port}
    limits: [{{requests: 1000000, window: 60}}{limits}]
    hold: {{max_wait: 600s, max_queue: 100000}}
"""
    environment = {"KEY_A": "sk-canary-aaaa-1111", **more}
    with serving(
        directory, config, "--drain", "1", more=environment, canaries=["sk-canary-aaaa-1111"], prefix=prefix
    ) as it:
        yield it


def port_of(headgate: Headgate) -> int:
    """Where workers call."""
    return int(headgate.proxy.rpartition(":")[2])


def most_memory(headgate: Headgate) -> int:
    """The most it has held so far, in bytes."""
    told = Path(f"/proc/{headgate.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", told)
    assert found
    return int(found[1]) * 1024


async def call(port: int, head: str, pieces: AsyncIterator[bytes] | None = None) -> tuple[str, int]:
    """One raw call; the status line with the code, and how many bytes of body came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.replace("\n", "\r\n").encode())

    async def send(pieces: AsyncIterator[bytes]) -> None:
        with contextlib.suppress(ConnectionError):
            async for piece in pieces:
                writer.write(piece)
                await writer.drain()

    sending = asyncio.ensure_future(send(pieces)) if pieces is not None else None
    got = 0
    try:
        told = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(STEP):
                got += len(piece)
    finally:
        writer.close()
        if sending is not None:
            sending.cancel()
    code = told.partition("X-Headgate-Reason: ")[2].partition("\r\n")[0]
    return f"{told[9:12]} {code}".strip(), got


GET = "GET {path} HTTP/1.1\nHost: a.test\nConnection: close\n\n"


async def script(peer: Peer) -> None:
    """Answers; at length where it is asked to."""
    while (request := await peer.request()) is not None:
        await (large(peer) if b"?large" in request else peer.send(ok()))


# G1


@pytest.mark.parametrize(
    ("peer", "count", "ends", "counted"),
    [
        (slow_head, 300, {"head_timeout"}, 'headgate_refused_total{code="head_timeout",service="none"}'),
        (slow_body, 300, {"body_timeout"}, 'headgate_refused_total{code="body_timeout",service="openai"}'),
        (slow_reader, 20, {"cut"}, 'headgate_cut_total{code="client_stalled",service="openai"}'),
    ],
    ids=["heads", "bodies", "readers"],
)
async def test_g1_slow_peers_are_closed_and_others_served(
    peer: Callable[[int], object], count: int, ends: set[str], counted: str, tmp_path: Path
) -> None:
    """Each ends by its own code, the metric counts them, and honest calls go through meanwhile (bench: 5,000)."""
    async with raw_server(script) as upstream:
        with headgate(tmp_path, upstream.port, **SHORT) as it:
            slow = asyncio.ensure_future(crowd(peer, port_of(it), count))  # type: ignore[arg-type]
            honest: Counter[str] = Counter()
            while not slow.done():
                status, _ = await call(port_of(it), GET.format(path="/openai/v1/models"))
                honest[status] += 1
            assert await slow == Counter(dict.fromkeys(ends, count))
            assert set(honest) == {"200"}
            assert await asyncio.to_thread(it.metric, counted) == count


# G2


def bomb(size: int) -> list[bytes]:
    """A gzip stream of `size` zeros: the same packed block again and again. Its checksum at the end is wrong."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = bytes(1 << 24)
    first = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    return [head + first, *[again] * (size // len(zeros) - 1)]


SIZES = [GIB, pytest.param(10 * GIB, marks=pytest.mark.slow)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_g2_a_bomb_in_an_answer_passes_as_bytes(size: int, coding: str, tmp_path: Path) -> None:
    """Also past the tap that reads usage: byte for byte, and the process grows by less than 8 MiB."""
    blocks = bomb(size) if coding == "gzip" else [random.Random(size).randbytes(size // 1024)]
    length = sum(map(len, blocks))

    async def answer(peer: Peer) -> None:
        while await peer.request() is not None:
            fields = f"Content-Type: application/json\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n"
            await peer.send(f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode())
            for block in blocks:
                await peer.send(block)

    head = (
        f"POST /openai/v1/chat/completions HTTP/1.1\nHost: a\nConnection: close\nContent-Length: {len(CHAT)}\n\n{CHAT}"
    )
    async with raw_server(answer) as upstream:
        with headgate(tmp_path, upstream.port) as it:
            await call(port_of(it), head)
            before = most_memory(it)
            assert await call(port_of(it), head) == ("200", length)
            assert most_memory(it) - before < SPARE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["/openai/v1/chat/completions", "/openai/v1/files"])
async def test_g2_a_bomb_in_a_request_passes_as_bytes(size: int, path: str, tmp_path: Path) -> None:
    """The upstream gets the packed bytes and the process grows by less than 8 MiB; where the route is metered, beyond
    the packed body (its pieces, the whole, and what is on its way out) and what unpacking ever takes, which is 32 MiB
    and was taken before."""
    blocks = bomb(size)
    length = sum(map(len, blocks))
    small = bomb(1 << 25)

    async def send(blocks: Sequence[bytes]) -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    head = f"POST {path} HTTP/1.1\nHost: a\nConnection: close\nContent-Encoding: gzip\nContent-Length: "
    async with raw_server(sink) as upstream:
        with headgate(tmp_path, upstream.port) as it:
            await call(port_of(it), f"{head}{sum(map(len, small))}\n\n", send(small))
            before = most_memory(it)
            assert (await call(port_of(it), f"{head}{length}\n\n", send(blocks)))[0] == "200"
            copies = 3 if path != "/openai/v1/files" else 0
            assert most_memory(it) - before < SPARE + copies * length
        assert len(upstream.connections[-1].received) > length


async def sink(peer: Peer) -> None:
    """Takes a request in large pieces, whatever its size."""
    if (head := await peer.head()) is None:
        return
    found = re.search(rb"content-length: (\d+)", head.lower())
    left = int(found[1]) if found else 0
    while left > 0 and (piece := await peer.read(STEP)):
        left -= len(piece)
    await peer.send(ok())


# G3


@pytest.mark.parametrize("size", SIZES)
async def test_g3_a_body_without_end_waits_outside(size: int, tmp_path: Path) -> None:
    """On a held route TCP holds it back; on a metered one it is 413; memory stays flat in both."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        piece = b"%x\r\n%b\r\n" % (STEP, b"x" * STEP)
        while sent < size:
            yield piece
            sent += STEP

    release = asyncio.Event()

    async def slowly(peer: Peer) -> None:
        await peer.head()
        await release.wait()
        await peer.send(ok())
        await peer.until_closed()

    head = "POST {} HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nConnection: close\n\n"
    async with raw_server(slowly) as upstream:
        with headgate(tmp_path, upstream.port, limits=", {concurrent: 1, per: [group]}") as it:
            port = port_of(it)
            first = asyncio.ensure_future(call(port, GET.format(path="/openai/v1/models")))
            while not upstream.connections:
                await asyncio.to_thread(it.metric, "headgate_connections")
            before = most_memory(it)
            held = asyncio.ensure_future(call(port, head.format("/openai/v1/files"), endless()))
            known = -1
            while sent != known or not await asyncio.to_thread(it.metric, 'headgate_waiting{service="openai"}'):
                known = sent
                for _ in range(20):
                    await asyncio.to_thread(it.metric, "headgate_connections")
            assert sent < 64 * STEP
            assert most_memory(it) - before < SPARE
            sent = 0
            refused, _ = await call(port, head.format("/openai/v1/chat/completions"), endless())
            assert refused == "413 body_too_large"
            assert sent < 64 * STEP
            held.cancel()
            release.set()
            assert (await first)[0] == "200"


# G8


async def test_g8_without_descriptors_accepting_pauses_and_comes_back(tmp_path: Path) -> None:
    """Those that are in stay in, the process does not spin, and when some leave the next are served."""
    async with raw_server(script) as upstream:
        with headgate(tmp_path, upstream.port, prefix=["prlimit", "--nofile=64:80"]) as it:
            port = port_of(it)
            assert _open_files(it) == ["80", "80"], "the soft bound was not raised to the hard one"
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(150)]
            spent = _processor_ticks(it)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await asyncio.Event().wait()
            spent = _processor_ticks(it) - spent
            assert spent < os.sysconf("SC_CLK_TCK"), "half of a core, to accept nothing"
            for _, writer in idle:
                writer.close()
            ended = ""
            for _ in range(200):
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    ended, _ = await call(port, GET.format(path="/openai/v1/models"))
                if ended == "200":
                    break
            assert ended == "200"


def _processor_ticks(it: Headgate) -> int:
    fields = Path(f"/proc/{it.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _open_files(it: Headgate) -> list[str]:
    (line,) = [line for line in Path(f"/proc/{it.process.pid}/limits").read_text().splitlines() if "open files" in line]
    return line.split()[3:5]
