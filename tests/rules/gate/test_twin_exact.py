"""rules/gate/twin.lua, held to a model of it: what is used, what is given back and what is kept, from any state."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest

from .modules import Lua

NOW, FAR = 90_000_000_007, 9_007_199_254_740_991
LOOK_BACK = 4500
NAMES = ("used", "t", "rem", "den", "p", "lo", "lp", "ls", "lf")

PROGRAM = """
local plain = store.expire
function store.expire(key, ms)
  say(key, ms)
  plain(key, ms)
end
local b
local steps = {}
function steps.state(...)
  local values = {}
  for i = 1, select("#", ...) do
    values[2 * i - 1], values[2 * i] = NAMES[i], (select(i, ...))
  end
  store.put("tb:x", values)
end
function steps.load(share)
  this.now, this.share = NOW, share
  b = twin.load("x", NOW)
end
function steps.drain(p, q, settles)
  twin.drain(b, p, q, settles == 1)
end
function steps.charge(cost)
  say(twin.charge(b, cost))
end
function steps.earliest(need, amount)
  say(twin.earliest(b, need, amount))
end
function steps.settle(...)
  say(twin.settle(b, ...))
end
function steps.back(...)
  say(twin.give_back(b, ...))
end
function steps.told(...)
  twin.told(b, ...)
end
function steps.save(queued)
  b.queued = queued > 0
  b.q = b.queued and queued or b.q
  say(b.changed, b.q)
  twin.save(b)
  say(store.numbers("tb:x", NAMES), store.numbers("tb:x", { "q" }))
  store.delete("tb:x")
end
for line in string.gmatch(LINES, "[^/]+") do
  local name, numbers = string.match(line, "^(%a+)"), {}
  for word in string.gmatch(line, "%S+", #name + 1) do
    numbers[#numbers + 1] = tonumber(word)
  end
  steps[name](unpack(numbers))
end
"""


@dataclass
class Twin:
    """The upstream's bucket, in the order in which it is kept."""

    share: int
    used: int = 0
    t: int = NOW
    rem: int = 0
    den: int = 1
    p: int = 0
    low: int = 0
    before: int = 0
    since: int = NOW
    start: int = NOW
    """From when on `before` was the least."""
    changed: bool = False

    def kept(self) -> list[int]:
        """As it is stored."""
        return [self.used, self.t, self.rem, self.den, self.p, self.low, self.before, self.since, self.start]

    def rate(self, p: int, q: int) -> tuple[int, int]:
        """The part of it that this host may use."""
        if self.share == 1000:
            return p, q
        if p >= 1000:
            return p * self.share // 1000, q
        return (p * self.share, q * 1000) if q <= 1_000_000 else (p, -(-q * 1000 // self.share))

    def use(self, p: int, q: int) -> None:
        """A new rate; the part of a unit that has drained is kept."""
        if self.den != q:
            self.rem = math.floor(self.rem / self.den * q)
        self.p, self.den = p, q

    def drain(self, p: int, q: int, settles: bool) -> None:
        """As it stands now."""
        p, q = self.rate(p, q)
        was = self.p, self.den
        if not was[0] or p * was[1] < was[0] * q:
            self.use(p, q)
        passed, self.t = NOW - self.t, NOW
        drained, self.rem = divmod(passed * self.p + self.rem, self.den)
        self.used -= drained
        if self.used <= 0:
            self.used = self.rem = 0
        least = max(0, self.used - (self.rem > 0))
        self.low = min(self.low, least)
        if NOW - self.since >= LOOK_BACK:
            self.before, self.start, self.low, self.since = self.low, self.since, least, NOW
        if not settles:
            self.use(p, q)
            self.changed = self.changed or (was[0] > 0 and (p, q) != was)
        elif was[0]:
            self.use(*was)

    def earliest(self, need: int, amount: int) -> int:
        """When it fits."""
        short = self.used + need - amount
        return min(FAR, NOW - (self.rem - short * self.den) // self.p)

    def refilled(self, p: int, q: int, at: int) -> int:
        """Since then, rounded up."""
        return -(-(NOW - at) * p // q)

    def settle(self, p: int, q: int, at: int, charged: int, delta: int) -> bool:
        """A charge was really more, or less. Whether that made room."""
        before = self.used
        if delta > 0:
            self.used, self.changed = self.used + delta, True
        elif 0 <= at <= NOW:
            left = charged - self.refilled(p, q, at)
            self.used, self.changed = max(0, self.used - max(0, min(-delta, left))), True
            self.low = min(self.low, self.used)
        return self.used < before

    def give_back(self, p: int, q: int, at: int, charged: int) -> bool:
        """A charge is taken back, as far as its refill would not have been lost."""
        if at < self.start:
            return self.settle(p, q, at, charged, -charged)
        credit = min(charged, self.low, self.before) if at < self.since else min(charged, self.low)
        self.used, self.low, self.before = self.used - credit, self.low - credit, max(0, self.before - credit)
        self.changed = True
        return credit > 0

    def told(self, p: int, q: int, at: int, used: int) -> None:
        """What the upstream had used."""
        if 0 <= at <= NOW and used - self.refilled(p, q, at) > self.used:
            self.used, self.changed = used - self.refilled(p, q, at), True


def state(rng: random.Random) -> Twin:
    """Any."""
    if rng.random() < 0.1:
        return Twin(rng.choice([1000, 300]))
    den = rng.choice([1, 3, 50, 300, 1000, 3000])
    one = Twin(
        rng.choice([1000, 1000, 300]), rng.choice([0, 1, 4, 20, 60, 5000]), den=den, p=rng.choice([1, 7, 50, 300])
    )
    one.t = NOW - rng.choice([0, 1, 7, 50, 151, 4500])
    one.rem = rng.choice([0, 0, min(1, den - 1), den - 1])
    one.low, one.before = rng.choice([0, 1, 2, 4, 30, 5000]), rng.choice([0, 1, 2, 3, 70])
    one.since = NOW - rng.choice([0, 300, 4499, 4500, 4501, 9000])
    one.start = one.since - rng.choice([0, 4500])
    return one


@pytest.mark.parametrize("seed", range(3))
def test_a_bucket_is_drained_charged_corrected_and_told(lua: Lua, seed: int) -> None:
    """From any state, one or two things happen to it; all that is kept then is told."""
    rng, lines, says = random.Random(seed), list[str](), list[object]()
    for _ in range(250):
        one = state(rng)
        known = one.p > 0
        if known:
            lines.append("state " + " ".join(map(str, one.kept())))
        p, q = rng.choice(
            [(1, 3), (7, 50), (50, 7), (300, 300), (1501, 1000), (999, 1000), (1, 1_000_000), (3, 1_000_001)]
        )
        lines.append(f"load {one.share}")
        settles = known and rng.random() < 0.3
        lines.append(f"drain {p} {q} {int(settles)}")
        one.drain(p, q, settles)
        for _ in range(rng.choice([1, 1, 2])):
            at = rng.choice(
                [-1, 0, NOW, NOW + 1, NOW - 1, NOW - 20, one.since, one.since - 1, one.start, one.start - 1]
            )
            cost = rng.choice([0, 1, 2, 5, 40])
            match rng.choice("cessbbbt"):
                case "c":
                    lines.append(f"charge {cost}")
                    says.append(NOW)
                    one.used, one.changed = one.used + cost, True
                case "e":
                    amount = rng.choice([0, 5, 50])
                    cost = rng.choice([cost, cost, 2**48])
                    lines.append(f"earliest {cost} {amount}")
                    says.append(one.earliest(cost, amount))
                case "s":
                    delta = rng.choice([-cost, -1, 1, 9])
                    lines.append(f"settle {p} {q} {at} {cost} {delta}")
                    says.append(str(one.settle(p, q, at, cost, delta)).lower())
                case "b":
                    lines.append(f"back {p} {q} {at} {cost}")
                    says.append(str(one.give_back(p, q, at, cost)).lower())
                case _:
                    used = rng.choice([one.used + one.refilled(p, q, at) + rng.choice([0, 1, 2]), 3, 10**9])
                    lines.append(f"told {p} {q} {at} {used}")
                    one.told(p, q, at, used)
        queued = rng.choice([0, 0, 6])
        lines.append(f"save {queued}")
        life = max(600_000, 2 * -(-one.used // one.p) * one.den)
        says += [str(one.changed).lower(), queued, "tb:x", life, *one.kept(), ".", queued or "false", "."]
    names = ", ".join(f'"{name}"' for name in NAMES)
    program = f'local NOW, NAMES, LINES = {NOW}, {{ {names} }}, "{"/".join(lines)}"' + PROGRAM
    assert lua(("this", "twin"), program) == " ".join(map(str, says))
