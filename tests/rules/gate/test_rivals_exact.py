"""rules/gate/rivals.lua, held to a model of it: what goes before a refused call, and what is kept of who asked."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from itertools import chain

import pytest

from .modules import STEPS, Lua

FAR, DAY = 9_007_199_254_740_991, 86_400_000
PERIOD = 30_000
CLASSES = ("l.t", "l.u", "m.t")

FILES = (
    "this",
    """
    local bucket = {}
    function bucket.queued(limit)
      return limit.queued
    end
    function bucket.returns(limit)
      return limit.returns
    end
    """,
    "rivals",
)
PROGRAM = """
local lives = {}
local plain = store.expire
function store.expire(key, ms)
  lives[#lives + 1] = key .. "=" .. order.text(ms)
  plain(key, ms)
end
local number = tonumber
local function head_of(class, flow, weight, share)
  return { class = class, flow = flow, frame = { weight = number(weight) }, share = number(share) }
end
local steps = {}
function steps.asked(class, period, ...)
  store.put("asked:" .. class .. ":" .. period, { ... })
end
function steps.lane(class, weight)
  store.put("lanes", { class, weight })
end
function steps.begin(now)
  this.now, this.waiting = number(now), 0
  rivals.begin()
end
function steps.saw(...)
  rivals.saw(head_of(...))
end
function steps.due(class, flow, weight, share, owed, waits, theirs, queued, returns, of_key, cost)
  local head = head_of(class, flow, weight, share)
  head.owed, head.waits, head.theirs = number(owed), number(waits), number(theirs)
  say(rivals.due(head, { queued = number(queued), returns = number(returns) }, of_key == "1", number(cost)))
end
function steps.waits(class)
  this.waiting = 1
  rivals.count(class, 1000, 1)
end
function steps.save(period)
  rivals.save()
  table.sort(lives)
  say(lives, store.all("lanes"))
  store.delete("lanes")
  for _, class in ipairs({ "l.t", "l.u", "m.t" }) do
    for i = 0, 1 do
      local key = "asked:" .. class .. ":" .. order.text(number(period) - i)
      say(store.all(key))
      store.delete(key)
    end
  end
  lives = {}
end
"""


@dataclass
class Asked:
    """What was asked for in one class and period; `began` None: nothing was."""

    sum: int = 0
    flows: int = 0
    began: int | None = None
    by: dict[str, int] = field(default_factory=dict)

    def words(self) -> list[object]:
        """As it is kept."""
        head = [] if self.began is None else ["*", self.sum, "#", self.flows, "@", self.began]
        return [*head, *chain(*self.by.items())]


@dataclass
class Rivals:
    """Who asked lately: by class, in this period and the one before."""

    now: int
    asked: dict[str, tuple[Asked, Asked]]
    lanes: dict[str, int]
    changed: set[str] = field(default_factory=set)
    read: bool = False

    def saw(self, class_: str, flow: str, weight: int, share: int) -> None:
        """A flow asks."""
        self.lanes[class_] = weight
        one = self.asked[class_][0]
        if one.began is None:
            one.began = self.now
        one.flows += flow not in one.by
        one.by[flow] = one.by.get(flow, 0) + share
        one.sum += share
        self.changed.add(class_)
        self.read = True

    def rate(self, class_: str, before: float, since: float) -> float:
        """Shares a millisecond."""
        one, last = self.asked[class_]
        if last.began is not None:
            return (before * (PERIOD - self.now % PERIOD) / PERIOD + since) / PERIOD
        return since / max(5000, self.now - (self.now if one.began is None else one.began))

    def due(
        self,
        class_: str,
        flow: str,
        weight: int,
        share: int,
        owed: int,
        waits: int,
        theirs: int,
        queued: int,
        returns: float,
        of_key: bool,
        cost: int,
    ) -> float:
        """What goes before it."""
        if cost == 0:
            return 0
        self.read = True
        weights, demand = 0, 0.0
        for other in sorted(self.lanes):
            if of_key and other[0] != class_[0]:
                continue
            one, last = self.asked[other]
            weights += max(one.flows, last.flows) * self.lanes[other]
            demand += self.rate(other, last.sum, one.sum)
            if other == class_:
                demand -= self.rate(other, last.by.get(flow, 0), one.by.get(flow, 0))
        own = (owed + share) / share
        turns = max(1.0, weights / weight) * own
        left = 1 - 1.3 * demand / returns if returns > 0 else 1.0
        if left > 0:
            behind = max(0.0, queued * share / cost - waits) + theirs
            turns = min(turns, (own + behind / share) / left)
        return min(FAR / 4, math.floor((turns - 1) * cost))

    def save(self) -> list[object]:
        """All that is kept, as the program says it."""
        period = self.now // PERIOD
        lives = sorted(f"asked:{class_}:{period}={3 * PERIOD}" for class_ in self.changed)
        lives += [f"lanes={DAY}"] if self.lanes and self.read else []
        out: list[object] = [*lives, "."]
        out += [*chain(*[[class_, weight, "."] for class_, weight in sorted(self.lanes.items())]), "."]
        for class_ in CLASSES:
            for one in self.asked[class_]:
                words = one.words()
                pairs = sorted(zip(map(str, words[::2]), words[1::2], strict=True))
                out += [*chain(*[[name, value, "."] for name, value in pairs]), "."]
        return out


def given(rng: random.Random, lines: list[str]) -> Rivals:
    """Any state, and the lines that make it."""
    now = 9_000_000 + rng.choice([0, 1, 4999, 5000, 5001, 12_345, 29_999])
    asked = dict[str, tuple[Asked, Asked]]()
    for class_ in CLASSES:
        both = Asked(), Asked()
        for i, one in enumerate(both):
            if rng.random() < 0.6:
                one.by = {flow: rng.choice([1, 30, 4000]) * 2**12 for flow in "fgh" if rng.random() < 0.5}
                one.began = now - i * PERIOD - rng.choice([0, 1, 4999, 5000, 5001, 9000])
                one.flows, one.sum = len(one.by), sum(one.by.values())
                lines.append(f"asked {class_} {now // PERIOD - i} {' '.join(map(str, one.words()))}")
        asked[class_] = both
    lanes = {class_: rng.choice([1000, 2500]) for class_ in CLASSES if rng.random() < 0.7}
    lines += [f"lane {class_} {weight}" for class_, weight in lanes.items()]
    lines.append(f"begin {now}")
    return Rivals(now, asked, lanes)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_asked_lately_has_his_turns_before_a_refused_call(lua: Lua, seed: int) -> None:
    """From any state: flows ask, it is told what goes before one, and all that is kept then is told."""
    rng, lines, says = random.Random(seed), list[str](), list[object]()
    for _ in range(200):
        one = given(rng, lines)
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            class_, flow = rng.choice(CLASSES), rng.choice("fghi")
            weight, share = rng.choice([500, 1000, 2500]), rng.choice([1, 7, 2**12, 2**20])
            if rng.random() < 0.4:
                lines.append(f"saw {class_} {flow} {weight} {share}")
                one.saw(class_, flow, weight, share)
                continue
            owed, waits, theirs = rng.choice([0, share, 5 * share]), rng.choice([0, 3 * share]), rng.choice([0, share])
            queued, of_key = rng.choice([0, 3, 40, 10**6]), rng.randrange(2)
            returns, cost = rng.choice([0, 0.5, 400.0, 5000.0, 1e6]), rng.choice([0, 1, 8, 10**12, 5 * 10**15])
            words = class_, flow, weight, share, owed, waits, theirs, queued, returns, of_key, cost
            lines.append("due " + " ".join(map(str, words)))
            due = one.due(class_, flow, weight, share, owed, waits, theirs, queued, returns, bool(of_key), cost)
            says.append(f"{due:.0f}")
        lines.append(f"save {one.now // PERIOD}")
        says += one.save()
    assert lua(FILES, f'local LINES = "{"/".join(lines)}"' + PROGRAM + STEPS) == " ".join(map(str, says))


@pytest.mark.parametrize(("known", "kept"), [(255, 256), (256, 1)])
def test_a_service_remembers_the_weights_of_256_classes(lua: Lua, known: int, kept: int) -> None:
    """With one more it begins anew, with those of this tick."""
    lines = [f"lane {n} 1000" for n in range(known)] + ["begin 9000000", "saw l.t f 1000 1", "save 300"]
    said = lua(FILES, f'local LINES = "{"/".join(lines)}"' + PROGRAM + STEPS)
    assert said.count("1000 .") == kept
    assert "l.t 1000 ." in said


def test_who_waits_is_known_for_a_day(lua: Lua) -> None:
    """From when it was written last."""
    said = lua(FILES, 'local LINES = "begin 9000000/waits l.t/save 300"' + PROGRAM + STEPS)
    assert said == f"rivals={DAY} . . . . . . . ."
