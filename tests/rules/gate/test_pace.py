"""rules/gate/pace.lua: a window is spent evenly where somebody waits, and no burst is repaid by silence."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from rules.gate import wire
from rules.policy import Limit

from .crowd import Crowd
from .driver import Clock, Host, Replica, call, cancel, charge, grants, refusal, window

MINUTE = window(600, ms=60_000, slices=240, burst=300)
"""Ten a second, half of it at once."""


def fill(a: Replica, limit: Limit, most: int = 10_000) -> int:
    """Calls that go at once, one after the other, until one does not."""
    for count in range(most):
        if not grants(a.arrive(call(charge(limit), wait=0))):
            return count
    return most


def wait(a: Replica, limit: Limit, cost: int = 1) -> int | None:
    """How long a call would wait that may not."""
    return refusal(a.arrive(call(charge(limit, cost), wait=0)))[1]


def goes(a: Replica, limit: Limit, cost: int) -> bool:
    """Whether a call goes at once."""
    return bool(grants(a.arrive(call(charge(limit, cost), wait=0))))


def busy_and_empty(a: Replica, clock: Clock, limit: Limit = MINUTE) -> None:
    """The limit's window is empty, a slice just begins, and some seconds ago somebody waited no more."""
    assert goes(a, limit, 300)
    assert a.arrive(call(charge(limit, 400), wait=10**6)).held
    clock.now += 50_000
    a.tick(cancel(a.count))
    clock.now = (1_000_000 // limit.slice_ms + 1) * limit.slice_ms + 60_000


def times_served(host: Host, clock: Clock, limit: Limit, calls: int, ms: int) -> list[int]:
    """When one user's calls are served that all came at once, in ms since then."""
    crowd = Crowd(host, clock)
    crowd.want("hog", call(charge(limit), user="hog", wait=10**7, queue=10**6), calls)
    crowd.run(ms)
    return sorted(crowd.waits["hog"])


def test_a_window_nobody_waited_for_gives_its_burst_at_once_and_then_an_even_flow(a: Replica, clock: Clock) -> None:
    """300 of 600 a minute go at once; what is left lasts for the minute as five a second."""
    assert fill(a, MINUTE) == 300
    assert refusal(a.arrive(call(charge(MINUTE), wait=0))) == ("wait_too_long", 200)
    clock.now += 200
    assert fill(a, MINUTE) == 1
    clock.now += 1800
    assert 8 <= fill(a, MINUTE) <= 10


def test_a_burst_is_not_repaid_by_silence(host: Host, clock: Clock) -> None:
    """A burst of half the window, then a line: somebody goes in each 2 s of the two minutes after it (Q7: 31 s)."""
    waits = times_served(host, clock, MINUTE, 1500, 120_000)
    assert waits[299] == 0 < waits[300]
    assert len(waits) > 1180
    assert max(later - earlier for earlier, later in itertools.pairwise(waits)) <= 2000


@pytest.mark.parametrize("offered", [11, 15, 30])
def test_a_burst_that_was_spread_is_not_repaid_by_silence_either(host: Host, clock: Clock, offered: int) -> None:
    """More than the even flow, second after second, fills the line; from then on somebody goes in each second."""
    crowd, served = Crowd(host, clock), []
    for _ in range(130):
        before = len(crowd.served)
        crowd.want("hog", call(charge(MINUTE), user="hog", wait=10**7, queue=10**6), offered)
        crowd.run(1000)
        served.append(len(crowd.served) - before)
    assert min(served) >= 1
    assert sum(served[70:130]) >= 588


def test_two_bursts_leave_room_for_those_who_wait(host: Host, clock: Clock) -> None:
    """Half a window at once, and half a minute later as much as leaves five a second until the first half is back."""
    a = Replica(host, clock)
    assert fill(a, MINUTE) == 300
    clock.now += 30_000
    assert 140 <= fill(a, MINUTE) <= 155
    clock.now += 1000
    assert 4 <= fill(a, MINUTE) <= 6


def test_what_leaves_in_any_minute_is_within_the_window_and_uses_it(host: Host, clock: Clock) -> None:
    """No minute holds more than 600 calls, and each whole minute from the burst on at least 98 % of them."""
    waits = times_served(host, clock, MINUTE, 3000, 240_000)
    inside = [sum(begin <= at < begin + 60_000 for at in waits) for begin in range(0, 180_000, 500)]
    assert max(inside) <= 600
    assert min(inside[::120]) >= 588


def test_a_newcomer_waits_a_moment_behind_one_who_dumped_everything(host: Host, clock: Clock) -> None:
    """One user's 1,500 calls fill a line of 600 a minute; four others' calls wait at most 1.5 s, not a minute."""
    crowd = Crowd(host, clock, 2)
    crowd.want("hog", call(charge(MINUTE), user="hog", wait=10**7, queue=10**6), 1500, at=(0, 1))
    for second in range(90):
        for user in range(4):
            crowd.want(f"u{user}", call(charge(MINUTE), user=f"u{user}", wait=10**7, queue=10**6), at=(second % 2,))
        crowd.run(1000)
    waits = [ms for user in range(4) for ms in crowd.waits[f"u{user}"]]
    assert len(waits) == 360
    assert max(waits) <= 1500


def test_a_call_above_the_burst_goes_and_the_flow_tells_what_it_cost(a: Replica, clock: Clock) -> None:
    """400 of a window of 600 with a burst of 300 go at once (Q8); the 200 left last as one each 0.3 s."""
    assert grants(a.arrive(call(charge(MINUTE, 400), wait=0)))
    code, wait = refusal(a.arrive(call(charge(MINUTE), wait=0)))
    assert (code, wait is not None and 290 <= wait <= 303) == ("wait_too_long", True)
    clock.now += wait or 0
    assert fill(a, MINUTE) == 1


def test_a_large_call_in_the_line_does_not_silence_the_others(host: Host, clock: Clock) -> None:
    """A call of 400 of 600 is served; those that wait with it go on at the 200 per minute that are left: 0.3 s each."""
    crowd = Crowd(host, clock)
    small = call(charge(MINUTE), user="small", wait=10**7, queue=10**6)
    crowd.want("small", small, 400)
    crowd.want("large", call(charge(MINUTE, 400), user="large", wait=10**7, queue=10**6))
    while not crowd.count("large"):
        crowd.run(1000)
    before = crowd.count("small")
    crowd.run(3000)
    assert crowd.count("small") - before >= 8


def test_what_a_settlement_frees_is_room_for_a_burst_again(a: Replica) -> None:
    """300 calls that cost nothing after all leave the window empty, and a burst is safe in it."""
    reply = a.arrive(call(charge(MINUTE, 300), wait=0))
    assert fill(a, MINUTE, 1) == 0
    a.tick(wire.settle(charge(MINUTE, 300), reply.granted[0].slices[0], -300))
    assert fill(a, MINUTE) == 300


def test_a_call_that_cost_more_slows_the_next(a: Replica, clock: Clock) -> None:
    """One that was thought to cost 290 cost 540: the 60 left last as one a second."""
    reply = a.arrive(call(charge(MINUTE, 290), wait=0))
    a.tick(wire.settle(charge(MINUTE, 290), reply.granted[0].slices[0], 250))
    clock.now += 500
    assert fill(a, MINUTE) == 0
    clock.now += 500
    assert fill(a, MINUTE) == 1


def test_a_tick_that_comes_late_loses_nothing(host: Host, clock: Clock) -> None:
    """In a busy window what drained while nobody looked goes at once: a second late, ten calls."""
    crowd = Crowd(host, clock)
    crowd.want("hog", call(charge(MINUTE), user="hog", wait=10**7, queue=10**6), 1500)
    crowd.run(65_000)
    before = crowd.count("hog")
    clock.now += 1000
    crowd.run(0)
    assert crowd.count("hog") - before == 10


def test_the_idle_burst_is_back_when_nobody_waited_for_a_whole_window(a: Replica, clock: Clock) -> None:
    """Until L after the last waiting call a tenth goes at once, then half again."""
    assert fill(a, MINUTE) == 300
    a.arrive(call(charge(MINUTE)))
    clock.now += 1000
    assert len(grants(a.tick())) == 1
    left_at = clock.now
    clock.now = left_at + 59_999
    assert fill(a, MINUTE) == 60
    clock.now = left_at + 120_000
    assert fill(a, MINUTE) == 300


def test_a_raised_limit_says_nothing_new_about_the_past(a: Replica, clock: Clock) -> None:
    """With twice the amount what was spent before counts as the same units: 300 more at once, then twice the flow."""
    assert fill(a, MINUTE) == 300
    raised = dataclasses.replace(MINUTE, amount=1200, burst=600)
    assert fill(a, raised) == 300
    clock.now += 1000
    assert 9 <= fill(a, raised) <= 10


def test_a_window_of_two_is_paced_by_its_length(a: Replica, clock: Clock) -> None:
    """N = 2 with a burst of 1: one now, and one when about half the window has passed."""
    limit = window(2, ms=1000, slices=10, burst=1)
    assert fill(a, limit) == 1
    assert wait(a, limit) == 550
    clock.now += 400
    assert fill(a, limit) == 0
    clock.now += 100
    assert fill(a, limit) == 1


def test_a_smaller_share_is_paced_in_proportion(a: Replica, clock: Clock) -> None:
    """A host with a tenth of the limit gives a tenth of the burst at once, and a tenth of the flow."""
    a.share = 100
    assert fill(a, MINUTE) == 30
    clock.now += 2000
    assert fill(a, MINUTE) == 1


@pytest.mark.parametrize(("share", "burst"), [(10, 3), (5, 1)])
def test_a_burst_shared_is_of_whole_units(a: Replica, share: int, burst: int) -> None:
    """Of a window of 6 or of 3, half: at most, so that of three it is one."""
    a.share = share
    assert fill(a, MINUTE) == burst


def test_a_small_share_of_a_busy_window_goes_one_by_one(a: Replica, clock: Clock) -> None:
    """A tenth of 6 would be nothing: one goes at once."""
    busy_and_empty(a, clock)
    a.share = 10
    assert fill(a, MINUTE) == 1


@pytest.mark.parametrize(("later", "count"), [(59_999, 0), (60_000, 1)])
def test_what_was_over_counts_for_a_length_at_most(a: Replica, clock: Clock, later: int, count: int) -> None:
    """60 were over when the share became a hundredth: they would drain for ten minutes."""
    (granted,) = a.arrive(call(charge(MINUTE, 300), wait=0)).granted
    assert a.arrive(call(charge(MINUTE, 400), wait=10**6)).held
    clock.now += 1
    a.tick(cancel(a.count), wire.settle(charge(MINUTE, 300), granted.slices[0], -300))
    a.share = 10
    clock.now += later - 1
    assert fill(a, MINUTE) == count


def test_wakes_for_a_fast_flow_are_a_few_milliseconds_apart(host: Host, clock: Clock) -> None:
    """Ten calls go each 10 ms; the line is looked at every 5 ms at most, and loses nothing by it."""
    limit = window(60_000, ms=60_000, slices=240, burst=100)
    crowd = Crowd(host, clock)
    crowd.want("hog", call(charge(limit), user="hog", wait=10**7, queue=10**6), 4000)
    before, served = crowd.replicas[0].seq, crowd.count("hog")
    crowd.run(2000)
    looks = crowd.replicas[0].seq - before
    assert crowd.count("hog") - served >= 1990
    assert looks <= 3 * 2000 // 5


def test_a_wake_is_at_a_multiple_of_5_ms(a: Replica, clock: Clock) -> None:
    """What goes each millisecond is looked at when the clock shows 5, 10, 15 ..."""
    limit = window(60_000, ms=60_000, slices=240, burst=100)
    clock.now += 1
    assert goes(a, limit, 100)
    assert wait(a, limit) == 4
