"""rules/gate/pace.lua to the unit and the millisecond: the flow, what drains, what may go at once, and what is told."""

from __future__ import annotations

import dataclasses
import math

import pytest

from rules.gate import wire
from rules.policy import Limit
from rules.verdict import Charge

from .driver import Clock, Replica, TablesHost, call, charge, flying, grants, window
from .modules import Lua
from .test_pace import MINUTE, busy_and_empty, fill, goes, wait


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


@pytest.mark.parametrize(("slices", "ms"), [(24, 106), (59, 102)])
def test_a_wait_within_a_slice_is_by_the_flow_alone(a: Replica, slices: int, ms: int) -> None:
    """One is over, and drains at 57 or 59 per 6 s in less than a slice or in just one: nothing leaves by then."""
    limit = window(60, ms=6000, slices=slices, burst=30)
    assert goes(a, limit, 1)
    assert a.arrive(call(charge(limit, 30))).next_ms == ms


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


@pytest.mark.parametrize(
    ("idle", "over", "cost", "says"),
    [
        (50, 9, 4, "5 11 true"),
        (50, 4, 4, "0 11 true"),
        (50, 3, 4, "0 11 true"),
        (0, 9, 4, "9 7 false"),
        (1, 9, 4, "5 11 true"),
    ],
)
def test_what_is_taken_back_is_as_if_it_had_not_been_spent(
    lua: Lua, idle: int, over: int, cost: int, says: str
) -> None:
    """Never more than was spent above the flow; a window that is not paced is left alone."""
    program = f"""
      local b = {{ changed = false, q = 0, pace = {{ over = {over}, spare = 7 }} }}
      pace.give_back(b, {{ idle = {idle} }}, {cost})
      say(b.pace.over, b.pace.spare, b.changed)"""
    assert lua(("this", "window", "pace"), program) == says


@pytest.mark.parametrize(("idle", "changed"), [(50, "true"), (0, "false")])
def test_what_is_spent_of_a_paced_window_is_written(lua: Lua, idle: int, changed: str) -> None:
    """And of one that is not paced the pace is none of what is kept."""
    program = f"""
      this.now = 5000
      local b = window.load("x", 100, 1000, 5000)
      pace.charge(b, {{ idle = {idle}, busy = 10, amount = 100, length = 1000 }}, 100, 0, 4)
      say(b.changed, b.pace.over)"""
    assert lua(("this", "window", "pace"), program) == f"{changed} {4 if idle else 0}"


@pytest.mark.parametrize(("later", "found"), [(-1, 7), (0, 0), (1, 0)])
def test_a_window_counts_as_busy_until_its_time_is_over(lua: Lua, later: int, found: int) -> None:
    """Who begins to wait then finds the flow anew."""
    program = f"""
      this.now = 5000 + {later}
      local b = {{ q = 0, pace = {{ busy = 5000, found = 7 }} }}
      pace.queue(b, {{ idle = 50, length = 1000 }})
      say(b.pace.found)"""
    assert lua(("this", "window", "pace"), program) == str(found)
