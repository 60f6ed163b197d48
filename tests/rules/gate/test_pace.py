"""rules/gate/pace.lua: a window is spent evenly where somebody waits, and no burst is repaid by silence."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from rules.gate import wire
from rules.policy import Limit
from rules.verdict import Charge

from .crowd import Crowd
from .driver import Clock, Host, Replica, TablesHost, call, cancel, charge, flying, grants, refusal, window

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


def test_where_next_to_nothing_is_left_a_sixteenth_goes_on(a: Replica) -> None:
    """599 of 600 are spent: 38 per minute, the next multiple of 5 ms after 1579."""
    assert goes(a, MINUTE, 599)
    assert wait(a, MINUTE) == 1580


def test_the_flow_is_what_lasts_until_something_leaves_and_a_little_more(a: Replica, clock: Clock) -> None:
    """4200 of 8400 are left, and 2100 of those spent count as the next slice: 5824 per minute for 64.9 s, and 1/64."""
    limit = window(8400, ms=60_000, slices=4, burst=4200)
    clock.now += 100
    assert goes(a, limit, 4200)
    assert wait(a, limit, 840) == math.ceil(840 * 60_000 / (5824 + 91))


def test_of_what_leaves_soon_only_an_even_part_lasts_beyond_it(a: Replica, clock: Clock) -> None:
    """9 are left, and 10 of the 2150 that leave in 6 s: 192 per minute, and not 2159 in those 6 s."""
    limit = window(2400, ms=60_000, slices=240, burst=1200)
    assert goes(a, limit, 2150)
    clock.now += 54_250
    assert goes(a, limit, 241)
    assert wait(a, limit) == 315


@pytest.mark.parametrize(("later", "burst"), [(49_749, 60), (49_750, 300)])
def test_a_window_is_idle_a_whole_length_after_the_last_wait(a: Replica, clock: Clock, later: int, burst: int) -> None:
    """To the millisecond."""
    busy_and_empty(a, clock)
    clock.now += later
    assert fill(a, MINUTE) == burst


def test_the_flow_holds_for_a_slice(a: Replica, clock: Clock) -> None:
    """Found when 600 were left: 609 per minute. A slice later 541 are, and by growing the flow brings 59 in 5.675 s."""
    busy_and_empty(a, clock)
    assert goes(a, MINUTE, 59)
    waits = [wait(a, MINUTE, 60)]
    clock.now += 249
    waits.append(wait(a, MINUTE, 60))
    clock.now += 1
    waits.append(wait(a, MINUTE, 60))
    due = math.ceil(59 * 60_000 / 609)
    assert waits == [due, due - 249, 5675]


def test_a_flow_grows_by_all_that_leaves(a: Replica, clock: Clock) -> None:
    """60 drain by when 300 leave 30 s from now, from 240 that are left; what leaves after those tells no other time."""
    busy_and_empty(a, clock)
    assert goes(a, MINUTE, 300)
    clock.now += 30_000
    assert goes(a, MINUTE, 60)
    clock.now += 250
    assert wait(a, MINUTE, 60) == 5800


def test_the_flow_stays_when_one_more_begins_to_wait(a: Replica, clock: Clock) -> None:
    """In a slice of 15 s: 60 went when the flow was 609 per minute, and the next 60 go by it."""
    limit = dataclasses.replace(MINUTE, slices=4)
    busy_and_empty(a, clock, limit)
    assert goes(a, limit, 60)
    assert a.arrive(call(charge(limit, 60))).held
    clock.now += 5911
    assert not grants(a.tick())
    clock.now += 1
    assert grants(a.tick())


def test_the_flow_is_found_anew_when_the_first_begins_to_wait(a: Replica, clock: Clock) -> None:
    """In a slice of 15 s: 240 went at once when the flow was 609 per minute; the next 60 do not go by it."""
    limit = dataclasses.replace(MINUTE, slices=4)
    assert goes(a, limit, 300)
    clock.now += 54_000
    assert [goes(a, limit, 60) for _ in range(4)] == [True] * 4
    assert a.arrive(call(charge(limit, 60))).held
    clock.now += 5912
    assert not grants(a.tick())
    clock.now += 2088
    assert grants(a.tick())


def test_what_a_settlement_frees_speeds_up_who_comes_a_slice_later(a: Replica, clock: Clock) -> None:
    """60 of 600 are left and go slowly; when 540 are, two go each 200 ms."""
    busy_and_empty(a, clock)
    (granted,) = a.arrive(call(charge(MINUTE, 540), wait=0)).granted
    clock.now += 12_000
    assert goes(a, MINUTE, 15)
    a.tick(wire.settle(charge(MINUTE, 540), granted.slices[0], -500))
    assert not goes(a, MINUTE, 2)
    clock.now += 250
    assert goes(a, MINUTE, 2)


def test_what_drains_when_nothing_is_over_is_lost(a: Replica, clock: Clock) -> None:
    """One goes, and in 148 ms one and a half drain: the half is no credit for the 60 that go then."""
    busy_and_empty(a, clock)
    assert goes(a, MINUTE, 1)
    clock.now += 148
    assert goes(a, MINUTE, 60)
    assert wait(a, MINUTE, 60) == math.ceil(60 * 60_000 / 609)


def test_a_unit_has_drained_when_all_of_it_has(a: Replica, clock: Clock) -> None:
    """In 3 ms 999 thousandths of a unit drain at 333 per second: ten are over, and not nine."""
    limit = window(333, ms=1000, slices=10, burst=10)
    assert goes(a, limit, 1)
    clock.now += 3
    assert goes(a, limit, 9)
    assert not goes(a, limit, 1)


def test_what_a_settlement_frees_is_room_for_a_burst_a_slice_later(a: Replica, clock: Clock) -> None:
    """100 of 600 are left, 46 of them for the 27.25 s until the next leave: 54 go at once, and not 55."""
    limit = dataclasses.replace(MINUTE, burst=500)
    (granted,) = a.arrive(call(charge(limit, 500), wait=0)).granted
    clock.now += 30_000
    assert goes(a, limit, 49)
    assert goes(a, limit, 11)
    a.tick(wire.settle(charge(limit, 500), granted.slices[0], -60))
    clock.now += 3000
    assert not goes(a, limit, 55)
    assert goes(a, limit, 54)


def test_no_more_than_the_burst_goes_at_once_when_much_leaves_soon(a: Replica, clock: Clock) -> None:
    """350 are left and 250 leave in 6.25 s: 300 go, and no call more."""
    assert goes(a, MINUTE, 250)
    clock.now += 54_000
    assert [goes(a, MINUTE, 60) for _ in range(5)] == [True] * 5
    assert not goes(a, MINUTE, 1)


def fits(a: Replica, *charges: Charge) -> list[int | None]:
    """When a call would fit each of its limits, behind those that go before it."""
    return [room.fits_ms for room in a.explain(call(*charges, user="who asks")).rooms]


def test_what_may_go_at_once_is_told_no_wait(a: Replica) -> None:
    """100 of the burst of 300 went this moment."""
    assert goes(a, MINUTE, 100)
    assert fits(a, charge(MINUTE)) == [0]


@pytest.mark.parametrize("limit", [window(100), MINUTE])
@pytest.mark.parametrize(("ahead", "cost"), [(5, 1), (30, 30)])
def test_room_for_all_who_wait_is_no_wait(a: Replica, clock: Clock, limit: Limit, ahead: int, cost: int) -> None:
    """One waits for a call to end, and asks for as much of the window as goes at once beside the call that comes."""
    one = flying(1)
    clock.now += 1
    assert grants(a.arrive(call(charge(one))))
    assert a.arrive(call(charge(one), charge(limit, ahead))).held
    assert fits(a, charge(limit, cost)) == [0]


@pytest.mark.parametrize(("cost", "ms"), [(60, 10_955), (50, 9415)])
def test_a_wait_is_behind_all_that_goes_before(a: Replica, clock: Clock, cost: int, ms: int) -> None:
    """60 are over and 60 wait: 120 drain before another 60; before 50, which share the turn, 100."""
    busy_and_empty(a, clock)
    assert goes(a, MINUTE, 60)
    assert a.arrive(call(charge(MINUTE, 60))).held
    assert fits(a, charge(MINUTE, cost)) == [ms]


@pytest.mark.parametrize(("cost", "ms"), [(96, 95), (95, 98)])
def test_a_wake_is_put_off_only_where_what_drains_meanwhile_is_room(
    a: Replica, clock: Clock, cost: int, ms: int
) -> None:
    """5 drain in 5 ms: with as much to spare a call waits for a multiple of 5 ms, with less it does not."""
    limit = window(60_000, ms=60_000, slices=240, burst=100)
    clock.now += 2
    assert goes(a, limit, 100)
    assert wait(a, limit, cost) == ms


def test_a_window_that_is_not_paced_keeps_nothing_of_it(clock: Clock) -> None:
    """Neither when it is charged nor when somebody waits for it."""
    host = TablesHost()
    a, limit = Replica(host, clock), window(2)
    assert fill(a, limit) == 2
    assert a.arrive(call(charge(limit))).held
    head = str(host.contents()).partition(":1/w:w:x/h=")[2].partition(";")[0].split()
    assert head[0] == "2"
    assert head[-7:] == ["0"] * 7
