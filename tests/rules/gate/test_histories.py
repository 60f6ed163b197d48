"""The same random histories give the same bytes on both hosts, and break no law of limiter 16.

`HEADGATE_HISTORIES=2000` runs so many instead of the few of every day.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rules.gate import resting, wire
from rules.policy import Limit
from rules.verdict import Charge, Plan
from tests.redis_server import RedisServer

from .checker import DAY, Checker
from .driver import (
    Clock,
    Host,
    RedisClockHost,
    Replica,
    TablesHost,
    bucket,
    call,
    charge,
    flying,
    key,
    lifted,
    quota,
    said,
    turned,
    window,
)

COUNT = int(os.environ.get("HEADGATE_HISTORIES", "40"))


class Twins:
    """Both hosts at once; their answers must be the same bytes."""

    def __init__(self, redis: RedisClockHost) -> None:
        self._tables, self._redis = TablesHost(), redis
        redis.empty()

    def tick(self, key_: bytes, now_ms: int, args: Sequence[bytes | int]) -> bytes:
        """One tick on each."""
        answer = self._tables.tick(key_, now_ms, args)
        assert answer == self._redis.tick(key_, now_ms, args), args
        return answer

    def empty(self) -> None:
        """Lose everything."""
        self._tables.empty()
        self._redis.empty()

    def contents(self) -> object:
        """Both stores."""
        return self._tables.contents(), self._redis.contents()


class Player:
    """A replica with the memory of the actor: its waiting calls, its grants, what it must say next."""

    def __init__(self, host: Host, clock: Clock, name: str, checker: Checker, bound: dict[str, Limit]) -> None:
        self.replica = Replica(host, clock, name)
        self.clock, self.checker, self.bound, self.name = clock, checker, bound, name
        self.waiting: dict[int, tuple[Plan, int, int]] = {}
        self.open: dict[int, tuple[wire.Granted, Plan, int]] = {}
        self.acks: list[int] = []
        self.ops: list[Sequence[bytes | int]] = []
        self.unsent: list[int] = []
        self.ends: list[tuple[Charge, int]] = []
        self.ever: set[int] = set()
        self.all: list[Player] = []

    def arrive(self, plan: Plan) -> None:
        """Queue a new call."""
        self.replica.count += 1
        self.waiting[self.replica.count] = (plan, self.clock.now, self.clock.now + plan.max_wait_ms)
        self.unsent.append(self.replica.count)

    def gauges(self) -> list[list[bytes | int]]:
        """Every gauge, absolute."""
        return [
            [b"G", bucket.encode(), self.checker.in_flight(self.name, bucket)] for bucket in sorted(self.checker.flying)
        ]

    def tick(self) -> None:
        """Tick, and let the nudges of the grants it made for the others arrive at once."""
        self.say()
        for _ in range(3):
            for player in self.all:
                if player.waiting and player is not self:
                    player.say()
            if self.waiting:
                self.say()

    def say(self) -> None:
        """Say what is queued, with acknowledgements and gauges, and act on the answer."""
        self.expire()
        arrivals = [self.entry(n, keeps_place=False) for n in self.unsent]
        ops = [*[[b"K", n] for n in self.acks], *self.gauges(), *self.ops, *arrivals]
        for charged, cost in self.ends:
            self.checker.counted(charged, cost, self.clock.now)
        self.acks, self.ops, self.unsent, self.ends = [], [], [], []
        reply = self.replica.tick(*ops)  # type: ignore[arg-type]
        for _ in range(20):
            if reply.status == wire.DONE:
                break
            self.replica.restart()
            reply = self.replica.tick(*self.restatement())
        assert reply.status == wire.DONE
        self.act(reply)

    def expire(self) -> None:
        """What the actor's timers do: a call whose time is up leaves, and asks when to come back."""
        for n, (plan, _, until) in list(self.waiting.items()):
            if plan.max_wait_ms and until <= self.clock.now:
                self.drop(n, by=[b"E", n, plan.again.encode()])

    def restatement(self) -> list[list[bytes | int]]:
        """All gauges and waiting calls, for a store that lost us."""
        self.expire()
        return [*self.gauges(), *[self.entry(n, keeps_place=True) for n in sorted(self.waiting)]]

    def entry(self, n: int, *, keeps_place: bool) -> list[bytes | int]:
        """The arrival of a waiting call, as of now."""
        plan, since, until = self.waiting[n]
        arrival = wire.arrival(plan, keeps_place=keeps_place, wall_ms=self.clock.now)
        return wire.arrive(n, self.clock.now - since, max(0, until - self.clock.now), arrival)

    def act(self, reply: wire.Reply) -> None:
        """Count what was granted, forget what was refused."""
        for refused in reply.refused:
            self.waiting.pop(refused.n, None)  # an expired one is told after it has left
        for granted in reply.granted:
            if granted.pushed:
                self.acks.append(granted.n)
            if granted.n not in self.waiting:
                continue
            plan, _, until = self.waiting.pop(granted.n)
            assert granted.n not in self.ever, "granted twice"
            assert granted.pushed or plan.max_wait_ms == 0 or self.clock.now <= until, "granted after its deadline"
            self.ever.add(granted.n)
            charges = (*plan.charges, *plan.candidates[granted.candidate].charges)
            self.checker.granted(self.name, granted.n, charges, self.clock.now, bound=self.bound)
            self.open[granted.n] = (granted, plan, self.clock.now)

    def finish(self, pick: int, share: int) -> None:
        """One call is over, at `share` per mille of its estimate (at most all of it)."""
        if not self.open:
            return
        n = sorted(self.open)[pick % len(self.open)]
        granted, plan, at = self.open.pop(n)
        for c, slice_ in zip((*plan.charges, *plan.candidates[granted.candidate].charges), granted.slices, strict=True):
            if c.limit.count_at == "end":
                self.ops.append(wire.settle(c, -1, c.cost * share // 1000))
                self.ends.append((c, c.cost * share // 1000))
            elif not c.limit.in_flight and (delta := c.cost * share // 1000 - c.cost):
                self.ops.append(wire.settle(c, slice_, delta))
                self.checker.settled(c, at, delta)
        self.checker.landed(self.name, n)

    def cancel(self, pick: int) -> None:
        """One waiting call goes away; a grant that crosses it is ignored by `act`."""
        if self.waiting:
            self.drop(sorted(self.waiting)[pick % len(self.waiting)])

    def drop(self, n: int, *, by: Sequence[bytes | int] | None = None) -> None:
        """A call no longer waits; `by`: what is said of it, if it was said to come."""
        del self.waiting[n]
        if n in self.unsent:
            self.unsent.remove(n)
        else:
            self.ops.append(by or [b"C", n])


LIMITS = {
    "r": window(6, ms=1000, jitter=50, slices=10, name="r"),
    "t": window(100, ms=2000, jitter=100, slices=21, name="t", burst=50, meter="tokens"),
    "e": window(150, ms=1500, jitter=100, slices=16, name="e", burst=75, meter="tokens", count_at="end"),
    "c": flying(4, name="c"),
    "u": window(3, ms=700, jitter=0, slices=7, name="u"),
    "b": bucket(120, 40, 1000, jitter=60, name="b"),
    "d": quota(9, jitter=300, name="d"),
    "l": replace(window(60, ms=1200, jitter=50, slices=12, name="l", burst=6), learned=True, start=4),
}

GROUPS = ("g1", "g2")

NEAR_MIDNIGHT = 2 * DAY - 8000
"""Where histories begin, so that most of them see a quota begin anew."""


def plans() -> list[Plan]:
    """Calls of three users in two tiers over common and key limits, pools of one, two and three keys in two groups."""
    r, t, c, u, b, d, e, found = (LIMITS[name] for name in "rtcubdel")

    def k(name: str, group: str, tokens: int) -> Any:
        charges = (
            charge(r, 1, group),
            charge(t, tokens, group),
            charge(c, 1, group),
            charge(b, tokens, group),
            charge(e, tokens, group),
            charge(found, 1, group),
        )
        return key(name, *charges, group=group)

    out = []
    for tokens in (1, 30, 95):
        for wait in (0, 900, 5000):
            out.append(call(keys=[k("k1", "g1", tokens)], wait=wait, priority=wait // 900))
            pair = [k("k1", "g1", tokens), k("k2", "g2", tokens)]
            out.append(
                call(charge(u, 1, "u1"), keys=pair, wait=wait, user=f"v{wait}", tier="gold", weight=3, replayable=True)
            )
            out.append(
                call(
                    charge(u, 1, "u2"),
                    charge(c, 1, "all"),
                    charge(d, 1, "all"),
                    keys=[k("k1", "g1", tokens), k("k3", "g1", tokens), k("k2", "g2", tokens)],
                    wait=wait,
                    queue=5,
                    user=f"v{tokens}",
                )
            )
    for i, plan in enumerate(out):
        # so a plan that is drawn again is a refused call that comes back, too early, in time, or late
        plan.again = f"p{i}"
    return out


PLANS = plans()

step = st.one_of(
    st.tuples(st.just("arrive"), st.integers(0, 1), st.integers(0, len(PLANS) - 1)),
    st.tuples(st.just("arrive"), st.integers(0, 1), st.integers(0, len(PLANS) - 1)),
    st.tuples(st.just("tick"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("pass"), st.just(0), st.integers(1, 1200)),
    st.tuples(st.just("finish"), st.integers(0, 1), st.integers(0, 30)),
    st.tuples(st.just("cancel"), st.integers(0, 1), st.integers(0, 30)),
    st.tuples(st.just("block"), st.integers(0, 1), st.integers(1, 1500)),
    st.tuples(st.just("rest"), st.integers(0, 1), st.integers(1, 1500)),
    st.tuples(st.just("lift"), st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("turn"), st.integers(0, 1), st.integers(0, 3)),
    st.tuples(st.just("refused"), st.integers(0, 1), st.integers(0, 900)),
    st.tuples(st.just("again"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("restart"), st.integers(0, 1), st.just(0)),
)


def play(host: Host, history: list[tuple[str, int, int]], kind: type[Player] = Player) -> list[Player]:
    """Run a history, then let everything end."""
    clock, checker = Clock(NEAR_MIDNIGHT), Checker()
    players = [kind(host, clock, name, checker, LIMITS) for name in ("a", "b")]
    for player in players:
        player.all = players
    for verb, who, value in history:
        player = players[who]
        match verb:
            case "arrive":
                player.arrive(PLANS[value])
                if value % 3 == 0:
                    player.tick()
            case "tick":
                player.tick()
            case "pass":
                clock.now += value
                player.tick()
            case "finish":
                player.finish(value, 1000 - 50 * (value % 20))
            case "cancel":
                player.cancel(value)
            case "block":
                player.ops.append([b"B", b"g1" if value % 2 else b"g2", value])
                player.tick()
            case "rest":
                player.ops.append(said(GROUPS[value % 2], value, every=value % 3 * 400, known=value % 5 == 0))
                player.tick()
            case "lift":
                player.ops.append(lifted(GROUPS[value], "k1"))
                player.tick()
            case "turn":
                player.ops.append(turned(GROUPS[value % 2], on=value > 1))
                player.tick()
            case "refused":
                player.ops.append(resting.refused(charge(LIMITS["l"], 1, GROUPS[value % 2]), value))
            case "again" if player.replica.last:
                player.replica.again()
            case "restart":
                player.tick()
                player.replica.restart()
                player.act(player.replica.tick(*player.restatement()))
    for _ in range(120):
        clock.now += 100
        for player in players:
            while player.open:
                player.finish(0, 1000)
            player.tick()
    return players


@settings(
    max_examples=COUNT,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(step, min_size=10, max_size=80))
def test_both_hosts_answer_alike_and_keep_the_laws(
    redis_of_gate: RedisServer, history: list[tuple[str, int, int]]
) -> None:
    """Identical bytes; no window over N, no more than N in flight, no grant twice or late; nobody waits for ever.

    And every key has an expiry, and the service's hash tag.
    """
    redis = RedisClockHost(redis_of_gate)
    try:
        players = play(Twins(redis), history)
        immortal = [name for name in redis.client.scan_iter() if redis.client.pttl(name) == -1]
        assert not immortal
        assert all(name.startswith(b"rl:{s}:") for name in redis.client.scan_iter())
    finally:
        redis.close()
    clock = players[0].clock
    for player in players:
        late = [n for n, (plan, _, until) in player.waiting.items() if plan.max_wait_ms == 0 or until > clock.now]
        assert not late


@settings(max_examples=COUNT * 2, deadline=None, phases=[Phase.generate, Phase.shrink])
@given(history=st.lists(step, min_size=30, max_size=200))
def test_long_histories_leave_a_store_at_rest_empty(history: list[tuple[str, int, int]]) -> None:
    """When all is finished and the windows have passed, the whole of every limit is free again, and nothing waits."""
    host = TablesHost()
    players = play(host, history)
    clock = players[0].clock
    clock.now += 2 * DAY
    for player in players:
        player.waiting.clear()
        player.replica.restart()
        player.replica.tick()
    probe = Replica(host, clock, "probe")
    for name, scopes in (
        ("r", ("g1", "g2")),
        ("t", ("g1", "g2")),
        ("e", ("g1", "g2")),
        ("u", ("u1", "u2")),
        ("c", ("g1", "g2", "all")),
        ("b", ("g1", "g2")),
        ("d", ("all",)),
        ("l", ("g1", "g2")),
    ):
        for scope in scopes:
            limit = LIMITS[name]
            assert probe.arrive(call(charge(limit, limit.amount, scope), wait=0)).granted, (name, scope)
    assert probe.tick().waiting == 0
