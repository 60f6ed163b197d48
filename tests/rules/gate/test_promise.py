"""rules/gate/promise.lua: what refused calls were told. Each case fails where a told time is only an estimate."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from rules.gate import wire
from rules.policy import Limit
from rules.verdict import Plan

from .driver import Clock, Host, Replica, bucket, call, charge, flying, gauge, grants, key, quota, refusal, window
from .returns import Market, Try

LIMIT = window(4, ms=10_000, slices=100)
"""Four in ten seconds, in slices of 100 ms."""
KEPT = 2250
"""How long room is kept after the time told."""


def asks(user: str, again: str, *, limit: Limit = LIMIT, cost: int = 1, wait: int = 0, weight: float = 1.0) -> Plan:
    """A call of a user that is known by `again` when it comes back."""
    return call(charge(limit, cost), user=user, again=again, wait=wait, weight=weight)


def told(a: Replica, plan: Plan) -> int:
    """When a call that is refused is told to come back, from now."""
    code, wait = refusal(a.arrive(plan))
    assert code == "wait_too_long"
    assert wait is not None
    return wait


def fill(a: Replica, clock: Clock, *, limit: Limit = LIMIT, step: int = 1000) -> None:
    """Take all of the limit, `step` apart, so that it comes back one by one."""
    for i in range(limit.amount):
        assert grants(a.arrive(asks(f"early{i}", "", limit=limit)))
        clock.now += step


def test_calls_refused_in_a_row_are_told_one_place_each(a: Replica, clock: Clock) -> None:
    """Not all of them the next: the fifth is told the second turn of the first place."""
    fill(a, clock)
    times = [told(a, asks("u", f"c{i}")) for i in range(5)]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert 6000 <= times[0] < 7000
    assert all(gap >= 1000 for gap in gaps)
    assert times[4] - times[0] >= 10_000


def test_who_comes_back_as_told_finds_room_though_others_came_first(a: Replica, b: Replica, clock: Clock) -> None:
    """A stranger who comes in that very moment is told a later time, through either replica."""
    fill(a, clock)
    clock.now += told(a, asks("u", "c"))
    assert told(b, asks("other", "d")) > 500
    assert grants(b.arrive(asks("u", "c")))


def test_a_call_that_was_told_nothing_is_no_return(a: Replica, clock: Clock) -> None:
    """The user's other call does not get what was promised, and the promise stands."""
    fill(a, clock)
    clock.now += told(a, asks("u", "c"))
    assert not grants(a.arrive(asks("u", "new")))
    assert not grants(a.arrive(asks("v", "c")))
    assert grants(a.arrive(asks("u", "c")))


def test_who_comes_back_too_early_has_no_claim_and_loses_none(a: Replica, clock: Clock) -> None:
    """Six milliseconds before its time it is a call like any other."""
    fill(a, clock)
    wait = told(a, asks("u", "c"))
    clock.now += wait - 6
    a.arrive(asks("u", "other"))
    assert not grants(a.arrive(asks("u", "c")))
    clock.now += 6
    assert grants(a.arrive(asks("u", "c")))


def test_a_grant_that_was_kept_counts_from_when_it_is_used(a: Replica, clock: Clock) -> None:
    """The window holds it for a whole length from then on, and holds it once."""
    limit = window(1, ms=10_000, slices=100)
    fill(a, clock, limit=limit)
    clock.now += told(a, asks("u", "c", limit=limit)) + 2000
    (granted,) = a.arrive(asks("u", "c", limit=limit)).granted
    assert granted.slices == (clock.now // 100 * 100,)
    assert granted.uses == (1,)
    clock.now += 9999
    assert not grants(a.arrive(asks("w", "", limit=limit)))
    clock.now += 101
    assert grants(a.arrive(asks("w", "", limit=limit)))


def test_room_that_nobody_comes_for_is_given_to_those_who_wait(a: Replica, clock: Clock) -> None:
    """When its time is over, not a millisecond before, and the tick that says so serves them."""
    limit = window(1, ms=10_000, slices=100)
    fill(a, clock, limit=limit)
    clock.now += told(a, asks("gone", "c", limit=limit)) - 100
    a.tick()
    assert a.arrive(asks("patient", "", limit=limit, wait=60_000)).held
    clock.now += 100 + KEPT - 1
    assert not grants(a.tick())
    clock.now += 1
    assert grants(a.tick()) == [a.count]


def test_a_user_who_never_comes_back_is_soon_kept_no_room(a: Replica, clock: Clock) -> None:
    """Of two hundred calls that are given up, hardly any is kept room for: the limit goes on being used."""
    limit = window(60, ms=6000, slices=60)
    for i in range(260):
        a.arrive(asks("gone", f"g{i}", limit=limit))
    served = 0
    for _ in range(3000):
        clock.now += 20
        served += len(grants(a.arrive(asks("w", "", limit=limit))))
    assert served >= 0.97 * 60_000 / 6100 * 60 - 60


def test_promises_to_one_user_delay_no_other(a: Replica, clock: Clock) -> None:
    """One user dumps 900 impatient calls on 20 a second and comes back as told; four others send one a second."""
    limit = window(120, ms=6000, jitter=100, slices=60, burst=60)
    market = Market(
        lambda draw: (user := draw.choice("abcd"), asks(user, "", limit=limit, wait=30_000)),
        rate=4,
        seed=1,
    )
    for i in range(900):
        market._send(Try("hog", asks("hog", f"h{i}", limit=limit)))
    outcome = market.run(30_000)
    waits = sorted(wait for user in "abcd" for wait in outcome.waits[user])
    assert waits[len(waits) * 99 // 100] < 500
    # its first promises are few, so some of what it asks comes back together and finds no room
    assert outcome.granted >= 0.8 * 120 / 6.2 * 30


@pytest.mark.parametrize("wait", [0, 2000])
@pytest.mark.parametrize("load", [1.0, 1.2])
def test_of_those_who_come_back_as_told_nineteen_of_twenty_are_let_in(load: float, wait: int) -> None:
    """Eight users who ask unequally, at random, for more than there is."""
    limit = window(120, ms=6000, jitter=100, slices=60, burst=60)
    numbers = iter(range(1_000_000))

    def plans(draw: random.Random) -> tuple[str, Plan]:
        (user,) = draw.choices("abcdefgh", [8, 4, 2, 2, 1, 1, 1, 1])
        return user, asks(user, f"n{next(numbers)}", limit=limit, wait=wait)

    outcome = Market(plans, rate=load * 120 / 6.1, seed=3).run(60_000)
    assert outcome.kept + outcome.broken >= 20
    assert outcome.share >= 0.95
    assert not outcome.untold
    assert outcome.granted >= 0.9 * 60_000 / 6200 * 120


def test_a_held_call_whose_time_is_up_is_told_when_to_come_back(a: Replica, clock: Clock) -> None:
    """It leaves the line, and is served at the time it is told."""
    limit = window(1, ms=10_000, slices=100)
    fill(a, clock, limit=limit)
    clock.now += 8500
    assert a.arrive(asks("u", "c", limit=limit, wait=2000)).held
    code, wait = refusal(a.tick([b"E", a.count, b"c"]))
    assert code == "hold_expired"
    assert wait is not None
    assert a.tick().waiting == 0
    clock.now += wait - 1000
    assert a.arrive(asks("u", "newer", limit=limit, wait=60_000)).held
    newer = a.count
    clock.now += 1000
    assert grants(a.arrive(asks("u", "c", limit=limit, wait=2000))) in ([newer], [a.count])


def test_asking_after_an_expired_call_that_has_gone_is_no_answer(a: Replica) -> None:
    """It was granted, or was never there."""
    a.arrive(asks("u", "c"))
    assert a.tick([b"E", a.count, b"c"]).refused == ()


@pytest.mark.parametrize("limit", [bucket(5, 1, 1000, meter="requests"), quota(5), flying(5)], ids=lambda one: one.kind)
def test_what_is_kept_and_given_back_leaves_every_kind_of_limit_as_it_was(
    a: Replica, clock: Clock, limit: Limit
) -> None:
    """A window keeps the turn; the other limit of the call is charged for as long, and free again after."""
    short = window(1, ms=3000, slices=30)

    def plan(again: str) -> Plan:
        return call(charge(short), charge(limit, 3), user="u", again=again, wait=0)

    assert grants(a.arrive(call(charge(short), wait=0)))
    clock.now += told(a, plan("c"))
    other = call(charge(limit, 3), user="w", wait=0)
    a.tick()
    assert not grants(a.arrive(other))
    clock.now += KEPT
    assert grants(a.arrive(other))


def test_a_bucket_gives_back_no_refill_that_it_would_have_lost(a: Replica, clock: Clock) -> None:
    """What is kept lets the bucket refill; without it the bucket would have been full then, and is no fuller now."""
    short, limit = window(1, ms=3000, slices=30), bucket(5, 1, 1000, meter="requests")
    plan = call(charge(short), charge(limit, 3), user="u", again="c", wait=0)
    assert grants(a.arrive(call(charge(short), wait=0)))
    clock.now += told(a, plan) - 375
    a.tick()
    clock.now += 1500
    # 3 were kept, 1 is left of them; of the 5 that the upstream has it takes 3
    assert grants(a.arrive(call(charge(limit, 3), user="w", wait=0)))
    clock.now += 900
    # the upstream has 2.9 of 5, whatever was kept here
    assert not grants(a.arrive(plan))


def test_a_busy_bucket_gives_back_all_that_was_kept(a: Replica, clock: Clock) -> None:
    """It was never near full, so who comes back takes what was kept for him and no more."""
    limit = bucket(20, 1, 1000, meter="requests")
    for _ in range(120):
        a.arrive(call(charge(limit), user="w", wait=0))
        clock.now += 100
    a.arrive(call(charge(limit), user="w", wait=0))
    plan = call(charge(limit), user="u", again="c", wait=0)
    clock.now += told(a, plan) + 1000
    (granted,) = a.arrive(plan).granted
    after = granted.uses[0]
    assert after <= 20
    assert not grants(a.arrive(call(charge(limit, 20 - after + 1), wait=0)))
    assert grants(a.arrive(call(charge(limit, 20 - after), wait=0)))


def test_a_kept_grant_of_a_concurrency_limit_passes_to_who_comes_back(a: Replica, clock: Clock) -> None:
    """It is in flight once, and free when the replica says so."""
    short, few = window(1, ms=3000, slices=30), flying(1)
    plan = call(charge(short), charge(few), user="u", again="c", wait=0)
    assert grants(a.arrive(call(charge(short), wait=0)))
    clock.now += told(a, plan)
    (granted,) = a.arrive(plan).granted
    assert granted.uses == (1, 1)
    clock.now += 5000
    assert not grants(a.arrive(call(charge(few), wait=0)))
    assert grants(a.tick(gauge(charge(few), 0), a.arrival(call(charge(few), wait=0))))


def test_a_promise_is_kept_with_the_key_that_had_room(a: Replica, clock: Clock) -> None:
    """The pool's other key is full then, and the one that was kept serves."""
    limit = window(1, ms=6000, slices=60)

    def plan(user: str, again: str = "") -> Plan:
        keys = [key(g, charge(limit, 1, g), group=g) for g in ("g", "h")]
        return call(keys=keys, user=user, again=again, wait=0)

    assert grants(a.arrive(plan("x")))
    clock.now += 3000
    assert grants(a.arrive(plan("x")))
    clock.now += told(a, plan("u", "c"))
    assert not grants(a.arrive(plan("y")))
    (granted,) = a.arrive(plan("u", "c")).granted
    assert granted.candidate == 0


def test_a_larger_call_than_was_promised_waits_for_what_it_lacks(a: Replica, clock: Clock) -> None:
    """The promise was for less: it is told anew."""
    limit = window(10, ms=6000, slices=60)
    assert grants(a.arrive(asks("x", "", limit=limit, cost=10)))
    clock.now += told(a, asks("u", "c", limit=limit, cost=4))
    assert told(a, asks("v", "d", limit=limit, cost=7)) > 0
    assert not grants(a.arrive(asks("u", "c", limit=limit, cost=11)))


def test_a_limit_that_was_lowered_meanwhile_keeps_nothing_it_has_not(a: Replica, clock: Clock) -> None:
    """With none left of it the call is refused as any other."""
    fill(a, clock)
    clock.now += told(a, asks("u", "c"))
    a.tick()
    lower = window(1, ms=10_000, slices=100)
    assert not grants(a.arrive(asks("u", "c", limit=lower)))


def test_a_tier_of_more_weight_is_told_an_earlier_time(a: Replica, clock: Clock) -> None:
    """Where both ask all the time, its turns come sooner."""
    fill(a, clock)
    for user in ("p", "q"):
        told(a, call(charge(LIMIT), user=user, again="f", tier="free", wait=0))
    free = told(a, call(charge(LIMIT), user="r", again="c", tier="free", wait=0))
    gold = told(a, call(charge(LIMIT), user="s", again="c", tier="gold", weight=4, wait=0))
    assert gold < free


def test_who_has_not_asked_for_half_a_minute_is_not_counted_on(a: Replica, clock: Clock) -> None:
    """The time told counts those who asked lately, each with his turn."""
    limit = window(4, ms=100_000, slices=100)
    fill(a, clock, limit=limit)
    for i in range(6):
        told(a, asks(f"u{i}", "c", limit=limit))
    crowded = told(a, asks("late", "c", limit=limit))
    clock.now += 30_001
    assert told(a, asks("alone", "c", limit=limit)) < crowded - 30_001


def test_what_a_tick_is_told_twice_is_promised_once(a: Replica, clock: Clock) -> None:
    """A reply that was lost is repeated, and one return alone is let in."""
    fill(a, clock)
    wait = told(a, asks("u", "c"))
    assert refusal(a.again()) == ("wait_too_long", wait)
    clock.now += wait
    assert grants(a.arrive(asks("u", "c")))
    assert not grants(a.arrive(asks("u", "c")))


def test_only_asking_promises_nothing(a: Replica, clock: Clock) -> None:
    """`explain` says the time, and leaves no trace of it."""
    fill(a, clock)
    before = a.host.contents()
    said = a.explain(asks("u", "c"))
    assert said.verdict == "refuse"
    assert a.host.contents() == before
    assert told(a, asks("u", "c")) == said.wait_ms


def test_calls_that_stand_for_promises_are_not_counted_as_waiting(a: Replica, clock: Clock) -> None:
    """The line's length is that of calls with clients."""
    fill(a, clock)
    clock.now += told(a, asks("u", "c")) - 1000
    assert a.tick().waiting == 0


def test_promises_survive_a_replica(a: Replica, b: Replica, clock: Clock, host: Host) -> None:
    """The process that told the time is gone when its call comes back."""
    fill(a, clock)
    wait = told(a, asks("u", "c"))
    for _ in range(int(wait / 1000)):
        clock.now += 1000
        b.tick()
    clock.now += wait % 1000
    assert grants(b.arrive(asks("u", "c")))


def test_a_market_of_returns_serves_users_by_turns() -> None:
    """Impatient users who all ask for too much get equal parts."""
    limit = window(60, ms=6000, jitter=100, slices=60, burst=30)
    numbers = iter(range(1_000_000))

    def plans(draw: random.Random) -> tuple[str, Plan]:
        user = draw.choice("abcd")
        return user, asks(user, f"n{next(numbers)}", limit=limit)

    market = Market(plans, rate=30, seed=5)
    market.run(60_000)
    served: Counter[str] = market.served
    assert max(served.values()) - min(served.values()) <= 0.1 * served.total() / 4


def test_words_of_the_wire() -> None:
    """What a call is known by travels as one harmless word, and its absence as a dash."""
    assert wire.arrive(1, 0, 0, wire.arrival(asks("u", "a b{c}")))[9].startswith(b"#")  # type: ignore[union-attr]
    assert wire.arrive(1, 0, 0, wire.arrival(asks("u", "")))[9] == b"-"
