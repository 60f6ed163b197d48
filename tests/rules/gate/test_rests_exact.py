"""rules/gate/rests.lua, held to a model of it: which scopes rest, what is said of them and kept, from any state."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from itertools import chain

import pytest

from .modules import STEPS, Lua

NOW, FAR = 2_000_000_000, 9_007_199_254_740_991
DAY = 86_400_000
SCOPES = ("a", "b", "c", "d")

PROGRAM = """
local lives = {}
local plain = store.expire
function store.expire(key, ms)
  lives[#lives + 1] = key .. "=" .. order.text(ms)
  plain(key, ms)
end
local function number(word)
  return tonumber(word)
end
local steps = {}
function steps.blk(scope, at)
  store.zput("blk", { scope, number(at) })
end
function steps.prb(scope, at)
  store.zput("prb", { scope, number(at) })
end
function steps.off(scope, since)
  store.put("off", { scope, since })
end
function steps.ks(scope, ...)
  store.put("ks", { scope, table.concat({ ... }, " ") })
end
function steps.begin(blocked, kept, version)
  this.now, this.blocked, this.kept, this.version = NOW, number(blocked), number(kept), number(version)
  rests.begin()
end
function steps.list()
  say("list", rests.list())
end
function steps.stands(...)
  say("stands", rests.stands({ scopes = { ... } }))
end
function steps.try(...)
  say("try", rests.try({ scopes = { ... } }))
end
function steps.block(scope, ms)
  rests.block(scope, number(ms))
end
function steps.say(scope, ms, every, known, state, status, key, model)
  rests.say(scope, number(ms), {
    every = number(every), known = known == "1", state = number(state), status = number(status), key = key,
    model = model,
  })
end
function steps.lift(...)
  say("lift", rests.lift({ ... }))
end
function steps.turn(scope, off)
  rests.turn(scope, off == "1")
end
function steps.save()
  rests.save()
  table.sort(lives)
  say(lives, this.blocked, this.version, this.kept)
  say(store.zrange("blk", 0, -1), store.zrange("prb", 0, -1), store.all("off"), store.all("ks"))
  for _, key in ipairs({ "blk", "prb", "off", "ks" }) do
    store.delete(key)
  end
  lives = {}
end
"""


@dataclass
class Record:
    """What was said of a scope, in the order in which it is kept."""

    state: int
    status: int
    since: int
    every: int
    known: int
    key: str
    model: str

    def words(self) -> str:
        """As it is kept."""
        return " ".join(map(str, dataclasses.astuple(self)))


@dataclass
class Rests:
    """All that rests."""

    blocked: int
    kept: int
    version: int
    untils: dict[str, int] = field(default_factory=dict)
    probes: dict[str, int] = field(default_factory=dict)
    offs: dict[str, int] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    new: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in ("blk", "prb", "off", "ks")})
    said: list[object] = field(default_factory=list)

    def list(self) -> None:
        """What an operator reads."""
        out: list[object] = [self.version]
        for scope, one in sorted(self.records.items()):
            probed = scope in self.probes
            left = max(0, self.probes.get(scope, self.untils.get(scope, 0)) - NOW)
            if probed or left:
                said = one.state, one.status, NOW - one.since, one.key, one.model, one.every
                out += [scope, left, (2 if one.known else 1) if probed else 0, *said]
        for scope, since in sorted(self.offs.items()):
            out += [scope, -1, 0, 4, 0, NOW - since, "-", "-", 0]
        self.said += ["list", *out]

    def stands(self, *scopes: str) -> None:
        """Until when a candidate rests, whether it is tried then, and whether nobody knows that it will serve."""
        kept = [scope for scope in scopes if self.kept > 0 and scope in self.probes]
        untils = [self.untils.get(scope, 0) for scope in scopes if self.blocked > NOW]
        latest = max([0, *untils, *[self.probes[scope] for scope in kept]])
        sure = [self.probes[scope] <= NOW or (scope in self.records and self.records[scope].known) for scope in kept]
        says: tuple[int, bool, bool] = (latest if latest > NOW else 0, bool(kept), not all(sure))
        if self.kept > 0 and self.offs.keys() & set(scopes):
            says = FAR, False, True
        self.said += ["stands", says[0], *[str(one).lower() for one in says[1:]]]

    def block(self, scope: str, ms: int) -> None:
        """For a time, and no shorter than before."""
        self.untils[scope] = max(self.untils.get(scope, 0), NOW + ms)
        self.blocked = max(self.blocked, self.untils[scope])
        self.new["blk"].add(scope)

    def rest(self, scope: str, at: int) -> None:
        """Until a call succeeds."""
        self.probes[scope] = max(self.probes.get(scope, 0), at)
        self.kept += 1
        self.new["prb"].add(scope)

    def say(self, scope: str, ms: int, one: Record) -> None:
        """What a reply said of it."""
        if one.every:
            self.rest(scope, NOW + ms)
        else:
            self.block(scope, ms)
        before = self.records.get(scope)
        if before and scope in self.probes and not one.every:
            return
        one.since = before.since if before and before.state == one.state else NOW
        self.records[scope] = one
        self.new["ks"].add(scope)
        self.version += 1

    def end(self, scopes: tuple[str, ...]) -> bool:
        """A success ends what only a success could end."""
        ended = [scope for scope in scopes if self.probes.pop(scope, None) is not None]
        for scope in ended:
            self.records.pop(scope, None)
            self.new["prb"].add(scope)
            self.new["ks"].add(scope)
        self.version += bool(ended)
        return bool(ended)

    def lift(self, *scopes: str) -> None:
        """The same, and it is told whether anything had."""
        self.said += ["lift", str(self.end(scopes)).lower()]

    def turn(self, scope: str, off: bool) -> None:
        """An operator speaks."""
        if off != (scope in self.offs):
            self.version += 1
            self.new["off"].add(scope)
            self.offs.pop(scope, None)
            if off:
                self.offs[scope] = NOW
                self.kept += 1
        if off:
            return
        self.end((scope,))
        if self.untils.pop(scope, None) is not None:
            self.records.pop(scope, None)
            self.new["blk"].add(scope)
            self.new["ks"].add(scope)
            self.version += 1

    def try_(self, *scopes: str) -> None:
        """A candidate is granted."""
        tried = [scope for scope in scopes if self.kept > 0 and scope in self.probes]
        for scope in tried:
            one = self.records.get(scope)
            self.rest(scope, NOW + (one.every if one and one.every else 60_000))
            if one and one.known:
                one.known = 0
                self.new["ks"].add(scope)
                self.version += 1
        self.said += ["try", str(bool(tried)).lower()]

    def save(self, stored: dict[str, Record]) -> str:
        """Everything, as the program says it. `stored`: the records as they were."""
        lives = []
        if self.new["blk"] & self.untils.keys():
            lives.append(f"blk={max(DAY, 2 * (self.blocked - NOW))}")
        if self.new["prb"] & self.probes.keys():
            lives.append(f"prb={14 * DAY}")
        if self.new["off"] & self.offs.keys():
            lives.append(f"off={3650 * DAY}")
        if self.new["ks"] & self.records.keys():
            lives.append(f"ks={14 * DAY}")
            for scope in self.records.keys() - self.new["ks"]:
                if scope not in self.probes and self.untils.get(scope, 0) <= NOW:
                    del self.records[scope]
        else:
            self.records = {scope: stored[scope] for scope in self.records}
        if self.new["blk"]:
            self.untils = {scope: at for scope, at in self.untils.items() if at > NOW or scope in self.new["blk"]}
        if self.new["prb"]:
            self.probes = {
                scope: at for scope, at in self.probes.items() if at > NOW - 7 * DAY or scope in self.new["prb"]
            }
        # it is counted where it may have changed, and only there
        kept = len(self.probes) + len(self.offs) if self.new["prb"] or self.new["off"] else self.kept
        sets = [
            chain(*[[scope, of[scope]] for scope in sorted(of, key=lambda scope: (of[scope], scope))])
            for of in (self.untils, self.probes)
        ]
        out: list[object] = [*self.said, *sorted(lives), ".", self.blocked, self.version, kept]
        out += [*sets[0], ".", *sets[1], "."]
        out += [*chain(*[[scope, since, "."] for scope, since in sorted(self.offs.items())]), "."]
        out += [*chain(*[[scope, one.words(), "."] for scope, one in sorted(self.records.items())]), "."]
        return " ".join(map(str, out))


def record(rng: random.Random) -> Record:
    """Any."""
    every = rng.choice([0, 1, 30_000, 90_000])
    return Record(rng.randrange(1, 4), 401, NOW - rng.choice([0, 1, 5000]), every, rng.randrange(2), "key-1", "-")


def given(rng: random.Random, lines: list[str]) -> Rests:
    """Any state, and the lines that make it."""
    one = Rests(NOW + rng.choice([-1, 0, 1, 70_000, 5 * DAY]), rng.choice([0, 1, 1, 1, 3]), rng.randrange(9))
    for scope in SCOPES:
        if rng.random() < 0.4:
            one.untils[scope] = NOW + rng.choice([-1, 0, 1, 65_000])
            lines.append(f"blk {scope} {one.untils[scope]}")
        if rng.random() < 0.4:
            one.probes[scope] = NOW + rng.choice([-7 * DAY - 1, -7 * DAY, -7 * DAY + 1, -1, 0, 1, 65_000])
            lines.append(f"prb {scope} {one.probes[scope]}")
        if rng.random() < 0.2:
            one.offs[scope] = NOW - rng.choice([0, 700])
            lines.append(f"off {scope} {one.offs[scope]}")
        if rng.random() < 0.5:
            one.records[scope] = record(rng)
            lines.append(f"ks {scope} {one.records[scope].words()}")
    lines.append(f"begin {one.blocked} {one.kept} {one.version}")
    return one


@pytest.mark.parametrize("seed", range(3))
def test_what_rests_rests_as_long_as_was_said(lua: Lua, seed: int) -> None:
    """From any state: it is read, told, tried, lifted and turned, and all that is kept then is told."""
    rng, lines, says = random.Random(seed), list[str](), list[str]()
    for _ in range(150):
        one = given(rng, lines)
        stored = {scope: dataclasses.replace(of) for scope, of in one.records.items()}
        if rng.random() < 0.2:
            lines.append("list")
            one.list()
        for _ in range(rng.choice([0, 1, 2, 3])):
            scopes = rng.sample(SCOPES, rng.choice([1, 2, 3]))
            scope, ms = scopes[0], rng.choice([0, 1, 50, 65_000, 70_000, DAY])
            match rng.choice("ssbYYltT"):
                case "s":
                    lines.append(f"stands {' '.join(scopes)}")
                    one.stands(*scopes)
                case "b":
                    lines.append(f"block {scope} {ms}")
                    one.block(scope, ms)
                case "Y":
                    new = record(rng)
                    said = new.every, new.known, new.state, new.status, new.key, new.model
                    lines.append(f"say {scope} {ms} {' '.join(map(str, said))}")
                    one.say(scope, ms, new)
                case "l":
                    lines.append(f"lift {' '.join(scopes)}")
                    one.lift(*scopes)
                case "t":
                    lines.append(f"try {' '.join(scopes)}")
                    one.try_(*scopes)
                case _:
                    off = rng.random() < 0.5
                    lines.append(f"turn {scope} {int(off)}")
                    one.turn(scope, off)
        lines.append("save")
        says.append(one.save(stored))
    assert lua(("this", "rests"), f'local NOW, LINES = {NOW}, "{"/".join(lines)}"' + PROGRAM + STEPS) == " ".join(says)


@pytest.mark.parametrize(("known", "kept"), [(511, True), (512, False)])
def test_a_service_keeps_records_of_512_scopes(lua: Lua, known: int, kept: bool) -> None:
    """One more is not written down, though it rests as was said; those that rest no more make room."""
    words = Record(1, 401, NOW, 0, 0, "key-1", "-").words()
    lines = [f"blk s{n} {NOW + 1}/ks s{n} {words}" for n in range(known)] + [f"ks stale {words}", "begin 0 0 0"]
    lines += ["say new 5 0 0 1 401 key-1 -", "save"]
    said = lua(("this", "rests"), f'local NOW, LINES = {NOW}, "{"/".join(lines)}"' + PROGRAM + STEPS)
    assert (f"new {words}" in said) is kept
    assert f"new {NOW + 5}" in said
    assert "stale" not in said
