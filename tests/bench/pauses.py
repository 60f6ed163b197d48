"""The longest pause of the event loop while a prompt of a megabyte is counted: `python -m tests.bench.pauses [--runs
N]`.

Aim (issue 4): at most 5 ms. A beat every millisecond shows how long the loop stood still; the same beat beside a thread
that only sleeps shows how much of that is the machine's. Bodies are counted as a call's are, in the proxy's threads,
and no text comes twice.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import struct
import sys
import threading
import time
import zlib
from base64 import b64encode as encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson
import uvloop

from proxy.app import _GC_ALLOCATIONS, _SWITCH_S
from proxy.counting import Counting
from proxy.head import Head, read_head
from proxy.metrics import Metrics
from rules.meters import load
from rules.policy import Service
from tests.rules.given import parsed

MEGABYTE = 1_000_000
AIM_MS = 5.0
BEAT_S = 0.001
SETTLE_S = 0.2
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WORDS = ("the", "quick", "brown", "fox", "1234", "código", "don't", "running", "example,", "of", "漢字", "\n")
_FRAME = b"\xff\xfb\x10\xc0"  # 32 kbit/s, 44.1 kHz: 104 bytes a frame


@dataclass(frozen=True)
class _Typed:
    """A request head."""

    path: str
    raw_headers: tuple[tuple[bytes, bytes], ...]
    method: str = "POST"
    version: tuple[int, int] = (1, 1)
    upgrade: bool = False


def chat(text: str) -> bytes:
    """A chat of one message."""
    return orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})


def prose(dice: random.Random) -> bytes:
    """Words."""
    return chat(" ".join(dice.choices(_WORDS, k=MEGABYTE // 5))[:MEGABYTE])


def base64(dice: random.Random) -> bytes:
    """Random letters, as of a file that somebody pasted."""
    return chat("".join(dice.choices(_LETTERS, k=MEGABYTE)))


def one_letter(dice: random.Random) -> bytes:
    """The slowest text known."""
    return chat(dice.choice(_LETTERS) * MEGABYTE)


def spaces(dice: random.Random) -> bytes:
    """What tiktoken panics at."""
    return chat(" " * MEGABYTE + str(dice.random()))


def messages(dice: random.Random) -> bytes:
    """As many short messages as there is room for."""
    turns = [{"role": "user", "content": str(dice.randrange(10**6))} for _ in range(MEGABYTE // 36)]
    return orjson.dumps({"model": "gpt-4o", "messages": turns})


def lists(dice: random.Random) -> bytes:
    """Nothing but empty lists: the slowest JSON known."""
    del dice
    return b'{"model": "gpt-4o", "messages": [' + b"[]," * (MEGABYTE // 3) + b"[]]}"


def conversation(dice: random.Random) -> bytes:
    """Hundred long messages, and one more with each call."""
    turns = [{"role": "user", "content": " ".join(dice.choices(_WORDS, k=2000))} for _ in range(100)]
    return orjson.dumps({"model": "gpt-4o", "messages": turns})


def sound(dice: random.Random) -> bytes:
    """A megabyte of mp3 at a low rate, as an upload."""
    frames = b"".join(_FRAME + dice.randbytes(100) for _ in range(MEGABYTE // 104))
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    return head + frames + b"\r\n--x--\r\n"


def pdf(dice: random.Random) -> bytes:
    """A megabyte of PDF, half its pages packed, as google-genai and others write base64."""
    pages = b"".join(b"%d 0 obj <</Type /Page /Parent 1 0 R /Contents %d 0 R>>\n" % (n, n) for n in range(5000))
    packed = zlib.compress(pages)
    stream = b"9 0 obj <</Type/ObjStm/Length %d/Filter/FlateDecode>>\nstream\n%b\nendstream\n" % (len(packed), packed)
    data = b"%PDF-1.7\n" + pages + stream
    data += dice.randbytes(MEGABYTE * 3 // 4 - len(data))
    file = {"type": "file", "file": {"file_data": "data:application/pdf;base64," + encode(data, b"-_").decode()}}
    return orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": [file]}]})


def film(dice: random.Random) -> bytes:
    """A megabyte of bytes that begin as an MP4 of short packets, as an upload."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    entry = struct.pack(">I", 36) + b"Opus" + b"\0" * 16 + struct.pack(">HHHHI", 2, 16, 0, 0, 48_000 << 16)
    tables = (
        (b"stsd", struct.pack(">II", 0, 1) + entry),
        (b"stsz", struct.pack(">III", 0, 3, 200_000)),
        (b"stsc", struct.pack(">IIIII", 0, 1, 1, 200_000, 1)),
        (b"stco", struct.pack(">III", 0, 1, 1000)),
    )
    table = _box(b"stbl", b"".join(_box(*one) for one in tables))
    media = _box(b"mdhd", b"\0" * 12 + struct.pack(">I", 48_000)) + _box(b"hdlr", b"\0" * 8 + b"soun")
    track = _box(b"tkhd", b"\0" * 12 + struct.pack(">I", 1)) + _box(b"mdia", media + _box(b"minf", table))
    sound = _box(b"ftyp", b"isom") + _box(b"moov", _box(b"trak", track)) + dice.randbytes(MEGABYTE)
    return head + sound + b"\r\n--x--\r\n"


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


BODIES: Sequence[Callable[[random.Random], bytes]] = (
    *(prose, base64, one_letter, spaces, messages, lists, conversation, pdf, sound, film),
)


class Beat:
    """Notes how late a timer of the loop is, less what the kernel let these threads wait for a processor."""

    def __init__(self, threads: Sequence[int]) -> None:
        self.longest_ms = 0.0
        self._loop = asyncio.get_running_loop()
        self._waits = [open(f"/proc/self/task/{one}/schedstat", "rb", buffering=0) for one in threads]  # noqa: SIM115
        self._due = 0.0
        self._waited = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin anew."""
        self.longest_ms = 0.0
        self._waited = self._wait_ms()
        self._arm()

    def stop(self) -> float:
        """The longest delay in ms."""
        self._note()
        if self._timer is not None:
            self._timer.cancel()
        return self.longest_ms

    def _arm(self) -> None:
        self._due = time.perf_counter() + BEAT_S
        self._timer = self._loop.call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        self._note()
        self._arm()

    def _note(self) -> None:
        late_ms = (time.perf_counter() - self._due) * 1000
        waited = self._wait_ms()
        self.longest_ms = max(self.longest_ms, late_ms - (waited - self._waited))
        self._waited = waited

    def _wait_ms(self) -> float:
        """Time these threads were ready to run and did not: the second number of schedstat, in ns."""
        total = 0
        for file in self._waits:
            file.seek(0)
            total += int(file.read().split()[1])
        return total / 1e6


def _head(path: str, kind: bytes) -> Head:
    return read_head(_Typed(path, ((b"Host", b"localhost"), (b"Content-Type", kind))))


async def measure(runs: int) -> bool:
    """Print a line a body; whether the aim was met by all."""
    service: Service = parsed("services: {openai: {keys: {env: K}}}", environ={"K": "k"}).policy.services["openai"]
    endpoints = {endpoint.name: endpoint for endpoint in service.endpoints}
    load()
    dice = random.Random(4)
    met = True
    with ThreadPoolExecutor(2, thread_name_prefix="count") as counters:
        counting = Counting(metrics=Metrics(), counters=counters)
        beat = Beat([threading.get_native_id(), *_ids(counters)])
        pauses: list[float] = []
        for _ in range(runs):
            beat.start()
            timer = asyncio.Event()
            asyncio.get_running_loop().call_later(SETTLE_S, timer.set)
            await timer.wait()
            pauses.append(beat.stop())
        print(f"  {'nothing':<14}{_two(pauses)}")
        for body_of in BODIES:
            audio = body_of in (sound, film)
            endpoint = endpoints["audio.transcriptions" if audio else "chat.completions"]
            head = _head(endpoint.path, b"multipart/form-data; boundary=x" if audio else b"application/json")
            pauses = []
            slowest, tokens = 0.0, 0.0
            for _ in range(runs):
                body = body_of(dice)
                began = time.perf_counter()
                beat.start()
                found = await counting.count(body, head, service, endpoint)
                pauses.append(beat.stop())
                slowest = max(slowest, (time.perf_counter() - began) * 1000)
                tokens = found.costs.get("input_tokens", 0.0) or found.costs.get("audio_seconds", 0.0)
            met = met and max(pauses) <= AIM_MS
            unit = "s of sound" if audio else "tokens"
            print(f"  {body_of.__name__:<14}{_two(pauses)}{slowest:>10.0f} ms{tokens:>12,.0f} {unit}")
    return met


def _ids(counters: ThreadPoolExecutor) -> list[int]:
    """Of both its threads, which start when they must."""
    both = threading.Barrier(2)

    def one() -> int:
        both.wait()
        return threading.get_native_id()

    return [future.result() for future in [counters.submit(one), counters.submit(one)]]


def _two(pauses: Sequence[float]) -> str:
    return f"{statistics.median(pauses):>8.2f} ms{max(pauses):>8.2f} ms"


def main() -> int:
    """0 when no pause was longer than the aim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    # as proxy/app.py does
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS)
    sys.setswitchinterval(_SWITCH_S)
    print(f"longest pause of the loop while 1 MB is counted: median and most of {runs} runs; slowest count; cost")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        met = runner.run(measure(runs))
    print(f"aim {'met' if met else 'missed'}: no pause above {AIM_MS:g} ms")
    return 0 if met else 4


if __name__ == "__main__":
    sys.exit(main())
