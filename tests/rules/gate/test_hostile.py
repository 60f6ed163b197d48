"""rules/gate/wire.py: ids that somebody chose to break something with, on both hosts."""

from __future__ import annotations

import tracemalloc

import pytest

from rules.gate import wire
from rules.verdict import Plan

from .driver import Clock, Host, Replica, TablesHost, block, call, charge, flying, grants, key, window

HOSTILE = (
    "a\nb",
    "a\r\nA 1 0 0 0 0 f 0 1 x",
    "{s}:meta",
    "}{",
    "\0",
    "a b",
    "",
    "#",
    "#" + "0" * 64,
    "%s%d",
    "w:x",
    "*",
    "\ud800",
    "é" * 300,
    "a" * (1 << 20),
)


def hostile_call(text: str, wait: int = 0) -> Plan:
    """A call that is `text` wherever a client may say something."""
    limits = (charge(window(2, ms=60_000, name="user"), scope=text), charge(flying(3, name="c"), scope=text))
    return call(
        *limits, keys=[key(text, charge(window(9), scope=text), group=text, blocks=(text,))], user=text, wait=wait
    )


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:8]))
def test_a_hostile_id_has_buckets_of_its_own_and_touches_no_other(a: Replica, text: str) -> None:
    """Two go, the third waits; everybody else's buckets are as they were, and it can rest nobody but itself."""
    ann = call(charge(window(1, ms=60_000, name="user"), scope="ann"), user="ann", wait=0)
    others = [hostile_call(other) for other in HOSTILE if other != text]
    assert [bool(grants(a.arrive(hostile_call(text)))) for _ in range(3)] == [True, True, False]
    assert a.arrive(hostile_call(text, 90_000)).held
    a.tick(block(text, 50_000), wire.settle(charge(window(2, ms=60_000, name="user"), scope=text), -1, 5))
    assert grants(a.arrive(ann))
    for other in others:
        assert [bool(grants(a.arrive(other))) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:8]))
def test_no_operation_is_longer_for_a_hostile_id(host: Host, clock: Clock, text: str) -> None:
    """What travels, and what is stored, is a word of at most 65 characters for each id."""
    a = Replica(host, clock, service=text)
    operation = a.arrival(hostile_call(text))
    assert sum(len(word) for word in operation if isinstance(word, bytes)) < 1000
    assert len(a.key) < 100
    assert a.key.count(b"{") == a.key.count(b"}") == 1
    assert grants(a.tick(operation))


def test_long_ids_are_forgotten_and_fill_no_memory(clock: Clock) -> None:
    """Sixty different ones of 1 MiB leave less than one of them, here and in the host."""
    host = TablesHost()
    a = Replica(host, clock)
    a.arrive(hostile_call("warm"))
    tracemalloc.start()
    before = host.engine.memory
    for n in range(60):
        assert grants(a.arrive(hostile_call("a" * (1 << 20) + str(n))))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 1 << 20
    assert host.engine.memory - before < 1 << 20
