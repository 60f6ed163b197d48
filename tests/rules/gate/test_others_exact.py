"""rules/gate/others.lua, held to a model of it: what is counted, where it stands, and what is kept, from any state."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest

from .modules import Lua

W = 100
MOST = 9_007_199_254_740
"""Above this thousandths are no integers below 2^53."""
UNKNOWN, REFILLS = -1, -2

PROGRAM = """
local b
local steps = {}
function steps.window(now, length, sum, lo, hi, stored)
  b = {
    key = "w:x", now = now, w = W, length = length, current = math.floor(now / W), sum = sum,
    lo = lo >= 0 and lo or nil, hi = hi >= 0 and hi or nil, slices = {}, marked = {}, gone = {},
    pace = { found = 7 }, changed = false,
  }
  for i = 1, lo >= 0 and hi - lo + 1 or 0 do
    b.slices[lo + i - 1] = numbers[5 + i]
  end
  store.delete("w:x")
  if text ~= "-" then
    store.put("w:x", { "x", text })
  end
end
function steps.told(...)
  others.told(b, ...)
end
function steps.save()
  say(b.extra and "[" .. b.extra .. "]" or "-", b.changed, b.sum, b.lo or -1, b.hi or -1, b.pace.found)
  for i = b.lo or 0, b.hi or -1 do
    say(b.slices[i] or 0, b.marked[i] or false)
  end
end
for line in string.gmatch(LINES, "[^/]+") do
  local name, rest
  name, rest, text = string.match(line, "^(%a+)([^%[]*)%[?([^%]]*)")
  numbers = {}
  for word in string.gmatch(rest, "%S+") do
    numbers[#numbers + 1] = tonumber(word)
  end
  steps[name](unpack(numbers))
end
"""


@dataclass
class Window:
    """A window, what of it is others', and how full the upstream's bucket was by our books."""

    now: int
    length: int
    slices: dict[int, int] = field(default_factory=dict)
    others: list[tuple[int, int]] = field(default_factory=list)
    level: tuple[int, int] | None = None
    """Thousandths, and the slice at whose beginning that was."""
    marked: set[int] = field(default_factory=set)
    changed: bool = False
    found: int = 7

    @property
    def current(self) -> int:
        """The slice of now."""
        return self.now // W

    def held(self, first: float, last: float) -> int:
        """What these slices hold."""
        return sum(units for i, units in self.slices.items() if first <= i <= last)

    def theirs(self, first: float, last: float) -> int:
        """What of it is others'."""
        return sum(units for i, units in self.others if first <= i <= last)

    def count(self, units: int, ms: int) -> None:
        """Others' use, which leaves in `ms` or as a charge of now does."""
        i = min(self.current, math.ceil((self.now + ms - self.length) / W) - 1)
        self.slices[i] = self.slices.get(i, 0) + units
        for gap in range(min(self.slices), max(self.slices)):
            self.slices.setdefault(gap, 0)
        self.others.append((i, units))
        self.marked.add(i)
        self.changed, self.found = True, 0

    def told(
        self, sent: int, since: int, knew: int, used: int, slack: int, amount: int, ms: int, in_flight: int
    ) -> None:
        """What the upstream says."""
        books = max(knew, self.held(-math.inf, math.inf) + in_flight)
        if since == REFILLS and amount <= MOST:
            self._bucket(sent, books, used, slack, amount, ms)
        elif since >= 0:
            first = since // W
            ours = in_flight + self.held(first, self.current) + self.theirs(0, first - 1)
            if since + self.length + W >= self.now and used > ours:
                self.count(used - ours, ms)
        elif used > books:
            self.count(used - books, ms)

    def _bucket(self, sent: int, books: int, used: int, slack: int, amount: int, ms: int) -> None:
        drained = amount * 1000 * W / self.length
        first = min(sent // W, self.current)
        most = (used + slack) * 1000 + (self.current - first + 1) * drained
        level: float = most
        highest: float = used * 1000
        if self.level is not None:
            units, at = self.level
            if first < at:
                return
            start = max(at, min(self.slices, default=self.current))
            level = max(0, units - (min(first, start) - at) * drained)
            own = {i: 1000 * (self.slices.get(i, 0) - self.theirs(i, i)) for i in range(start, self.current + 1)}
            for i in range(start, first):
                level = max(0, level + own[i] - drained)
            fill, highest = level, 0
            for i in range(first, self.current + 1):
                fill += own.get(i, 0)
                highest, fill = max(highest, fill), max(0, fill - drained)
        excess = max(math.floor((used * 1000 - slack * 1000 - highest) / 1000), used - books)
        if excess > 0:
            self.count(excess, ms)
            level += excess * 1000
        self.level, self.changed = (math.ceil(min(level, most)), first), True

    def kept(self) -> str:
        """As it is stored."""
        words = " ".join(f"{i} {units}" for i, units in self.others)
        return words + (f";{self.level[0]} {self.level[1]}" if self.level else "")

    def shows(self) -> str:
        """As the program says it."""
        lo, hi = (min(self.slices), max(self.slices)) if self.slices else (-1, -1)
        head = f"[{self.kept()}]" if self.changed else "-"
        slices = [f" {self.slices[i]} {str(i in self.marked).lower()}" for i in range(lo, hi + 1) if self.slices]
        return f"{head} {str(self.changed).lower()} {sum(self.slices.values())} {lo} {hi} {self.found}{''.join(slices)}"


@pytest.mark.parametrize("seed", range(3))
def test_what_no_charge_of_ours_explains_is_others(lua: Lua, seed: int) -> None:
    """From any state of a window: an upstream of either of three kinds speaks once or twice."""
    rng, lines, says = random.Random(seed), list[str](), list[str]()
    for _ in range(250):
        length = rng.choice([1000, 1000, 1010, 990])
        one = Window(rng.choice([50_000] * 9 + [1100]) + rng.choice([0, 1, 50, 99]), length)
        if rng.random() < 0.9:
            first = one.current - rng.choice([0, 3, 9, 11])
            last = first + rng.randrange(one.current - first + 1)
            one.slices = {i: rng.choice([0, 0, 3, 10, 40]) for i in range(first, last + 1)}
        stood = [
            (max(0, one.current - rng.choice([0, 2, 4, 9, 12])), rng.choice([1, 3, 20]))
            for _ in range(rng.choice([0, 0, 1, 3]))
        ]
        if rng.random() < 0.6:
            one.level = rng.choice([0, 2500, 30_000]), one.current - rng.choice([-1, 0, 1, 2, 5, 11])
        one.others = stood
        text = f"[{one.kept()}]" if stood or one.level else "[-]"
        one.others = [(i, units) for i, units in stood if one.slices and i >= min(one.slices)]
        lo, hi = (min(one.slices), max(one.slices)) if one.slices else (-1, -1)
        numbers = [one.now, length, sum(one.slices.values()), lo, hi, *[one.slices[i] for i in sorted(one.slices)]]
        lines.append(f"window {' '.join(map(str, numbers))} {text}")
        for _ in range(rng.choice([1, 1, 2])):
            held, knew = rng.choice([0, 0, 5]), rng.choice([0, 0, 10, 70, 5000])
            since = rng.choice(
                [
                    UNKNOWN,
                    REFILLS,
                    REFILLS,
                    REFILLS,
                    one.now - rng.choice([0, 150, 400, one.now % 1000, length, length + W, length + W + 1]),
                ]
            )
            books = sum(one.slices.values()) + held
            told = (
                one.now - rng.choice([-150, 0, 40, 120, 420, 1200]),
                since,
                knew,
                rng.choice([0, 1, books, books + 1, knew + 1, 20, 61, 300, 5000]),
                rng.choice([0, 0, 1, 10, 4321]),
                rng.choice([7, 100, 100, 1000, MOST, MOST + 1]),
                rng.choice([0, 1, 150, 400, 1000, 10**9]),
                held,
            )
            lines.append("told " + " ".join(map(str, told)))
            one.told(*told)
        lines.append("save")
        says.append(one.shows())
    given = f'local W, numbers, text, LINES = {W}, nil, nil, "{"/".join(lines)}"'
    assert lua(("this", "window", "others"), given + PROGRAM) == " ".join(says)


def test_a_slice_in_which_more_drains_than_is_there_leaves_an_empty_bucket(lua: Lua) -> None:
    """999.5 thousandths drain in each: 0, 2 and 3 units come to 4.0005, and of ten 5.9995 are others', five whole."""
    lines = f"window 500000 200000 5 4998 5000 0 2 3 [;0 4998]/told 499800 {REFILLS} 5 10 0 1999 300000 0/save"
    given = f'local W, numbers, text, LINES = {W}, nil, nil, "{lines}"'
    said = lua(("this", "window", "others"), given + PROGRAM)
    assert said == "[5000 5;5000 4998] true 10 4998 5000 0 0 false 2 false 8 true"


def test_a_window_that_began_with_the_first_slice_of_all_is_one_like_any_other(lua: Lua) -> None:
    """Six are told of one that began with slice 3, or with slice 0, where five of others stand: one more is others'."""
    lines = ["window 1100 1000 5 0 2 5 0 0 [0 5]", "told 300 %d 50 6 0 100 1000 0", "save"]
    given = "/".join(lines) % 300 + "/" + "/".join(lines) % 0
    said = lua(("this", "window", "others"), f'local W, numbers, text, LINES = {W}, nil, nil, "{given}"' + PROGRAM)
    once = f"[0 5 10 1] true 6 0 10 0 5 false {'0 false ' * 9}1 true"
    assert said == f"{once} {once}"
