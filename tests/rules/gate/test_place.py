"""rules/gate/place.lua: where flows stand, and who goes first where classes meet."""

from __future__ import annotations

from rules.policy import Limit
from rules.verdict import Plan

from .crowd import Crowd, jain
from .driver import Clock, Host, Replica, call, cancel, charge, flying, gauge, grants, key, window

RATE = window(10, ms=1000, slices=10)


def test_a_user_of_two_lanes_waits_in_one_only(a: Replica) -> None:
    """His call on one model does not block his call on another (Q1)."""
    x, y = charge(flying(1), scope="x"), charge(flying(1), scope="y")
    a.arrive(call(keys=[key("k", x)]))
    a.arrive(call(keys=[key("k", x)]))
    assert grants(a.arrive(call(keys=[key("k", y)]))) == [3]


def test_lanes_that_meet_at_a_limit_share_it_by_their_users(host: Host, clock: Clock) -> None:
    """Three users in one lane and one in another, on the limit of the service: each a quarter (Q6)."""
    crowd = Crowd(host, clock)
    users = {"a1": "x", "a2": "x", "a3": "x", "b": "y"}
    for name, lane in users.items():
        crowd.want(name, call(charge(RATE), keys=[key(f"k{lane}")], user=name), 80)
    start = len(crowd.served)
    crowd.run(15_000)
    counts = [crowd.served[start:].count(name) for name in users]
    assert jain(counts) > 0.99


def test_tiers_keep_their_weights_across_lanes(host: Host, clock: Clock) -> None:
    """Gold in one lane and free in another, on the limit of the service: 4:1."""
    crowd = Crowd(host, clock)
    for name, weight in (("free", 1), ("gold", 4)):
        crowd.want(name, call(charge(RATE), keys=[key(f"k-{name}")], user=name, tier=name, weight=weight), 120)
    start = len(crowd.served)
    crowd.run(10_000)
    after = crowd.served[start:]
    assert abs(after.count("gold") - 4 * after.count("free")) <= 5


def plan_of_two(user: str, *limits: Limit) -> Plan:
    """A call on these limits."""
    return call(*[charge(limit) for limit in limits], user=user)


def test_a_call_that_needs_two_contended_limits_is_served(host: Host, clock: Clock) -> None:
    """Its rivals need one each, and free them at different moments; it goes all the same (Q2)."""
    crowd = Crowd(host, clock)
    one, two = flying(1, name="one"), flying(1, name="two")
    a = crowd.replicas[0]
    crowd.want("r1", plan_of_two("r1", one), 1)
    crowd.want("r2", plan_of_two("r2", two), 1)
    crowd.want("both", plan_of_two("both", one, two))
    for _ in range(30):
        crowd.want("r1", plan_of_two("r1", one))
        crowd.say(a, gauge(charge(one), 0))
        crowd.want("r2", plan_of_two("r2", two))
        crowd.say(a, gauge(charge(two), 0))
    assert crowd.count("both") == 1
    assert crowd.count("r1") > 15


def test_a_tier_that_was_away_has_no_credit(host: Host, clock: Clock) -> None:
    """Two tiers take turns for a while; a third that comes then takes a third, not all that it missed."""
    crowd = Crowd(host, clock)
    for tier in ("one", "two"):
        crowd.want(tier, call(charge(RATE), user=tier, tier=tier, wait=500_000), 120)
    crowd.run(11_000)
    start = len(crowd.served)
    crowd.want("three", call(charge(RATE), user="three", tier="three", wait=500_000), 60)
    crowd.run(6600)
    after = crowd.served[start:]
    assert abs(after.count("three") - len(after) / 3) <= 2


def test_when_a_barrier_leaves_its_limits_serve_the_others_again(a: Replica) -> None:
    """Cancelled, it lets the one behind it go at once, and no later call is kept by it."""
    one, two = flying(1, name="one"), flying(1, name="two")
    a.arrive(call(charge(one), user="r1"))
    a.arrive(call(charge(two), user="r2"))
    a.arrive(call(charge(one), charge(two), user="both"))
    a.arrive(call(charge(one), user="r1"))
    a.arrive(call(charge(two), user="r2"))
    for _ in range(4):
        a.tick(gauge(charge(one), 0))
        a.arrive(call(charge(one), user="r1"))
        a.tick(gauge(charge(two), 0))
        a.arrive(call(charge(two), user="r2"))
        if not a.tick().waiting:
            break
    a.tick(cancel(3))
    a.tick(gauge(charge(one), 0), gauge(charge(two), 0))
    for _ in range(12):
        a.tick(gauge(charge(one), 0), gauge(charge(two), 0))
    assert a.tick().waiting == 0
    assert grants(a.arrive(call(charge(one), user="late")))
