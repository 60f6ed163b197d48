"""rules/gate/quota.lua: N per calendar day or month, by the wall clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rules.gate import wire

from .driver import Clock, Replica, TablesHost, call, cancel, charge, grants, quota, refusal, window
from .modules import Lua

LA = "America/Los_Angeles"
HOUR = 3_600_000


def at(text: str) -> int:
    """An instant in UTC, by the gate's wall clock."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000) - wire.ORIGIN_MS


def test_a_days_amount_may_go_at_once_and_comes_back_at_midnight(a: Replica, clock: Clock) -> None:
    """A rolling day would free it 24 hours later; the calendar's does at 00:00, and says so."""
    limit, clock.now = quota(10), at("2026-11-24T18:00")
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    assert refusal(a.arrive(call(charge(limit, 1), wait=0))) == ("wait_too_long", 6 * HOUR)
    clock.now += 6 * HOUR - 1
    assert not grants(a.arrive(call(charge(limit, 1), wait=0)))
    clock.now += 1
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))


@pytest.mark.parametrize(
    ("now", "hours"),
    [("2026-07-01T07:00", 24), ("2026-03-08T08:00", 23), ("2026-11-01T07:00", 25), ("2026-11-01T20:00", 12)],
)
def test_midnight_is_that_of_the_zone_through_a_change_of_clocks(
    a: Replica, clock: Clock, now: str, hours: int
) -> None:
    """Pacific days of 23, 24 and 25 hours."""
    limit, clock.now = quota(1, zone=LA), at(now)
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert refusal(a.arrive(call(charge(limit), wait=0))) == ("wait_too_long", hours * HOUR)


def test_a_month_ends_on_the_first(a: Replica, clock: Clock) -> None:
    """Of February, an hour after the end of a January's last evening."""
    limit, clock.now = quota(1, period="month"), at("2026-01-31T23:00")
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert refusal(a.arrive(call(charge(limit), wait=0))) == ("wait_too_long", HOUR)


def test_a_call_that_waits_past_midnight_is_charged_to_the_new_day(a: Replica, clock: Clock) -> None:
    """The period is picked at the grant (Q21): what it takes is not free again until the next midnight."""
    limit, clock.now = quota(3), at("2026-11-24T23:59:50")
    a.arrive(call(charge(limit, 3), wait=0))
    reply = a.arrive(call(charge(limit, 2), wait=60_000))
    assert (len(reply.held), reply.next_ms) == (1, 10_000)
    clock.now += 9999
    assert not grants(a.tick())
    clock.now += 1
    assert grants(a.tick()) == [2]
    assert not grants(a.arrive(call(charge(limit, 2), wait=0)))
    assert grants(a.arrive(call(charge(limit, 1), wait=0)))


def test_a_call_within_the_jitter_of_midnight_counts_in_both_days(a: Replica, clock: Clock) -> None:
    """The upstream may count it in either: 4 before midnight, 1 in its last half second, and 9 are left of 10 after."""
    limit, clock.now = quota(10, jitter=500), at("2026-11-24T23:59:59.499")
    assert grants(a.arrive(call(charge(limit, 4), wait=0)))
    clock.now += 1
    slice_ = a.arrive(call(charge(limit, 1), wait=0)).granted[0].slices[0]
    assert not grants(a.arrive(call(charge(limit, 6), wait=0)))
    clock.now += 500
    assert not grants(a.arrive(call(charge(limit, 10), wait=0)))
    a.tick(wire.settle(charge(limit, 1), slice_, -1))
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))


def test_at_the_edge_a_full_next_day_is_waited_for_to_its_end(a: Replica, clock: Clock) -> None:
    """Both days must have room; the one that has none tells the time."""
    limit, clock.now = quota(10, jitter=500), at("2026-11-24T23:59:59.600")
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    assert refusal(a.arrive(call(charge(limit, 1), wait=0))) == ("wait_too_long", 24 * HOUR + 400)


def test_a_settlement_goes_to_the_period_charged(a: Replica, clock: Clock) -> None:
    """After midnight it neither frees nor fills the new day; before, it frees at once, and whoever waits goes."""
    limit, clock.now = quota(10), at("2026-11-24T23:00")
    slice_ = a.arrive(call(charge(limit, 10), wait=0)).granted[0].slices[0]
    a.tick(wire.settle(charge(limit, 10), slice_, -4))
    assert grants(a.arrive(call(charge(limit, 4), wait=0)))
    a.arrive(call(charge(limit, 5), wait=2 * HOUR))
    assert grants(a.tick(wire.settle(charge(limit, 6), slice_, -5))) == [3]
    clock.now += HOUR
    assert grants(a.arrive(call(charge(limit, 6), wait=0)))
    a.tick(wire.settle(charge(limit, 4), slice_, -4))
    assert not grants(a.arrive(call(charge(limit, 5), wait=0)))
    a.tick(wire.settle(charge(limit, 4), slice_, 40))
    assert grants(a.arrive(call(charge(limit, 4), wait=0)))


def test_a_credit_for_what_the_store_has_lost_makes_no_room(a: Replica, clock: Clock) -> None:
    """Nothing is used less than not at all."""
    limit, clock.now = quota(10), at("2026-11-24T12:00")
    a.tick(wire.settle(charge(limit, 5), 2 * at("2026-11-25T00:00"), -5))
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    assert not grants(a.arrive(call(charge(limit, 1), wait=0)))


def test_a_clock_that_steps_back_over_midnight_keeps_both_days(a: Replica, clock: Clock) -> None:
    """The wall clock may step: what the new day gave stays given, and at its edge the fuller day decides."""
    limit, clock.now = quota(10, jitter=500), at("2026-11-25T00:00:01")
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    clock.now = at("2026-11-24T23:59:59.600")
    assert not grants(a.arrive(call(charge(limit, 1), wait=0)))
    clock.now = at("2026-11-24T23:59:59")
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))


def test_whoever_comes_behind_more_than_a_days_amount_is_told_a_later_day(a: Replica, clock: Clock) -> None:
    """8 of 10 wait for tomorrow, so another 8 can go the day after."""
    limit, clock.now = quota(10), at("2026-11-24T18:00")
    a.arrive(call(charge(limit, 10), wait=0))
    assert a.arrive(call(charge(limit, 8), wait=10 * HOUR)).held
    assert refusal(a.arrive(call(charge(limit, 8), wait=0))) == ("wait_too_long", 30 * HOUR)
    assert refusal(a.arrive(call(charge(limit, 2), wait=0))) == ("wait_too_long", 6 * HOUR)


@pytest.mark.parametrize(("now", "hours"), [("2026-11-24T18:00", 72), ("2026-11-24T00:00", 24)])
def test_a_replica_whose_clock_is_days_behind_only_waits(a: Replica, clock: Clock, now: str, hours: int) -> None:
    """It names no period that is now: its calls are counted in the last it names, and told to come back in a minute."""
    limit, clock.now = quota(1), at(now)
    a.skew = -hours * HOUR
    assert grants(a.arrive(call(charge(limit), wait=0)))
    assert refusal(a.arrive(call(charge(limit), wait=0))) == ("wait_too_long", 60_000)


def test_a_months_use_is_kept_until_it_ends(clock: Clock) -> None:
    """Expiry throws away what is over, not what is long: on the month's last noon the 1st's use counts, on the next
    month's second it is gone."""
    host, limit = TablesHost(), quota(5, period="month")
    a, clock.now = Replica(host, clock), at("2026-11-01T12:00")
    assert grants(a.arrive(call(charge(limit, 5), wait=0)))
    clock.now = at("2026-11-30T12:00")
    host.engine.sweep(clock.now)
    a.restart()
    assert not grants(a.arrive(call(charge(limit, 1), wait=0)))
    assert "q:d:x" in str(host.contents())
    clock.now = at("2026-12-02T12:00")
    host.engine.sweep(clock.now)
    assert "q:d:x" not in str(host.contents())


def test_a_period_that_is_over_is_past_correction(clock: Clock) -> None:
    """At midnight to the millisecond."""
    host, limit = TablesHost(), quota(10)
    a, clock.now = Replica(host, clock), at("2026-11-24T23:59:59.999")
    (granted,) = a.arrive(call(charge(limit, 10), wait=0)).granted
    a.tick(wire.settle(charge(limit, 10), granted.slices[0], -1))
    assert "/used=9" in str(host.contents())
    clock.now += 1
    a.tick(wire.settle(charge(limit, 10), granted.slices[0], -1))
    assert "/used=9" in str(host.contents())


def test_the_last_unit_that_a_call_waits_for_wakes_it(a: Replica, clock: Clock) -> None:
    """One is given back, and one is asked for."""
    limit, clock.now = quota(10), at("2026-11-24T18:00")
    (granted,) = a.arrive(call(charge(limit, 10), wait=0)).granted
    assert a.arrive(call(charge(limit, 1), wait=10 * HOUR)).held
    assert grants(a.tick(wire.settle(charge(limit, 10), granted.slices[0], -1))) == [2]


def test_all_that_begin_to_wait_in_a_tick_are_counted(a: Replica, clock: Clock) -> None:
    """Two of 5 wait for tomorrow's 10: the third is told the day after."""
    limit, clock.now = quota(10), at("2026-11-24T18:00")
    assert a.explain(call(charge(limit))).rooms[0].ahead == 0
    a.arrive(call(charge(limit, 10), wait=0))
    assert len(a.tick(*[a.arrival(call(charge(limit, 5), wait=10 * HOUR)) for _ in range(2)]).held) == 2
    assert a.explain(call(charge(limit))).rooms[0].ahead == 10
    assert refusal(a.arrive(call(charge(limit, 5), wait=0))) == ("wait_too_long", 30 * HOUR)


def test_a_call_that_costs_nothing_waits_like_others_where_too_much_was_used(a: Replica, clock: Clock) -> None:
    """10 went of what is 5 now: the end of this day, not of one before."""
    clock.now = at("2026-11-24T18:00")
    a.arrive(call(charge(quota(10), 10), wait=0))
    assert refusal(a.arrive(call(charge(quota(5), 0), wait=0))) == ("wait_too_long", 6 * HOUR)


def test_a_day_with_room_is_no_reason_to_wait(a: Replica, clock: Clock) -> None:
    """5 of 10 are left for a call of 5: the window that is full tells the wait."""
    charges, clock.now = [charge(window(1)), charge(quota(10), 5)], at("2026-11-24T18:00")
    assert grants(a.arrive(call(*charges, wait=0)))
    (refused,) = a.arrive(call(*charges, wait=0)).refused
    assert (refused.position, refused.wait_ms) == (1, 1100)


def test_a_cost_above_the_amount_never_fits_and_costs_add_up(a: Replica, clock: Clock) -> None:
    """1,000 of 999 never; 400 goes twice."""
    limit, clock.now = quota(999), at("2026-11-24T12:00")
    assert refusal(a.arrive(call(charge(limit, 1000)))) == ("never_fits", None)
    assert [bool(grants(a.arrive(call(charge(limit, 400), wait=0)))) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("skew", [-600_000, 600_000])
@pytest.mark.parametrize("minutes", [-5, 5])
def test_the_stores_clock_decides_not_the_replicas(a: Replica, clock: Clock, skew: int, minutes: int) -> None:
    """Around midnight a replica whose clock is ten minutes off charges the same day as one whose clock is right."""
    limit, clock.now = quota(10), at("2026-11-25T00:00") + minutes * 60_000
    a.skew = skew
    a.arrive(call(charge(limit, 10), wait=0))
    a.skew = 0
    wait = refusal(a.arrive(call(charge(limit, 1), wait=0)))[1]
    assert wait == (5 * 60_000 if minutes < 0 else 24 * HOUR - 5 * 60_000)


def test_a_fallbacks_clock_that_stands_still_keeps_the_day(clock: Clock) -> None:
    """The embedded gate's own clock counts from the machine's start; the wall clock it is given decides the day."""
    host, limit = TablesHost(), quota(1)
    wall = at("2026-11-24T23:59:59")
    plan = call(charge(limit), wait=0)

    def tick(n: int, now: int) -> wire.Reply:
        args = [b"a" * 16, 1, n, 1000, 0, *wire.arrive(n, 0, 0, wire.arrival(plan, wall_ms=wall + now))]
        return wire.reply(host.engine.tick(wire.meta_key("s"), now, args, raw_ms=wall + now))

    replies = [tick(n, now) for n, now in ((1, 0), (2, 999), (3, 1000), (4, 1001))]
    assert [len(reply.granted) for reply in replies] == [1, 0, 1, 0]
    assert refusal(replies[1])[1] == 1


def test_a_frame_holds_until_its_period_is_long_over() -> None:
    """What is remembered by a plan's outline is made anew for the next period, and when the clock went back far."""
    plan = call(charge(quota(5)))

    class Outline:
        pass

    plan.outline = outline = Outline()
    midnight = at("2026-11-25T00:00")
    frames = [
        wire.arrival(plan, wall_ms=now).frame
        for now in (midnight - HOUR, midnight + wire.SKEW_MS - 1, midnight + wire.SKEW_MS, midnight - HOUR)
    ]
    assert frames[0] == frames[1] == frames[3]
    assert frames[1] != frames[2]
    assert outline is plan.outline


def test_the_sum_of_each_local_day_stays_within_the_amount_for_a_week_of_changing_clocks(
    a: Replica, clock: Clock
) -> None:
    """Counted at the grant or up to J later, each Pacific day from 29 October to 5 November holds at most N."""
    from zoneinfo import ZoneInfo

    limit, clock.now = quota(50, zone=LA, jitter=500), at("2026-10-29T12:00")
    seen: dict[int, dict[str, int]] = {0: {}, 500: {}}
    end = at("2026-11-05T12:00")
    step = 0
    while clock.now < end:
        wait = refusal_or_none(a, limit)
        if wait is None:
            for late, days in seen.items():
                day = (
                    datetime.fromtimestamp((clock.now + late + wire.ORIGIN_MS) / 1000, ZoneInfo(LA)).date().isoformat()
                )
                days[day] = days.get(day, 0) + 1
            step += 1
            clock.now += (137_000, 1, 250)[step % 3]
        else:
            # come back in the last 250 ms before the room, and just then
            clock.now += max(1, wait - 250) if wait > 250 else wait
    for days in seen.values():
        assert max(days.values()) <= 50
        assert sorted(days.values())[1:-1].count(50) >= 4


def refusal_or_none(a: Replica, limit: object) -> int | None:
    """The wait told to a call that does not go; None: it went."""
    reply = a.arrive(call(charge(limit), wait=0))  # type: ignore[arg-type]
    return None if reply.granted else refusal(reply)[1]


def test_a_budget_is_exact_to_the_microcent(a: Replica, clock: Clock) -> None:
    """A month's 200,000 USD, the largest cap there is, in the units money is counted in; what was settled is free."""
    limit, clock.now = quota(200_000 * 10**8, period="month"), at("2026-11-24T18:00")
    slice_ = a.arrive(call(charge(limit, 19_999_999_999_999), wait=0)).granted[0].slices[0]
    assert not grants(a.arrive(call(charge(limit, 2), wait=0)))
    assert grants(a.arrive(call(charge(limit, 1), wait=0)))
    a.tick(wire.settle(charge(limit, 1), slice_, -7))
    assert not grants(a.arrive(call(charge(limit, 8), wait=0)))
    assert grants(a.arrive(call(charge(limit, 7), wait=0)))


def test_waiting_calls_of_great_cost_are_counted_in_and_out(a: Replica, clock: Clock) -> None:
    """Thousandths of their sum are more than a double counts: as much as it does is said, and nothing stays behind."""
    limit, clock.now = quota(wire.MOST, period="month"), at("2026-11-30T23:59:50")
    assert grants(a.arrive(call(charge(limit, limit.amount), wait=0)))
    costs = [5_000_000_000_001, 3, 4_999_999_999_999, 7_777_777_777_777]
    waits = [a.arrive(call(charge(limit, cost), wait=60_000)).held[0][0] for cost in costs]
    assert a.explain(call(charge(limit, 1), wait=60_000)).rooms[0].ahead > 9 * 10**12
    a.tick(*[cancel(n) for n in waits])
    assert a.explain(call(charge(limit, 1), wait=60_000)).rooms[0].ahead == 0


END = 5 * 24 * HOUR


def test_where_the_next_day_has_just_room_a_call_waits_for_the_end_of_this_one(a: Replica, clock: Clock) -> None:
    """Within the jitter both must have it."""
    limit, clock.now = quota(10, jitter=500), END - 1000
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    clock.now = END - 400
    assert refusal(a.arrive(call(charge(limit, 10), wait=0))) == ("wait_too_long", 400)


def test_what_was_used_above_the_amount_does_not_pass_to_the_next_day(a: Replica, clock: Clock) -> None:
    """25 of 10 are used: at midnight ten are free."""
    limit, clock.now = quota(10), END - 1000
    (granted,) = a.arrive(call(charge(limit, 10), wait=0)).granted
    a.tick(wire.settle(charge(limit, 10), granted.slices[0], 15))
    assert refusal(a.arrive(call(charge(limit, 10), wait=0))) == ("wait_too_long", 1000)


def test_a_charge_of_two_days_is_given_back_in_both(a: Replica, clock: Clock) -> None:
    """In the one that ends and in the next."""
    limit, clock.now = quota(10, jitter=500), END - 400
    (granted,) = a.arrive(call(charge(limit, 10), wait=0)).granted
    a.tick(wire.settle(charge(limit, 10), granted.slices[0], -10))
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    clock.now = END
    assert refusal(a.arrive(call(charge(limit), wait=0))) == ("wait_too_long", 24 * HOUR)


def test_a_charge_is_named_after_the_days_it_counts_in(a: Replica, clock: Clock) -> None:
    """Twice the end of the first, and one more where the next is charged too."""
    limit = quota(10, jitter=500)
    for clock.now, name in ((END - 501, 2 * END), (END - 500, 2 * END + 1), (END, 2 * (END + 24 * HOUR))):
        assert a.arrive(call(charge(limit), wait=0)).granted[0].slices == (name,)


@pytest.mark.parametrize(
    ("slice_", "raw", "said", "used"),
    [
        (20_001, 9_999, 70, 70),
        (20_000, 9_999, 70, 70),
        (20_001, 10_000, 70, 40),
        (20_001, 9_999, 40, 40),
        (20_001, 9_999, 39, 40),
    ],
)
def test_what_is_told_counts_for_the_period_charged_until_that_is_over(
    lua: Lua, slice_: int, raw: int, said: int, used: int
) -> None:
    """The period that ends at 10000, whether the next was charged too or not; no less than is known."""
    program = f"""
      store.put("q:x:10000", {{ "used", 40 }})
      this.raw, this.now = {raw}, {raw}
      local b = quota.load("x")
      quota.told(b, {slice_}, {said})
      say(b.changed)
      quota.save(b)
      say(store.numbers("q:x:10000", {{ "used" }}), store.numbers("q:x:20000", {{ "used" }}))
      say(store.numbers("q:x:20001", {{ "used" }}), store.numbers("q:x:10001", {{ "used" }}))"""
    changed = str(used > 40).lower()
    assert lua(("this", "quota"), program) == f"{changed} {used} . false . false . false ."
