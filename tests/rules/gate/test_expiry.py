"""Whatever a tick writes dies by itself one day (limiter.md 6: every key gets its expiry where it is written)."""

from __future__ import annotations

import random

import pytest

from .driver import (
    Clock,
    Host,
    RedisClockHost,
    Replica,
    TablesHost,
    ack,
    block,
    bucket,
    call,
    cancel,
    charge,
    flying,
    gauge,
    key,
    quota,
    window,
)

KINDS = {
    *("meta", "rep", "hb", "n", "w", "g", "r", "u", "tb", "q", "fr", "f", "h", "d", "on", "at", "park", "wake", "bar"),
    *("rivals", "asked", "lanes", "v", "fin", "up", "k", "blk", "pools", "pool", "grant", "due", "pm", "told", "pf"),
}
"""What keys begin with, by the heads of the files that write them."""


def keys(host: Host) -> dict[str, bool]:
    """Every key and whether it dies."""
    if isinstance(host, RedisClockHost):
        names = list(host.client.scan_iter(count=1000))
        return {name.decode().partition("}:")[2]: host.client.pexpiretime(name) > 0 for name in names}
    entries = [entry.partition("}:")[2] for entry in str(host.contents()).split(";")]
    dies = {entry[2:].rpartition("=")[0] for entry in entries if entry.startswith("3/")}
    held = {entry[2:].rpartition("=")[0].rpartition("/")[0] for entry in entries if entry.startswith("1/")}
    held |= {
        entry[2:].partition("/members/")[0] for entry in entries if entry.startswith("2/") and "/members/" in entry
    }
    return {name: name in dies for name in held}


@pytest.mark.parametrize("seed", [1, 2])
def test_every_key_dies_by_itself(host: Host, clock: Clock, seed: int) -> None:
    """While two replicas are busy; and of each kind of key there was one."""
    rng, seen = random.Random(seed), set[str]()
    assert isinstance(host, RedisClockHost | TablesHost)
    replicas = [Replica(host, clock, name) for name in "ab"]
    one, two, seats = flying(1, name="one"), flying(1, name="two"), flying(1, name="seats")
    late = window(9, ms=900, count_at="end", name="late")
    plans = [
        call(charge(window(4, ms=700)), charge(bucket(9, 2, 300)), charge(quota(900)), charge(late)),
        call(charge(window(4, ms=700)), user="back", wait=0, again="again"),
        *[call(charge(one), charge(two), user=user) for user in "uv"],
        *[call(charge(limit), user=user) for limit, user in ((one, "w"), (two, "x"))],
        *[
            call(charge(window(4, ms=700)), keys=[key(lane + n, charge(seats, 1, lane + n)) for n in "12"], user=user)
            for lane in "kl"
            for user in "yz"
        ],
    ]
    for i in range(120):
        clock.now += rng.choice([0, 10, 150])
        replica = rng.choice(replicas)
        ops = [
            gauge(charge(rng.choice([one, two, late])), 0),
            gauge(charge(seats, 1, rng.choice(["k1", "k2", "l1"])), 0),
        ]
        if rng.random() < 0.2:
            ops.append(rng.choice([block("k1", 300), cancel(max(1, replica.count)), ack(max(1, replica.count))]))
        replica.tick(*rng.sample(ops, rng.randrange(len(ops))), replica.arrival(rng.choice(plans)))
        if i % 3 > 0:
            continue
        here = keys(host)
        assert [name for name, dies in here.items() if not dies] == []
        seen |= {name.partition(":")[0] for name in here}
    assert seen == KINDS
