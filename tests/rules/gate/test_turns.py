"""rules/gate/fair.lua, line.lua and pool.lua: single steps of the tags, each where it alone decides who goes."""

from __future__ import annotations

from rules.gate import standing, wire
from rules.gate.wire import correct
from rules.policy import Limit
from rules.verdict import Candidate, Plan

from .driver import Clock, Replica, call, cancel, charge, flying, gauge, grants, key, window

SEAT = charge(flying(1))


def landed(a: Replica) -> list[int]:
    """The call in flight has ended; who goes."""
    return grants(a.tick(gauge(SEAT, 0)))


def of(user: str) -> Plan:
    """A call that needs the seat."""
    return call(SEAT, user=user)


def ahead_of_v(a: Replica) -> None:
    """x waits with one call and has had one more than the turns stand at: V is one call, x's tag two."""
    a.arrive(of("holder"))
    for _ in range(3):
        a.arrive(of("x"))
    assert [landed(a), landed(a)] == [[2], [3]]


def test_who_comes_now_stands_behind_who_came_before_with_the_same_turn(a: Replica, clock: Clock) -> None:
    """A newcomer begins at V, not at nothing: the older of two newcomers goes first, and both before x."""
    ahead_of_v(a)
    clock.now += 1
    a.arrive(of("older"))
    clock.now += 1
    a.arrive(of("younger"))
    assert [landed(a) for _ in range(3)] == [[5], [6], [4]]


def test_who_has_gone_and_returns_stands_where_his_turn_is(a: Replica, clock: Clock) -> None:
    """Served once since he came, he is as far as x, and younger: he goes behind him."""
    ahead_of_v(a)
    a.arrive(of("new"))
    assert landed(a) == [5]
    clock.now += 1
    a.arrive(of("new"))
    clock.now += 1
    a.arrive(of("another"))
    assert [landed(a) for _ in range(3)] == [[7], [4], [6]]


def test_a_credit_brings_nobody_before_who_stands_at_v(a: Replica, clock: Clock) -> None:
    """It moves a tag down to V and no further, so the older of two there stays first."""
    ahead_of_v(a)
    clock.now += 1
    a.arrive(of("older"))
    clock.now += 1
    a.arrive(of("younger"))
    a.tick(correct(standing.standing(of("younger")), -5 * standing.SHARE))
    assert [landed(a) for _ in range(3)] == [[5], [6], [4]]


def test_a_credit_before_anybody_was_served_changes_nothing(a: Replica, clock: Clock) -> None:
    """Nobody begins below the beginning."""
    a.arrive(of("holder"))
    a.arrive(of("older"))
    clock.now += 1
    a.arrive(of("younger"))
    a.tick(correct(standing.standing(of("younger")), -standing.SHARE))
    assert [landed(a), landed(a)] == [[2], [3]]


def test_v_moves_with_each_grant_of_a_tick(a: Replica, clock: Clock) -> None:
    """Two of x's calls go at once; a newcomer then has one turn before him, not two."""
    seats = charge(flying(2))

    def of_two(user: str) -> Plan:
        return call(seats, user=user)

    a.tick(a.arrival(of_two("holder")), a.arrival(of_two("holder")))
    for _ in range(4):
        a.arrive(of_two("x"))
    assert grants(a.tick(gauge(seats, 0))) == [3, 4]
    clock.now += 1
    for _ in range(3):
        a.arrive(of_two("new"))
    assert [grants(a.tick(gauge(seats, 1))) for _ in range(4)] == [[7], [5], [8], [6]]


def test_a_credit_of_one_who_waits_brings_him_to_v(a: Replica, clock: Clock) -> None:
    """x's tag was a call above V; with that call refunded he is the oldest at V."""
    ahead_of_v(a)
    clock.now += 1
    a.arrive(of("new"))
    a.tick(correct(standing.standing(of("x")), -standing.SHARE))
    assert [landed(a), landed(a)] == [[4], [5]]


def test_a_credit_of_one_who_does_not_wait_is_kept_to_v(a: Replica, clock: Clock) -> None:
    """He had a call above V; refunded, he returns at V and no earlier than who stands there."""
    ahead_of_v(a)
    a.arrive(of("new"))
    assert landed(a) == [5]
    a.tick(correct(standing.standing(of("new")), -5 * standing.SHARE))
    clock.now += 1
    a.arrive(of("older"))
    clock.now += 1
    a.arrive(of("new"))
    assert [landed(a) for _ in range(3)] == [[6], [7], [4]]


def test_an_excess_of_one_who_waits_moves_him_back_by_as_much(a: Replica, clock: Clock) -> None:
    """Half a call more than he had: a newcomer is served once before him, not twice."""
    ahead_of_v(a)
    clock.now += 1
    a.arrive(of("new"))
    a.arrive(of("new"))
    a.tick(correct(standing.standing(of("x")), standing.SHARE // 2))
    assert [landed(a) for _ in range(3)] == [[5], [6], [4]]


KEYS = window(100)


def pool(cost: int, *names: str, seat: bool = False, user: str = "x") -> Plan:
    """A call of `cost` on one of two keys, perhaps with the seat too."""
    keys: list[Candidate] = [key(name, charge(KEYS, cost, name)) for name in names or ("k1", "k2")]
    return call(*([SEAT] if seat else []), keys=keys, user=user)


def fill(a: Replica, name: str, cost: int, clock: Clock) -> None:
    """A key is used from another lane."""
    assert grants(a.arrive(pool(cost, name, user="filler")))
    clock.now += 100


def test_a_call_behind_its_users_first_has_a_later_turn_than_that(a: Replica, clock: Clock) -> None:
    """x's large call waits for one key and y's for the other; x's small one may not take y's, whose turn is earlier."""
    fill(a, "k1", 20, clock)
    fill(a, "k2", 20, clock)
    assert not grants(a.arrive(pool(90, user="x")))
    (small,) = a.arrive(pool(10, user="y")).granted
    assert small.candidate == 1
    assert not grants(a.arrive(pool(90, user="y")))
    assert not grants(a.arrive(pool(10, user="x")))


def test_who_waits_second_does_not_take_the_key_the_first_waits_for(a: Replica, clock: Clock) -> None:
    """The large call's key has room for the small one; when the pool is looked at again the small one still waits."""
    fill(a, "k1", 20, clock)
    fill(a, "k2", 100, clock)
    assert not grants(a.arrive(pool(95, user="x")))
    assert not grants(a.arrive(pool(10, user="y")))
    clock.now += 999
    assert grants(a.tick()) == [3]
    clock.now += 100
    assert grants(a.tick()) == [4]


def test_who_comes_to_a_pool_from_a_limit_leaves_the_key_that_another_waits_for(a: Replica, clock: Clock) -> None:
    """x waits for the first key; y gets the seat he waited for, and may not use that key."""
    fill(a, "k1", 20, clock)
    fill(a, "k2", 100, clock)
    assert not grants(a.arrive(pool(90, seat=True, user="x")))
    assert grants(a.arrive(of("holder")))
    assert not grants(a.arrive(pool(10, seat=True, user="y")))
    assert landed(a) == []
    clock.now += 999
    assert grants(a.tick()) == [3]


def test_a_credit_of_one_who_waits_stays_when_he_leaves(a: Replica, clock: Clock) -> None:
    """Refunded while he waits, then cancelled: he returns at V, not where he stood before the refund."""
    ahead_of_v(a)
    a.arrive(of("new"))
    assert landed(a) == [5]
    a.arrive(of("new"))
    a.tick(correct(standing.standing(of("new")), -5 * standing.SHARE))
    a.tick(cancel(6))
    clock.now += 1
    a.arrive(of("new"))
    assert [landed(a), landed(a)] == [[7], [4]]


def test_a_credit_takes_no_turn_from_one_who_waited_elsewhere(a: Replica, clock: Clock) -> None:
    """Held back by a limit of his own he is behind V, and stays the first of those at V, though he is refunded."""

    def needs(user: str, cost: int = 0) -> Plan:
        own = Limit(id="own", name="own", kind="concurrent", meter="concurrent", amount=1, per=("user",))
        return call(SEAT, charge(own, cost, user), user=user)

    own = needs("held").charges[1]
    a.tick(gauge(own, 1))
    a.arrive(needs("holder"))
    for _ in range(3):
        a.arrive(needs("x"))
    assert not grants(a.arrive(needs("held", 1)))
    a.tick(gauge(SEAT, 0))
    assert landed(a) == [3]
    a.arrive(needs("new"))
    clock.now += 1
    assert not grants(a.arrive(needs("held", 1)))
    a.tick(cancel(5), correct(standing.standing(needs("held")), -standing.SHARE))
    a.tick(gauge(own, 0))
    assert [landed(a) for _ in range(3)] == [[7], [6], [4]]


def test_the_second_call_of_a_user_holds_a_key_too(a: Replica, clock: Clock) -> None:
    """x's first waits for one key and his second for the other; a small call of y, who comes later, takes neither."""
    fill(a, "k1", 20, clock)
    (filled,) = a.arrive(pool(71, "k2", user="filler")).granted
    assert not grants(a.arrive(pool(90, user="x")))
    assert not grants(a.arrive(pool(40, user="x")))
    a.tick(wire.settle(charge(KEYS, 71, "k2"), filled.slices[0], -1))
    assert not grants(a.arrive(pool(10, user="y")))


def test_the_pool_is_looked_at_when_the_second_call_of_a_user_can_go(a: Replica, clock: Clock) -> None:
    """Sooner than his first can."""
    late = window(100, ms=5000, name="late")
    keys = [key("k1", charge(late, 90, "k1")), key("k2", charge(KEYS, 90, "k2"))]
    assert grants(a.arrive(call(keys=keys[:1], user="filler")))
    assert grants(a.arrive(call(keys=keys[1:], user="filler")))
    first = call(keys=[keys[0], key("k2", charge(KEYS, 100, "k2"))], user="x")
    a.arrive(first)
    assert a.tick().next_ms == 1100
    a.arrive(call(keys=keys, user="x"))
    clock.now += 1100
    assert [(g.n, g.candidate) for g in a.tick().granted] == [(3, 1)]
    clock.now += 1100
    reply = a.tick()
    assert [(g.n, g.candidate) for g in reply.granted] == [(4, 1)]


def test_who_comes_when_the_seat_is_free_goes_before_who_waits_with_a_later_turn(a: Replica) -> None:
    """In the same tick: by tag, not by age."""
    ahead_of_v(a)
    reply = a.tick(gauge(SEAT, 0), a.arrival(of("new")))
    assert (grants(reply), reply.waiting) == ([5], 1)


def test_a_call_that_moves_from_a_limit_to_the_pool_is_looked_at_when_a_key_has_room(a: Replica, clock: Clock) -> None:
    """Nobody waited there before it."""
    fill(a, "k1", 100, clock)
    a.arrive(of("holder"))
    assert not grants(a.arrive(pool(10, "k1", seat=True)))
    reply = a.tick(gauge(SEAT, 0))
    assert (grants(reply), reply.next_ms) == ([], 1000)
    clock.now += 1000
    assert grants(a.tick()) == [3]


def test_the_pool_is_looked_at_when_the_first_of_several_can_go(a: Replica) -> None:
    """x's first call waits long for one key, his second a while for the other; a wake between forgets neither."""
    late = window(100, ms=5000, name="late")
    k1, k2 = key("k1", charge(late, 90, "k1")), key("k2", charge(KEYS, 90, "k2"))
    (filled,) = a.arrive(call(keys=[k1], user="filler")).granted
    assert grants(a.arrive(call(keys=[k2], user="filler")))
    assert not grants(a.arrive(call(keys=[k1, key("k2", charge(KEYS, 101, "k2"))], user="x")))
    assert not grants(a.arrive(call(keys=[k1, k2], user="x")))
    reply = a.tick(wire.settle(charge(late, 90, "k1"), filled.slices[0], -1))
    assert (grants(reply), reply.next_ms) == ([], 1100)


def test_a_call_behind_its_users_first_goes_before_who_has_had_more(a: Replica, clock: Clock) -> None:
    """y holds the second key with a turn later than x's second call, which takes it."""
    fill(a, "k1", 80, clock)
    fill(a, "k2", 20, clock)
    keys = [key("k1", charge(KEYS, 30, "k1")), key("k2", charge(KEYS, 101, "k2"))]
    assert not grants(a.arrive(call(keys=keys, user="x")))
    assert [g.candidate for g in a.arrive(pool(60, user="y")).granted] == [1]
    assert not grants(a.arrive(pool(90, user="y")))
    assert [g.candidate for g in a.arrive(pool(15, user="x")).granted] == [1]
