"""What the gate alone can do on one core: acquire and settle, embedded and on a real Redis, and waiting calls.

Run as `python -m tests.bench.gate`. Prints figures; asserts nothing.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import resource
import sys
import time

from proxy.gate import Gate
from proxy.redis_host import RedisHost
from rules.policy import Limit
from rules.verdict import Candidate, Charge, Grant, Plan
from tests.redis_server import redis_server


def now_ms() -> float:
    """Milliseconds of a clock that never steps back."""
    return time.monotonic() * 1000


def window(meter: str, amount: int, ms: int = 60_000) -> Limit:
    """A minute's window as the catalogue makes them."""
    name = f"{amount} {meter} per {ms} ms"
    return Limit(
        id=f"{meter}-{ms}",
        name=name,
        kind="window",
        meter=meter,
        amount=amount,
        window_ms=ms,
        jitter_ms=500,
        slices=240,
    )


def plan_of(amount: int, max_wait_ms: int = 60_000) -> Plan:
    """A chat call: requests and tokens of the group and the user, calls in flight."""
    requests, tokens = window("requests", amount), window("tokens", amount * 100)
    flying = Limit(id="flying", name="in flight", kind="concurrent", meter="concurrent", amount=amount)
    return Plan(
        service="bench",
        endpoint="chat",
        model="m",
        flow="u",
        charges=(Charge("user:u", window("requests", amount), 1),),
        candidates=(
            Candidate(
                "key",
                "group",
                ("group|m",),
                (
                    Charge("requests:group|m", requests, 1),
                    Charge("tokens:group|m", tokens, 100),
                    Charge("flying:group", flying, 1),
                ),
            ),
        ),
        max_wait_ms=max_wait_ms,
        max_queue=100_000,
    )


async def rate(gate: Gate, callers: int, seconds: float) -> float:
    """Acquire and settle per second by so many callers at once."""
    plan, done, end = plan_of(10**9), 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            grant = await gate.acquire(plan)
            assert isinstance(grant, Grant)
            gate.settle(grant, {"tokens": 90.0})
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(callers)])
    return done / (time.perf_counter() - started)


async def waiting_memory(count: int) -> float:
    """MiB that so many held calls take in this process, on the embedded gate."""
    gate = Gate(now_ms=now_ms)
    await gate.start()
    grant = await gate.acquire(plan_of(1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = [asyncio.ensure_future(gate.acquire(plan_of(1, 10**8))) for _ in range(count)]
    started = time.perf_counter()
    while gate.waiting("bench") < count:
        await asyncio.wait(held, timeout=0.01)
    print(f"  {count} calls took their place at {count / (time.perf_counter() - started):,.0f}/s")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(grant, Grant)
    await gate.close()
    await asyncio.gather(*held)
    return (after - before) / 1024


async def main(profile: bool) -> None:
    """Print the figures."""
    gate = Gate(now_ms=now_ms)
    await gate.start()
    print(f"embedded, 1 caller: {await rate(gate, 1, 2.0):,.0f} acquire+settle/s")
    await gate.close()
    with redis_server() as server:
        for callers in (1, 16, 64):
            gate = Gate(now_ms=now_ms, store=RedisHost(server.url))
            await gate.start()
            if profile and callers == 64:
                profiler = cProfile.Profile()
                profiler.enable()
            print(f"redis, {callers} callers: {await rate(gate, callers, 3.0):,.0f} acquire+settle/s")
            if profile and callers == 64:
                profiler.disable()
                pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
            print(f"  lost the store {gate.fallbacks} times")
            await gate.close()
        print("  " + server.command("INFO", "commandstats").replace("\r\n", "\n  ")[:1500])
    print(f"10,000 held calls: {await waiting_memory(10_000):.0f} MiB")


if __name__ == "__main__":
    import uvloop

    uvloop.run(main("--profile" in sys.argv))
