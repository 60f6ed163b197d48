"""rules/gate/announced.lua: the amounts that upstreams say their buckets have (limiter.md 13)."""

from __future__ import annotations

from rules.gate import hearsay, wire
from rules.policy import Limit

from .driver import Clock, Replica, bucket, call, charge, flying, grants, quota, refusal, window

HOUR = 3_600_000


def fits(replica: Replica, limit: Limit, cost: int) -> bool:
    """Whether a call of this cost would go now; nothing is charged."""
    return replica.explain(call(charge(limit, cost), wait=0)).verdict == "go"


def room(replica: Replica, limit: Limit) -> int:
    """The largest cost that would go now."""
    low, high = 0, limit.amount
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(replica, limit, middle) else (low, middle - 1)
    return low


def learn(replica: Replica, limit: Limit, amount: int) -> wire.Reply:
    """The upstream's answer tells what the bucket holds."""
    return replica.tick(hearsay.announced(charge(limit), amount))


def test_a_smaller_amount_holds_at_once(a: Replica, b: Replica) -> None:
    """On every replica, for every kind of limit, and never below what was said."""
    for limit in (window(100), flying(100), bucket(100, 1, 1000), quota(100)):
        learn(a, limit, 30)
        assert room(b, limit) == 30


def test_a_larger_amount_never_passes_ours(a: Replica, clock: Clock) -> None:
    """The configured number is the operator's word."""
    limit = window(100)
    learn(a, limit, 30)
    for _ in range(5):
        clock.now += 2000
        learn(a, limit, 1_000_000)
    assert room(a, limit) == 100


def test_a_larger_amount_holds_when_it_was_said_for_a_window(a: Replica, clock: Clock) -> None:
    """30, then 60 for a second: it is 60 a second later, and one word of 40 between begins it anew."""
    limit = window(100, ms=1000)
    learn(a, limit, 30)
    learn(a, limit, 60)
    clock.now += 999
    learn(a, limit, 60)
    assert room(a, limit) == 30
    clock.now += 1
    learn(a, limit, 60)
    assert room(a, limit) == 60


def test_the_least_that_was_said_meanwhile_is_what_holds(a: Replica, clock: Clock) -> None:
    """Of 80, 50 and 80 said within the window, 50 were there all the time."""
    limit = window(100, ms=1000)
    learn(a, limit, 30)
    for amount in (80, 50, 80):
        learn(a, limit, amount)
        clock.now += 400
    learn(a, limit, 80)
    assert room(a, limit) == 50
    clock.now += 1000
    learn(a, limit, 80)
    assert room(a, limit) == 80


def test_a_small_word_between_begins_the_window_anew(a: Replica, clock: Clock) -> None:
    """What flutters is taken at its least."""
    limit = window(100, ms=1000)
    for amount in (30, 60, 30, 60):
        learn(a, limit, amount)
        clock.now += 600
    learn(a, limit, 60)
    assert room(a, limit) == 30


def test_whoever_waits_goes_when_more_is_learned(a: Replica, clock: Clock) -> None:
    """The tick that hears of it grants."""
    limit = window(100, ms=10_000)
    learn(a, limit, 10)
    learn(a, limit, 60)
    clock.now += 9000
    assert grants(a.arrive(call(charge(limit, 10))))
    assert a.arrive(call(charge(limit, 5), wait=50_000)).held
    clock.now += 1000
    assert grants(learn(a, limit, 60))


def test_what_nobody_says_any_more_is_forgotten_after_an_hour(a: Replica, clock: Clock) -> None:
    """And not a millisecond before."""
    limit = window(100, ms=1000)
    learn(a, limit, 10)
    clock.now += HOUR - 1
    assert room(a, limit) == 10
    clock.now += 1
    assert room(a, limit) == 100


def test_a_long_window_is_remembered_for_two_of_them(a: Replica, clock: Clock) -> None:
    """A day's amount is said once a day at least."""
    limit = window(100, ms=86_400_000)
    learn(a, limit, 10)
    clock.now += 2 * 86_400_000 - 1
    assert room(a, limit) == 10
    clock.now += 1
    assert room(a, limit) == 100


def test_a_call_larger_than_what_was_learned_is_told_until_when_that_holds(a: Replica, clock: Clock) -> None:
    """It fits the configured amount, so it is not refused for ever."""
    limit = window(100, ms=1000)
    learn(a, limit, 10)
    assert refusal(a.arrive(call(charge(limit, 20), wait=0))) == ("wait_too_long", HOUR)


def test_the_smaller_of_what_replicas_and_the_upstream_say_holds(a: Replica, b: Replica, clock: Clock) -> None:
    """Whichever that is."""
    large, small = window(100), window(50)
    b.arrive(call(charge(small), wait=0))
    learn(a, large, 70)
    assert room(a, large) == 49
    learn(a, large, 20)
    assert room(a, large) == 19


def test_what_one_bucket_learned_is_no_other_buckets(a: Replica) -> None:
    """Another group, another model: another number."""
    limit = window(100)
    a.tick(hearsay.announced(charge(limit, scope="x"), 10))
    assert a.explain(call(charge(limit, 90, scope="y"), wait=0)).verdict == "go"
