"""rules/gate/announced.lua, held to a model of it: what holds, and what is kept, from any state."""

from __future__ import annotations

import random
from dataclasses import astuple, dataclass

from .modules import STEPS, Lua

HOUR = 3_600_000
NOW = 100_000_000
PROGRAM = """
local plain = store.expire
function store.expire(key, ms)
  say(key, ms)
  plain(key, ms)
end
local steps = {}
function steps.state(id, ...)
  store.put("l", { id, table.concat({ ... }, " ") })
end
function steps.begin(till)
  this.now, this.announced = NOW, tonumber(till)
  announced.begin()
end
function steps.amount(id)
  local amount, till = announced.amount(id)
  say(amount or "-", till or "-")
end
function steps.say(id, amount, length)
  say(announced.say(id, tonumber(amount), tonumber(length)))
end
function steps.save()
  announced.save()
  say(this.announced, store.all("l"))
  store.delete("l")
end
"""


@dataclass
class Announced:
    """What is known of one bucket, in the order in which it is kept."""

    amount: int
    at: int = 0
    life: int = 0
    up: int = 0
    since: int = 0

    def hears(self, amount: int, length: int) -> bool:
        """The upstream says another amount while this one is believed. Whether more may go now."""
        larger = amount > self.amount
        if not larger:
            self.amount, self.up, self.since = amount, 0, 0
        elif not self.up:
            self.up, self.since = amount, NOW
        elif amount < self.up:
            self.up = amount
        elif NOW - self.since >= length:
            self.amount, self.up, self.since = self.up, amount if amount > self.up else 0, NOW
            return True
        return False


def test_whatever_was_said_holds_as_long_as_the_law_says(lua: Lua) -> None:
    """Two buckets, from any state; one or two of them are spoken of or asked for, and all that is kept is told."""
    rng = random.Random(1)
    lines, says = [], []
    for _ in range(500):
        length = rng.choice([1000, HOUR // 2 + 1, 5 * HOUR])
        states = dict[str, Announced]()
        for name in "xy":
            if rng.random() < 0.8:
                at = NOW - rng.choice([0, 500, 999, 1000, 1001, HOUR - 1, HOUR])
                states[name] = one = Announced(rng.choice([10, 20]), at, HOUR, rng.choice([0, 0, 30, 40]))
                one.since = at - rng.choice([0, length - 1, length]) if one.up else 0
                lines.append(f"state {name} " + " ".join(map(str, astuple(one))))
        till = NOW + rng.choice([-1, 0, 1, HOUR, 20 * HOUR])
        lines.append(f"begin {till}")
        spoken, out = set[str](), list[object]()
        for _ in range(rng.choice([1, 1, 2, 3])):
            name = rng.choice("xxy")
            held = states.get(name)
            holds = held if till > NOW and held and NOW - held.at < held.life else None
            if rng.random() < 0.4:
                lines.append(f"amount {name}")
                out += [holds.amount, holds.at + holds.life] if holds else ["-", "-"]
                continue
            amount = rng.choice([0, 10, 11, 20, 30, 31, 40, 50])
            lines.append(f"say {name} {amount} {length}")
            states[name] = one = holds or Announced(amount)
            out.append(str(holds is not None and holds.hears(amount, length)).lower())
            one.at, one.life = NOW, max(HOUR, 2 * length)
            till = max(till, one.at + one.life)
            spoken.add(name)
        lines.append("save")
        if spoken:
            out += ["l", till - NOW + HOUR]
        kept = [f"{name} {' '.join(map(str, astuple(states[name])))} . " for name in sorted(states)]
        says.append(" ".join(map(str, [*out, till])) + f" {''.join(kept)}.")
    assert lua(("this", "announced"), f'local NOW, LINES = {NOW}, "{"/".join(lines)}"' + PROGRAM + STEPS) == " ".join(
        says
    )
