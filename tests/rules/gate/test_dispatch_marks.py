"""rules/gate/dispatch.lua: how much one tick looks at."""

from __future__ import annotations

from rules.gate import wire
from rules.verdict import Plan

from .driver import Clock, Replica, TablesHost, block, call, charge, flying, gauge, grants, key, window


def test_sixteen_places_whose_time_has_come_are_looked_at_in_a_tick(a: Replica, clock: Clock) -> None:
    """The earliest first; the next tick, asked for at once, looks at the others."""
    limits = [charge(window(1, name=f"w{i:02}")) for i in range(18)]
    for limit in limits:
        assert grants(a.arrive(call(limit)))
        assert a.arrive(call(limit, user=limit.bucket)).held
    clock.now += 1105
    reply = a.tick()
    assert (len(reply.granted), reply.next_ms) == (16, 0)
    assert len(a.tick().granted) == 2


def test_eight_calls_of_a_line_hold_a_key(clock: Clock) -> None:
    """The others wait for what is left; whichever key lands, the first that holds it goes."""
    host = TablesHost()
    a, names = Replica(host, clock), "abcdefghij"
    keys = [key(name, charge(flying(1), 1, name)) for name in names]
    for _ in range(10):
        a.arrive(call(keys=keys))
    for i in range(10):
        assert a.arrive(call(keys=keys, user=f"u{i}")).held
    assert "/n=8;" in str(host.contents())
    assert grants(a.tick(gauge(charge(flying(1), 1, "j"), 0))) == [11]


def test_arrivals_that_a_tick_has_no_time_for_are_told_what_they_would_be_told(a: Replica, clock: Clock) -> None:
    """Behind more calls than it looks at: held, refused for their keys or their cost, or observed and gone."""
    limit, other = charge(window(80)), charge(window(9, name="other"))
    assert grants(a.arrive(call(charge(window(80), 80))))
    for _ in range(70):
        assert a.arrive(call(limit)).held
    clock.now += 1100
    reply = a.tick(
        *[
            a.arrival(plan)
            for plan in (
                call(limit),
                call(limit, keys=[]),
                call(charge(window(80), 81)),
                call(other, observe=True),
            )
        ]
    )
    assert (len(reply.granted), reply.next_ms) == (65, 0)
    assert [(refused.n, refused.code) for refused in reply.refused] == [(73, "no_key"), (74, "never_fits")]
    assert [n for n, _ in reply.held] == [72]
    assert 75 in grants(reply)
    assert grants(a.tick()) == [*range(66, 72), 72]


def alone(name: str, cost: int) -> Plan:
    """A call of one key of three, for so much of its window."""
    return call(keys=[key(name, charge(window(100), cost, name))])


def any_of_three(cost: int) -> Plan:
    """A call that any of the keys may serve."""
    return call(keys=[key(name, charge(window(100), cost, name)) for name in "xyz"])


def test_the_third_of_a_user_uses_what_his_first_two_leave(a: Replica, clock: Clock) -> None:
    """They wait for x and y, which fit them first; z has room for him when some of it is given back."""
    charged = {}
    for name, cost in (("x", 50), ("y", 50), ("z", 95)):
        (charged[name],) = a.arrive(alone(name, cost)).granted
        clock.now += 100
    for cost in (90, 90):
        assert a.arrive(any_of_three(cost)).held
    assert grants(a.tick(wire.settle(charge(window(100), 95, "z"), charged["z"].slices[0], -1))) == []
    assert a.arrive(any_of_three(10)).held
    reply = a.tick(wire.settle(charge(window(100), 95, "z"), charged["z"].slices[0], -14))
    assert [(granted.n, granted.candidate) for granted in reply.granted] == [(6, 2)]
    clock.now += 800
    reply = a.tick()
    assert [(granted.n, granted.candidate) for granted in reply.granted] == [(4, 0)]
    clock.now += 100
    reply = a.tick()
    assert [(granted.n, granted.candidate) for granted in reply.granted] == [(5, 1)]


def test_more_calls_of_a_user_than_keys_go_in_their_order(a: Replica) -> None:
    """Two keys and five that wait: whichever lands, the next goes."""
    keys = [key(name, charge(flying(1), 1, name)) for name in "xy"]
    for _ in range(7):
        a.arrive(call(keys=keys))
    served = [a.tick(gauge(charge(flying(1), 1, name), 0)).granted for name in "yxxyx"]
    assert [[(one.n, one.candidate) for one in granted] for granted in served] == [
        [(n, "xy".index(name))] for n, name in zip(range(3, 8), "yxxyx", strict=True)
    ]


def test_the_second_of_a_user_who_waits_elsewhere_ends_the_look_at_his_pool(a: Replica) -> None:
    """His first waits for a key, his second for a limit besides, and another user behind them still goes."""
    seat = charge(flying(1, name="seat"))
    keys = [key(name, charge(flying(1), 1, name)) for name in "xy"]
    a.arrive(call(seat, keys=[key("other")]))
    for _ in range(2):
        a.arrive(call(keys=keys))
    for plan in (call(keys=keys), call(keys=keys), call(keys=keys, user="v")):
        assert a.arrive(plan).held
    assert grants(a.tick(gauge(charge(flying(1), 1, "y"), 0))) == [4]
    assert sorted(grants(a.tick(*[gauge(charge(flying(1), 1, name), 0) for name in "xy"]))) == [5, 6]


def test_a_call_that_waits_where_room_was_just_made_is_looked_at_in_its_time(a: Replica, clock: Clock) -> None:
    """The place was looked at before it came, and nobody stood there."""
    seat, limit = charge(flying(1)), charge(window(2), 2)
    for _ in range(2):
        a.arrive(call(seat))
    (granted,) = a.arrive(call(limit)).granted
    reply = a.tick(wire.settle(limit, granted.slices[0], -1), a.arrival(call(limit)))
    assert (len(reply.held), reply.next_ms) == (1, 1100)
    clock.now += 1100
    assert grants(a.tick()) == [4]


def test_a_turn_counts_in_the_tick_in_which_the_first_begins_to_wait(a: Replica) -> None:
    """x waits for one seat and in that tick takes another: y, who came later, is before him there."""
    one, two = charge(flying(1, name="one")), charge(flying(1, name="two"))
    assert grants(a.arrive(call(one, user="x")))
    assert grants(a.tick(*[a.arrival(call(seat, user="x")) for seat in (one, two)])) == [3]
    assert a.arrive(call(two, user="x")).held
    assert a.arrive(call(two, user="y")).held
    assert [grants(a.tick(gauge(two, 0))) for _ in range(2)] == [[5], [4]]


def test_only_a_question_is_told_of_rooms(a: Replica) -> None:
    """A call that goes, one that is held and one that is refused are not."""
    limit = charge(window(2), 2)
    assert [a.arrive(call(limit, wait=wait)).seen for wait in (0, 0, 60_000)] == [(), (), ()]


def test_who_comes_to_a_pool_in_the_tick_that_serves_its_first_holds_a_key(clock: Clock) -> None:
    """The key rested; its time has come for one, and the other waits for it."""
    host = TablesHost()
    a, keys = Replica(host, clock), [key("k", charge(flying(1)), group="g")]
    a.tick(block("g", 900))
    assert a.arrive(call(keys=keys)).held
    clock.now += 1000
    reply = a.tick(a.arrival(call(keys=keys)))
    assert (grants(reply), [n for n, _ in reply.held]) == ([1], [2])
    assert "/n=1;" in str(host.contents())
