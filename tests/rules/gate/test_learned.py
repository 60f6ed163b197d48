"""rules/gate/learned.lua: a limit that nobody publishes is found out, followed when it moves, remembered by hour."""

from __future__ import annotations

import sys

import pytest

from rules.gate import resting
from rules.verdict import Plan

from .driver import Clock, Replica, TablesHost, block, call, charge, grants, key, window
from .hidden import LIMIT, WINDOW, Hidden

ON = charge(LIMIT)
HOUR = 3_600_000
WEEK = 168 * HOUR


def plan(wait: int = 600_000, cost: int = 1) -> Plan:
    """A call on the learned limit."""
    return call(keys=[key("k", charge(LIMIT, cost))], wait=wait, queue=10_000)


def amount(a: Replica) -> int:
    """N now."""
    return a.explain(plan()).rooms[0].amount


def used(a: Replica) -> int:
    """What the window carries now."""
    return a.explain(plan()).rooms[0].used


def spend(a: Replica, clock: Clock, count: int, *, step: int = 100) -> None:
    """Calls that go one by one as the gate lets them, until so many have gone."""
    went = len(grants(a.tick(*[a.arrival(plan()) for _ in range(count)])))
    while went < count:
        clock.now += step
        went += len(grants(a.tick()))


def refuse(a: Replica, *, ago: int = 0) -> None:
    """The upstream refused a call that was sent so long ago."""
    a.tick(resting.refused(ON, ago))


@pytest.mark.parametrize(
    ("fixed", "late"), [(False, 0), (True, 0), (False, 250)], ids=["sliding", "fixed", "in a busy process"]
)
def test_a_hidden_limit_that_halves_and_recovers_is_followed(fixed: bool, late: int) -> None:
    """Found within 5 windows each time, 90 % and more of it used in all, and no more than one 429 in ten windows once
    it is known. So much is used where every look at the line comes late by a quarter of the time between two calls; the
    two calls that then leave at once may both be refused."""
    hidden = Hidden([(20, 60), (12, 30), (58, 60)], fixed=fixed, late=late)
    hidden.run(TablesHost(), Clock())
    found = [hidden.found(first) for first in (0, 20, 32)]
    used, refused = hidden.use(0, 90), hidden.refused(50, 90)
    sys.stdout.write(
        f"found after {found} windows; used {used:.3f}; 429s {hidden.refused(0, 20)} + {hidden.refused(20, 32)} +"
        f" {hidden.refused(32, 90)}, in the last 40 windows {refused}\n"
    )
    assert max(found) <= 5
    assert used >= 0.9
    assert refused <= (5 if late else 4)


def test_replicas_share_what_is_found_out(a: Replica, b: Replica, clock: Clock) -> None:
    """What one was told both keep to."""
    spend(a, clock, 40)
    refuse(a)
    assert amount(b) == amount(a) < 40


def test_it_begins_with_one_a_second_and_grows_to_twice_what_was_carried(a: Replica, clock: Clock) -> None:
    """By the rate of the last half of a window; and no further while less is asked for."""
    assert amount(a) == 60
    spend(a, clock, 50)
    most = amount(a)
    assert 2 * (used(a) - 1) <= most <= 4 * used(a)
    clock.now += WINDOW
    a.arrive(plan())
    assert amount(a) == most


def test_a_grant_tells_how_much_may_be_used(a: Replica, b: Replica, clock: Clock) -> None:
    """Of a learned limit, as it stands then, also to the replica that another's tick serves; of others nothing."""
    assert [granted.learned for granted in a.arrive(plan()).granted] == [60]
    spend(a, clock, 100)
    refuse(a)
    assert amount(a) > 1
    b.arrive(plan())
    clock.now += 2 * WINDOW
    a.tick()
    (pushed,) = b.tick().granted
    assert pushed.pushed
    assert pushed.learned == amount(a)
    assert [granted.learned for granted in a.arrive(call(keys=[key("o", charge(window(5)))])).granted] == [None]


def test_a_tick_that_comes_late_by_one_call_loses_nothing(a: Replica, clock: Clock) -> None:
    """Two go at once where somebody waits, however small N is; what is late by more is lost to the pace."""
    a.tick(*[a.arrival(plan()) for _ in range(60)])
    period = LIMIT.length_ms // 60 + 1
    while grants(a.tick()):
        clock.now += period
    for late, most in ((1, 2), (3, 2), (1, 2)):
        clock.now += (1 + late) * period
        assert len(grants(a.tick())) == most


def test_a_refusal_cuts_once_for_all_calls_that_were_sent_before_the_cut(a: Replica, clock: Clock) -> None:
    """One cut per generation (limiter 16, invariant 16); one that was sent after it cuts again."""
    spend(a, clock, 100)
    carried = used(a)
    refuse(a)
    once = amount(a)
    assert once == int(int(carried * 63 / 64) * 0.85)
    for ago in (0, 5, 1000):
        refuse(a, ago=ago)
    assert amount(a) == once
    clock.now += 1000
    refuse(a, ago=900)
    assert once <= amount(a) <= once + 1
    refuse(a, ago=100)
    assert amount(a) < once


def test_a_refusal_above_what_was_carried_for_windows_takes_back_only_what_was_tried(a: Replica, clock: Clock) -> None:
    """The first refusal leaves a reserve, since nobody knows yet; the next one, of a look higher, leaves none."""
    spend(a, clock, 100)
    refuse(a)
    cut = amount(a)
    top = int(cut / 0.85) + 1
    spend(a, clock, 2 * top)
    while used(a) <= top:
        spend(a, clock, 5)
    carried = used(a)
    refuse(a)
    assert 0.95 * carried < amount(a) <= carried
    spend(a, clock, 2 * top)
    before = amount(a)
    refuse(a)
    assert amount(a) < 0.9 * before, "refused where it should have been safe, it falls"


def test_it_does_not_grow_while_it_does_not_bind(a: Replica, clock: Clock) -> None:
    """An hour of few calls says nothing about many."""
    spend(a, clock, 100)
    refuse(a)
    clock.now += 2 * WINDOW
    a.arrive(plan())
    cut = amount(a)
    for _ in range(600):
        clock.now += 6000
        a.arrive(plan())
    assert amount(a) == cut


def test_the_refusal_of_a_half_empty_window_does_not_take_it_for_full(a: Replica, clock: Clock) -> None:
    """A neighbour used the limit up: a cut, but not to what we happened to use."""
    spend(a, clock, 100)
    refuse(a)
    clock.now += 2 * WINDOW
    a.arrive(plan())
    before = amount(a)
    refuse(a)
    assert before / 2 < amount(a) < before


def test_a_first_call_that_is_refused_halves_what_is_tried_and_no_more(a: Replica, clock: Clock) -> None:
    """One call is no measure; the rest that goes with it is what keeps us from the next refusal."""
    a.arrive(plan())
    refuse(a)
    assert amount(a) == int(int(30 * 63 / 64) * 0.85)


def test_a_call_that_costs_more_than_was_found_goes_when_the_window_is_empty(a: Replica, clock: Clock) -> None:
    """What is only learned turns nobody away for ever."""
    spend(a, clock, 30)
    a.arrive(plan(cost=500))
    reply = a.tick()
    waited = 0
    while not reply.granted:
        assert reply.next_ms is not None
        clock.now += max(1, reply.next_ms)
        waited += max(1, reply.next_ms)
        reply = a.tick()
    assert waited <= WINDOW + 1000


def test_what_headers_name_is_the_limit_and_nothing_is_tried_any_more(a: Replica, clock: Clock) -> None:
    """For their window, if that is longer; a refusal or use changes nothing then."""
    a.tick(resting.given(ON, 300, 0))
    a.arrive(plan())
    assert amount(a) == 300
    refuse(a)
    spend(a, clock, 290)
    assert amount(a) == 300
    a.tick(resting.given(ON, 300, 15 * WINDOW))
    assert amount(a) == 300 * LIMIT.length_ms // (15 * WINDOW)
    a.tick(resting.given(ON, 300, 1000))
    assert amount(a) == 300 * LIMIT.length_ms // (15 * WINDOW)


def test_nothing_a_header_says_goes_above_the_most_that_is_ever_tried(a: Replica) -> None:
    """A provider may say 10^12."""
    a.tick(resting.given(ON, 10**12, 0))
    a.arrive(plan())
    assert amount(a) == LIMIT.amount


def test_an_hour_that_met_a_refusal_begins_with_what_it_carried_a_week_ago(a: Replica, clock: Clock) -> None:
    """And none between does; more or less than what was known an hour before."""
    clock.now = WEEK
    spend(a, clock, 200)
    first = int(used(a) * 63 / 64)
    refuse(a)
    clock.now = WEEK + HOUR
    spend(a, clock, 120)
    refuse(a)
    second = amount(a) / 0.85
    assert second < first
    for hours in range(2, 168):
        clock.now = WEEK + hours * HOUR
        a.arrive(plan())
    clock.now = 2 * WEEK
    a.arrive(plan())
    assert amount(a) == first
    clock.now = 2 * WEEK + HOUR
    a.arrive(plan())
    assert abs(amount(a) - second) <= 1.5


def test_an_hour_in_which_little_was_asked_for_takes_nothing_away(a: Replica, clock: Clock) -> None:
    """What it could have carried nobody knows; and an hour of few calls is not remembered at all."""
    clock.now = WEEK
    spend(a, clock, 60)
    clock.now = WEEK + HOUR
    a.arrive(plan())
    clock.now = 2 * WEEK - HOUR
    spend(a, clock, 200)
    known = amount(a)
    for hours in range(2):
        clock.now = 2 * WEEK + hours * HOUR
        a.arrive(plan())
        assert amount(a) == known


def test_a_rest_of_one_endpoint_leaves_the_others_alone(a: Replica) -> None:
    """The learned limit is of an endpoint, and so is what follows from it."""
    one = call(keys=[key("k", charge(LIMIT, scope="1"), blocks=("k:k", "e:1"))], wait=0)
    other = call(keys=[key("k", charge(LIMIT, scope="2"), blocks=("k:k", "e:2"))], wait=0)
    a.tick(block("e:1", 1000))
    assert grants(a.arrive(one)) == []
    assert grants(a.arrive(other)) == [2]
