"""rules/gate/pace.lua: a window is spent evenly where somebody waits, and no burst is repaid by silence."""

from __future__ import annotations

import dataclasses
import itertools

from rules.gate import wire
from rules.policy import Limit

from .crowd import Crowd
from .driver import Clock, Host, Replica, call, charge, grants, refusal, window

MINUTE = window(600, ms=60_000, slices=240, burst=300)
"""Ten a second, half of it at once."""


def fill(a: Replica, limit: Limit, most: int = 10_000) -> int:
    """Calls that go at once, one after the other, until one does not."""
    for count in range(most):
        if not grants(a.arrive(call(charge(limit), wait=0))):
            return count
    return most


def times_served(host: Host, clock: Clock, limit: Limit, calls: int, ms: int) -> list[int]:
    """When one user's calls are served that all came at once, in ms since then."""
    crowd = Crowd(host, clock)
    crowd.want("hog", call(charge(limit), user="hog", wait=10**7, queue=10**6), calls)
    crowd.run(ms)
    return sorted(crowd.waits["hog"])


def test_a_window_nobody_waited_for_gives_its_burst_at_once_and_then_an_even_flow(a: Replica, clock: Clock) -> None:
    """300 of 600 a minute go; the next is told the 0.2 s in which one more drains, at half the flow until L is over."""
    assert fill(a, MINUTE) == 300
    assert refusal(a.arrive(call(charge(MINUTE), wait=0))) == ("wait_too_long", 200)
    clock.now += 100
    assert fill(a, MINUTE) == 1


def test_a_burst_is_not_repaid_by_silence(host: Host, clock: Clock) -> None:
    """A burst of half the window, then a line: somebody goes in each 0.3 s of the two minutes after it (Q7: 31 s)."""
    waits = times_served(host, clock, MINUTE, 1500, 120_000)
    assert waits[299] == 0 < waits[300]
    gaps = [later - earlier for earlier, later in itertools.pairwise(waits)]
    assert len(waits) > 1180
    assert max(gaps) <= 300


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


def test_a_call_above_the_burst_goes_and_leaves_a_debt(a: Replica, clock: Clock) -> None:
    """400 of a window of 600 with a burst of 300 go at once (Q8); the next one goes when that has drained to 299."""
    assert grants(a.arrive(call(charge(MINUTE, 400), wait=0)))
    assert not grants(a.arrive(call(charge(MINUTE), wait=0)))
    clock.now += 10_099
    assert not grants(a.arrive(call(charge(MINUTE), wait=0)))
    clock.now += 1
    assert grants(a.arrive(call(charge(MINUTE), wait=0)))


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


def test_a_settlement_gives_no_burst_back(a: Replica, clock: Clock) -> None:
    """300 calls that cost nothing after all leave the window empty, and the pace as it was (14.2)."""
    limit = MINUTE
    reply = a.arrive(call(charge(limit, 300), wait=0))
    a.tick(wire.settle(charge(limit, 300), reply.granted[0].slices[0], -300))
    assert not grants(a.arrive(call(charge(limit), wait=0)))
    clock.now += 100
    assert fill(a, limit) == 1


def test_a_call_that_cost_more_slows_the_next(a: Replica, clock: Clock) -> None:
    """What a call cost beyond its estimate drains before the next goes."""
    reply = a.arrive(call(charge(MINUTE, 290), wait=0))
    a.tick(wire.settle(charge(MINUTE, 290), reply.granted[0].slices[0], 20))
    clock.now += 1000
    assert fill(a, MINUTE) == 0
    clock.now += 100
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
    """With twice the rate what was spent before counts as the same units, and drains twice as fast."""
    assert fill(a, MINUTE) == 300
    raised = dataclasses.replace(MINUTE, amount=1200, burst=600)
    assert fill(a, raised) == 300
    clock.now += 1000
    assert fill(a, raised) == 20


def test_a_window_of_one_is_paced_by_its_length(a: Replica, clock: Clock) -> None:
    """N = 2 with a burst of 1: one now, one when half the window has passed."""
    limit = window(2, ms=1000, slices=10, burst=1)
    assert fill(a, limit) == 1
    clock.now += 499
    assert fill(a, limit) == 0
    clock.now += 1
    assert fill(a, limit) == 1


def test_a_smaller_share_is_paced_in_proportion(a: Replica, clock: Clock) -> None:
    """A host with a tenth of the limit gives a tenth of the burst at once, and a tenth of the flow."""
    a.share = 100
    assert fill(a, MINUTE) == 30
    clock.now += 1000
    assert fill(a, MINUTE) == 1


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
