"""rules/gate/pool.lua, held to a model of it: which key serves, when one will, and when none is there."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from .modules import Lua

NOW, FAR = 1000, 9_007_199_254_740_991
FILES = (
    "this",
    """
    local rests, bucket, line, fair = {}, {}, {}, {}
    function rests.stands(candidate)
      return candidate.at, candidate.to_try, candidate.unsure
    end
    function bucket.used(limit) return limit.used end
    function bucket.amount(limit) return limit.amount end
    function bucket.fits(limit, cost) return limit.used + cost <= limit.amount - 1 end
    function bucket.earliest(limit, cost, ahead) return math.min(order.FAR, limit.ready + cost + ahead) end
    function bucket.expected(limit, cost, ahead) return math.min(order.FAR, limit.ready + 2 * cost + ahead) end
    function line.ahead(head, limit, of_key, cost) return of_key and head.ahead + cost or 999 end
    """,
    "call",
    "pool",
)
PROGRAM = """
this.now = NOW
for i, one in ipairs(cases) do
  this.kept = one.kept
  pool.begin()
  store.put("k", one.counters)
  local frame, costs, without = one.frame, one.costs, one.without
  say(pool.choose(frame, costs, without, one.tries) or "-")
  say(pool.can_serve(frame, 1, costs))
  for _, behind in ipairs({ false, { ahead = 7 }, { ahead = 7, owed = 1 } }) do
    local index, at, binds = pool.earliest(frame, costs, without, behind or nil, one.tries)
    say(index or "-", at or "-", binds or "-")
  end
  say(pool.all_rest_until(frame) or "-", pool.is_out(frame))
  store.delete("k")
end
"""


@dataclass
class Limit:
    """A limit and what it says."""

    used: int
    amount: int
    ready: int
    cost: int


@dataclass
class Candidate:
    """A key, how it stands, and its limits."""

    key: str
    group: str
    rank: int
    at: int
    to_try: bool
    unsure: bool
    limits: list[Limit]


@dataclass
class Pool:
    """What is asked of one."""

    kept: int
    tries: bool
    commons: list[Limit]
    candidates: list[Candidate]
    without: set[int]
    counters: dict[str, int] = field(default_factory=dict)

    def may_try(self) -> bool:
        """A call that cannot be sent twice tries a key only where none is sound."""
        sound = [one for one in self.candidates if not one.to_try and one.at < FAR]
        return self.tries or (self.kept > 0 and not sound)

    def choose(self) -> int | None:
        """The one to grant: any to try before it, else the least of rank, group's last grant and its own."""
        able = []
        for i, one in enumerate(self.candidates):
            has_room = all(limit.used + limit.cost < limit.amount for limit in one.limits)
            if i not in self.without and one.at == 0 and has_room and (not one.to_try or self.may_try()):
                if one.to_try:
                    return i
                able.append((one.rank, self.counters.get(f"g{one.group}", 0), self.counters.get(f"k{one.key}", 0), i))
        return min(able)[-1] if able else None

    def can_serve(self) -> bool:
        """The first is not resting, and there is room whatever the pace."""
        one = self.candidates[0]
        limits = [*self.commons, *one.limits]
        return one.at == 0 and not one.to_try and all(limit.used + limit.cost <= limit.amount for limit in limits)

    def ready(self, one: Candidate, at_cost: int, ahead: int | None, twice: bool) -> tuple[int, int, bool]:
        """When it will fit, what binds, and whether it is unsure."""
        at, unsure, binds = one.at, one.unsure, 0
        if at == 0:
            at, unsure = NOW, one.to_try and not self.may_try()
        if unsure and (ahead is not None or at == NOW):
            at = FAR
        for i, limit in enumerate(one.limits):
            before = 0 if ahead is None else ahead + limit.cost
            fits = min(FAR, limit.ready + limit.cost * (2 if twice else 1) + before)
            if fits > at:
                at, binds = fits, at_cost + i + 1
        return at, binds, unsure

    def earliest(self, ahead: int | None, twice: bool) -> tuple[object, object, object]:
        """The first of those that are sure, then of the others; and when to look."""
        found, at_cost = [], len(self.commons)
        for i, one in enumerate(self.candidates):
            if i not in self.without:
                at, binds, unsure = self.ready(one, at_cost, ahead, twice)
                found.append((unsure, at, i, binds))
            at_cost += len(one.limits)
        if not found:
            return "-", "-", "-"
        best = min(found)
        return best[2] + 1, min(at for _, at, _, _ in found), best[3]

    def says(self) -> list[object]:
        """As the program says it."""
        chosen = self.choose()
        out: list[object] = ["-" if chosen is None else chosen + 1, str(self.can_serve()).lower()]
        out += [*self.earliest(None, False), *self.earliest(7, False), *self.earliest(7, True)]
        rest = [one.at for one in self.candidates]
        out.append("-" if 0 in rest else min(FAR, *rest))
        is_out = self.kept > 0 and all(one.at != 0 and one.unsure for one in self.candidates)
        return [*out, str(is_out).lower()]

    def lua(self) -> str:
        """The same for the program."""
        at, candidates = len(self.commons), []
        costs = [limit.cost for limit in self.commons]
        for one in self.candidates:
            stands = (
                f"at = {one.at}, to_try = {str(one.to_try).lower()}, unsure = {str(one.unsure).lower()}, from = {at}"
            )
            named = f'key = "{one.key}", group = "{one.group}", rank = {one.rank}, limits = {_limits(one.limits)}'
            candidates.append(f"{{ {named}, {stands} }}")
            costs += [limit.cost for limit in one.limits]
            at += len(one.limits)
        frame = f'{{ pool = "P", commons = {_limits(self.commons)}, candidates = {{ {", ".join(candidates)} }} }}'
        without = ", ".join(f"[{i + 1}] = true" for i in self.without)
        counters = ", ".join(f'"{name}", {count}' for name, count in self.counters.items())
        return (
            f"{{ kept = {self.kept}, tries = {str(self.tries).lower()}, frame = {frame}, without = {{ {without} }}, "
            f"costs = {{ {', '.join(map(str, costs))} }}, counters = {{ {counters} }} }}"
        )


def _limits(limits: list[Limit]) -> str:
    said = [f"{{ used = {one.used}, amount = {one.amount}, ready = {one.ready} }}" for one in limits]
    return f"{{ {', '.join(said)} }}"


def pool(rng: random.Random) -> Pool:
    """Any, often at an edge."""

    def limits(most: int) -> list[Limit]:
        cost = rng.choice([0, 1, 3])
        ready = rng.choice([NOW - 50, NOW - 5, NOW, NOW + 40, FAR])
        return [Limit(rng.randrange(3), rng.choice([2, 3, 4, 5, 9]), ready, cost) for _ in range(rng.randrange(most))]

    candidates = []
    for i in range(rng.choice([1, 2, 2, 3])):
        at, to_try = rng.choice([0, 0, 0, 1, NOW + 30, FAR]), rng.random() < 0.3
        unsure = rng.random() < 0.5
        candidates.append(Candidate(f"k{i}", rng.choice("gh"), rng.choice([0, 0, 0, 1]), at, to_try, unsure, limits(3)))
    without = {i for i in range(len(candidates)) if rng.random() < 0.15}
    names = [*[one.key for one in candidates], "gg", "gh"]
    counters = {name if name[0] == "g" else f"k{name}": rng.randrange(4) for name in names}
    return Pool(rng.choice([0, 1, 1, 2]), rng.random() < 0.3, limits(3), candidates, without, counters)


@pytest.mark.parametrize("seed", range(4))
def test_a_key_is_chosen_waited_for_or_not_there(lua: Lua, seed: int) -> None:
    """Whatever rests, is to be tried, has room, or had its turn last."""
    rng = random.Random(seed)
    pools = [pool(rng) for _ in range(120)]
    cases = f"local NOW, cases = {NOW}, {{\n" + ",\n".join(one.lua() for one in pools) + "\n}\n"
    says = [word for one in pools for word in one.says()]
    assert lua(FILES, cases + PROGRAM) == " ".join(map(str, says))


def test_what_is_known_of_keys_and_holders_is_kept_for_a_day(lua: Lua) -> None:
    """Which key was granted last, where there was a choice, and who holds which."""
    program = """
      local plain = store.expire
      function store.expire(key, ms)
        say(key, ms)
        plain(key, ms)
      end
      this.grants = 6
      pool.begin()
      local one, other = { key = "a", group = "g" }, { key = "b", group = "g" }
      pool.granted({ candidates = { one } }, one)
      pool.granted({ candidates = { one, other } }, other)
      pool.hold("P", 1, 2, { class = "l.t", tag = 3, enqueued = 4, attempt = "me" })
      pool.save()
      say(this.grants, store.all("k"), store.all("pool:P"))"""
    says = "k 86400000 pool:P 86400000 7 gg 7 . kb 7 . . 1 2 l.t 3 4 me . n 1 . ."
    assert lua(FILES, program) == says
