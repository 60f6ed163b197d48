"""What promise.lua is to do with promises in one tick, with everything kept in plain dictionaries.

Law: written from the head of promise.lua, and without its shortcuts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

Name = TypeVar("Name", int, str)

NOW = 5_000_000
KEPT, SLACK, IDLE = 2250, 100, 800
LEAD, FURTHEST, MOST, EARLY = 1950, 600_000, 10_000, 5
BEFORE = 50
"""Promises made before."""
OWNER = "-promised-calls-"
LIFE = 900_000

FRAMES = {
    "A": "P 2 2 l.t 1000 A x w 9 100 6003 0 0 y c 9 0 0 k g 0 0 1 z t 9 1 10 k h 0 0 2 v q 9 1 2 0 y2 e 9 100 7001 0 0",
    "B": "Q 1 1 l.t 1000 B y c 9 0 0 k g 0 0 1 s e 9 100 2403 0 0",
    "C": "R 1 1 l.t 1000 C y c 9 0 0 k g 0 0 0",
}
WINDOWS = {"A": 6003, "B": 2403, "C": FURTHEST}
"""The shortest window of each."""
CHARGED = {
    ("A", 1): [("x", 1), ("y", 2), ("z", 3)],
    ("A", 2): [("x", 1), ("y", 2), ("v", 4), ("y2", 5)],
    ("B", 1): [("y", 6), ("s", 7)],
    ("C", 1): [("y", 8)],
}
"""Limits of each candidate and their costs, the common ones first."""
COSTS = {"A": "1 2 3 4 5", "B": "6 7", "C": "8"}


@dataclass
class Promise:
    """A call that is waited for."""

    n: int
    flow: str
    frame: str
    again: str
    told: int
    state: str
    enqueued: int
    index: int = 0
    slices: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As a field."""
        return f"{self.n:012}"

    def record(self) -> str:
        """As it is kept."""
        head = f"{self.flow} {self.frame} {self.enqueued} {self.told + KEPT} 3 40 0 {COSTS[self.frame]}"
        return f"{self.again} {self.told} {self.state} {self.index} {','.join(map(str, self.slices))};{head}"


@dataclass
class Promises:
    """All there are, and what is done about them in one tick."""

    promised: int = 0
    made: int = BEFORE
    flows: dict[str, list[int]] = field(default_factory=dict)
    """Count, what is owed, and trust."""
    known: dict[int, Promise] = field(default_factory=dict)
    forgotten: dict[int, Promise] = field(default_factory=dict)
    due: dict[int, int] = field(default_factory=dict)
    told: dict[str, dict[str, int]] = field(default_factory=lambda: {"u": {}, "v": {}})
    written: set[str] = field(default_factory=set)
    """Flows that are kept."""
    lost: str = "-"
    """The frame that is not known any more."""
    in_line: int = 0
    waiting: bool = False
    serves: bool = True
    said: list[object] = field(default_factory=list)
    done: list[object] = field(default_factory=list)
    lives: set[str] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)

    def flow(self, name: str) -> list[int]:
        """How a flow stands."""
        return self.flows.setdefault(name, [0, 0, 64])

    def note(self, one: Promise) -> None:
        """It is written at the end."""
        self.written.add(one.flow)
        self.lives.add(f"pf:{one.flow}={LIFE}")
        self.kept.add(one.n)

    def drop(self, one: Promise) -> None:
        """It is promised no more."""
        flow = self.flow(one.flow)
        flow[0], flow[1] = max(0, flow[0] - 1), max(0, flow[1] - 40)
        self.promised = max(0, self.promised - 1)
        self.told[one.flow].pop(f"{one.name} {one.again}", None)
        self.due.pop(one.n, None)
        self.note(one)
        self.kept.discard(one.n)
        del self.known[one.n]

    def give_back(self, one: Promise, free: bool) -> None:
        """What was charged for it."""
        for (limit, price), slice_ in zip(CHARGED[one.frame, one.index], one.slices, strict=True):
            self.done += ["back", limit, price, slice_, OWNER, str(free).lower()]

    def look(self) -> None:
        """What is due."""
        places: list[str] = []
        due = [n for n in sorted(self.due, key=lambda n: (self.due[n], n)) if self.due[n] <= NOW]
        for n in due if self.promised else []:
            one = self.known.get(n)
            if one is None:
                del self.due[n]
                self.forgotten.pop(n, None)
            elif one.told + KEPT <= NOW:
                if one.state == "l" and self.waiting:
                    self.done += ["leaves", f"{OWNER}-{one.name}"]
                    places += ["b:one", "b:two"]
                flow = self.flow(one.flow)
                flow[2] = max(1, flow[2] // 2)
                if one.state == "r":
                    self.give_back(one, True)
                self.drop(one)
            elif one.state == "w":
                one.state = "l"
                self.done += ["stands", f"{OWNER}-{one.name}", "registers", f"{OWNER}-{one.name}", "ready"]
                self.due[n] = one.told + KEPT
                self.note(one)
        self.said += ["due", *places, "."]

    def find(self, flow: str, frame: str, again: str) -> None:
        """A call comes back, it may be."""
        found = None
        told = self.told[flow] if self.promised and again != "-" and self.flow(flow)[0] else {}
        for name in in_order(told):
            one = self.known.get(int(name[:12]))
            if told[name] <= NOW + EARLY and name.split()[1] == again and one is not None and one.n <= BEFORE:
                found = one
                break
        self.said += ["find", found.n if found else "-"]
        if found is None:
            return
        index: object = "-"
        self.flow(flow)[2] = min(1024, self.flow(flow)[2] + 1)
        if found.state == "r":
            self.give_back(found, False)
            if found.frame == frame:
                self.done += ["serves", frame, found.index, COSTS[frame].split()[0]]
                index = found.index if self.serves else "-"
        self.said += [found.told, found.state, found.enqueued, index]
        self.drop(found)

    def keep(self, n: int, index: int, slices: list[int]) -> None:
        """Its turn has come."""
        one = self.known.get(n)
        if one is not None:
            one.state, one.index, one.slices = "r", index, slices
            self.due[n] = one.told + KEPT
            self.note(one)

    def tell(self, flow: str, frame: str, again: str, enqueued: int, patient: bool, at: int, turn: int) -> None:
        """A call is refused."""
        told, (count, owed, trust) = at + late(frame, at - NOW), self.flow(flow)
        self.said += ["tell", told]
        if told - NOW > FURTHEST or count >= trust or self.promised >= MOST:
            return
        self.made, self.promised = self.made + 1, self.promised + 1
        one = Promise(self.made, flow, frame, again, told, "p" if patient else "w", enqueued)
        lead = min(LEAD, WINDOWS[frame] // 4, max(WINDOWS[frame] // 8, 2 * turn))
        self.due[one.n] = told + KEPT if patient else told - lead
        self.told[flow][f"{one.name} {again}"] = told
        self.known[one.n] = one
        self.flows[flow][:2] = count + 1, owed + 40
        self.note(one)
        self.lives.add(f"told:{flow}={LIFE}")

    def ask(self, flow: str) -> None:
        """What is known of a flow."""
        count, owed, _ = self.flow(flow) if self.promised else (0, 0, 0)
        self.said += ["ask", 2 if self.promised and self.in_line else 0, max(0, self.promised - count), owed]

    def knows(self, frame: str) -> bool:
        """A frame is kept as long as a record names it."""
        return frame != self.lost or any(self.known[n].frame == frame for n in self.kept)

    def save(self) -> str:
        """Everything, as the program says it."""
        lives = self.lives | ({f"pm={LIFE}", f"due={LIFE}"} if self.kept else set())
        records = sorted((self.known | self.forgotten).items())
        out = [*self.said, *self.done, ".", *sorted(lives), ".", self.promised, self.made]
        out += [*chain(*[[one.name, one.record(), "."] for _, one in records]), "."]
        out += [*chain(*[[f"{n:012}", self.due[n]] for n in in_order(self.due)]), "."]
        for name, told in self.told.items():
            if name in self.written:
                count, owed, trust = self.flow(name)
                out += ["c", count, ".", "o", owed, ".", "t", trust, "."]
            out += [".", *chain(*[[one, told[one]] for one in in_order(told)]), "."]
        return " ".join(map(str, out))


def in_order(of: dict[Name, int]) -> list[Name]:
    """As a sorted set."""
    return sorted(of, key=lambda name: (of[name], name))


def late(frame: str, ms: int) -> int:
    """What is told beyond the estimate."""
    return SLACK + ms * IDLE // max(WINDOWS[frame], 8 * IDLE)


def furthest(frame: str) -> int:
    """The latest estimate for which anything is promised."""
    return max(ms for ms in range(FURTHEST) if ms + late(frame, ms) <= FURTHEST)


FARTHEST = {frame: furthest(frame) for frame in FRAMES}
