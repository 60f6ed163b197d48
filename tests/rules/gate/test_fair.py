"""rules/gate/fair.lua: whose turn it is. Each case fails on an order by age, and most on one naive step of it."""

from __future__ import annotations

import pytest

from rules import gate as lua
from rules.gate import standing
from rules.gate.wire import correct
from rules.policy import Limit
from rules.verdict import Candidate, Plan
from tests.redis_server import RedisServer

from .crowd import Crowd, jain
from .driver import (
    CLOCK_IN_ARGUMENTS,
    Clock,
    Host,
    RedisClockHost,
    Replica,
    call,
    cancel,
    charge,
    flying,
    gauge,
    grants,
    key,
    window,
)

RATE = window(10, ms=1000, slices=10)


def narrow(scope: str, cost: int = 1, limit: Limit = RATE) -> list[Candidate]:
    """One key whose group has a limit of its own: parking on the pool."""
    return [key(f"k{scope}", charge(limit, cost, scope), group=scope)]


def test_equal_users_get_equal_parts_however_much_each_asks(host: Host, clock: Clock) -> None:
    """Five users with 100 to 300 calls: Jain's index above 0.99."""
    crowd = Crowd(host, clock)
    for i in range(5):
        crowd.want(f"u{i}", call(charge(RATE), user=f"u{i}"), 100 + 50 * i)
    crowd.run(30_000)
    assert jain([crowd.count(f"u{i}") for i in range(5)]) > 0.99


@pytest.mark.parametrize("weight", [3, 4])
@pytest.mark.parametrize("parked", [False, True], ids=["common", "pool"])
def test_tiers_are_served_by_their_weights(host: Host, clock: Clock, weight: int, *, parked: bool) -> None:
    """3:1 and 4:1 within one call at every moment, on a limit of all and on the limit of a key."""
    crowd = Crowd(host, clock)
    for tier, heavy in (("free", 1), ("gold", weight)):
        charges, keys = ((), narrow("g")) if parked else ((charge(RATE),), None)
        plan = call(*charges, keys=keys, user=tier, tier=tier, weight=heavy)
        crowd.want(tier, plan, 160)
    first = len(crowd.served)
    crowd.run(18_000)
    gold, free = crowd.served[first:].count("gold"), crowd.served[first:].count("free")
    assert abs(gold / weight - free) <= 1 / weight + 1


def test_a_fast_lane_does_not_spoil_the_order_of_slow_ones(host: Host, clock: Clock) -> None:
    """Weights 3:1 on a narrow limit, and costs 10:1 on another, while a third lane takes hundreds (Q1)."""
    crowd = Crowd(host, clock)
    for name, weight in (("three", 3), ("one", 1)):
        crowd.want(name, call(keys=narrow("slow"), user=name, tier=name, weight=weight), 120)
    big = window(100, ms=1000, slices=10, name="units")
    for name, cost in (("large", 10), ("small", 1)):
        crowd.want(name, call(keys=narrow("units", cost, big), user=name), 40 if cost == 10 else 250, units=cost)
    fast = call(keys=narrow("fast", 1, window(100, ms=500, slices=10, name="f")), user="fast", queue=5000)
    start = len(crowd.served)
    before = dict(crowd.units)
    for _ in range(12):
        crowd.want("fast", fast, 30)
        crowd.run(330)
    after = crowd.served[start:]
    assert abs(after.count("three") - 3 * after.count("one")) <= 4
    large, small = (crowd.units[name] - before.get(name, 0) for name in ("large", "small"))
    assert abs(large - small) <= 20


def test_a_hog_does_not_make_light_users_wait(host: Host, clock: Clock) -> None:
    """One user dumps 400 calls on four replicas; light users with a call each wait a turn, not the dump."""
    crowd, limit = Crowd(host, clock, 4), window(2, ms=100, slices=10)
    crowd.want("hog", call(charge(limit), user="hog"), 400, at=range(4))
    for second in range(3):
        for i in range(4):
            crowd.want(f"light{i}", call(charge(limit), user=f"light{i}"), at=((i + second) % 4,))
        crowd.run(1000)
    waits = [wait for i in range(4) for wait in crowd.waits[f"light{i}"]]
    assert len(waits) == 12
    assert max(waits) < 500


def test_where_calls_stand_does_not_matter(host: Host, clock: Clock) -> None:
    """A backlogged on one replica and B on three are served alike."""
    crowd = Crowd(host, clock, 4)
    crowd.want("b", call(charge(RATE), user="b"), 150, at=(1, 2, 3))
    crowd.want("a", call(charge(RATE), user="a"), 150)
    crowd.run(20_000)
    assert abs(crowd.count("a") - (crowd.count("b") - 10)) <= 1


# limiter 9.1, by row


def test_1_a_flow_that_cannot_be_served_does_not_let_newcomers_start_below(host: Host, clock: Clock) -> None:
    """V follows what was served, not the smallest tag on record: a newcomer gets every second turn, not all."""
    crowd, own = Crowd(host, clock), flying(1, name="own")
    own = Limit(**{f: getattr(own, f) for f in own.__slots__} | {"per": ("user",)})
    crowd.want("stuck", call(charge(own, 1, "s"), charge(RATE), user="stuck"), 2)
    crowd.want("old", call(charge(own, 0, "o"), charge(RATE), user="old"), 60)
    crowd.run(3000)
    start = len(crowd.served)
    crowd.want("new", call(charge(own, 0, "n"), charge(RATE), user="new"), 60)
    crowd.run(2200)
    after = crowd.served[start:]
    assert after.count("old") >= 9
    assert after.count("new") >= 9


def test_2_a_gated_flow_is_served_when_its_gate_opens(a: Replica) -> None:
    """It stands where the landing looks, not where the turns are counted."""
    own, other = charge(flying(1, name="own")), charge(flying(2, name="all"), scope="all")
    a.arrive(call(own, other, user="gated"))
    assert not grants(a.arrive(call(own, other, user="gated")))
    for _ in range(20):
        a.tick(gauge(other, 1))
        assert grants(a.arrive(call(other, user="busy")))
    assert grants(a.tick(gauge(own, 0), gauge(other, 0))) == [2]


def test_3_a_flow_that_drains_and_returns_has_no_credit(host: Host, clock: Clock) -> None:
    """One who asks again as soon as he is served gets his half, not all, against a steady backlog."""
    crowd, limit = Crowd(host, clock), window(1, ms=100, slices=10)
    crowd.want("steady", call(charge(limit), user="steady"), 150)
    for _ in range(60):
        crowd.want("returning", call(charge(limit), user="returning"))
        crowd.run(120)
        while crowd.names and "returning" in [name for name, _ in crowd.names.values()]:
            crowd.run(110)
    steady, returning = crowd.count("steady"), crowd.count("returning")
    assert returning == 60
    assert steady >= 55


def test_4_flows_that_are_gated_do_not_eat_the_scan(a: Replica) -> None:
    """More of them than one tick looks at wait; one who can go goes in the tick he comes."""
    full = [charge(flying(1, name=f"own{i}")) for i in range(80)]
    shared = charge(flying(1000, name="all"), scope="all")
    for i, own in enumerate(full):
        a.tick(*[a.arrival(call(own, shared, user=f"u{i}")) for _ in range(2)])
    for i in range(3):
        assert grants(a.arrive(call(shared, user=f"free{i}"))) == [161 + i]


def test_5_a_flow_pays_for_each_grant_of_a_tick(a: Replica) -> None:
    """Twelve places freed at once go to two users by turns, six each."""
    limit = charge(flying(12))
    a.tick(*[a.arrival(call(limit, user="first")) for _ in range(12)])
    a.tick(*[a.arrival(call(limit, user="x")) for _ in range(20)])
    a.tick(*[a.arrival(call(limit, user="y")) for _ in range(20)])
    served = grants(a.tick(gauge(limit, 0)))
    assert sum(n <= 32 for n in served) == sum(n > 32 for n in served) == 6


def test_6_whatever_drains_a_flow_leaves_its_turn_to_others(a: Replica, b: Replica, clock: Clock) -> None:
    """Cancelled, expired or dead with its replica: the next flow is served, and nothing stays in the line."""
    limit = charge(flying(1))
    a.arrive(call(limit, user="holder"))
    a.arrive(call(limit, user="cancels"))
    a.arrive(call(limit, user="expires", wait=500))
    b.arrive(call(limit, user="dies"))
    a.arrive(call(limit, user="last", wait=600_000))
    a.tick(cancel(2))
    for _ in range(11):
        clock.now += 1000
        a.tick(gauge(limit, 1))
    assert grants(a.tick(gauge(limit, 0))) == [4]
    assert a.tick().waiting == 0


def test_7_equal_tags_go_by_age_not_by_name(host: Host, clock: Clock) -> None:
    """Twenty newcomers with one tag are served in the order they came."""
    crowd, limit = Crowd(host, clock), window(1, ms=100, slices=10)
    names = [f"u{(7 * i) % 20}" for i in range(20)]
    for name in names:
        clock.now += 1
        crowd.want(name, call(charge(limit), user=name))
    crowd.run(4000)
    assert crowd.served == names


# more laws


def test_time_parked_on_a_limit_of_ones_own_is_no_credit(host: Host, clock: Clock) -> None:
    """A flow gated for ten windows by its own limit then takes turns; it does not take all that it missed."""
    crowd = Crowd(host, clock)
    own = Limit(id="own", name="own", kind="concurrent", meter="concurrent", amount=40, per=("user",))
    a = crowd.replicas[0]
    crowd.want("other", call(charge(own, 1, "o"), charge(RATE), user="other"), 10)
    crowd.want("gated", call(charge(own, 40, "g"), user="gated"))
    crowd.want("gated", call(charge(own, 1, "g"), charge(RATE), user="gated"), 60)
    for _ in range(10):
        crowd.want("other", call(charge(own, 1, "o"), charge(RATE), user="other"), 10)
        crowd.say(a, gauge(charge(own, 1, "o"), 0))
        crowd.run(1100)
    start = len(crowd.served)
    crowd.want("other", call(charge(own, 1, "o"), charge(RATE), user="other"), 30)
    crowd.say(a, gauge(charge(own, 1, "g"), 0), gauge(charge(own, 1, "o"), 0))
    crowd.run(3300)
    after = crowd.served[start:]
    assert abs(after.count("gated") - after.count("other")) <= 2


def test_the_urgent_call_of_a_user_goes_first_and_costs_him_his_turn(a: Replica) -> None:
    """Priority reorders a user's own calls; it takes nothing from others (Q24)."""
    limit = charge(flying(1))
    a.arrive(call(limit))
    for _ in range(6):
        a.arrive(call(limit, user="x"))
        a.arrive(call(limit, user="y"))
    a.arrive(call(limit, user="x", priority=9))
    a.arrive(call(limit, user="x", priority=5))
    order = [grants(a.tick(gauge(limit, 0)))[0] for _ in range(6)]
    assert order == [3, 14, 5, 15, 2, 7]


def test_urgent_calls_of_one_tick_go_first(a: Replica) -> None:
    """Whatever their place in the batch."""
    limit = charge(window(2))
    ops = [a.arrival(call(limit, priority=p)) for p in (0, 3, 9)]
    assert grants(a.tick(*ops)) == [3, 2]


def test_several_users_of_one_tick_share_what_is_there(a: Replica) -> None:
    """Fifty calls of one and one of another in one batch, room for seven: the one goes."""
    limit = charge(window(7))
    ops = [a.arrival(call(limit, user="hog")) for _ in range(50)] + [a.arrival(call(limit, user="light"))]
    assert 51 in grants(a.tick(*ops))


def test_what_was_settled_counts_in_the_turns(host: Host, clock: Clock) -> None:
    """A user whose calls turn out ten times as large is served a tenth as often; a credit brings him back no earlier
    than now."""
    crowd, limit = Crowd(host, clock), window(10, ms=1000, slices=10)
    plans = {name: call(charge(limit), user=name) for name in ("over", "fair")}
    for name, plan in plans.items():
        crowd.want(name, plan, 150)
    start = len(crowd.served)
    stands = standing.standing(plans["over"])
    told = 0
    for _ in range(11):
        crowd.run(1100)
        more = crowd.served[start:].count("over") - told
        told += more
        crowd.say(crowd.replicas[0], correct(stands, 9 * more * standing.SHARE // 10))
    after = crowd.served[start:]
    assert after.count("fair") > 4 * after.count("over")
    crowd.say(crowd.replicas[0], correct(stands, -(2**52)))
    start = len(crowd.served)
    crowd.run(4400)
    after = crowd.served[start:]
    assert abs(after.count("over") - after.count("fair")) <= 2


def test_no_more_drained_flows_are_remembered_than_so_many(redis_of_gate: RedisServer, clock: Clock) -> None:
    """With a cap of 5, of twelve that drain ahead of V those with the most are kept."""
    name, source = lua.redis_library(CLOCK_IN_ARGUMENTS)
    source = source.replace("MOST_REMEMBERED = 10000", "MOST_REMEMBERED = 5").replace(name, "small")
    host = RedisClockHost(redis_of_gate, lua.Library("small", source))
    a, limit = Replica(host, clock), charge(flying(100))
    a.arrive(call(limit, user="holder"))
    a.tick(gauge(limit, 100), *[a.arrival(call(limit, user=f"u{i}")) for i in range(12)])
    a.arrive(call(limit, user="stays"))
    assert len(grants(a.tick(gauge(limit, 88)))) == 12
    kept = [host.client.zcard(name) for name in host.client.scan_iter() if b":fin:" in name]
    host.close()
    assert kept == [5]


def test_large_and_small_calls_of_two_users_both_go_and_the_pool_is_used(host: Host, clock: Clock) -> None:
    """Four keys of 100, calls of 1 and of 90: the large one holds a key, the small ones use the others (Q3)."""
    crowd = Crowd(host, clock)

    def keys(cost: int) -> list[Candidate]:
        return [key(f"k{i}", charge(window(100), cost, f"g{i}"), group=f"g{i}") for i in range(4)]

    small, large = call(keys=keys(1), user="small", queue=5000), call(keys=keys(90), user="large")
    crowd.want("large", large, 60, units=90)
    crowd.want("small", small, 2000)
    crowd.run(1100)
    start, now, units = len(crowd.served), clock.now, crowd.units["large"] + crowd.units["small"]
    crowd.run(6600)
    used = (crowd.units["large"] + crowd.units["small"] - units) / (400 * (clock.now - now) / 1100)
    after = crowd.served[start:]
    assert used > 0.9
    assert after.count("large") >= 6
    assert after.count("small") >= 1000


def test_one_user_cannot_fill_the_line(a: Replica) -> None:
    """Of 100 places he gets at most 90, and another still finds room."""
    limit = charge(flying(1))
    a.arrive(call(limit, user="hog", queue=100))
    for _ in range(120):
        a.arrive(call(limit, user="hog", queue=100))
    assert a.tick().waiting == 90
    reply = a.arrive(call(limit, user="light", queue=100))
    assert reply.held
    assert not reply.refused


def test_a_newcomer_who_fits_passes_the_large_call_of_one_who_is_ahead(a: Replica) -> None:
    """The order is by tag, not by age."""
    limit = window(100)
    asked = (("x", 10), ("hog", 80), ("hog", 80))
    reply = a.tick(*[a.arrival(call(charge(limit, cost), user=user)) for user, cost in asked])
    assert grants(reply) == [1, 2]
    assert grants(a.arrive(call(charge(limit, 10), user="new"))) == [4]


def test_of_equal_tags_the_older_goes_first_whatever_its_replica_is_called(
    a: Replica, b: Replica, clock: Clock
) -> None:
    """A younger small call does not pass an older large one of a user who had as much."""
    limit = window(100)
    a.arrive(call(charge(limit, 60), user="x"))
    clock.now += 10
    b.arrive(call(charge(limit, 90), user="y"))
    clock.now += 10
    assert grants(a.arrive(call(charge(limit, 10), user="z"))) == []


def test_a_settlement_of_a_flow_that_waits_no_more_counts_when_it_returns(host: Host, clock: Clock) -> None:
    """What he had in truth is still there when he comes back."""
    crowd = Crowd(host, clock)
    plan = call(charge(RATE), user="back")
    crowd.want("other", call(charge(RATE), user="other"), 100)
    crowd.want("back", plan)
    crowd.run(1100)
    assert crowd.count("back") == 1
    crowd.say(crowd.replicas[0], correct(standing.standing(plan), 2 * standing.SHARE))
    start = len(crowd.served)
    crowd.want("back", plan)
    crowd.run(2000)
    assert "back" not in crowd.served[start:]
    crowd.run(2000)
    assert "back" in crowd.served[start:]


def test_small_calls_behind_a_large_one_of_their_user_use_the_keys_it_does_not_hold(a: Replica, clock: Clock) -> None:
    """A lone user's pool is not idle because his first call is large."""
    x, y = window(100, ms=2000, slices=10, name="x"), window(50, ms=600, slices=10, name="y")

    def plan(cost: int) -> Plan:
        return call(keys=[key("x", charge(x, cost)), key("y", charge(y, cost))])

    a.arrive(call(keys=[key("x", charge(x, 95))]))
    a.arrive(call(keys=[key("y", charge(y, 45))]))
    assert grants(a.arrive(plan(90))) == []
    assert grants(a.arrive(plan(10))) == []
    clock.now += 660
    assert [(g.n, g.candidate) for g in a.tick().granted] == [(4, 1)]
    clock.now += 1540
    assert [(g.n, g.candidate) for g in a.tick().granted] == [(3, 0)]
