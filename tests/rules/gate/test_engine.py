"""rules/gate/engine.py: the host in this process."""

from __future__ import annotations

import lupa.lua51
import pytest

from rules import gate
from rules.gate import wire
from rules.gate.engine import Engine

from .driver import (
    Clock,
    Replica,
    TablesHost,
    block,
    bucket,
    call,
    cancel,
    charge,
    flying,
    gauge,
    grants,
    key,
    quota,
    window,
)


@pytest.mark.parametrize(
    "name", ["os", "io", "require", "python", "package", "dofile", "loadfile", "loadstring", "debug", "print"]
)
def test_the_script_reaches_nothing_outside(name: str) -> None:
    """Files, modules, processes and Python are not there."""
    engine = Engine(f"return function() return {name} == nil and 'gone' or 'there' end, 1, 1")
    assert engine.tick(b"", 0, []) == b"gone"


def test_a_new_global_is_an_error() -> None:
    """As on Redis."""
    engine = Engine("return function() leaked = 1 end, 1, 1")
    with pytest.raises(lupa.lua51.LuaError, match="global leaked"):
        engine.tick(b"", 0, [])


def test_engines_share_nothing() -> None:
    """Each is a store of its own."""
    limit, clock = window(1), Clock()
    for _ in range(2):
        assert grants(Replica(TablesHost(), clock).arrive(call(charge(limit), wait=0)))


def test_swept_keys_are_gone_and_live_ones_stay() -> None:
    """A bucket outlives its window, and is thrown away after its life; the sweep changes no verdict."""
    host, clock = TablesHost(), Clock()
    a, limit = Replica(host, clock), window(1, ms=60_000)
    for user in range(50):
        a.arrive(call(charge(limit, 1, f"user{user}"), wait=0))
    before = host.engine.size
    assert host.engine.sweep(clock.now + 60_000) == 0
    clock.now += 60_000 + 6_000 + 1
    assert grants(a.arrive(call(charge(limit, 1, "user0"), wait=0)))
    assert host.engine.sweep(clock.now + 1_000_000) >= 49
    assert host.engine.size < before


def test_memory_is_told() -> None:
    """Bytes in use grow with what waits."""
    host, clock = TablesHost(), Clock()
    a, limit = Replica(host, clock), flying(1)
    a.arrive(call(charge(limit)))
    before = host.engine.memory
    a.tick(*[a.arrival(call(charge(limit))) for _ in range(400)])
    assert host.engine.memory > before


def test_both_scripts_are_the_same_but_for_their_adapters() -> None:
    """One text, two storage adapters and two entries."""
    assert gate.REDIS_FILES[2:-1] == gate.TABLES_FILES[2:-1]
    same = "\n".join(gate.text(name) for name in gate.TABLES_FILES[2:-1])
    assert same in gate.redis_library().source
    assert same in gate.tables_script()


def test_the_largest_tick_passes() -> None:
    """The most arguments the actor sends at once fit on the Lua stack."""
    host, clock = TablesHost(), Clock()
    a, limit = Replica(host, clock), window(1000)
    reply = a.tick(*[a.arrival(call(charge(limit), wait=0)) for _ in range(500)])
    assert len(grants(reply)) == 500
    assert reply.status == wire.DONE


def test_every_key_expires() -> None:
    """Of each kind of limit, with calls that go, wait, are pushed and are given up; a block and a rest too."""
    host, clock = TablesHost(), Clock(1_000_000)
    a, b = Replica(host, clock, "a"), Replica(host, clock, "b")
    ending = window(2, name="e", count_at="end", burst=1)
    kinds = [window(2, burst=1), ending, flying(2), bucket(2, 1, 1000), quota(2)]
    for limit in kinds:
        for replica in (a, b):
            for user in "uv":
                keys = [key("k", charge(limit, scope="k"))] if user == "u" else None
                replica.arrive(call(charge(limit), user=user, tier="t", keys=keys, wait=10**8))
    a.tick(block("k", 50_000), cancel(a.count))
    b.tick(gauge(charge(flying(2)), 0), gauge(charge(ending), 0))
    clock.now += 2000
    b.tick()
    contents = str(host.contents()).split("'")[1].split(";")
    kept = {entry.split("/")[1] for entry in contents if entry.startswith(("rl:{s}:1/", "rl:{s}:2/"))}
    dying = {entry.split("/")[1].split("=")[0] for entry in contents if entry.startswith("rl:{s}:3/")}
    assert len(kept) > 20
    assert kept - dying == set()
