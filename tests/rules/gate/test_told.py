"""rules/gate/told.lua: what is told of keys and learned limits, among a tick's other operations."""

from __future__ import annotations

from rules.gate import resting

from .driver import Clock, Replica, block, call, charge, grants, key, lifted, turned
from .driver import said as rests
from .hidden import LIMIT


def test_operations_of_every_kind_stand_side_by_side_in_a_tick(a: Replica, clock: Clock) -> None:
    """Each takes what is its own, and those behind it are read where they begin."""
    keys = [key(name, blocks=(f"k:{name}",)) for name in ("b", "r", "u", "o", "last")]
    reply = a.tick(
        block("k:b", 1000),
        rests("k:r", 1000, every=60_000),
        rests("k:u", 1000, every=60_000),
        lifted("k:u", "k:nobody"),
        resting.given(charge(LIMIT, scope="given"), 77, 0),
        turned("k:o", on=False),
        resting.refused(charge(LIMIT), 5),
        *[a.arrival(call(keys=keys, wait=0)) for _ in range(2)],
    )
    assert grants(reply) == [1, 2]
    assert sorted(granted.candidate for granted in reply.granted) == [2, 4]
    given = call(keys=[key("k", charge(LIMIT, scope="given"))])
    assert a.explain(given).rooms[0].amount == 77


def test_who_waits_looks_in_the_tick_that_tells_of_a_key(a: Replica, clock: Clock) -> None:
    """Lifted or turned on: not at the next look."""
    keys = [key("x", blocks=("k:x",))]
    for told in (lifted("k:x"), turned("k:x", on=True)):
        a.tick(rests("k:x", 60_000, every=60_000, known=True))
        assert grants(a.arrive(call(keys=keys, wait=600_000))) == []
        assert grants(a.tick(told)) == [a.count]
