"""What a tick costs the store: `python -m tests.bench.script [--ticks N]`, on a real Redis, by its own clock.

Redis writes down how long each command took (SLOWLOG, microseconds); a tick is one command. Ticks of one operation, a
call on six limits: where there is room, where hundreds wait, and where an answer lets the next one go. Printed with
the storage calls of each kind (INFO commandstats). Beside the fast path the same by EVALSHA, which makes the script's
functions anew for each tick. Aims (limiter.md 15): p99 below 200 us, 25 to 40 calls.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rules import gate
from rules.gate import wire
from rules.policy import Limit
from rules.verdict import Charge, Plan
from tests.redis_server import RedisServer, redis_server
from tests.rules.gate import driver
from tests.rules.gate.driver import Replica, call, charge, flying, gauge, key

ROOM = 10**9
FLOWS = 100
Op = Sequence[bytes | int]


class Store(driver.RedisClockHost):
    """The script as it is deployed, which asks Redis for the time."""

    client: Any

    def __init__(self, server: RedisServer) -> None:
        super().__init__(server, gate.redis_library())
        files = "\n".join(gate.text(name) for name in gate.REDIS_FILES)
        self._script = self.client.script_load(f"#!lua\nlocal function make()\n{files}\nend\nreturn make()(KEYS, ARGV)")
        self.by_evalsha = False

    def tick(self, key: bytes, now_ms: int, args: Sequence[bytes | int]) -> bytes:
        """One tick, at Redis's own time."""
        if self.by_evalsha:
            answer: bytes = self.client.evalsha(self._script, 1, key, *args)
        else:
            answer = self.client.fcall(self._library.name, 1, key, *args)
        return answer

    def durations(self) -> list[int]:
        """Microseconds of the ticks since the last time."""
        entries = self.client.slowlog_get(100_000)
        self.client.slowlog_reset()
        return [entry["duration"] for entry in entries if entry["command"].startswith((b"FCALL", b"EVALSHA"))]

    def calls(self) -> dict[str, int]:
        """Command -> calls, those of scripts."""
        stats = self.client.info("commandstats")
        own = ("fcall", "evalsha", "slowlog", "info", "config", "script", "flushall")
        return {
            name.removeprefix("cmdstat_"): values["calls"]
            for name, values in stats.items()
            if not name.removeprefix("cmdstat_").startswith(own)
        }


def minute(name: str) -> Limit:
    """A minute's window as the catalogue makes them."""
    limit = driver.window(ROOM, name=name, ms=60_000, jitter=500, slices=240)
    # what is one user's is no lane of its own (standing.py)
    return dataclasses.replace(limit, per=("user",)) if name.startswith("u") else limit


def plan(user: str, in_flight: int, *, wait: int = 600_000) -> Plan:
    """A chat call on six limits: requests and tokens of the user; requests, tokens, a day's and calls in flight of the
    key's group."""
    limits = {name: minute(name) for name in ("ur", "ut", "gr", "gt")}
    day = driver.quota(ROOM, name="gd")
    return call(
        charge(limits["ur"], 1, user),
        charge(limits["ut"], 100, user),
        keys=[key("k", charge(limits["gr"]), charge(limits["gt"], 100), charge(day), in_flight_of(in_flight))],
        user=user,
        wait=wait,
        queue=100_000,
    )


def in_flight_of(amount: int) -> Charge:
    """Calls in flight of the group."""
    return charge(flying(amount))


def clock() -> driver.Clock:
    """Wall time as the gate counts it, for the ends of a quota's periods; ticks are timed by Redis."""
    return driver.Clock(int(time.time() * 1000) - wire.ORIGIN_MS)


class Bench:
    """One replica that ticks, and the figures."""

    def __init__(self, store: Store, ticks: int) -> None:
        self.store, self.ticks = store, ticks
        self._say("", ("p50 us", "p99 us", "max us", "calls", "which"))

    def replica(self) -> Replica:
        """A replica on an empty store."""
        self.store.empty()
        return Replica(self.store, clock())

    def measure(
        self, name: str, one: Callable[[int], object], *, before: Callable[[int], object] | None = None
    ) -> None:
        """Time `one`; `before` makes it possible again and is not timed."""
        found, calls = [], dict.fromkeys(self.store.calls(), 0)
        for turn in range(self.ticks):
            if before is not None:
                before(turn)
            if before is not None or turn == 0:
                self.store.durations()
                then = self.store.calls()
            one(turn)
            if before is not None or turn == self.ticks - 1:
                found += self.store.durations()
                for command, count in self.store.calls().items():
                    calls[command] = calls.get(command, 0) + count - then.get(command, 0)
        cuts = statistics.quantiles(found, n=100)
        each = sum(calls.values()) / len(found)
        common = sorted(calls.items(), key=lambda item: -item[1])
        which = ", ".join(
            f"{command} {count / len(found):.1f}" for command, count in common if count >= len(found) / 20
        )
        self._say(name, (f"{cuts[49]:.0f}", f"{cuts[98]:.0f}", str(max(found)), f"{each:.1f}", which))

    def fast_path(self, by: str = "") -> None:
        """Nobody waits."""
        a = self.replica()
        plans = [plan(f"u{n}", ROOM) for n in range(FLOWS)]
        self.measure(f"arrives, is granted{by}", lambda turn: a.arrive(plans[turn % FLOWS]))
        a = self.replica()
        tokens = charge(minute("gt"), 100)

        def settled(turn: int) -> None:
            (granted,) = a.arrive(plans[turn % FLOWS]).granted
            self._slice = granted.slices[3]

        self.measure(f"settles, releases{by}", lambda turn: a.tick(self._finish(a, tokens)), before=settled)
        self.measure(f"heartbeat{by}", lambda _: a.tick())

    def _finish(self, a: Replica, tokens: Charge) -> Op:
        return [*wire.settle(tokens, self._slice, -10), *gauge(in_flight_of(ROOM), a.count)]

    def line(self, waiting: int) -> None:
        """So many wait, of FLOWS users, behind the calls in flight."""
        a = self.replica()
        plans = [plan(f"u{n}", 1) for n in range(FLOWS)]
        a.arrive(plans[0])
        for n in range(waiting):
            a.arrive(plans[n % FLOWS])
        self.measure(
            f"arrives, {waiting} wait", lambda turn: a.arrive(plans[turn % FLOWS]), before=lambda _: self._leave(a)
        )
        self.measure(
            f"answer, the next of {waiting} goes",
            lambda _: a.tick(gauge(in_flight_of(1), 0)),
            before=lambda turn: a.arrive(plans[turn % FLOWS]),
        )
        self.measure(
            f"one of {waiting} leaves",
            lambda _: a.tick(driver.cancel(a.count)),
            before=lambda turn: a.arrive(plans[turn % FLOWS]),
        )
        self.measure(f"heartbeat, {waiting} wait", lambda _: a.tick())

    def _leave(self, a: Replica) -> None:
        a.tick(driver.cancel(a.count))

    def _say(self, name: str, figures: Sequence[str]) -> None:
        sys.stdout.write(f"  {name:<32}" + "".join(f"{f:>8}" for f in figures[:-1]) + f"  {figures[-1]}\n")
        sys.stdout.flush()


def main() -> int:
    """Print the table."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--ticks", type=int, default=1000, help="ticks of each kind")
    chosen = flags.parse_args()
    with redis_server("--slowlog-log-slower-than", "0", "--slowlog-max-len", "100000") as server:
        store = Store(server)
        sys.stdout.write("\nscript time on Redis, one operation a tick, six limits\n")
        bench = Bench(store, chosen.ticks)
        bench.fast_path()
        store.by_evalsha = True
        bench.fast_path(", by EVALSHA")
        store.by_evalsha = False
        bench.line(500)
        store.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
