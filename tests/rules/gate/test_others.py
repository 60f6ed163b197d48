"""rules/gate/others.lua, and what twins and quotas do with what the upstream tells (limiter.md 13)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rules.gate import hearsay, wire
from rules.policy import Limit
from rules.verdict import Plan, Taken, Told

from .driver import Clock, Replica, bucket, call, charge, quota, window

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


def go(replica: Replica, plan: Plan) -> Taken:
    """Grant a call on one common limit."""
    (granted,) = replica.arrive(plan).granted
    return Taken(plan.charges[0], granted.slices[0], granted.uses[0])


def say(replica: Replica, taken: Taken, used: int, ms: int = 60_000, since: int | None = None) -> None:
    """The upstream's answer to that call tells how much is used, and since when if that is known."""
    replica.tick(hearsay.told(Told(taken, used, since, False, 0, taken.charge.limit.amount, ms, None)))


def test_what_others_use_is_charged_until_the_upstreams_window_ends(a: Replica, clock: Clock) -> None:
    """50 of 100 are somebody else's: 49 are left beside the call's own, and come back at the reset, not before."""
    limit = window(100, ms=1000, slices=10)
    clock.now = 50_000
    say(a, go(a, call(charge(limit))), 51, ms=400)
    assert room(a, limit) == 49
    clock.now += 399
    assert room(a, limit) == 49
    clock.now = 50_500
    assert room(a, limit) == 99


def test_a_reset_beyond_the_window_is_cut_to_it(a: Replica, clock: Clock) -> None:
    """A lie lasts no longer than a charge of ours would."""
    limit = window(100, ms=1000, slices=10)
    clock.now = 50_000
    say(a, go(a, call(charge(limit))), 100, ms=86_400_000)
    assert room(a, limit) == 0
    clock.now += 1100
    assert room(a, limit) == 100


def test_answers_that_tell_the_same_count_once(a: Replica, clock: Clock) -> None:
    """Ten calls in flight together, each told that 50 others' are used: 50, and not 500."""
    limit = window(1000, ms=1000, slices=10)
    clock.now = 50_000
    taken = [go(a, call(charge(limit))) for _ in range(10)]
    for one in reversed(taken):
        say(a, one, 50 + one.used)
    assert room(a, limit) == 1000 - 60


@pytest.mark.parametrize("since", [None, 49_000])
@pytest.mark.parametrize("first", ["slow", "fast"])
def test_the_order_of_answers_changes_nothing(a: Replica, clock: Clock, first: str, since: int | None) -> None:
    """A slow call's old answer neither loosens what a later one told nor counts it again."""
    limit = window(1000, ms=10_000, slices=100)
    clock.now = 50_000
    slow = go(a, call(charge(limit, 10)))
    clock.now += 5000
    fast = go(a, call(charge(limit, 10)))
    told = [(slow, 310), (fast, 320)] if first == "slow" else [(fast, 320), (slow, 310)]
    for taken, used in told:
        say(a, taken, used, since=since)
    assert room(a, limit) == 1000 - 320


def test_our_calls_before_the_upstreams_window_explain_nothing(a: Replica, clock: Clock) -> None:
    """It began 2 s ago, the 300 we sent before are in none of its counts: 200 of its 250 are others'."""
    limit = window(1000, ms=10_000, slices=100)
    clock.now = 50_000
    go(a, call(charge(limit, 300)))
    clock.now += 5000
    taken = go(a, call(charge(limit, 50)))
    clock.now += 2000
    say(a, taken, 250, ms=8000, since=55_000)
    assert room(a, limit) == 1000 - 300 - 50 - 200
    say(a, taken, 250, ms=8000, since=55_000)
    assert room(a, limit) == 1000 - 300 - 50 - 200


def test_where_nobody_knows_since_when_all_our_calls_explain(a: Replica, clock: Clock) -> None:
    """A bucket that refills has been used by calls of any time."""
    limit = window(1000, ms=10_000, slices=100)
    clock.now = 50_000
    go(a, call(charge(limit, 300)))
    clock.now += 5000
    say(a, go(a, call(charge(limit, 50))), 250)
    assert room(a, limit) == 650


def test_what_others_used_before_explains_too(a: Replica, clock: Clock) -> None:
    """Found in an earlier window of theirs and not gone yet, it is not counted again."""
    limit = window(1000, ms=10_000, slices=100)
    clock.now = 50_000
    say(a, go(a, call(charge(limit))), 101, ms=9000, since=49_000)
    clock.now += 3000
    say(a, go(a, call(charge(limit))), 151, ms=9500, since=52_500)
    assert room(a, limit) == 1000 - 152


def test_our_own_use_is_no_evidence(a: Replica, b: Replica, clock: Clock) -> None:
    """An upstream that counts what we sent, all replicas together, teaches nothing."""
    limit = window(1000, ms=1000, slices=10, jitter=100)
    clock.now = 50_000
    first = go(a, call(charge(limit, 100)))
    go(b, call(charge(limit, 300)))
    say(a, first, 400)
    assert room(a, limit) == 600


def test_an_answer_later_than_a_window_tells_nothing(a: Replica, clock: Clock) -> None:
    """The window it spoke of is over."""
    limit = window(100, ms=1000, slices=10)
    clock.now = 50_000
    old = go(a, call(charge(limit)))
    clock.now += 1300
    say(a, old, 100, since=50_000)
    assert room(a, limit) == 100


def test_a_settlement_beside_others_use_gives_back_its_own_alone(a: Replica, clock: Clock) -> None:
    """Both stand in one slice: a refund of 20 leaves the 50 of others."""
    limit = window(100, ms=1000, slices=10)
    clock.now = 50_000
    taken = go(a, call(charge(limit, 20)))
    say(a, taken, 70)
    a.tick(wire.settle(taken.charge, taken.slice, -20))
    assert room(a, limit) == 50


def test_others_use_leaves_nothing_behind(a: Replica, clock: Clock) -> None:
    """Rounds of it, with charges between, sum up to an empty window."""
    limit = window(100, ms=1000, slices=10)
    for step in range(30):
        clock.now = 50_000 + 170 * step
        taken = go(a, call(charge(limit, 1)))
        say(a, taken, taken.used + 5, ms=100 + 37 * step)
    clock.now += 1200
    assert room(a, limit) == 100
    assert a.explain(call(charge(limit))).rooms[0].used == 0


def test_what_is_held_until_the_answer_counts_as_known(a: Replica, clock: Clock) -> None:
    """Where the upstream counts at the end, calls in flight are no surprise."""
    limit = window(100, ms=1000, slices=10, count_at="end")
    clock.now = 50_000
    taken = go(a, call(charge(limit, 40)))
    say(a, taken, 40)
    assert room(a, limit) == 60
    say(a, taken, 55)
    assert room(a, limit) == 45


def test_a_host_on_its_own_share_takes_that_part_of_it(a: Replica, clock: Clock) -> None:
    """With a tenth of 1000, 500 used by others are 50."""
    limit = window(1000, ms=1000, slices=10)
    a.share, clock.now = 100, 50_000
    say(a, go(a, call(charge(limit))), 500)
    assert room(a, limit) == 50


def test_a_bucket_is_at_least_as_empty_as_the_upstreams(a: Replica, clock: Clock) -> None:
    """80 used when the call left, 10 refilled a second: 2 s later at least 60 are used, and no late word says less."""
    limit = bucket(100, 10, 1000)
    clock.now = 50_000
    taken = go(a, call(charge(limit)))
    clock.now += 2000
    say(a, taken, 80)
    assert room(a, limit) == 40
    say(a, taken, 30)
    assert room(a, limit) == 40
    clock.now += 1000
    assert room(a, limit) == 50


def test_a_quota_is_at_least_as_used_as_the_upstreams(a: Replica, clock: Clock) -> None:
    """Of the period the call was charged to, and not of the next."""
    limit = quota(100)
    noon = round(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000) - wire.ORIGIN_MS
    clock.now = noon
    taken = go(a, call(charge(limit)))
    say(a, taken, 90)
    say(a, taken, 50)
    assert room(a, limit) == 10
    clock.now = noon + 12 * HOUR
    say(a, taken, 95)
    assert room(a, quota(100)) == 100


def fill(replica: Replica, taken: Taken, used: int, slack: int = 0, ms: int = 60_000) -> None:
    """The upstream's bucket, as large as the limit, holds so much."""
    replica.tick(hearsay.told(Told(taken, used, None, True, slack, taken.charge.limit.amount, ms, None)))


def test_a_bucket_filled_by_others_while_ours_drained_is_found_out(a: Replica, clock: Clock) -> None:
    """100 a second drain. 280 are there at first; a second later 180 of them and our 10 should be, and 260 are."""
    limit = window(1000, ms=10_000, slices=100)
    clock.now = 50_000
    go(a, call(charge(limit, 300)))
    clock.now += 200
    fill(a, go(a, call(charge(limit, 0))), 280)
    clock.now += 1000
    fill(a, go(a, call(charge(limit, 10))), 260)
    assert 1000 - 310 - 70 <= room(a, limit) <= 1000 - 310 - 50


def test_a_bucket_filled_by_us_alone_teaches_nothing(a: Replica, clock: Clock) -> None:
    """However it drains and is filled again, at whatever delay the answers come."""
    limit = window(1000, ms=10_000, slices=100)
    clock.now, level, old = 50_000, 0.0, None
    for step in range(40):
        cost = (37 * step) % 30
        taken = go(a, call(charge(limit, cost)))
        level += cost
        if old is not None and step % 3:
            fill(a, *old)
        old = (taken, int(level))
        clock.now += 130 + 70 * (step % 4)
        level = max(0.0, level - (130 + 70 * (step % 4)) / 10)
    reply = a.explain(call(charge(limit)))
    own = sum((37 * step) % 30 for step in range(40) if sum(130 + 70 * (n % 4) for n in range(step, 40)) < 10_000)
    assert reply.rooms[0].used <= own + 30


def test_an_answer_to_an_earlier_call_says_nothing_of_a_bucket(a: Replica, clock: Clock) -> None:
    """It was fuller then, by our own calls."""
    limit = window(1000, ms=10_000, slices=100)
    clock.now = 50_000
    early = go(a, call(charge(limit, 500)))
    clock.now += 3000
    fill(a, go(a, call(charge(limit, 1))), 201)
    fill(a, early, 500)
    assert room(a, limit) == 1000 - 501


def test_what_is_told_in_round_numbers_is_not_added_up(a: Replica, clock: Clock) -> None:
    """240 are there and drain, 10 each time; it is told exactly, and 50 too few, in turn."""
    limit = window(1000, ms=1_000_000, slices=100)
    clock.now = 5_000_000
    go(a, call(charge(limit, 250)))
    for step in range(20):
        clock.now += 10_000
        level = 240 - 10 * step
        fill(a, go(a, call(charge(limit, 0))), level if step % 2 else level - 50, slack=50)
    assert room(a, limit) == 750
