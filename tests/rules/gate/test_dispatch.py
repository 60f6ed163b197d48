"""rules/gate/dispatch.lua: grant, park or refuse, oldest first."""

from __future__ import annotations

import pytest

from rules.gate import wire
from rules.verdict import Plan

from .driver import Clock, Replica, ack, block, call, cancel, charge, flying, gauge, grants, key, refusal, window


def test_a_refusal_on_the_last_limit_leaves_the_others_untouched(a: Replica) -> None:
    """All or nothing: only the full limit refuses, and the others keep their whole room."""
    first, second, last = window(3, name="one"), flying(3, name="two"), window(1, name="three")
    plan = call(charge(first), charge(second), keys=[key("k", charge(last))], wait=0)
    a.arrive(plan)
    for _ in range(5):
        assert refusal(a.arrive(plan))[0] == "wait_too_long"
    free = call(charge(first, 2), charge(second, 2), wait=0)
    assert grants(a.arrive(free))
    assert not grants(a.arrive(call(charge(first), wait=0)))


def test_many_calls_of_one_tick_cannot_share_the_last_place(a: Replica) -> None:
    """Fifty arrivals in one tick on a limit of seven: seven go, in order of arrival."""
    plan = call(charge(window(7)), wait=0)
    reply = a.tick(*[a.arrival(plan) for _ in range(50)])
    assert grants(reply) == list(range(1, 8))
    assert len(reply.refused) == 43


def test_the_refusal_names_the_limit_that_binds(a: Replica) -> None:
    """The tokens are full, the requests are not."""
    requests, tokens = window(100, name="requests"), window(10, name="tokens")
    plan = call(charge(requests), keys=[key("k", charge(tokens, 10))], wait=0)
    a.arrive(plan)
    (refused,) = a.arrive(plan).refused
    assert refused.refuse(plan, 0).limit is tokens


def test_a_cost_above_the_limit_never_fits(a: Replica) -> None:
    """No wait helps, however long the call would wait, and the limit is named."""
    limit = window(10)
    plan = call(charge(limit, 11))
    reply = a.arrive(plan)
    assert refusal(reply) == ("never_fits", None)
    assert reply.refused[0].refuse(plan, 0).limit is limit


def test_a_cost_above_every_key_never_fits_but_above_one_key_does(a: Replica) -> None:
    """The key with the larger limit serves."""
    small, large = charge(window(10, name="s"), 11), charge(window(20, name="l"), 11)
    assert refusal(a.arrive(call(keys=[key("x", small)])))[0] == "never_fits"
    assert a.arrive(call(keys=[key("x", small), key("y", large)])).granted[0].candidate == 1


def test_a_cost_above_the_share_of_a_lonely_host_waits_for_the_store(a: Replica) -> None:
    """Below the limit but above this host's part of it: the store is missing, not room."""
    a.share = 400
    assert refusal(a.arrive(call(charge(window(10), 5))))[0] == "store_unavailable"


def test_calls_wait_in_order_of_arrival(a: Replica, b: Replica, clock: Clock) -> None:
    """Over two replicas, each freed place goes to the oldest."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    for replica in (a, b, b, a):
        clock.now += 1
        replica.arrive(call(charge(limit)))
    assert grants(a.tick(gauge(charge(limit), 0))) == [2]
    assert grants(a.tick(gauge(charge(limit), 0))) == []
    assert grants(b.tick()) == [1]
    assert grants(b.tick(ack(1), gauge(charge(limit), 0))) == [2]
    assert grants(b.tick(gauge(charge(limit), 0))) == []
    assert grants(a.tick()) == [3]


def test_a_later_call_never_passes_an_earlier_one_on_the_same_limit(a: Replica, clock: Clock) -> None:
    """A small call that would fit stands behind the large one that does not."""
    limit = window(100)
    a.arrive(call(charge(limit, 60)))
    clock.now += 100
    assert grants(a.arrive(call(charge(limit, 90)))) == []
    assert grants(a.arrive(call(charge(limit, 10)))) == []
    clock.now += 1000
    assert grants(a.tick()) == [2, 3]


def test_a_waiting_call_does_not_stop_calls_of_other_limits(a: Replica) -> None:
    """Gated on its own limit, it leaves the rest at full rate."""
    narrow, wide = flying(1, name="narrow"), window(1000, name="wide")
    a.arrive(call(charge(narrow), charge(wide)))
    assert grants(a.arrive(call(charge(narrow), charge(wide)))) == []
    assert [grants(a.arrive(call(charge(wide)))) for _ in range(3)] == [[3], [4], [5]]


def test_a_wake_serves_as_many_as_fit_and_tells_when_the_next_will(a: Replica, clock: Clock) -> None:
    """Three of five waiting calls fit when the window turns; the rest get the next time."""
    limit = window(3, ms=1000, slices=10)
    for _ in range(8):
        reply = a.arrive(call(charge(limit)))
    assert reply.next_ms == 1100
    clock.now += 1100
    reply = a.tick()
    assert (grants(reply), reply.next_ms) == ([4, 5, 6], 1100)
    clock.now += 1100
    assert grants(a.tick()) == [7, 8]


def test_a_call_with_no_patience_is_told_the_time_behind_the_line(a: Replica, clock: Clock) -> None:
    """With four waiting for a limit of three, the fifth would go in the second window from now."""
    limit = window(3, ms=1000, slices=10)
    for _ in range(7):
        a.arrive(call(charge(limit)))
    code, wait = refusal(a.arrive(call(charge(limit), wait=0)))
    assert (code, wait) == ("wait_too_long", 2100)


def test_a_wait_beyond_the_max_wait_is_refused_at_once(a: Replica) -> None:
    """The estimate decides, not the deadline."""
    limit = window(1, ms=1000, slices=10)
    a.arrive(call(charge(limit)))
    assert refusal(a.arrive(call(charge(limit), wait=1099))) == ("wait_too_long", 1100)
    assert a.arrive(call(charge(limit), wait=1100)).held == ((3, 1),)


def test_the_backlog_of_a_pool_is_divided_among_its_groups(a: Replica) -> None:
    """Two groups of one each: of four waiting, a fifth counts two ahead on either."""
    limit = window(1, ms=1000, slices=10)
    keys = [key("x", charge(limit, scope="x")), key("y", charge(limit, scope="y"))]
    for _ in range(6):
        a.arrive(call(keys=keys))
    code, wait = refusal(a.arrive(call(keys=keys, wait=0)))
    assert (code, wait) == ("wait_too_long", 1100 + 2 * 1000)


def test_the_line_has_an_end(a: Replica) -> None:
    """With max_queue waiting, one more is refused, and told a time."""
    limit = window(1)
    a.arrive(call(charge(limit)))
    for _ in range(2):
        a.arrive(call(charge(limit), queue=2))
    code, wait = refusal(a.arrive(call(charge(limit), queue=2)))
    assert code == "queue_full"
    assert wait is not None


def test_an_expired_call_is_dropped_and_the_next_goes(a: Replica, clock: Clock) -> None:
    """No grant after the deadline."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    a.arrive(call(charge(limit), wait=500))
    a.arrive(call(charge(limit), wait=5000))
    clock.now += 500
    assert grants(a.tick(gauge(charge(limit), 0))) == [3]


def test_a_cancelled_call_leaves_its_place_to_the_next(a: Replica, clock: Clock) -> None:
    """The large first of the line goes away, and the small one behind it goes at once (Q5)."""
    limit = window(100)
    a.arrive(call(charge(limit, 60)))
    a.arrive(call(charge(limit, 90)))
    a.arrive(call(charge(limit, 10)))
    assert grants(a.tick(cancel(2))) == [3]


def test_a_call_woken_for_one_limit_and_stopped_by_another_lets_the_next_try(a: Replica, clock: Clock) -> None:
    """It moves to the other limit, and whoever waits behind it uses the first (Q5)."""
    shared, own = window(1, name="shared"), flying(1, name="own")
    a.arrive(call(charge(own)))
    a.arrive(call(charge(shared)))
    both = a.arrive(call(charge(shared), charge(own)))
    a.arrive(call(charge(shared)))
    assert grants(both) == []
    clock.now += 1100
    assert grants(a.tick()) == [4]
    clock.now += 1100
    assert grants(a.tick(gauge(charge(own), 0))) == [3]


def test_a_retry_keeps_its_place(a: Replica, clock: Clock) -> None:
    """A call that entered earlier stands before those that came since."""
    limit = flying(1)
    a.arrive(call(charge(limit)))
    clock.now += 1000
    a.arrive(call(charge(limit)))
    a.arrive(call(charge(limit)), age=900)
    assert grants(a.tick(gauge(charge(limit), 0))) == [3]


def test_observe_charges_and_always_goes(a: Replica) -> None:
    """Over the limit too, with the key that will fit first when none does."""
    full, less = window(1, ms=5000, name="full"), window(1, ms=1000, name="less")
    keys = [key("x", charge(full, scope="x")), key("y", charge(less, scope="y"))]
    taken = [a.arrive(call(keys=keys, observe=True)).granted[0].candidate for _ in range(4)]
    assert taken == [0, 1, 1, 1]
    assert not grants(a.arrive(call(keys=keys, wait=0)))


def test_observe_goes_though_every_key_rests_or_its_cost_never_fits(a: Replica) -> None:
    """It only counts."""
    a.tick(block("X", 10_000))
    plan = call(charge(window(1), 5), keys=[key("x", group="X")], observe=True)
    assert grants(a.arrive(plan))


def test_a_tick_cut_short_asks_to_be_called_again_at_once(a: Replica) -> None:
    """Of a hundred waiting calls that all fit, the first tick looks at 64."""
    limit = flying(100)
    a.arrive(call(charge(limit, 100)))
    for _ in range(100):
        a.arrive(call(charge(limit)))
    reply = a.tick(gauge(charge(limit), 0))
    assert (len(reply.granted), reply.next_ms) == (64, 0)
    assert grants(a.tick()) == list(range(66, 102))


def test_arrivals_behind_a_tick_cut_short_do_not_pass(a: Replica) -> None:
    """A call that arrives in the cut tick waits, and goes after the others."""
    limit = flying(100)
    a.arrive(call(charge(limit, 100)))
    for _ in range(99):
        a.arrive(call(charge(limit)))
    reply = a.tick(gauge(charge(limit), 0), a.arrival(call(charge(limit))))
    assert 101 not in grants(reply)
    assert reply.held == ((101, 0),)
    assert grants(a.tick())[-1] == 101


def test_a_grant_names_the_fullest_bucket_it_touched(a: Replica) -> None:
    """8 of 10 is fuller than 1 of 5."""
    reply = a.arrive(call(charge(window(5, name="p")), charge(window(10, name="q"), 8)))
    assert (reply.granted[0].fullest, reply.granted[0].uses) == (2, (1, 8))


@pytest.mark.parametrize(
    "scope",
    ["", " ", "a b", "a\nb", "a\x00b", "{x}", "é", "#x", "x" * 5000, "'; return redis.call('FLUSHALL')", "\ud800"],
)
def test_hostile_scopes_are_buckets_like_any_other(a: Replica, scope: str) -> None:
    """Each counts by itself, and beside its neighbours."""
    limit = window(2)

    def plan(value: str) -> Plan:
        return call(keys=[key("k" + value, charge(limit, 1, value), group=value, blocks=(value,))], wait=0)

    assert [len(grants(a.arrive(plan(scope)))) for _ in range(3)] == [1, 1, 0]
    assert grants(a.arrive(plan(scope + "!")))
    a.tick(block(scope, 1000))
    assert refusal(a.arrive(plan(scope)))[0] == "no_key"


def test_costs_that_cannot_be_counted_are_refused_before_the_gate() -> None:
    """Negative, or 2^53 and more."""
    for cost in (-1, 2**53):
        with pytest.raises(ValueError, match="cost"):
            wire.arrival(call(charge(window(5), cost)))


@pytest.mark.parametrize("turned", [False, True])
def test_a_call_waits_first_where_the_time_is_known(a: Replica, *, turned: bool) -> None:
    """Short of a window and of a place in flight, in either order: it is looked at again when the window has room."""
    limits = [charge(window(1)), charge(flying(1))]
    a.arrive(call(*limits))
    reply = a.arrive(call(*(reversed(limits) if turned else limits)))
    assert (len(reply.held), reply.next_ms) == (1, 1100)


@pytest.mark.parametrize("turned", [False, True])
def test_a_call_short_of_two_windows_waits_for_the_later(a: Replica, clock: Clock, *, turned: bool) -> None:
    """It is not looked at when only the first has room."""
    limits = [charge(window(1, ms=500, name="soon")), charge(window(1, ms=3000, name="late"))]
    a.arrive(call(*limits))
    reply = a.arrive(call(*(reversed(limits) if turned else limits)))
    assert (len(reply.held), reply.next_ms) == (1, 3200)
    (refused,) = a.arrive(call(*(reversed(limits) if turned else limits), user="hasty", wait=0)).refused
    assert refused.wait_ms is not None
    assert refused.wait_ms >= 3200
    clock.now += 3200
    assert grants(a.tick()) == [2]


def test_of_limits_with_room_at_the_same_time_the_first_is_named(a: Replica) -> None:
    """Two of all, or one of all and one of the key."""
    for plan in (
        call(charge(window(1, name="p")), charge(window(1, name="q"))),
        call(charge(window(1, name="r")), keys=[key("k", charge(window(1, name="s")))]),
    ):
        a.arrive(plan)
        assert a.arrive(plan).held == ((a.count, 1),)


def test_a_refusal_of_a_lonely_host_names_the_limit_of_the_key(a: Replica) -> None:
    """The place among all costs, commons first."""
    a.share = 400
    limit = window(10)
    plan = call(charge(window(100, name="free")), keys=[key("x", charge(limit, 5))])
    (refused,) = a.arrive(plan).refused
    assert refused.refuse(plan, 0).limit is limit


@pytest.mark.parametrize("turned", [False, True])
def test_a_key_that_the_store_would_serve_counts_more_than_one_that_never_fits(a: Replica, *, turned: bool) -> None:
    """11 of 10 never; 11 of 20 when the store is back: that is what is said, in either order of the keys."""
    a.share = 400
    keys = [key("x", charge(window(10, name="s"), 11)), key("y", charge(window(20, name="l"), 11))]
    plan = call(keys=keys[::-1] if turned else keys)
    (refused,) = a.arrive(plan).refused
    assert refused.code == "store_unavailable"
    assert refused.refuse(plan, 0).limit is keys[1].charges[0].limit


def test_a_refusal_because_all_keys_rest_names_no_limit(a: Replica) -> None:
    """It is not a limit that binds."""
    a.tick(block("X", 70_000))
    (refused,) = a.arrive(call(charge(window(1)), keys=[key("x", group="X")])).refused
    assert (refused.code, refused.position) == ("no_key", 0)


@pytest.mark.parametrize("queue", [0, 5])
def test_a_refused_call_is_no_reason_to_look_again(a: Replica, queue: int) -> None:
    """Somebody waits for a landing, which no time tells; a refusal for a window adds none."""
    seat, limit = charge(flying(1)), charge(window(1))
    a.arrive(call(seat, limit))
    assert a.arrive(call(seat)).next_ms is None
    reply = a.arrive(call(limit, wait=0 if queue else 60_000, queue=queue))
    assert (len(reply.refused), reply.next_ms) == (1, None)
