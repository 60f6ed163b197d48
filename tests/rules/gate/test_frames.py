"""rules/gate/frames.lua: what many waiting calls share is stored once, and for as long as one of them may wait."""

from __future__ import annotations

from typing import cast

from rules.gate import wire
from tests.redis_server import RedisServer

from .driver import Clock, Host, RedisClockHost, Replica, TablesHost, call, charge, flying, gauge, grants, key, window
from .modules import Lua

HOUR = 3_600_000

FILES = ("this", "call", "frames")


def test_a_waiting_call_takes_few_bytes_of_the_store(redis_of_gate: RedisServer, clock: Clock) -> None:
    """Names of limits and keys stand there once, not once a call; the calls of another frame bring theirs."""
    host = RedisClockHost(redis_of_gate)
    a, one = Replica(host, clock), flying(1)
    keys = [key(f"key-number-{n}", charge(window(10**6, name=f"a-limit-of-key-{n}"))) for n in range(8)]
    a.arrive(call(charge(one), keys=keys))
    for _ in range(40):
        a.arrive(call(charge(one), keys=keys))
        a.arrive(call(charge(one), keys=keys[:4]))
    records = cast(dict[bytes, bytes], host.client.hgetall(f"rl:{{s}}:d:{a.id.decode()}"))
    frames = cast(list[bytes], host.client.keys("rl:{s}:fr:*"))
    host.close()
    assert len(records) == 80
    assert max(map(len, records.values())) < 150
    assert len(frames) == 2


def test_a_frame_is_kept_beyond_the_longest_wait(redis_of_gate: RedisServer, clock: Clock) -> None:
    """Its life is that of the call that names it and waits longest, in whatever order they came, and an hour."""
    host = RedisClockHost(redis_of_gate)
    a, one = Replica(host, clock), flying(1)
    for wait in (0, 60_000, 30 * HOUR, 60_000):
        a.arrive(call(charge(one), wait=wait))
    (frame,) = cast(list[bytes], host.client.keys("rl:{s}:fr:*"))
    life = host.client.pttl(frame)
    host.close()
    assert 31 * HOUR - 60_000 < life < 33 * HOUR


def test_a_call_that_waits_for_hours_is_still_known(clock: Clock) -> None:
    """What expires meanwhile is swept, and its frame is not among it, though a call with a short wait named it last."""
    host, one = TablesHost(), flying(1)
    a = Replica(host, clock)
    a.arrive(call(charge(one)))
    a.arrive(call(charge(one), wait=12 * HOUR))
    a.arrive(call(charge(one), wait=1000))
    for _ in range(11 * 6):
        clock.now += HOUR // 6
        a.tick(gauge(charge(one), 1))
        host.engine.sweep(clock.now)
    assert grants(a.tick(gauge(charge(one), 0))) == [2]


def test_a_call_whose_frame_is_lost_is_lost_too(redis_of_gate: RedisServer, clock: Clock) -> None:
    """Nobody knows what it asked for; the others are served."""
    host = RedisClockHost(redis_of_gate)
    a, one = Replica(host, clock), flying(1)
    a.arrive(call(charge(one)))
    a.arrive(call(charge(one)))
    host.client.delete(*cast(list[bytes], host.client.keys("rl:{s}:fr:*")))
    a.arrive(call(charge(one, 1), keys=[key("other")]))
    served = grants(a.tick(gauge(charge(one), 0)))
    host.close()
    assert served == [3]


def test_limits_that_changed_make_another_frame(host: Host, clock: Clock) -> None:
    """A call keeps the amounts it came with, whatever the next one of the same keys and buckets brings."""
    a = Replica(host, clock)
    a.arrive(call(charge(flying(1))))
    a.arrive(call(charge(flying(1))))
    a.arrive(call(charge(flying(2), 2)))
    assert grants(a.tick(gauge(charge(flying(1)), 0))) == [2]
    assert grants(a.tick(gauge(charge(flying(1)), 0))) == [3]


def test_the_name_is_the_contents(clock: Clock) -> None:
    """Equal frames have one name on every replica, and whatever differs in one word has another."""
    plans = [call(charge(flying(n))) for n in (1, 1, 2)] + [call(charge(flying(1), 5)), call(keys=[key("other")])]
    names = [wire.arrival(plan).frame.split()[5] for plan in plans]
    assert names[0] == names[1] == names[3]
    assert len({names[0], names[2], names[4]}) == 3


def test_a_frame_is_written_for_an_hour_more_than_it_must_be_kept(lua: Lua) -> None:
    """That is an hour beyond the deadline; until then it is not written again."""
    program = """
      local plain = store.expire
      function store.expire(key, ms)
        say(key, ms)
        plain(key, ms)
      end
      local frame = call.frame("P 0 0 c 1 NAME")
      this.now = 1000
      for _, deadline in ipairs({ 5000, 4000, 3605000, 3605001 }) do
        for _ = 1, 2 do
          frames.keep({ frame = frame, deadline = deadline })
        end
        frames.begin()
      end
      say(store.texts("fr:NAME", { "t", "x" }))"""
    written = f"fr:NAME {5000 + 2 * HOUR - 1000} fr:NAME {5001 + 3 * HOUR - 1000}"
    assert lua(FILES, "frames.begin()" + program) == f"{written} P 0 0 c 1 NAME {5001 + 3 * HOUR} ."


def test_a_frame_is_found_by_its_name(lua: Lua) -> None:
    """Where it was written, in this tick or before; else it is told that there is none."""
    program = """
      frames.begin()
      frames.keep({ frame = call.frame("P 0 0 c 1 NAME"), deadline = 1 })
      say(frames.named("NAME").pool, frames.named("OTHER"), frames.named("OTHER"))"""
    assert lua(FILES, program) == "P false false"
