"""Both hosts with a clock that the test turns, and a replica that speaks to one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import redis

from rules import gate
from rules.gate import wire
from rules.gate.engine import Engine
from rules.gate.explain import explained, question
from rules.periods import Period
from rules.policy import Limit
from rules.verdict import Candidate, Charge, Explained, Plan
from tests.redis_server import RedisServer

CLOCK_IN_ARGUMENTS = """
return function(keys, args)
  this.raw = tonumber(table.remove(args))
  return tick.run(keys[1], args, this.raw)
end
"""
"""The test build's entry: the only difference from what production runs on Redis."""


CONTENTS = """
  function store.contents()
    local out = {}
    local function say(of, words)
      for k, v in pairs(of) do
        if type(v) == "table" then
          say(v, words .. tostring(k) .. "/")
        else
          out[#out + 1] = words .. tostring(k) .. "=" .. (type(v) == "number" and order.text(v) or tostring(v))
        end
      end
    end
    for name, of in pairs(services) do
      say({ of.hash, of.sorted, of.dies }, name)
    end
    table.sort(out, order.less)
    return table.concat(out, ";")
  end
"""
"""The test build's way to see the whole store in this process; Redis has its own."""


def _with_contents(source: str) -> str:
    """The chunk, answering the tick of a service called `contents` with all it holds."""
    source = source.replace("  function store.size()", CONTENTS + "\n  function store.size()")
    return source.replace(
        "  this.raw = raw\n", '  if key == "contents" then return store.contents() end\n  this.raw = raw\n'
    )


STRICT = """
do
  local function check(name, key, values, step)
    if #values == 0 or #values % step ~= 0 then
      error(name .. " " .. key .. ": " .. #values .. " values")
    end
    for i = 1, #values do
      local value = values[i]
      if type(value) ~= "number" and type(value) ~= "string" then
        error(name .. " " .. key .. ": neither a number nor text")
      end
      if type(value) == "number" and (value % 1 ~= 0 or math.abs(value) > order.FAR) then
        error(name .. " " .. key .. ": not an integer below 2^53")
      end
    end
  end
  for name, step in pairs({ numbers = 1, texts = 1, put = 2, drop = 1, zput = 2, zdrop = 1, zscores = 1 }) do
    local plain = store[name]
    store[name] = function(key, values)
      check(name, key, values, step)
      return plain(key, values)
    end
  end
  local zrange = store.zrange
  function store.zrange(key, from, to)
    if from < 0 or to < -1 then
      error("zrange " .. key .. ": from the end")
    end
    return zrange(key, from, to)
  end
  local expire = store.expire
  function store.expire(key, ms)
    check("expire", key, { ms }, 1)
    if ms <= 0 then
      error("expire " .. key .. ": at once")
    end
    expire(key, ms)
  end
end
"""
"""Makes the tables as strict as Redis: no command of nothing, no place from the end, every number an integer."""


def strict_tables_script() -> str:
    """The chunk of the host in this process, with STRICT before its entry."""
    *parts, entry = [gate.text(name) for name in gate.TABLES_FILES]
    return "\n".join([*parts, STRICT, entry])


class Host(Protocol):
    """Runs ticks at a time of the test's choosing."""

    def tick(self, key: bytes, now_ms: int, args: Sequence[bytes | int]) -> bytes:
        """One tick."""

    def empty(self) -> None:
        """Lose everything, as a store that restarts without its data."""

    def contents(self) -> object:
        """The whole store, to be compared."""


class TablesHost:
    """The host in this process."""

    def __init__(self, source: str | None = None) -> None:
        self.source = _with_contents(source or strict_tables_script())
        self.engine = Engine(self.source)

    def tick(self, key: bytes, now_ms: int, args: Sequence[bytes | int]) -> bytes:
        """One tick."""
        return self.engine.tick(key, now_ms, args)

    def empty(self) -> None:
        """Lose everything."""
        self.engine = Engine(self.source)

    def contents(self) -> object:
        """Every value and when its key expires."""
        return self.engine.tick(b"contents", 0, [])


class RedisClockHost:
    """A real Redis running the script with its time function swapped."""

    def __init__(self, server: RedisServer, library: gate.Library | None = None) -> None:
        self.client = redis.Redis.from_url(server.url, protocol=2)
        self._library = library or gate.redis_library(CLOCK_IN_ARGUMENTS)
        self.client.function_load(self._library.source, replace=True)
        self.empty()

    def tick(self, key: bytes, now_ms: int, args: Sequence[bytes | int]) -> bytes:
        """One tick."""
        answer = self.client.fcall(self._library.name, 1, key, *args, now_ms)
        assert isinstance(answer, bytes)
        return answer

    def empty(self) -> None:
        """Lose everything."""
        self.client.flushall()

    def contents(self) -> object:
        """Every key as it would be dumped, and when it expires."""
        return {key: (self.client.dump(key), self.client.pexpiretime(key)) for key in self.client.scan_iter()}

    def close(self) -> None:
        """Let the connection go."""
        self.client.close()


class Clock:
    """Milliseconds that pass when the test says so."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now


class Replica:
    """One proxy process as the store sees it."""

    def __init__(self, host: Host, clock: Clock, name: str = "a", service: str = "s") -> None:
        self.host, self.clock = host, clock
        self.id = name.encode().ljust(16, b"0")
        self.key = wire.meta_key(service)
        self.incarnation, self.seq, self.epoch, self.share = 1, 0, 0, 1000
        self.count = 0
        self.skew = 0
        """How far its wall clock is ahead of the store's."""
        self.last: list[bytes | int] = []

    def tick(self, *ops: Sequence[bytes | int]) -> wire.Reply:
        """The next tick."""
        self.seq += 1
        self.last = [self.id, self.incarnation, self.seq, self.share, self.epoch]
        for op in ops:
            self.last += op
        return self.again()

    def again(self) -> wire.Reply:
        """The last tick once more, as after a lost reply."""
        reply = wire.reply(self.host.tick(self.key, self.clock.now, self.last))
        if reply.status == wire.DONE:
            self.epoch = reply.epoch
        return reply

    def wall(self) -> int:
        """Its own wall clock."""
        return self.clock.now + self.skew

    def restart(self) -> None:
        """What the actor does when it is told to resync."""
        self.incarnation, self.seq, self.epoch = self.incarnation + 1, 0, 0

    def arrive(self, plan: Plan, *, age: int = 0) -> wire.Reply:
        """One call enters, in a tick of its own; its number is `count`."""
        return self.tick(self.arrival(plan, age=age))

    def explain(self, plan: Plan, *, age: int = 0) -> Explained:
        """What would be said to a call that enters now; its number would be the next."""
        n = self.count + 1
        arrival = wire.arrival(plan, keeps_place=age > 0, wall_ms=self.wall())
        asked = question(self.id, self.share, wire.arrive(n, age, plan.max_wait_ms, arrival))
        return explained(self.host.tick(self.key, self.clock.now, asked), n, plan)

    def arrival(self, plan: Plan, *, age: int = 0) -> list[bytes | int]:
        """The operation of a new call."""
        self.count += 1
        return wire.arrive(
            self.count, age, plan.max_wait_ms, wire.arrival(plan, keeps_place=age > 0, wall_ms=self.wall())
        )


def window(
    amount: int,
    *,
    ms: int = 1000,
    jitter: int = 0,
    slices: int = 10,
    name: str = "w",
    burst: int = 0,
    count_at: Literal["start", "end"] = "start",
    meter: str = "requests",
) -> Limit:
    """`amount` requests per `ms`; not paced unless `burst` says so."""
    return Limit(
        id=name,
        name=f"{amount} per {ms} ms",
        kind="window",
        meter=meter,
        amount=amount,
        window_ms=ms,
        jitter_ms=jitter,
        slices=slices,
        burst=burst,
        count_at=count_at,
    )


def flying(amount: int, *, name: str = "c") -> Limit:
    """`amount` calls in flight."""
    return Limit(id=name, name=f"{amount} in flight", kind="concurrent", meter="concurrent", amount=amount)


def bucket(
    capacity: int, units: int, ms: int, *, jitter: int = 0, name: str = "b", meter: str = "tokens", scale: int = 1
) -> Limit:
    """The twin of a bucket of `capacity` that refills `units` in `ms`."""
    return Limit(
        id=name,
        name=f"{capacity} refilled at {units} in {ms} ms",
        kind="token_bucket",
        meter=meter,
        amount=capacity - math.ceil(units * jitter / ms),
        scale=scale,
        window_ms=math.ceil(capacity * ms / units),
        jitter_ms=jitter,
        refill=(units, ms),
    )


def quota(amount: int, *, zone: str = "UTC", period: Period = "day", jitter: int = 0, name: str = "d") -> Limit:
    """`amount` units per calendar period."""
    return Limit(
        id=name,
        name=f"{amount} per {period} ({zone})",
        kind="quota",
        meter="units",
        amount=amount,
        jitter_ms=jitter,
        period=period,
        timezone=zone,
    )


def charge(limit: Limit, cost: int = 1, scope: str = "x") -> Charge:
    """A cost on the limit's bucket for one value of its scope."""
    return Charge(f"{limit.id}:{scope}", limit, cost)


def key(name: str, *charges: Charge, group: str | None = None, blocks: tuple[str, ...] = ()) -> Candidate:
    """A candidate key; its group is its own unless named."""
    return Candidate(name, group or f"group-of-{name}", blocks or (group or name,), charges)


def call(
    *charges: Charge,
    keys: Sequence[Candidate] | None = None,
    wait: int = 60_000,
    queue: int = 1000,
    observe: bool = False,
    service: str = "s",
    user: str = "f",
    tier: str = "",
    weight: float = 1.0,
    priority: int = 0,
    replayable: bool = False,
    again: str = "",
) -> Plan:
    """A call on common limits, with one free key unless told otherwise."""
    return Plan(
        service=service,
        endpoint="e",
        model=None,
        flow=user,
        tier=tier,
        weight=weight,
        priority=priority,
        charges=charges,
        candidates=tuple(keys if keys is not None else [key("k")]),
        max_wait_ms=wait,
        max_queue=queue,
        observe=observe,
        replayable=replayable,
        again=again,
    )


def gauge(bucket: Charge, value: int) -> list[bytes | int]:
    """The replica has `value` in flight."""
    return [b"G", wire.word(bucket.bucket).encode(), value]


def cancel(n: int) -> list[bytes | int]:
    """A call no longer waits."""
    return [b"C", n]


def ack(n: int) -> list[bytes | int]:
    """A pushed grant was received."""
    return [b"K", n]


def block(scope: str, ms: int) -> list[bytes | int]:
    """A scope rests."""
    return [b"B", wire.word(scope).encode(), ms]


def said(
    scope: str, ms: int, *, every: int = 0, known: bool = False, state: int = 3, status: int = 401, model: str = "-"
) -> list[bytes | int]:
    """What a reply said of a key of a pool: it rests, and why."""
    return [b"R", wire.word(scope).encode(), ms, every, int(known), state, status, b"key-1", model.encode()]


def lifted(*scopes: str) -> list[bytes | int]:
    """A call that tried these scopes succeeded."""
    return [b"U", len(scopes), *[wire.word(scope).encode() for scope in scopes]]


def turned(scope: str, *, on: bool) -> list[bytes | int]:
    """An operator turns a key on or off."""
    return [b"O", wire.word(scope).encode(), int(on)]


def grants(reply: wire.Reply) -> list[int]:
    """Numbers of the calls that were granted, in order."""
    return [granted.n for granted in reply.granted]


def refusal(reply: wire.Reply) -> tuple[str, int | None]:
    """Code and wait of the only refusal."""
    (refused,) = reply.refused
    return refused.code, refused.wait_ms
