"""rules/gate/learned.lua, held to a model of it: the same N, and the same numbers and hours kept, from any state."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

import pytest

from .modules import STEPS, Lua

HOUR = 3_600_000
WEEK = 168
START, MOST = 60, 50_000
FILES = (
    "this",
    """
    local window = {}
    function window.walk(b, visit)
      for _, slice in ipairs(b) do
        visit(slice[1], slice[2])
      end
    end
    """,
    "learned",
)

PROGRAM = """
local plain = store.expire
function store.expire(key, ms)
  say(ms)
  plain(key, ms)
end
local steps = {}
function steps.state(...)
  store.put("a:x", { "h", table.concat({ ... }, " ") })
end
function steps.hours(...)
  local words = { ... }
  for i = 1, #words, 2 do
    store.put("a:x", { words[i], words[i + 1] })
  end
end
function steps.now(now, raw)
  this.now, this.raw, this.version = tonumber(now), tonumber(raw), 0
  learned.begin()
end
function steps.amount(used, waiting, ...)
  local b, slices = { q = tonumber(waiting) }, { ... }
  for i = 1, #slices, 2 do
    b[#b + 1] = { tonumber(slices[i]), tonumber(slices[i + 1]) }
  end
  say(learned.amount(b, { id = "x", length = LENGTH, start = START, amount = MOST }, tonumber(used)))
end
function steps.cut(used, ago)
  learned.cut("x", LENGTH, tonumber(used), tonumber(ago))
end
function steps.give(amount, span)
  learned.give("x", tonumber(amount), tonumber(span), LENGTH)
end
function steps.save()
  learned.save()
  say(this.version, store.all("a:x"))
  store.delete("a:x")
end
"""

BETA, C, K = 0.85, 0.4, 0.7211


@dataclass
class Learned:
    """The state of one window: named and ordered as the head of learned.lua lists it."""

    length: int
    amount: int = 0
    top: int = 0
    bound: int = 0
    hold: int = 0
    cut_at: int = 0
    last: int = 0
    most: int = 0
    hour: int = 0
    doubles: int = 1
    given: int = 0
    span: int = 0
    soon: int = 0
    was: int = 0
    met: int = 0
    hours: dict[int, int] = field(default_factory=dict)
    changed: bool = False
    version: int = 0
    looked: bool = False

    def words(self) -> str:
        """As it is kept."""
        numbers = (self.amount, self.top, self.bound, self.hold, self.cut_at, self.last, self.most, self.hour)
        return " ".join(
            map(str, (*numbers, self.doubles, self.given, self.span, self.soon, self.was, self.met)),
        )

    def turn(self, raw: int) -> None:
        """A new hour of the week."""
        hour = raw // HOUR % WEEK
        if self.hour == hour + 1:
            return
        kept = self.hours.get(hour, 0)
        if self.hour and self.most:
            self.hours[self.hour - 1] = 2 * self.most + self.met
        carried, refused = divmod(kept, 2)
        if carried and (refused or carried > self.amount):
            self.amount = self.top = carried
            self.bound, self.hold, self.doubles = math.floor(K * self.length), 0, 0
        self.hour, self.most, self.met, self.changed = hour + 1, 0, 0, True

    def look(self, now: int, raw: int, used: int, waiting: int, slices: list[tuple[int, int]]) -> int:
        """N, for the first time in a tick."""
        if not self.looked:
            self.looked = True
            if self.amount == 0:
                self.amount, self.changed = START, True
            self.turn(raw)
            if not self.given:
                self.grow(now, used, waiting, slices)
        return min(self.given or self.amount, MOST)

    def grow(self, now: int, used: int, waiting: int, slices: list[tuple[int, int]]) -> None:
        """While it binds: doubling, or along the curve."""
        passed, self.last = now - self.last, now
        if waiting <= 0 and used / self.amount < 7 / 8:
            return
        self.most, self.changed = max(self.most, used), True
        if self.doubles:
            rate = 2 * sum(units for units, leaves_in in slices if leaves_in > self.length / 2)
            self.amount = max(self.amount, 2 * used, 2 * rate)
            return
        self.bound += min(passed, self.length // 20)
        x = self.bound / self.length
        part = 1 - C * (K - x) ** 3 if x < K else 1 + C * max(0.0, x - K - self.hold) ** 3
        self.amount = max(1, min(math.floor(self.top * part), max(self.amount, 2 * used)))

    def cut(self, now: int, used: int, ago: int) -> None:
        """A refusal of what was sent after the last cut, and told no earlier than a replica can tell it."""
        if self.given or not self.amount or now - ago - self.cut_at <= 250:
            return
        if used >= self.amount / (4 if self.doubles else 2):
            carried = min(self.amount, used)
        else:
            carried = self.amount // 2 if self.doubles else self.amount
        top = carried * 63 / 64
        looked = self.bound >= (K + self.hold) * self.length
        if not self.doubles and not looked:
            top = carried * (1 + BETA) / 2
        elif self.hold and 0 < top - self.top <= self.top / 8:
            top = self.top + (top - self.top) / 4
        top = max(1, math.floor(top))
        moved = bool(self.doubles) or abs(top - self.top) > self.top / 8
        stays = looked and self.hold > 0 and not moved
        if moved:
            self.hold, self.soon = 2, 5 if top < 3 / 4 * self.was else 0
        elif self.soon:
            self.hold, self.soon = 2, self.soon - 1
        else:
            self.hold, self.was = min(12, max(2, 2 * self.hold)), top
        self.most = min(max(self.most, used), top)
        self.top, self.amount = top, top if stays else max(1, math.floor(top * BETA))
        self.bound = math.floor(K * self.length) if stays else 0
        self.cut_at, self.doubles, self.met = now, 0, 1
        self.changed, self.version = True, self.version + 1

    def give(self, amount: int, span: int) -> None:
        """What headers say, for the longest window they told of."""
        self.span = max(self.span, span)
        given = max(1, amount * self.length // max(self.length, self.span))
        if given != self.given:
            self.given, self.changed, self.version = given, True, self.version + 1


def state(rng: random.Random, now: int, length: int) -> Learned:
    """Any, and often at an edge."""
    top = rng.choice([1, 7, 56, 63, 63, 64, 64, 335, 700, 6300])
    hold = rng.choice([0, 0, 1, 2, 4, 5, 9])
    turn = math.ceil((K + hold) * length)
    amount = rng.choice([top, top // 4, 2 * top, 64 * top // 63, 17 * top // 16, 8 * top // 7, 8 * top // 7 + 1])
    return Learned(
        length,
        amount=0 if rng.random() < 0.03 else max(1, amount),
        top=top,
        bound=rng.choice([0, 10_000, 43_265, 43_266, turn - 1, turn, turn + 1, turn + 50_000]),
        hold=hold,
        cut_at=rng.choice([0, now - 5000, now - 300]),
        last=now - rng.choice([0, 100, 2999, 3000, 3001, 9000]),
        most=rng.choice([0, 1, top, 2 * top]),
        hour=rng.choice([0, 1, 4, 4, 4, 4, 168]),
        doubles=int(rng.random() < 0.3),
        given=rng.choice([0] * 9 + [1, 400]),
        span=rng.choice([0, 0, length, 2 * length]),
        soon=rng.choice([0, 0, 1, 3]),
        was=rng.choice([0, top, 2 * top, 84 * amount // 64, 84 * amount // 64, 8000]),
        met=rng.randrange(2),
    )


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_learned_goes_on_as_the_curve_says(lua: Lua, seed: int) -> None:
    """One or two things are told of a state, or of none; N is asked for, and all that is kept then is told."""
    rng, length = random.Random(seed), [60_000, 60_010, 60_010][seed]
    lines, says = [], []
    for _ in range(250):
        now = 100_000_000 + rng.randrange(1000)
        raw = rng.randrange(2) * WEEK * HOUR + rng.choice([0, 3 * HOUR, 3 * HOUR, 4 * HOUR - 1, WEEK * HOUR - 1])
        one, stored = state(rng, now, length), rng.random() < 0.95
        if not stored:
            one = Learned(length, last=now)
        else:
            lines.append(f"state {one.words()}")
        if rng.random() < 0.3:
            one.hours = {hour: rng.choice([0, 1, 2, 3, 90, 91, 2 * one.amount, 20_000]) for hour in (0, 3, 167)}
            lines.append("hours " + " ".join(f"{hour} {kept}" for hour, kept in one.hours.items()))
        was_kept = dict(one.hours), one.words(), stored
        lines.append(f"now {now} {raw}")
        out = []
        for _ in range(rng.choice([1, 1, 2])):
            part = rng.choice([0, 2 / 9, 1 / 4, 1 / 2, 7 / 8, 1, 1, 9 / 8, 2])
            used = max(0, math.ceil(one.amount * part) + rng.choice([0, 0, 0, 1, -1]))
            match rng.choice("aaccg"):
                case "a":
                    slices = [
                        (rng.choice([1, used]), rng.choice([10, length // 2 - 1, length // 2, length // 2 + 1, 60_000]))
                        for _ in "123"
                    ]
                    waiting = rng.choice([0, 0, 1])
                    out.append(one.look(now, raw, used, waiting, slices))
                    lines.append(f"amount {used} {waiting} " + " ".join(f"{u} {ms}" for u, ms in slices))
                case "c":
                    ago = rng.choice([0, now - one.cut_at - 250, now - one.cut_at - 251])
                    one.cut(now, used, ago)
                    lines.append(f"cut {used} {ago}")
                case _:
                    amount, span = rng.choice([0, 1, 400, 10**12]), rng.choice([0, length + 1, 3 * length])
                    one.give(amount, span)
                    lines.append(f"give {amount} {span}")
        lines.append("save")
        if one.changed:
            out.append(15 * 24 * HOUR)
        kept, words, known = (one.hours, one.words(), True) if one.changed else was_kept
        fields = {str(hour): str(what) for hour, what in kept.items()} | ({"h": words} if known else {})
        told = " . ".join(f"{name} {fields[name]}" for name in sorted(fields))
        says.append(" ".join(map(str, [*out, one.version, *([told, "."] if told else []), "."])))
    numbers = f'local LENGTH, START, MOST, LINES = {length}, {START}, {MOST}, "{"/".join(lines)}"'
    assert lua(FILES, numbers + PROGRAM + STEPS) == " ".join(says)
