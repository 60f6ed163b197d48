"""Fairness over random histories, by a checker that knows neither tags nor virtual times (limiter 16, 6, 7 and 9).

`HEADGATE_HISTORIES=2000` runs so many instead of the few of every day.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rules.verdict import Plan
from tests.redis_server import RedisServer

from .crowd import Crowd
from .driver import Clock, RedisClockHost, call, cancel, charge, key, window
from .test_histories import Twins

COUNT = int(os.environ.get("HEADGATE_HISTORIES", "30"))
REQUESTS, TOKENS = window(6, ms=1000, slices=10, name="r"), window(100, ms=1500, slices=15, name="t")
WEIGHTS = {"": 1.0, "gold": 3.0}
USERS = {"a": "", "b": "", "c": "gold", "d": "gold"}


def plan_of(user: str, tokens: int, priority: int, *, common: bool) -> Plan:
    """A call on requests and tokens, of all or of a key."""
    charges = (charge(REQUESTS), charge(TOKENS, tokens))
    tier = USERS[user]
    keys = [key("k")] if common else [key("k", *charges)]
    return call(
        *(charges if common else ()),
        keys=keys,
        wait=500_000,
        queue=10_000,
        user=user,
        tier=tier,
        weight=WEIGHTS[tier],
        priority=priority,
    )


def part(tokens: int) -> float:
    """What a call takes of the limit it takes most of."""
    return max(1 / 6, tokens / 100)


LARGEST = part(90)


@dataclass
class Turns:
    """Raises AssertionError where of two who both always wanted more one got more than the other by two calls."""

    had: dict[str, float] = field(default_factory=dict)
    marks: dict[tuple[str, str], float] = field(default_factory=dict)

    def look(self, backlogged: set[str], weight: dict[str, float]) -> None:
        """At rest: who wants more now, and has had so much."""
        for one in sorted(weight):
            for other in sorted(weight):
                if one < other:
                    lead = self.had.get(one, 0) / weight[one] - self.had.get(other, 0) / weight[other]
                    if one in backlogged and other in backlogged:
                        since = self.marks.setdefault((one, other), lead)
                        bound = LARGEST / weight[one] + LARGEST / weight[other]
                        assert abs(lead - since) <= bound * 1.001, (one, other, lead - since, bound)
                    else:
                        self.marks.pop((one, other), None)


step = st.one_of(
    *[st.tuples(st.just("want"), st.sampled_from(sorted(USERS)), st.integers(0, 23))] * 3,
    st.tuples(st.just("pass"), st.just(""), st.integers(50, 1500)),
    st.tuples(st.just("cancel"), st.sampled_from(sorted(USERS)), st.integers(0, 9)),
)


class Watch(Crowd):
    """A crowd that notes what each user and tier has had, and whether a user's calls go in their order."""

    def __init__(self, redis: RedisClockHost) -> None:
        super().__init__(Twins(redis), Clock(), 2)
        self.users, self.tiers = Turns(), Turns()
        self.asked: dict[tuple[bytes, int], tuple[str, int, int]] = {}

    def ask(self, user: str, value: int, *, common: bool) -> None:
        """A call of one of four sizes, two priorities, on one of two replicas."""
        tokens, priority, at = (1, 10, 40, 90)[value % 4], 5 * (value // 4 % 2), value // 8 % 2
        (n,) = self.want(user, plan_of(user, tokens, priority, common=common), at=(at,))
        self.asked[self.replicas[at].id, n] = (user, tokens, priority)
        self.look()

    def drop(self, user: str, pick: int) -> None:
        """One of the user's waiting calls goes away."""
        mine = sorted(of for of, (name, _) in self.names.items() if name == user)
        if mine:
            owner, n = mine[pick % len(mine)]
            del self.names[owner, n], self.asked[owner, n]
            self.say(next(replica for replica in self.replicas if replica.id == owner), cancel(n))
        self.look()

    def look(self) -> None:
        """Let every grant arrive, then judge."""
        self.run(0)
        for of in [of for of in self.asked if of not in self.names]:
            user, tokens, _ = self.asked.pop(of)
            for turns, name in ((self.users, user), (self.tiers, USERS[user])):
                turns.had[name] = turns.had.get(name, 0) + part(tokens)
        waiting = {name for name, _ in self.names.values()}
        for tier in WEIGHTS:
            self.users.look(waiting & {u for u, t in USERS.items() if t == tier}, dict.fromkeys(USERS, 1.0))
        self.tiers.look({USERS[name] for name in waiting}, WEIGHTS)


@settings(
    max_examples=COUNT,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(step, min_size=20, max_size=120), common=st.booleans())
def test_users_and_tiers_that_want_more_get_their_parts(
    redis_of_gate: RedisServer, history: list[tuple[str, str, int]], *, common: bool
) -> None:
    """At every moment, since both began to wait: within the largest call of each, by weight; and both hosts agree.

    A call that passes another's smaller tag on the same limit breaks the bound as soon as it repeats.
    """
    redis = RedisClockHost(redis_of_gate)
    try:
        crowd = Watch(redis)
        for verb, user, value in history:
            match verb:
                case "want":
                    crowd.ask(user, value, common=common)
                case "pass":
                    crowd.clock.now += value
                    crowd.look()
                case "cancel":
                    crowd.drop(user, value)
        for _ in range(400):
            if crowd.names:
                crowd.run(1000)
        assert not crowd.names
        left = [name for name in redis.client.scan_iter() if name.split(b":")[2] in (b"park", b"at", b"f", b"h", b"d")]
        assert not left
    finally:
        redis.close()
