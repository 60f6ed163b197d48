"""rules/gate/pool.lua: which key may serve, and which rest."""

from __future__ import annotations

from .driver import Clock, Replica, block, call, charge, flying, gauge, grants, key, refusal, window


def used_keys(a: Replica, count: int, **options: object) -> list[int]:
    """Candidate index of so many calls in a row."""
    return [a.arrive(call(**options)).granted[0].candidate for _ in range(count)]  # type: ignore[arg-type]


def test_keys_take_turns(a: Replica) -> None:
    """The least recently granted key goes first."""
    assert used_keys(a, 6, keys=[key("x"), key("y"), key("z")]) == [0, 1, 2, 0, 1, 2]


def test_groups_take_turns_before_their_keys(a: Replica) -> None:
    """Three keys of one organisation get half, the single key of the other half (limiter Q9)."""
    keys = [key("a1", group="A"), key("a2", group="A"), key("a3", group="A"), key("b1", group="B")]
    assert used_keys(a, 8, keys=keys) == [0, 3, 1, 3, 2, 3, 0, 3]


def test_a_key_without_room_is_passed_over(a: Replica) -> None:
    """A full key leaves the turn to the others."""
    keys = [key("x", charge(window(1), scope="x")), key("y", charge(window(5), scope="y"))]
    assert used_keys(a, 4, keys=keys) == [0, 1, 1, 1]


def test_two_keys_of_a_group_drain_one_bucket(a: Replica) -> None:
    """Limits belong to groups: a second key adds nothing."""
    limit = window(3)
    keys = [key("x", charge(limit, scope="org"), group="org"), key("y", charge(limit, scope="org"), group="org")]
    assert [len(grants(a.arrive(call(keys=keys, wait=0)))) for _ in range(5)] == [1, 1, 1, 0, 0]


def test_a_resting_group_is_passed_over_until_its_time(a: Replica, clock: Clock) -> None:
    """Blocked for 500 ms, the group serves again after them."""
    keys = [key("x", group="X"), key("y", group="Y")]
    a.tick(block("X", 500))
    assert used_keys(a, 3, keys=keys) == [1, 1, 1]
    clock.now += 499
    assert used_keys(a, 1, keys=keys) == [1]
    clock.now += 1
    assert used_keys(a, 1, keys=keys) == [0]


def test_a_shorter_block_never_shortens_a_longer_one(a: Replica, clock: Clock) -> None:
    """blocked_until only moves later (limiter 16, invariant 16)."""
    keys = [key("x", group="X")]
    a.tick(block("X", 1000), block("X", 10))
    a.tick(block("X", 100))
    clock.now += 999
    assert refusal(a.arrive(call(keys=keys, wait=0))) == ("no_key", 1)
    clock.now += 1
    assert grants(a.arrive(call(keys=keys, wait=0)))


def test_when_all_keys_rest_longer_than_the_call_waits_there_is_no_key(a: Replica) -> None:
    """The refusal says when the first returns."""
    keys = [key("x", group="X"), key("y", group="Y")]
    a.tick(block("X", 90_000), block("Y", 70_000))
    assert refusal(a.arrive(call(keys=keys, wait=60_000))) == ("no_key", 70_000)


def test_a_call_is_held_until_a_resting_key_returns(a: Replica, clock: Clock) -> None:
    """Within its max wait it goes at the moment of the return."""
    a.tick(block("X", 3000))
    reply = a.arrive(call(keys=[key("x", group="X")], wait=5000))
    assert (grants(reply), reply.next_ms) == ([], 3000)
    clock.now += 2999
    assert grants(a.tick()) == []
    clock.now += 1
    assert grants(a.tick()) == [1]


def test_a_block_that_grows_while_a_call_waits_is_respected(a: Replica, clock: Clock) -> None:
    """The waiting call is looked at again when it would have gone, and waits on."""
    a.tick(block("X", 1000))
    a.arrive(call(keys=[key("x", group="X")], wait=60_000))
    a.tick(block("X", 2500))
    clock.now += 1000
    reply = a.tick()
    assert (grants(reply), reply.next_ms) == ([], 1500)
    clock.now += 1500
    assert grants(a.tick()) == [1]


def test_any_scope_a_candidate_names_can_rest_it(a: Replica) -> None:
    """Group and model, or the key alone."""
    keys = [key("x", blocks=("g|m1", "x")), key("y", blocks=("g|m2", "y"))]
    a.tick(block("g|m1", 1000))
    assert used_keys(a, 2, keys=keys) == [1, 1]
    a.tick(block("y", 700))
    assert refusal(a.arrive(call(keys=keys, wait=0))) == ("no_key", 700)


def test_no_candidate_is_no_key(a: Replica) -> None:
    """An empty pool refuses at once and knows no time."""
    assert refusal(a.arrive(call(keys=[]))) == ("no_key", None)


def test_a_large_call_holds_one_key_and_others_use_the_rest(a: Replica, clock: Clock) -> None:
    """It waits for the key that fits it first; small calls of the same pool take the other, never that one (Q3)."""
    limit = window(100)

    def keys(cost: int) -> list[object]:
        return [key("x", charge(limit, cost, "x")), key("y", charge(limit, cost, "y"))]

    small, large = call(keys=keys(10)), call(keys=keys(90))  # type: ignore[arg-type]
    for _ in range(2):
        a.arrive(small)
    clock.now += 100
    for _ in range(2):
        a.arrive(small)
    reply = a.arrive(large)
    assert grants(reply) == []
    taken = [a.arrive(small) for _ in range(4)]
    assert [g.candidate for r in taken for g in r.granted] == [1, 1, 1, 1]
    assert reply.next_ms is not None
    clock.now += reply.next_ms
    assert [(g.n, g.candidate) for g in a.tick().granted] == [(5, 0)]


def test_room_made_on_one_key_wakes_the_pool(a: Replica) -> None:
    """A call parked on the pool goes when any of its keys gets room."""
    limit = flying(1)
    keys = [key("x", charge(limit, scope="x")), key("y", charge(limit, scope="y"))]
    for _ in range(2):
        a.arrive(call(keys=keys))
    assert grants(a.arrive(call(keys=keys))) == []
    reply = a.tick(gauge(charge(limit, scope="y"), 0))
    assert [(g.n, g.candidate) for g in reply.granted] == [(3, 1)]


def test_the_second_of_a_pools_line_goes_on_another_key_while_the_first_waits(a: Replica, clock: Clock) -> None:
    """The first holds the key that fits it; when the other key gets room the second goes there, and the first stays."""
    large, small = window(100, ms=5000, name="large"), window(100, ms=1000, name="small")
    keys = [key("x", charge(large, 60, "x")), key("y", charge(small, 60, "y"))]
    for _ in range(2):
        a.arrive(call(keys=keys))
    clock.now += 100
    first = call(keys=[key("x", charge(large, 60, "x")), key("y", charge(small, 60, "y"))])
    assert grants(a.arrive(first)) == []
    assert grants(a.arrive(first)) == []
    reply = a.tick()
    assert reply.next_ms == 1000
    clock.now += 1000
    assert [(g.n, g.candidate) for g in a.tick().granted] == [(3, 1)]
    reply = a.tick()
    assert reply.next_ms == 1100
    clock.now += 1100
    assert [(g.n, g.candidate) for g in a.tick().granted] == [(4, 1)]


def test_several_calls_of_a_pools_line_each_hold_a_key(a: Replica) -> None:
    """Three keys full of calls in flight, three waiting: whichever lands, the oldest that can use its key goes."""
    limit = flying(1)
    keys = [key(name, charge(limit, scope=name)) for name in "xyz"]
    for _ in range(6):
        a.arrive(call(keys=keys))
    for freed, served in (("z", 4), ("x", 5), ("y", 6)):
        reply = a.tick(gauge(charge(limit, scope=freed), 0))
        assert [(g.n, g.candidate) for g in reply.granted] == [(served, "xyz".index(freed))]


def test_a_call_that_moves_from_a_limit_to_the_pool_is_woken_there(a: Replica, clock: Clock) -> None:
    """It waited for a window, then finds its key busy, and goes when the key's call lands."""
    shared, own = window(1, name="shared"), flying(1, name="own")
    a.arrive(call(charge(shared), keys=[key("k", charge(own))]))
    assert grants(a.arrive(call(charge(shared), keys=[key("k", charge(own))]))) == []
    clock.now += 1100
    assert grants(a.tick()) == []
    assert grants(a.tick(gauge(charge(own), 0))) == [2]


def test_a_pool_nobody_waited_for_is_found_again_when_somebody_does(a: Replica) -> None:
    """Its line fills, empties, sees a landing that nobody needs, and fills again: the next landing wakes who waits."""
    limit, elsewhere = flying(1), flying(1, name="elsewhere")
    busy, keys = charge(limit, scope="x"), [key("x", charge(limit, scope="x"))]
    for _ in range(2):
        a.arrive(call(charge(elsewhere)))
    a.arrive(call(keys=keys))
    assert grants(a.arrive(call(keys=keys))) == []
    assert grants(a.tick(gauge(busy, 0))) == [4]
    assert grants(a.tick(gauge(busy, 0))) == []
    assert grants(a.arrive(call(keys=keys))) == [5]
    assert grants(a.arrive(call(keys=keys))) == []
    assert grants(a.tick(gauge(busy, 0))) == [6]


def test_keys_take_turns_within_a_tick(a: Replica) -> None:
    """Six calls at once."""
    keys = [key("x"), key("y"), key("z")]
    reply = a.tick(*[a.arrival(call(keys=keys)) for _ in range(6)])
    assert [granted.candidate for granted in reply.granted] == [0, 1, 2, 0, 1, 2]


def test_a_key_that_one_tick_sees_late_has_its_past(a: Replica) -> None:
    """A second call of the tick knows one key more than the first, and that it was granted last."""
    y, z = key("y", group="g"), key("z", group="g")
    assert used_keys(a, 2, keys=[y, z]) == [0, 1]
    reply = a.tick(a.arrival(call(keys=[key("x"), y])), a.arrival(call(keys=[y, z])))
    assert [granted.candidate for granted in reply.granted] == [0, 0]


def test_a_block_holds_for_the_calls_of_its_own_tick(a: Replica) -> None:
    """And for those that come after."""
    keys = [key("x", group="X"), key("y", group="Y")]
    a.tick(block("Z", 10_000))
    reply = a.tick(block("X", 1000), a.arrival(call(keys=keys)), a.arrival(call(keys=keys)))
    assert [granted.candidate for granted in reply.granted] == [1, 1]


def test_a_call_that_waits_for_a_resting_key_waits_for_no_limit(a: Replica) -> None:
    """Position 0."""
    a.tick(block("X", 3000))
    plan = call(charge(window(5)), keys=[key("x", charge(window(5, name="own")), group="X")])
    assert a.arrive(plan).held == ((1, 0),)


def test_a_key_serves_again_in_the_millisecond_its_rest_ends_though_others_rest_on(a: Replica, clock: Clock) -> None:
    """Each has its own end."""
    a.tick(block("X", 500), block("Y", 1000))
    keys = [key("x", group="X"), key("y", group="Y")]
    clock.now += 499
    assert refusal(a.arrive(call(keys=keys, wait=0))) == ("no_key", 1)
    clock.now += 1
    assert used_keys(a, 1, keys=keys) == [0]
