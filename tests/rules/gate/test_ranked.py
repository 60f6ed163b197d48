"""rules/gate/ranked.lua: a stored order with a tick's changes over it reads as one order."""

from __future__ import annotations

import random

import pytest

from .modules import Lua

FILES = ("this", "ranked")


@pytest.mark.parametrize("seed", range(10))
def test_a_set_within_a_tick_is_the_stored_one_with_what_changed(lua: Lua, seed: int) -> None:
    """Members come and go over many ticks; any place and the count are asked for at any time."""
    rng = random.Random(seed)
    size = rng.choice([3, 8, 9, 16, 40])
    sets: dict[str, dict[str, int]] = {"x": {}, "y": {}}
    lines, expected = ["this.waiting = 1"], list[str]()
    for _ in range(25):
        lines.append("ranked.begin()")
        for _ in range(rng.choice([1, 4, 12])):
            name = rng.choice("xxxy")
            of, set_ = sets[name], f'ranked.open("{name}")'
            order = sorted((score, member) for member, score in of.items())
            member = rng.choice([one for _, one in order[:4]] + [f"m{rng.randrange(size)}"])
            match rng.randrange(6):
                case 0 | 1 if member not in of:
                    of[member] = rng.randrange(size)
                    lines.append(f'ranked.put({set_}, "{member}", {of[member]})')
                case 2 if member in of:
                    del of[member]
                    lines.append(f'ranked.take_out({set_}, "{member}")')
                case 3:
                    lines.append(f"say(ranked.count({set_}))")
                    expected.append(str(len(of)))
                case _:
                    k = max(0, rng.choice([0, 0, 1, 2, len(of) - 1, len(of), rng.randrange(size)]))
                    lines.append(f"say(ranked.at({set_}, {k}))")
                    expected += [order[k][1], str(order[k][0])] if k < len(of) else ["nil"]
        lines.append("ranked.save()")
    assert lua(FILES, "\n".join(lines)) == " ".join(expected)


def test_where_nobody_waits_nothing_is_read(lua: Lua) -> None:
    """What the store may hold from before is not there."""
    program = """
      store.zput("x", {"a", 1})
      ranked.begin()
      say(ranked.count(ranked.open("x")), ranked.at(ranked.open("x"), 0))
      ranked.put(ranked.open("x"), "b", 2)
      say(ranked.count(ranked.open("x")), ranked.at(ranked.open("x"), 0))
      this.waiting = 1
      ranked.begin()
      say(ranked.at(ranked.open("x"), 0))"""
    assert lua(FILES, program) == "0 nil 1 b 2 a 1"


def test_what_is_only_read_is_not_written(lua: Lua) -> None:
    """Another tick's set stays as it is, and what changed is written once."""
    program = """
      local written = 0
      local zput = store.zput
      function store.zput(key, values) written = written + #values; zput(key, values) end
      ranked.begin()
      ranked.put(ranked.open("x"), "a", 1)
      ranked.put(ranked.open("x"), "b", 2)
      say(ranked.at(ranked.open("y"), 0))
      ranked.save()
      say(written, store.zrange("x", 0, -1))"""
    assert lua(FILES, program) == "nil 4 a 1 b 2 ."


@pytest.mark.parametrize("count", [7, 8, 9, 16, 20])
def test_any_place_of_a_stored_set_is_found_in_steps(lua: Lua, count: int) -> None:
    """From the first to the last and beyond, in turn or at once; each member is read once."""
    program = f"""
      local read, plain = 0, store.zrange
      function store.zrange(key, from, to)
        local flat = plain(key, from, to)
        read = read + #flat / 2
        return flat
      end
      for i = 1, {count} do
        store.zput("x", {{ "m" .. order.text(100 + i), i }})
      end
      this.waiting = 1
      ranked.begin()
      for k = 0, {count} do
        say(ranked.at(ranked.open("x"), k))
      end
      say(read)
      for k = {count}, {count} - 1, -1 do
        ranked.begin()
        say(ranked.at(ranked.open("x"), k))
      end
      ranked.begin()
      read = 0
      say(ranked.at(ranked.open("x"), 6), read)"""
    members = [f"m{101 + i} {i + 1}" for i in range(count)]
    says = [*members, "nil", count, "nil", members[-1], "m107", min(8, count)]
    assert lua(FILES, program) == " ".join(map(str, says))


def test_what_comes_in_one_tick_is_in_order_and_kept_for_a_day(lua: Lua) -> None:
    """Of one score by the bytes of the member."""
    program = """
      local plain = store.expire
      function store.expire(key, ms)
        say(key, ms)
        plain(key, ms)
      end
      this.waiting = 1
      ranked.begin()
      local set = ranked.open("x")
      for _, member in ipairs({ "b", "!", "a" }) do
        ranked.put(set, member, 5)
      end
      say(ranked.at(set, 0), ranked.at(set, 1), ranked.at(set, 2))
      ranked.save()"""
    assert lua(FILES, program) == "! a b 5 x 86400000"
