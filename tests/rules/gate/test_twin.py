"""rules/gate/twin.lua: the upstream's token bucket never runs dry."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from rules.gate import wire
from rules.policy import Limit

from .driver import Clock, Replica, TablesHost, bucket, call, charge, grants, refusal, window


class Upstream:
    """A token bucket as a provider keeps it, in exact fractions; it knows nothing of ours."""

    def __init__(self, capacity: int, units: int, ms: int) -> None:
        self.capacity, self.rate = Fraction(capacity), Fraction(units, ms)
        self.level, self.at = self.capacity, 0

    def takes(self, at: int, cost: int) -> bool:
        """A call is counted; False is a 429."""
        self.level = min(self.capacity, self.level + (at - self.at) * self.rate)
        self.at = at
        if cost > self.level:
            return False
        self.level -= cost
        return True


def serve(a: Replica, limit: Limit, cost: int) -> wire.Granted | None:
    """The grant of a call that does not wait."""
    reply = a.arrive(call(charge(limit, cost), wait=0))
    return reply.granted[0] if reply.granted else None


def test_a_full_bucket_lets_its_capacity_go_and_then_its_rate(a: Replica, clock: Clock) -> None:
    """Ten at once, then one each 250 ms, as the upstream refills them."""
    limit = bucket(10, 4, 1000)
    assert [bool(serve(a, limit, 1)) for _ in range(11)] == [True] * 10 + [False]
    times = []
    start = clock.now
    for clock.now in range(start, start + 2000, 10):
        times += [clock.now - start for _ in range(3) if serve(a, limit, 1)]
    assert times == [250, 500, 750, 1000, 1250, 1500, 1750]


@pytest.mark.parametrize(("units", "ms"), [(1, 3), (833, 100_000), (29, 100), (7, 11), (3, 2), (1, 1)])
def test_what_drains_is_exact_however_often_it_is_looked_at(a: Replica, clock: Clock, units: int, ms: int) -> None:
    """Looking every 13 ms serves exactly floor(r x) after the burst: no fraction is lost, and none is made."""
    limit = bucket(20, units, ms)
    assert serve(a, limit, 20)
    start, served = clock.now, 0
    for clock.now in range(start, start + 3000, 13):
        while serve(a, limit, 1):
            served += 1
    assert served == (clock.now - start) * units // ms


@pytest.mark.parametrize("cost", [1, 3, 60])
def test_the_wait_told_is_the_wait_needed(a: Replica, clock: Clock, cost: int) -> None:
    """Coming back after the time of a refusal is served, and a millisecond earlier is not: intervals round up."""
    limit = bucket(60, 7, 1000)
    serve(a, limit, 59)
    clock.now += 171
    serve(a, limit, 2)
    if cost == 1:
        serve(a, limit, 1)
    code, wait = refusal(a.arrive(call(charge(limit, cost), wait=0)))
    assert code == "wait_too_long"
    assert wait
    clock.now += wait - 1
    assert not serve(a, limit, cost)
    clock.now += 1
    assert serve(a, limit, cost)


def test_a_cost_above_what_may_leave_at_once_never_fits(a: Replica) -> None:
    """B = C - rate x J is the most: 100 less 5 at ten a second and 500 ms."""
    limit = bucket(100, 10, 1000, jitter=500)
    assert refusal(a.arrive(call(charge(limit, 96)))) == ("never_fits", None)
    assert serve(a, limit, 95)


def test_calls_wait_and_go_in_turn_as_it_refills(a: Replica, clock: Clock) -> None:
    """Held behind one another, each is granted when the tick that its time asked for comes."""
    limit = bucket(10, 10, 1000)
    serve(a, limit, 10)
    reply = a.arrive(call(charge(limit, 5)))
    assert (len(reply.held), reply.next_ms) == (1, 500)
    reply = a.arrive(call(charge(limit, 2)))
    assert len(reply.held) == 1
    assert refusal(a.arrive(call(charge(limit, 1), wait=100))) == ("wait_too_long", 800)
    clock.now += 500
    assert grants(a.tick()) == [2]
    clock.now += 200
    assert grants(a.tick()) == [3]


def test_a_late_credit_gives_back_no_more_than_is_safe(a: Replica, clock: Clock) -> None:
    """The example of limiter 14.2: 1000 reserved at 0 (truly 100), 500 taken at 5 s, settled at 9 s: at most 900."""
    limit = bucket(1000, 100, 1000)
    first = serve(a, limit, 1000)
    assert first is not None
    clock.now += 5000
    assert serve(a, limit, 500)
    clock.now += 4000
    a.tick(wire.settle(charge(limit, 1000), first.slices[0], -900))
    assert not serve(a, limit, 901)
    assert serve(a, limit, 500)


def test_a_credit_a_moment_later_is_a_unit_less(a: Replica, clock: Clock) -> None:
    """What has refilled since is rounded up: after a millisecond nine of ten come back."""
    limit = bucket(10, 1, 1000)
    first = serve(a, limit, 10)
    assert first is not None
    clock.now += 1
    a.tick(wire.settle(charge(limit, 10), first.slices[0], -10))
    assert serve(a, limit, 9)
    assert not serve(a, limit, 1)


def test_a_charge_of_the_future_is_not_given_back(a: Replica, clock: Clock) -> None:
    """A store that restarted with an earlier clock cannot know what has refilled since."""
    limit = bucket(10, 1, 1000)
    assert serve(a, limit, 10)
    a.tick(wire.settle(charge(limit, 10), clock.now + 1, -10))
    assert not serve(a, limit, 1)


def test_a_bucket_is_kept_until_it_has_drained(clock: Clock) -> None:
    """Two uses a day: swept ten hours later, one of two is still used."""
    host, limit = TablesHost(), bucket(2, 2, 86_400_000)
    a = Replica(host, clock)
    assert serve(a, limit, 2)
    clock.now += 36_000_000
    host.engine.sweep(clock.now)
    a.restart()
    assert not serve(a, limit, 1)
    clock.now += 7_200_000
    assert serve(a, limit, 1)


def test_a_prompt_credit_gives_everything_back(a: Replica) -> None:
    """Settled in the millisecond it was charged, what was too much is room at once."""
    limit = bucket(1000, 100, 1000)
    first = serve(a, limit, 1000)
    assert first is not None
    a.tick(wire.settle(charge(limit, 1000), first.slices[0], -900))
    assert serve(a, limit, 900)


def test_a_credit_serves_a_call_that_waits(a: Replica) -> None:
    """The bucket counts as freed, so whoever waits there is looked at in the same tick."""
    limit = bucket(1000, 1, 1000)
    first = serve(a, limit, 1000)
    assert first is not None
    assert a.arrive(call(charge(limit, 50), wait=600_000)).held
    assert grants(a.tick(wire.settle(charge(limit, 1000), first.slices[0], -500))) == [2]


def test_an_excess_drives_it_below_nothing_and_is_paid_off(a: Replica, clock: Clock) -> None:
    """Charged 10, truly 60, of 20 at ten a second: the next single one goes after 4.1 s."""
    limit = bucket(20, 10, 1000)
    first = serve(a, limit, 10)
    assert first is not None
    a.tick(wire.settle(charge(limit, 10), first.slices[0], 50))
    assert refusal(a.arrive(call(charge(limit, 1), wait=0))) == ("wait_too_long", 4100)
    clock.now += 4100
    assert serve(a, limit, 1)


def test_a_settlement_from_another_host_only_makes_stricter(a: Replica) -> None:
    """Slice -1: nobody knows when it was charged, so a credit is dropped and an excess counts now."""
    limit = bucket(20, 1, 1_000_000)
    assert serve(a, limit, 20)
    a.tick(wire.settle(charge(limit, 20), -1, -20))
    assert not serve(a, limit, 1)
    a.tick(wire.settle(charge(limit, 20), -1, 5))
    assert refusal(a.arrive(call(charge(limit, 1), wait=0)))[1] == 6_000_000


def test_a_full_bucket_keeps_no_fraction(a: Replica, clock: Clock) -> None:
    """What had drained of the next unit when it became full is gone: the first after two takes its whole second."""
    limit = bucket(2, 1, 1000)
    assert serve(a, limit, 1)
    clock.now += 999
    assert serve(a, limit, 1)
    clock.now += 1500
    assert serve(a, limit, 2)
    assert refusal(a.arrive(call(charge(limit, 1), wait=0)))[1] == 1000


def test_the_finest_and_the_largest_numbers_are_exact(a: Replica, clock: Clock) -> None:
    """10^15 units at 10^12 a second, and one in a year: waits are right to the millisecond and the unit."""
    large = bucket(10**15, 10**9, 1, name="large")
    assert serve(a, large, 10**15)
    assert refusal(a.arrive(call(charge(large, 10**9 * 7 + 1), wait=0)))[1] == 8
    fine = bucket(3, 1, 31_536_000_000, name="fine")
    assert serve(a, fine, 3)
    clock.now += 31_535_999_999
    assert refusal(a.arrive(call(charge(fine, 1), wait=0)))[1] == 1


@pytest.mark.parametrize("seed", range(6))
def test_an_upstream_bucket_is_never_found_empty_whatever_the_jitter(a: Replica, clock: Clock, seed: int) -> None:
    """Calls counted up to J after their grant, in any order that allows, at what they truly cost: no 429.

    Estimates are settled down late or soon, refunds among them, and the bucket is kept busy.
    """
    rng = random.Random(seed)
    capacity, units, ms = rng.choice([(100, 50, 1000), (1000, 7, 3), (60, 1, 50)])
    jitter = rng.choice([0, 200, 500])
    limit = bucket(capacity, units, ms, jitter=jitter)
    counted: list[tuple[int, int]] = []
    ending: list[tuple[int, int, int, int]] = []
    for _ in range(400):
        clock.now += rng.choice([1, 5, 20, 100, 400])
        due = [one for one in ending if one[0] <= clock.now]
        ending = [one for one in ending if one[0] > clock.now]
        a.tick(*[wire.settle(charge(limit, cost), at, true - cost) for _, at, cost, true in due if true != cost])
        cost = rng.randint(1, max(1, limit.amount // rng.choice([1, 3, 10])))
        if granted := serve(a, limit, cost):
            true = rng.choice([0, cost, rng.randint(0, cost)])
            counted.append((clock.now + rng.choice([0, jitter, rng.randint(0, jitter)]), true))
            ending.append((clock.now + rng.choice([0, 10, 3000, 20_000]), granted.slices[0], cost, true))
    upstream = Upstream(capacity, units, ms)
    counted.sort()
    assert len(counted) > 50
    assert all(upstream.takes(at, true) for at, true in counted)


def test_an_excess_on_a_bucket_nobody_knows_counts_from_now(a: Replica, clock: Clock) -> None:
    """Another store charged it: 5 are used, and drain at the rate of the charge."""
    limit = bucket(10, 1, 1000)
    a.tick(wire.settle(charge(limit, 10), -1, 5))
    assert not serve(a, limit, 6)
    clock.now += 999
    assert not serve(a, limit, 6)
    clock.now += 1
    assert serve(a, limit, 6)


def test_a_credit_for_what_has_drained_already_gives_nothing(a: Replica, clock: Clock) -> None:
    """Ten of 20 s ago have drained twice; what another call has used since is neither more nor less for it."""
    limit = bucket(10, 1, 1000)
    first = serve(a, limit, 10)
    assert first is not None
    clock.now += 20_000
    assert serve(a, limit, 10)
    a.tick(wire.settle(charge(limit, 10), first.slices[0], -10))
    assert refusal(a.arrive(call(charge(limit, 1), wait=0)))[1] == 1000


def test_a_charge_given_back_at_once_leaves_the_bucket_full(a: Replica) -> None:
    """All ten of ten, and no unit less."""
    limit = bucket(10, 1, 1000)
    first = serve(a, limit, 10)
    assert first is not None
    a.tick(wire.settle(charge(limit, 10), first.slices[0], -10))
    assert serve(a, limit, 10)


def kept(host: TablesHost) -> dict[str, str]:
    """What the store keeps of the bucket."""
    entries = [entry.partition(":1/tb:b:x/")[2] for entry in str(host.contents()).split(";")]
    return dict(entry.split("=") for entry in entries if entry)


def test_the_store_keeps_a_bucket_from_its_first_charge_and_its_rate_as_it_is_named(clock: Clock) -> None:
    """A look keeps nothing, or each user who ever asked would be remembered; nobody waits, so nothing is said of it."""
    host, limit, other = TablesHost(), bucket(10, 3, 100_000), window(1)
    a, clock.now = Replica(host, clock), 7000
    assert grants(a.arrive(call(charge(other), wait=0)))
    assert not grants(a.arrive(call(charge(limit), charge(other), wait=0)))
    assert kept(host) == {}
    assert serve(a, limit, 4)
    look = {"lo": "0", "lp": "0", "ls": "7000", "lf": "7000"}
    assert kept(host) == {"used": "4", "t": "7000", "rem": "0", "den": "100000", "p": "3"} | look
