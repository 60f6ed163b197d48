"""rules/gate/window.lua: never more than N in any L."""

from __future__ import annotations

import pytest

from rules.gate import wire

from .driver import Clock, Host, Replica, TablesHost, call, charge, flying, grants, refusal, window


def test_an_empty_window_serves_its_whole_amount_at_once(a: Replica) -> None:
    """N calls fit, and the next does not."""
    limit = window(5)
    assert [grants(a.arrive(call(charge(limit), wait=0))) for _ in range(6)] == [[1], [2], [3], [4], [5], []]


@pytest.mark.parametrize("offset", [-1, 0, 1, 50, 99, 100])
def test_a_slice_counts_until_all_of_it_is_older_than_the_window(a: Replica, clock: Clock, offset: int) -> None:
    """What was charged in slice i is free at (i + 1) w + L, not a millisecond before, wherever in the slice it was."""
    limit = window(1, ms=1000, slices=10)
    clock.now = 5000 + offset
    assert grants(a.arrive(call(charge(limit), wait=0)))
    free_at = (clock.now // 100 + 1) * 100 + 1000
    clock.now = free_at - 1
    assert refusal(a.arrive(call(charge(limit), wait=0))) == ("wait_too_long", 1)
    clock.now = free_at
    assert grants(a.arrive(call(charge(limit), wait=0)))


def test_no_interval_of_the_window_ever_holds_more_than_its_amount(a: Replica, clock: Clock) -> None:
    """Trying every 7 ms for ten windows, at most N grants lie in any half-open interval of W + J."""
    limit = window(7, ms=500, jitter=60, slices=14)
    times = []
    for clock.now in range(10_000, 15_600, 7):
        times += [clock.now for _ in grants(a.arrive(call(charge(limit), wait=0)))]
    assert len(times) > 60
    assert all(later - earlier >= 560 for earlier, later in zip(times, times[7:], strict=False))


def test_a_backlogged_window_is_used_to_w_over_w_plus_j_plus_slice(a: Replica, clock: Clock) -> None:
    """Sustained use is at least W / (W + J + W/k) of N per W (limiter 14.1)."""
    limit = window(10, ms=1000, jitter=20, slices=51)
    served = 0
    for clock.now in range(100_000, 130_000, 5):
        served += len(grants(a.arrive(call(charge(limit), wait=0))))
    assert served / (10 * 30) >= 1000 / (1020 + 20) - 10 / 300


def test_a_cost_counts_with_the_cost_added(a: Replica) -> None:
    """Costs of 40 on a limit of 100 go twice, and one of 20 fills it."""
    limit = window(100)
    served = [bool(grants(a.arrive(call(charge(limit, cost), wait=0)))) for cost in (40, 40, 40, 20, 1)]
    assert served == [True, True, False, True, False]


def test_amounts_of_a_billion_and_of_2_to_the_53_are_exact(a: Replica) -> None:
    """One unit short is refused at any size: no number loses digits on its way."""
    for amount in (10**9, wire.MOST):
        limit = window(amount, name=f"w{amount}")
        assert grants(a.arrive(call(charge(limit, amount - 1), wait=0)))
        assert not grants(a.arrive(call(charge(limit, 2), wait=0)))
        assert grants(a.arrive(call(charge(limit, 1), wait=0)))


def test_the_wait_told_is_the_wait_needed(a: Replica, clock: Clock) -> None:
    """Coming back after the time of a refusal is served, and a millisecond earlier is not."""
    limit = window(100, ms=1000, slices=10)
    for step in range(10):
        clock.now = 20_000 + 100 * step
        a.arrive(call(charge(limit, 10), wait=0))
    for cost in (10, 20, 1, 15, 55, 100):
        code, wait = refusal(a.arrive(call(charge(limit, cost), wait=0)))
        assert code == "wait_too_long"
        assert wait is not None
        here = clock.now
        clock.now = here + wait - 1
        assert not grants(a.arrive(call(charge(limit, cost), wait=0)))
        clock.now = here + wait
        reply = a.arrive(call(charge(limit, cost), wait=0))
        assert grants(reply)


def test_a_settlement_downwards_makes_room_in_the_slice_that_was_charged(a: Replica, clock: Clock) -> None:
    """Charged 80, true 30: 50 are free at once, and the 30 go when their slice does."""
    limit = window(100)
    reply = a.arrive(call(charge(limit, 80), wait=0))
    a.tick(wire.settle(charge(limit), reply.granted[0].slices[0], -50))
    clock.now += 300
    assert grants(a.arrive(call(charge(limit, 70), wait=0)))
    clock.now += 800
    assert not grants(a.arrive(call(charge(limit, 31), wait=0)))
    assert grants(a.arrive(call(charge(limit, 30), wait=0)))


def test_a_settlement_upwards_stops_grants_until_the_sum_is_below_the_amount(a: Replica, clock: Clock) -> None:
    """Charged 50, true 120: nothing goes until the slice is gone."""
    limit = window(100)
    reply = a.arrive(call(charge(limit, 50), wait=0))
    a.tick(wire.settle(charge(limit), reply.granted[0].slices[0], 70))
    code, wait = refusal(a.arrive(call(charge(limit, 1), wait=0)))
    assert code == "wait_too_long"
    assert wait is not None
    clock.now += wait
    assert grants(a.arrive(call(charge(limit, 100), wait=0)))


def test_when_the_slice_is_gone_a_credit_is_dropped_and_an_excess_counts_now(a: Replica, clock: Clock) -> None:
    """Settled after its window, -50 frees nothing and +50 is charged to the present."""
    limit = window(100)
    slice_ = a.arrive(call(charge(limit, 50), wait=0)).granted[0].slices[0]
    clock.now += 5000
    assert grants(a.arrive(call(charge(limit, 100), wait=0)))
    a.tick(wire.settle(charge(limit), slice_, -50))
    assert not grants(a.arrive(call(charge(limit, 1), wait=0)))
    clock.now += 5000
    a.tick(wire.settle(charge(limit), slice_, 49), wire.settle(charge(limit), slice_, 1))
    assert not grants(a.arrive(call(charge(limit, 51), wait=0)))
    assert grants(a.arrive(call(charge(limit, 50), wait=0)))
    clock.now += 1100
    assert grants(a.arrive(call(charge(limit, 100), wait=0)))


def test_an_excess_of_a_slice_that_has_gone_leaves_with_the_present_one(a: Replica, clock: Clock) -> None:
    """Though others are charged before and after."""
    limit = window(100)
    slice_ = a.arrive(call(charge(limit, 10), wait=0)).granted[0].slices[0]
    clock.now += 5000
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    a.tick(wire.settle(charge(limit), slice_, 50))
    assert not grants(a.arrive(call(charge(limit, 41), wait=0)))
    clock.now += 600
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    clock.now += 550
    assert grants(a.arrive(call(charge(limit, 90), wait=0)))


def test_a_slice_that_was_never_charged_holds_nothing(a: Replica, clock: Clock) -> None:
    """5 of 10 are free when the first two of three have left, with empty slices between them."""
    limit = window(10)
    for cost in (2, 3, 5):
        assert grants(a.arrive(call(charge(limit, cost), wait=0)))
        clock.now += 300
    assert refusal(a.arrive(call(charge(limit, 5), wait=0))) == ("wait_too_long", 1400 - 900)


def test_a_refund_gives_everything_back(a: Replica) -> None:
    """A refunded charge leaves the window as it was."""
    limit = window(3)
    slice_ = a.arrive(call(charge(limit, 3), wait=0)).granted[0].slices[0]
    a.tick(wire.settle(charge(limit), slice_, -3))
    assert grants(a.arrive(call(charge(limit, 3), wait=0)))


def test_a_smaller_amount_applies_at_once_and_a_larger_one_too(a: Replica) -> None:
    """The bucket stays when N changes: 6 of 10 used is over 5 and under 12."""
    assert len([1 for _ in range(6) if grants(a.arrive(call(charge(window(10)), wait=0)))]) == 6
    assert not grants(a.arrive(call(charge(window(5)), wait=0)))
    assert grants(a.arrive(call(charge(window(12), 6), wait=0)))


def test_replicas_that_cut_a_window_differently_free_it_in_time(a: Replica, b: Replica, clock: Clock) -> None:
    """In a rolling update one has another jitter's slices: however often they ask in turn, what was charged leaves when
    its slice does, not a millisecond before and not later."""
    old, new = window(10, slices=10), window(10, slices=40)
    assert grants(a.arrive(call(charge(old, 8), wait=0)))
    for _ in range(22):
        assert not grants(a.arrive(call(charge(old, 3), wait=0)))
        clock.now += 25
        assert not grants(b.arrive(call(charge(new, 3), wait=0)))
        clock.now += 24
    clock.now = 1_000_000 + 1099
    assert not grants(b.arrive(call(charge(new, 3), wait=0)))
    clock.now += 1
    assert grants(b.arrive(call(charge(new, 10), wait=0)))


def test_an_empty_window_is_cut_as_its_next_caller_asks(a: Replica, clock: Clock) -> None:
    """The finer slices free sooner: 25 ms instead of 100 after the window, from the first charge on."""
    old, new = window(10, slices=10), window(10, slices=40)
    assert grants(a.arrive(call(charge(old, 10), wait=0)))
    clock.now += 1100
    assert grants(a.arrive(call(charge(new, 10), wait=0)))
    assert refusal(a.arrive(call(charge(new), wait=0))) == ("wait_too_long", 1025)


def test_a_settlement_finds_its_slice_whoever_cut_the_window(a: Replica, clock: Clock) -> None:
    """Charges of both configurations settle into the slices they were charged to, once."""
    old, new = window(10, slices=10), window(10, slices=40)
    first = a.arrive(call(charge(old, 5), wait=0)).granted[0].slices[0]
    clock.now += 130
    second = a.arrive(call(charge(new, 4), wait=0)).granted[0].slices[0]
    assert (first, second) == (1_000_000, 1_000_100)
    a.tick(wire.settle(charge(old), first, -5), wire.settle(charge(new), second, -1))
    assert not grants(a.arrive(call(charge(new, 8), wait=0)))
    assert grants(a.arrive(call(charge(old, 7), wait=0)))
    a.tick(wire.settle(charge(old), first, 1))
    clock.now += 970
    assert refusal(a.arrive(call(charge(new, 2), wait=0))) == ("wait_too_long", 100)


def test_a_settlement_of_a_window_that_was_cut_anew_since_only_makes_stricter(a: Replica, clock: Clock) -> None:
    """The slice is gone with its bucket: a credit is dropped, an excess counts now, and neither hits another slice."""
    old, new = window(10, slices=10), window(10, slices=40)
    slice_ = a.arrive(call(charge(old, 5), wait=0)).granted[0].slices[0]
    clock.now += 1100
    assert grants(a.arrive(call(charge(new, 6), wait=0)))
    a.tick(wire.settle(charge(old, 5), slice_, -5))
    assert not grants(a.arrive(call(charge(new, 5), wait=0)))
    a.tick(wire.settle(charge(old, 5), slice_, 2))
    assert not grants(a.arrive(call(charge(new, 3), wait=0)))
    assert grants(a.arrive(call(charge(new, 2), wait=0)))


def test_the_share_of_a_host_on_its_own_bounds_the_window(a: Replica) -> None:
    """With 400 per mille of 10, four go."""
    a.share = 400
    assert sum(len(grants(a.arrive(call(charge(window(10)), wait=0)))) for _ in range(10)) == 4


def test_a_clock_that_steps_back_frees_nothing_early(host: Host, clock: Clock) -> None:
    """The store's time is the latest it has seen."""
    a, limit = Replica(host, clock), window(1)
    clock.now = 50_000
    a.arrive(call(charge(limit), wait=0))
    clock.now = 10_000
    assert not grants(a.arrive(call(charge(limit), wait=0)))
    clock.now = 51_100
    assert grants(a.arrive(call(charge(limit), wait=0)))


def stored(host: TablesHost) -> dict[str, str]:
    """The slices that the store keeps of the window."""
    entries = [entry.partition(":1/w:w:x/")[2] for entry in str(host.contents()).split(";")]
    pairs = [entry.split("=") for entry in entries if entry]
    return {name: value for name, value in pairs if name.isdecimal()}


def bounds(host: TablesHost) -> list[str]:
    """Sum, oldest and newest slice as the store keeps them."""
    return str(host.contents()).partition(":1/w:w:x/h=")[2].split()[:3]


def test_the_store_keeps_the_slices_that_count_and_no_other(clock: Clock) -> None:
    """Two leave of four, then all of them."""
    host, limit = TablesHost(), window(9)
    a, clock.now = Replica(host, clock), 10_000
    for _ in range(4):
        assert grants(a.arrive(call(charge(limit), wait=0)))
        clock.now += 100
    assert stored(host) == {"100": "1", "101": "1", "102": "1", "103": "1"}
    clock.now = 11_250
    assert grants(a.arrive(call(charge(limit, 2), wait=0)))
    assert stored(host) == {"102": "1", "103": "1", "112": "2"}
    clock.now = 20_050
    assert grants(a.arrive(call(charge(limit, 3), wait=0)))
    assert stored(host) == {"200": "3"}


def test_a_look_that_serves_nobody_forgets_what_has_left(clock: Clock) -> None:
    """One slice of two, then all: a window that is full, or whose calls another limit refuses, grows no longer."""
    host, limit, one = TablesHost(), window(2), flying(1)
    a, clock.now = Replica(host, clock), 10_000
    assert grants(a.arrive(call(charge(limit), charge(one), wait=0)))
    clock.now += 100
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert bounds(host) == ["2", "100", "101"]
    clock.now = 11_100
    assert not grants(a.arrive(call(charge(limit, 2), wait=0)))
    assert (stored(host), bounds(host)) == ({"101": "1"}, ["1", "101", "101"])
    clock.now = 20_000
    assert not grants(a.arrive(call(charge(limit), charge(one), wait=0)))
    assert (stored(host), bounds(host)) == ({}, ["0", "-1", "-1"])


@pytest.mark.parametrize("slices", [240, 100])
def test_a_window_that_is_never_empty_is_kept(clock: Clock, slices: int) -> None:
    """For an hour, though it lives for ten minutes: also where only replicas of another cut charge it since."""
    host, old, new = TablesHost(), window(9, ms=60_000, slices=240), window(9, ms=60_000, slices=slices)
    a = Replica(host, clock)
    assert grants(a.arrive(call(charge(old), wait=0)))
    for i in range(180):
        clock.now += 20_000
        host.engine.sweep(clock.now)
        assert grants(a.arrive(call(charge(new), wait=0)))
        assert i < 2 or not grants(a.arrive(call(charge(new, 7), wait=0)))


def test_charges_of_two_cuts_in_one_slice_are_kept_together(clock: Clock) -> None:
    """And so are settlements of one slice in one tick."""
    host, old, new = TablesHost(), window(9, slices=10), window(9, slices=40)
    a, clock.now = Replica(host, clock), 10_000
    (granted,) = a.arrive(call(charge(old, 3), wait=0)).granted
    clock.now += 60
    assert grants(a.arrive(call(charge(new, 4), wait=0)))
    assert stored(host) == {"100": "7"}
    a.tick(*[wire.settle(charge(old, 3), granted.slices[0], -1) for _ in range(2)])
    assert (stored(host), bounds(host)) == ({"100": "5"}, ["5", "100", "100"])


def test_a_window_nobody_charged_is_not_kept(clock: Clock) -> None:
    """A look keeps nothing, or each user who ever asked would be remembered."""
    host, limit, one = TablesHost(), window(9), flying(1)
    a = Replica(host, clock)
    assert grants(a.arrive(call(charge(one), wait=0)))
    assert not grants(a.arrive(call(charge(limit), charge(one), wait=0)))
    assert ":1/w:w:x" not in str(host.contents())


def test_a_slice_that_cost_nothing_after_all_leaves_the_store(clock: Clock) -> None:
    """Or a window that is never empty would keep one more with each call that was given back whole."""
    host, limit = TablesHost(), window(9)
    a, clock.now = Replica(host, clock), 10_000
    for _ in range(30):
        (granted,) = a.arrive(call(charge(limit), wait=0)).granted
        a.tick(wire.settle(charge(limit), granted.slices[0], -1))
        clock.now += 100
        assert grants(a.arrive(call(charge(limit, 0), wait=0)))
    assert stored(host) == {}


@pytest.mark.parametrize(
    ("held", "cost", "ms"), [([8], 2, 1100), ([8], 3, 2100), ([10], 10, 2100), ([10, 10], 1, 3100)]
)
def test_whoever_comes_behind_more_than_one_amount_waits_for_whole_windows(
    a: Replica, clock: Clock, held: list[int], cost: int, ms: int
) -> None:
    """10 went a moment ago: each further 10 wait for one more window."""
    limit = window(10)
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    for one in held:
        assert a.arrive(call(charge(limit, one))).held
    assert refusal(a.arrive(call(charge(limit, cost), wait=0))) == ("wait_too_long", ms)


def test_whoever_waits_for_more_than_a_window_waits_for_what_is_short_of_the_last(a: Replica, clock: Clock) -> None:
    """13 are asked of 10: a whole window, and then 3, for which the first slice has room when it leaves."""
    limit = window(10)
    assert grants(a.arrive(call(charge(limit, 4), wait=0)))
    clock.now += 500
    assert grants(a.arrive(call(charge(limit, 6), wait=0)))
    assert a.arrive(call(charge(limit, 10))).held
    assert refusal(a.arrive(call(charge(limit, 3), wait=0))) == ("wait_too_long", 600 + 1000)


def test_a_call_of_no_cost_waits_until_a_window_is_no_more_than_full(a: Replica) -> None:
    """8 of 5 are used."""
    limit = window(5)
    (granted,) = a.arrive(call(charge(limit, 5), wait=0)).granted
    a.tick(wire.settle(charge(limit, 5), granted.slices[0], 3))
    assert refusal(a.arrive(call(charge(limit, 0), wait=0))) == ("wait_too_long", 1100)


def test_what_waits_still_counts_when_all_slices_have_left(a: Replica, clock: Clock) -> None:
    """A call that waits for another limit."""
    limit, one = window(10), flying(1)
    assert grants(a.arrive(call(charge(one), charge(limit))))
    assert a.arrive(call(charge(one), charge(limit, 6))).held
    clock.now += 5000
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert a.explain(call(charge(limit, 6))).rooms[0].ahead == 6


def test_a_call_that_waits_goes_with_the_settlement_that_makes_room(a: Replica) -> None:
    """In the same tick; a credit above the charge gives no more than it."""
    limit = window(3)
    (granted,) = a.arrive(call(charge(limit, 3), wait=0)).granted
    assert a.arrive(call(charge(limit, 3))).held
    assert grants(a.tick(wire.settle(charge(limit, 3), granted.slices[0], -5))) == [2]
    assert not grants(a.arrive(call(charge(limit), wait=0)))


@pytest.mark.parametrize("hours", [1, 24])
def test_a_long_window_is_kept_until_its_last_slice_leaves(clock: Clock, hours: int) -> None:
    """Expiry comes later than that, however long the window."""
    host, limit = TablesHost(), window(1, ms=hours * 3_600_000)
    a, clock.now = Replica(host, clock), 864_000_000
    assert grants(a.arrive(call(charge(limit), wait=0)))
    clock.now += limit.length_ms + limit.slice_ms - 1
    host.engine.sweep(clock.now)
    a.restart()
    assert not grants(a.arrive(call(charge(limit), wait=0)))
    clock.now += 1
    assert grants(a.arrive(call(charge(limit), wait=0)))
