"""Users with more calls than there is room, over several replicas, on a clock that the test turns.

Law: a call that is granted lands at once; time passes only when nobody can go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rules.gate import wire
from rules.verdict import Plan

from .driver import Clock, Host, Replica


class Crowd:
    """Who was served, when, and how many calls wait."""

    def __init__(self, host: Host, clock: Clock, replicas: int = 1) -> None:
        self.clock = clock
        self.replicas = [Replica(host, clock, f"r{i}") for i in range(replicas)]
        self.names: dict[tuple[bytes, int], tuple[str, int]] = {}
        self.since: dict[tuple[bytes, int], int] = {}
        self.acks: dict[bytes, list[int]] = {replica.id: [] for replica in self.replicas}
        self.served: list[str] = []
        self.units: Counter[str] = Counter()
        self.waits: dict[str, list[int]] = {}
        self.next_ms: int | None = None

    def want(self, name: str, plan: Plan, count: int = 1, *, at: Sequence[int] = (0,), units: int = 1) -> list[int]:
        """`name` asks for so many calls, spread over the replicas `at`, each in a tick of its own."""
        numbers = []
        for i in range(count):
            replica = self.replicas[at[i % len(at)]]
            op = replica.arrival(plan)
            self.names[replica.id, replica.count] = (name, units)
            self.since[replica.id, replica.count] = self.clock.now
            numbers.append(replica.count)
            self.say(replica, op)
        return numbers

    def say(self, replica: Replica, *ops: Sequence[bytes | int]) -> None:
        """A tick of one replica, with the acknowledgements it owes."""
        acks: list[list[bytes | int]] = [[b"K", n] for n in self.acks[replica.id]]
        self.acks[replica.id] = []
        reply = replica.tick(*acks, *ops)
        assert reply.status == wire.DONE
        self.next_ms = reply.next_ms
        for granted in reply.granted:
            if granted.pushed:
                self.acks[replica.id].append(granted.n)
            if (of := self.names.pop((replica.id, granted.n), None)) is not None:
                name, units = of
                self.served.append(name)
                self.units[name] += units
                waited = self.clock.now - self.since[replica.id, granted.n]
                self.waits.setdefault(name, []).append(waited)
        for refused in reply.refused:
            self.names.pop((replica.id, refused.n), None)

    def run(self, ms: int) -> None:
        """Let time pass; each replica looks whenever a grant may be due."""
        end = self.clock.now + ms
        while True:
            before = -1
            while before != len(self.served):
                before = len(self.served)
                for replica in self.replicas:
                    self.say(replica)
            if self.clock.now >= end:
                return
            step = self.next_ms if self.next_ms else 100
            self.clock.now = min(end, self.clock.now + step)

    def count(self, name: str) -> int:
        """Calls served so far."""
        return self.served.count(name)


def jain(amounts: Sequence[int]) -> float:
    """Jain's index: 1 when all are equal."""
    return sum(amounts) ** 2 / (len(amounts) * sum(x * x for x in amounts))
