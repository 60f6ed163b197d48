"""rules/gate/store_redis.lua and store_tables.lua: the same functions, arguments and results."""

from __future__ import annotations

import random
import re

import pytest

from rules import gate
from tests.redis_server import RedisServer

from .modules import Lua, on_redis, on_tables

CASES = {
    "numbers come back as numbers and absent fields as false": """
      store.put("h", {"a", 9007199254740991, "b", 0})
      say(store.numbers("h", {"a", "b", "c"}))
      say(store.numbers("none", {"a"}))""",
    "a whole hash is sorted by the bytes of its fields": """
      store.put("h", {"b", 2, "a", 1, "B", 3, "10", 4, "9", 5})
      say(store.all("h"))
      say(store.all("none"))""",
    "dropping the last field drops the hash": """
      store.put("h", {"a", "x"})
      store.drop("h", {"a", "never"})
      store.drop("none", {"a"})
      say(store.texts("h", {"a"}))""",
    "deleting takes hashes and sorted sets": """
      store.put("h", {"a", 1})
      store.zput("z", {"m", 1})
      store.delete("h")
      store.delete("z")
      say(store.numbers("h", {"a"}))
      say(store.zrange("z", 0, -1))""",
    "sorted sets order by score, then by the bytes of the member": """
      store.zput("z", {"b", 5, "a", 5, "B", 5, "aa", 5, "z", 1, "y", 9007199254740991})
      say(store.zrange("z", 0, -1))
      say(store.zrange("z", 1, 2))
      say(store.zrange("z", 4, 100))
      say(store.zrange("z", 100, 200))""",
    "a member put again moves": """
      store.zput("z", {"a", 1, "b", 2, "c", 3})
      store.zput("z", {"a", 2})
      say(store.zrange("z", 0, -1))
      store.zput("z", {"c", 0, "c", 9})
      say(store.zrange("z", 0, -1))""",
    "members leave from either end and the middle": """
      for i = 1, 20 do store.zput("z", {"m" .. order.text(i), i}) end
      store.zdrop("z", {"m1", "m2", "m20", "m10", "m11", "none"})
      say(store.zrange("z", 0, -1))
      store.zput("z", {"first", 0, "last", 99})
      say(store.zrange("z", 0, -1))""",
    "many members leave at once": """
      for i = 1, 40 do store.zput("z", {"m" .. order.text(i), i % 7}) end
      store.zdrop("z", {"m1", "m40", "m7", "none", "m7", "m20", "m21", "m22", "m23", "m33"})
      say(store.zrange("z", 0, -1))
      say(store.zrank("z", "m39"))
      store.zput("z", {"first", -1, "m7", 3, "last", 99})
      say(store.zrange("z", 0, -1))
      store.zdrop("y", {"1", "2", "3", "4", "5", "6", "7", "8"})
      store.zput("y", {"a", 1, "b", 2})
      store.zdrop("y", {"a", "1", "2", "3", "4", "5", "6", "7", "b"})
      say(store.zrange("y", 0, -1))
      store.zput("y", {"c", 1})
      say(store.zrange("y", 0, -1))""",
    "scores, ranks and counts": """
      store.zput("z", {"a", 1, "b", 2, "c", 2, "d", 7})
      say(store.zscores("z", {"a", "d", "none"}))
      say(store.zscores("none", {"a"}))
      say(store.zrank("z", "c"))
      say(store.zrank("z", "none"))
      say(store.zrank("none", "a"))
      say(store.zcount("z", 2))
      say(store.zcount("none", 2))""",
    "trimming takes all up to a score": """
      store.zput("z", {"a", 1, "b", 2, "c", 3})
      store.ztrim("z", 2)
      say(store.zrange("z", 0, -1))
      store.ztrim("z", 9)
      store.ztrim("none", 9)
      say(store.zrange("z", 0, -1))""",
}


@pytest.mark.parametrize("case", CASES)
def test_both_adapters_answer_alike(redis_of_gate: RedisServer, case: str) -> None:
    """Each case of the table gives the same text on both."""
    assert on_tables([], CASES[case]) == on_redis(redis_of_gate)([], CASES[case])


def test_both_adapters_have_the_same_functions() -> None:
    """Beyond what only the host in this process needs: clock, sweep, size."""
    names = [set(re.findall(r"store\.(\w+)(?:\(| =)", gate.text(f"store_{kind}"))) for kind in ("redis", "tables")]
    assert names[1] - names[0] == {"set_clock", "sweep", "size"}
    assert names[0] - names[1] == set()


def test_no_file_of_the_algorithm_prints_a_number_by_itself() -> None:
    """Numbers become text through order.text alone (limiter 3.1)."""
    for name in gate.TABLES_FILES:
        text = gate.text(name)
        assert "tostring" not in re.sub(r"--.*", "", text), name
        assert name == "store_tables" or name.startswith("store") or "redis.call" not in text or name == "entry_redis"


class Model:
    """A store as the adapters' comments tell it, in the plainest way."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, int]] = {}
        self.sets: dict[str, dict[str, int]] = {}

    def order(self, name: str) -> list[tuple[int, str]]:
        """Members by score, then by their bytes."""
        return sorted((score, member) for member, score in self.sets.get(name, {}).items())


def said(*values: object) -> str:
    """As PROGRAM says a table of them."""
    return " ".join([*["false" if value is None else str(value) for value in values], "."])


def step(rng: random.Random, model: Model) -> tuple[str, str | None]:
    """A random call of the store, and what it says."""
    name, members = rng.choice("yz"), [f"m{rng.randrange(24)}" for _ in range(rng.choice([1, 1, 1, 2, 5, 9, 14]))]
    listed = "{" + ", ".join(f'"{member}"' for member in members) + "}"
    stored, here = model.sets.setdefault(name, {}), model.order(name)
    match rng.randrange(11):
        case 0 | 1 | 2:
            scores = [rng.randrange(9) for _ in members]
            stored.update(zip(members, scores, strict=True))
            return (
                f'store.zput("{name}", {{{", ".join(f"{m!r}, {s}" for m, s in zip(members, scores, strict=True))}}})',
                None,
            )
        case 3 | 4:
            for member in members:
                stored.pop(member, None)
            return f'store.zdrop("{name}", {listed})', None
        case 5:
            first = rng.choice([0, 0, 0, 1, 3, 8])
            last = rng.choice([-1, first, first + 3, 40])
            part = here[first:] if last < 0 else here[first : last + 1]
            return f'say(store.zrange("{name}", {first}, {last}))', said(*[x for s, m in part for x in (m, s)])
        case 6:
            return f'say(store.zscores("{name}", {listed}))', said(*[stored.get(member) for member in members])
        case 7:
            low = rng.randrange(10)
            return f'say(store.zcount("{name}", {low}))', str(sum(score >= low for score, _ in here))
        case 8:
            rank = next((i for i, (_, member) in enumerate(here) if member == members[0]), None)
            return f'say(store.zrank("{name}", "{members[0]}"))', "false" if rank is None else str(rank)
        case 9:
            high = rng.choice([-1, 0, 1, 3])
            model.sets[name] = {member: score for score, member in here if score > high}
            return f'store.ztrim("{name}", {high})', None
        case _:
            fields = model.hashes.setdefault(name, {})
            if rng.random() < 0.4:
                fields.update(dict.fromkeys(members, len(members)))
                pairs = ", ".join(f'"{member}", {len(members)}' for member in members)
                return f'store.put("h{name}", {{{pairs}}})', None
            if rng.random() < 0.5:
                for member in members:
                    fields.pop(member, None)
                return f'store.drop("h{name}", {listed})', None
            if rng.random() < 0.1:
                fields.clear()
                return f'store.delete("h{name}")', None
            whole = " ".join(said(field, value) for field, value in sorted(fields.items()))
            return f'say(store.numbers("h{name}", {listed})) say(store.all("h{name}"))', " ".join(
                [said(*[fields.get(member) for member in members]), *([whole] if whole else []), "."]
            )


@pytest.mark.parametrize("seed", range(24))
def test_both_adapters_do_what_a_plain_model_does(lua: Lua, seed: int) -> None:
    """Whatever is put, moved, dropped, trimmed and asked for, in any order."""
    rng, model, calls, expected = random.Random(seed), Model(), list[str](), list[str]()
    for _ in range(60):
        line, says = step(rng, model)
        calls.append(line)
        if says is not None:
            expected.append(says)
    assert lua([], "\n".join(calls)) == " ".join(expected)


def test_what_has_expired_goes_with_the_first_sweep_of_a_later_minute() -> None:
    """Once, and no sooner; how long it lives is what was said last. Only the store in this process is swept."""
    program = """
      store.set_clock(1000)
      store.put("a", {"x", 1})
      store.expire("a", 60000)
      store.zput("b", {"m", 1})
      store.expire("b", 20000)
      store.put("c", {"x", 1})
      store.expire("c", 20000)
      store.set_clock(50000)
      store.expire("b", 200000)
      store.delete("c")
      say(store.sweep(59999), store.size())
      say(store.sweep(60000), store.size())
      store.put("c", {"x", 1})
      store.expire("c", 20000)
      say(store.sweep(119999), store.size())
      say(store.sweep(120000), store.size(), store.numbers("a", {"x"}), store.numbers("c", {"x"}))
      say(store.sweep(299999), store.size())
      say(store.sweep(300000), store.size(), store.zrange("b", 0, -1))
      say(store.sweep(900000), store.size())"""
    says = "0 2 0 2 0 3 2 1 false . false . 0 1 1 0 . 0 0"
    assert on_tables([], program) == says


def test_keys_of_all_services_are_counted_and_swept() -> None:
    """Hashes and sorted sets."""
    program = """
      store.set_clock(0)
      for _, name in ipairs({"rl:{s}:", "rl:{u}:"}) do
        store.open(name)
        store.put("a", {"x", 1})
        store.put("b", {"x", 1})
        store.zput("z", {"m", 1})
        for _, key in ipairs({"a", "b", "z"}) do
          store.expire(key, 1)
        end
      end
      say(store.size(), store.sweep(60000), store.size())"""
    assert on_tables([], program) == "6 6 0"


def test_a_key_that_holds_nothing_any_more_is_no_key() -> None:
    """Whichever way its last field or member left."""
    program = """
      store.put("a", {"x", 1})
      store.drop("a", {"x"})
      store.zput("b", {"m", 1})
      store.zdrop("b", {"m"})
      store.zput("c", {"m", 1})
      store.zdrop("c", {"m", "1", "2", "3", "4", "5", "6", "7"})
      store.zput("d", {"m", 1})
      store.ztrim("d", 1)
      store.zput("e", {"m", 1, "n", 2})
      store.zdrop("e", {"m", "1", "2", "3", "4", "5", "6", "7"})
      say(store.size())"""
    assert on_tables([], program) == "1"
