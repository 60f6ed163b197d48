"""Windows whose upstream counts a call when it ends (limiter Q13): rules/gate/bucket.lua, kind `e`."""

from __future__ import annotations

from rules.gate import wire

from .driver import Clock, Host, Replica, ack, call, charge, gauge, grants, refusal, window

ENDS = window(10, ms=1000, slices=10, count_at="end")


def test_what_a_call_will_cost_is_held_until_it_ends_and_counts_from_then(a: Replica, clock: Clock) -> None:
    """A stream of three windows' length holds its 6 of 10 throughout, and for a whole window after its end."""
    held = charge(ENDS, 6)
    assert grants(a.arrive(call(held, wait=0)))
    clock.now += 3000
    assert refusal(a.arrive(call(charge(ENDS, 5), wait=0)))[0] == "wait_too_long"
    assert grants(a.arrive(call(charge(ENDS, 4), wait=0)))
    clock.now += 50
    a.tick(gauge(held, 4), wire.settle(held, -1, 6))
    clock.now += 999
    assert not grants(a.arrive(call(charge(ENDS), wait=0)))
    clock.now = clock.now // 100 * 100 + 200
    assert grants(a.arrive(call(charge(ENDS, 6), wait=0)))


def test_what_it_really_cost_is_what_counts(a: Replica) -> None:
    """Held 9, ended at 3: 7 are free at once."""
    held = charge(ENDS, 9)
    a.arrive(call(held, wait=0))
    a.tick(gauge(held, 0), wire.settle(held, -1, 3))
    assert not grants(a.arrive(call(charge(ENDS, 8), wait=0)))
    assert grants(a.arrive(call(charge(ENDS, 7), wait=0)))


def test_a_call_that_never_left_gives_back_what_it_held(a: Replica) -> None:
    """The gauge goes down and nothing was counted."""
    held = charge(ENDS, 9)
    a.arrive(call(held, wait=0))
    a.tick(gauge(held, 0))
    assert grants(a.arrive(call(charge(ENDS, 10), wait=0)))


def test_a_waiting_call_goes_when_what_was_held_turns_out_smaller(a: Replica) -> None:
    """The tick that says how little a call cost serves the one that waited for it."""
    held = charge(ENDS, 9)
    a.arrive(call(held))
    waiting = a.arrive(call(charge(ENDS, 5)))
    assert not waiting.granted
    assert waiting.next_ms is None
    assert grants(a.tick(gauge(held, 0), wire.settle(held, -1, 2))) == [2]


def test_a_dead_replica_gives_back_what_it_held(a: Replica, b: Replica, clock: Clock) -> None:
    """Ten seconds of silence free its part, as with calls in flight; what it had counted stays for its window."""
    a.arrive(call(charge(ENDS, 9), wait=0))
    b.tick()
    for _ in range(24):
        clock.now += 500
        b.tick()
    assert grants(b.arrive(call(charge(ENDS, 10), wait=0)))


def test_a_grant_of_anothers_tick_is_held_by_its_owner(a: Replica, b: Replica, clock: Clock) -> None:
    """b's tick serves a's call: a's statement of 0 before it has heard of it frees nothing."""
    held = charge(ENDS, 9)
    b.arrive(call(held, wait=0))
    a.arrive(call(charge(ENDS, 8)))
    b.tick(gauge(held, 0))
    reply = a.tick(gauge(held, 0))
    assert grants(reply) == [1]
    assert not grants(b.arrive(call(charge(ENDS, 3), wait=0)))
    a.tick(ack(1), gauge(held, 8))
    assert not grants(b.arrive(call(charge(ENDS, 3), wait=0)))
    a.tick(gauge(held, 0))
    assert grants(b.arrive(call(charge(ENDS, 3), wait=0)))


def test_pacing_counts_such_a_call_once(host: Host, clock: Clock) -> None:
    """What was paced at the grant is not paced again when the call is counted."""
    a = Replica(host, clock)
    limit = window(100, ms=10_000, slices=10, count_at="end", burst=50, name="p")
    held = charge(limit, 40)
    a.arrive(call(held, wait=0))
    a.tick(gauge(held, 0), wire.settle(held, -1, 40))
    assert grants(a.arrive(call(charge(limit, 10), wait=0)))
    assert not grants(a.arrive(call(charge(limit, 1), wait=0)))
