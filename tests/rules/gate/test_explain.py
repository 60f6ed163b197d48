"""rules/gate/explain.py and the tick that only asks: it says what would be said, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rules.gate import wire
from rules.verdict import Explained, Plan, Room
from tests.redis_server import RedisServer

from .driver import (
    Clock,
    Host,
    RedisClockHost,
    Replica,
    block,
    bucket,
    call,
    charge,
    flying,
    gauge,
    grants,
    key,
    quota,
    window,
)
from .test_histories import COUNT, Player, Twins, play, step


def test_a_call_with_room_would_go_and_is_told_the_room(a: Replica) -> None:
    """With the least recently granted key, at once; used and amount of each limit stand as they are before it."""
    wide, own = window(10, name="wide"), window(5, name="own")
    plan = call(charge(wide, 2), keys=[key(name, charge(own, 1, name)) for name in ("x", "y")])
    a.arrive(plan)
    said = a.explain(plan)
    assert (said.verdict, said.key, said.group, said.wait_ms) == ("go", "y", "group-of-y", 0)
    assert said.rooms == (
        Room(charge=charge(wide, 2), used=2, amount=10, ahead=0, fits_ms=0),
        Room(charge=charge(own, 1, "y"), used=0, amount=5, ahead=0, fits_ms=0),
    )
    assert said.rooms[0].room == 8


def test_a_call_that_would_wait_is_told_how_long_and_for_which_limit(a: Replica, clock: Clock) -> None:
    """Behind what waits already; at that time, when those have gone, it would go."""
    requests, tokens = window(100, name="requests"), window(3, name="tokens")
    plan = call(charge(requests), keys=[key("k", charge(tokens))])
    for _ in range(7):
        a.arrive(plan)
    said = a.explain(plan)
    assert (said.verdict, said.wait_ms, said.waiting, said.key) == ("wait", 2100, 4, "k")
    assert said.binds == charge(tokens)
    assert said.rooms[1] == Room(charge=charge(tokens), used=3, amount=3, ahead=4, fits_ms=2100)
    clock.now += 1100
    a.tick()
    clock.now += 1099
    assert a.explain(plan).verdict == "wait"
    clock.now += 1
    a.tick()
    assert a.explain(plan).verdict == "go"


@pytest.mark.parametrize("wait", [0, 1099])
def test_a_call_that_would_be_refused_is_told_why_and_when_to_come_back(a: Replica, wait: int) -> None:
    """The same reason, limit and time as the refusal itself."""
    limit = window(1, slices=10)
    plan = call(charge(limit), wait=wait)
    a.arrive(plan)
    said = a.explain(plan)
    (refused,) = a.arrive(plan).refused
    assert (said.verdict, said.code, said.wait_ms, said.binds) == ("refuse", "wait_too_long", 1100, charge(limit))
    assert (refused.code, refused.wait_ms) == (said.code, said.wait_ms)


def test_it_is_told_whether_the_pace_or_the_window_makes_it_wait(a: Replica) -> None:
    """Ten a second, four at once: the fifth waits for the pace though there is room, the eleventh for the window; what
    goes now waits for neither, and a limit without a pace knows none."""
    limit, plain = window(10, burst=4), window(4, name="plain")
    plan = call(charge(limit), charge(plain))
    assert [room.paced for room in a.explain(plan).rooms] == [False, False]
    for _ in range(4):
        a.arrive(plan)
    paced, full = a.explain(plan).rooms
    assert (paced.room, paced.paced) == (6, True)
    assert (full.room, full.paced) == (0, False)
    assert paced.fits_ms is not None
    assert full.fits_ms is not None
    assert 0 < paced.fits_ms < full.fits_ms
    (whole,) = a.explain(call(charge(limit, 7))).rooms
    assert (whole.fits_ms, whole.paced) == (full.fits_ms, False)


def test_a_call_that_is_too_large_would_never_fit(a: Replica) -> None:
    """No wait helps, and its limit is named with what it has."""
    tokens = charge(window(10, name="tokens"), 11)
    said = a.explain(call(charge(window(10)), keys=[key("k", tokens)]))
    assert (said.verdict, said.code, said.wait_ms, said.binds) == ("refuse", "never_fits", None, tokens)
    assert said.rooms[0].fits_ms == 0
    assert said.rooms[1] == Room(charge=tokens, used=0, amount=10, ahead=0, fits_ms=None)


def test_a_full_line_would_refuse(a: Replica) -> None:
    """queue_full, with a time."""
    plan = call(charge(window(1)), queue=1)
    a.arrive(plan)
    a.arrive(plan)
    said = a.explain(plan)
    assert (said.verdict, said.code, said.waiting) == ("refuse", "queue_full", 1)
    assert said.wait_ms is not None


def test_without_a_key_nothing_would_go(a: Replica) -> None:
    """No key and no rooms to show."""
    assert a.explain(call(keys=[])) == Explained(verdict="refuse", code="no_key")


def test_keys_that_rest_are_named_with_their_rest(a: Replica) -> None:
    """It would wait for the one that rests least; who has less patience is refused for want of a key."""
    keys = [key("x"), key("y")]
    a.tick(block("x", 9000), block("y", 4000))
    said = a.explain(call(keys=keys))
    assert (said.verdict, said.key, said.rests_ms, said.wait_ms) == ("wait", "y", 4000, 4000)
    said = a.explain(call(keys=keys, wait=3999))
    assert (said.verdict, said.code, said.wait_ms, said.binds) == ("refuse", "no_key", 4000, None)


def test_a_wait_for_a_call_in_flight_has_no_known_end(a: Replica) -> None:
    """Only its landing can tell."""
    plan = call(charge(flying(1)))
    a.arrive(plan)
    said = a.explain(plan)
    assert (said.verdict, said.wait_ms, said.rooms[0].fits_ms) == ("wait", None, None)


def test_a_host_of_its_own_explains_its_share(a: Replica) -> None:
    """Two fifths of ten."""
    a.share = 400
    assert a.explain(call(charge(window(10)))).rooms[0].amount == 4
    assert a.explain(call(charge(window(10), 5))).code == "store_unavailable"


def test_an_observed_call_would_go(a: Replica) -> None:
    """Above every limit, with the key that fits earliest."""
    plan = call(charge(window(1)), observe=True)
    a.arrive(plan)
    said = a.explain(plan)
    assert (said.verdict, said.key, said.rooms[0].used) == ("go", "k", 1)


def test_room_that_waiting_calls_are_due_is_not_promised(a: Replica, b: Replica, clock: Clock) -> None:
    """The window has turned and nobody has ticked: those in line go first, wherever they wait."""
    plan = call(charge(window(2)), wait=5000)
    for _ in range(3):
        b.arrive(plan)
    a.arrive(plan)
    clock.now += 1100
    assert a.explain(call(charge(window(2)), wait=0)).verdict == "refuse"
    assert a.explain(plan, age=2000).verdict == "go"
    assert grants(b.tick()) == [3]


def test_the_rooms_are_those_of_the_key_it_would_get(a: Replica, clock: Clock) -> None:
    """A large call in line holds the key that fits it first; the small one is shown the other, which it would get."""
    x, y = (charge(window(100), 60, name) for name in ("x", "y"))
    for taken in (x, y):
        a.arrive(call(keys=[key("x", taken)]))
        clock.now += 100

    def costs(cost: int) -> Plan:
        return call(keys=[key(name, charge(window(100), cost, name)) for name in ("x", "y")])

    assert a.arrive(costs(90)).held
    said = a.explain(costs(10))
    assert (said.verdict, said.key, [room.charge.bucket for room in said.rooms]) == ("go", "y", ["w:y"])


def test_behind_more_due_calls_than_a_tick_looks_at_it_would_wait_for_the_next(a: Replica, clock: Clock) -> None:
    """Seventy users are due; the tick ends with some of them left, and comes again at once."""
    limit = window(100)
    a.arrive(call(charge(limit, 100)))
    a.tick(*[a.arrival(call(charge(limit), user=f"u{i}")) for i in range(70)])
    clock.now += 1100
    said = a.explain(call(charge(limit)))
    assert (said.verdict, said.wait_ms, said.waiting, said.rooms[0].used) == ("wait", 0, 6, 64)


def test_a_replica_that_fell_silent_is_not_reaped_by_a_question(
    host: Host, a: Replica, b: Replica, clock: Clock
) -> None:
    """Only ticks do that, so until the next the dead hold what they had."""
    limit = flying(1)
    b.arrive(call(charge(limit)))
    for _ in range(9):
        clock.now += 1000
        a.tick()
    clock.now += 1000
    before = host.contents()
    assert a.explain(call(charge(limit))).verdict == "wait"
    assert host.contents() == before
    a.tick()
    assert a.explain(call(charge(limit))).verdict == "go"


def test_calls_of_other_lanes_go_before_it_on_a_common_limit(a: Replica) -> None:
    """Two users of another kind of call wait for what both kinds share; the new user takes turns with them."""
    shared, other = window(1, name="shared"), window(9, name="other")
    a.arrive(call(charge(shared)))
    for user in ("u", "v"):
        assert a.arrive(call(charge(shared), charge(other), user=user)).held
    said = a.explain(call(charge(shared), user="w"))
    (refused,) = a.arrive(call(charge(shared), user="w", wait=0)).refused
    assert (said.rooms[0].ahead, said.rooms[0].fits_ms) == (1, refused.wait_ms)


def test_who_kept_a_place_asks_from_there(a: Replica, clock: Clock) -> None:
    """An older call of the same user is not behind the younger one that waits."""
    plan = call(charge(window(1)))
    a.arrive(plan)
    clock.now += 100
    a.arrive(plan)
    assert a.explain(plan).wait_ms == 2000
    assert a.explain(plan, age=50).wait_ms == 1000


def everything(a: Replica, b: Replica, clock: Clock) -> list[Plan]:
    """A store in which every kind of thing stands, and calls that would go, wait and be refused there."""
    r, t, c, d = window(6, name="r"), bucket(120, 40, 1000, name="t"), flying(3, name="c"), quota(8, name="d")
    keys = [key(name, charge(r, 1, name), charge(t, 50, name), group=name) for name in ("x", "y", "z")]
    plans = [
        call(charge(c), charge(d), keys=keys, user="u", tier="gold", weight=3),
        call(charge(c), keys=keys[:1], user="v", wait=900),
        call(charge(d, 2), keys=keys, user="w", wait=0),
        call(charge(d, 9), keys=keys),
        call(user="free"),
    ]
    a.tick(block("z", 1500))
    for i in range(12):
        (a, b)[i % 2].arrive(plans[i % 3])
        clock.now += 30
    a.tick(gauge(charge(c), 0))
    assert b.tick().waiting
    return plans


@pytest.mark.parametrize("later", [0, 500, 2000, 60_000])
def test_asking_changes_no_byte_of_the_store(host: Host, a: Replica, b: Replica, clock: Clock, later: int) -> None:
    """Of buckets, line, tags, counters, replicas and their expiry, whatever is due; by whoever asks, however often."""
    plans = everything(a, b, clock)
    clock.now += later
    before = host.contents()
    stranger = Replica(host, clock, "stranger")
    said = [replica.explain(plan) for plan in plans for replica in (a, b, stranger)]
    assert host.contents() == before
    assert said == [replica.explain(plan) for plan in plans for replica in (a, b, stranger)]
    assert {"go", "refuse"} <= {each.verdict for each in said}
    a.arrive(plans[-1])
    assert host.contents() != before


def test_an_empty_store_stays_empty(host: Host, a: Replica) -> None:
    """Who asks first finds nothing in use, and becomes no replica by it."""
    before = host.contents()
    assert a.explain(call(charge(window(1)))).verdict == "go"
    assert host.contents() == before
    assert a.tick().status == wire.DONE


def test_asking_is_no_part_of_the_replicas_numbers(a: Replica, b: Replica) -> None:
    """The last tick can be repeated after it, the next follows, and who only asks is not counted."""
    reply = a.arrive(call(charge(window(2))))
    a.explain(call(charge(window(2))))
    b.explain(call(charge(window(2))))
    assert a.again() == reply
    after = a.tick()
    assert (after.status, after.replicas) == (wire.DONE, 1)


class Asking(Player):
    """A player who asks before each call, and then brings it."""

    said: wire.Reply

    def act(self, reply: wire.Reply) -> None:
        """Remember the answer."""
        self.said = reply
        super().act(reply)

    def arrive(self, plan: Plan) -> None:
        """What was said to the question is said to the call."""
        self.say()
        while self.acks:
            self.say()
        host: Host = self.replica.host
        before = host.contents()
        asked = self.replica.explain(plan)
        assert host.contents() == before
        super().arrive(plan)
        self.say()
        assert told(self.said, self.replica.count, plan) == (
            asked.verdict,
            asked.code,
            asked.key if asked.verdict == "go" else None,
            asked.wait_ms if asked.verdict == "refuse" else None,
            asked.binds,
        )
        if asked.verdict == "wait" or asked.code == "wait_too_long":
            waits = [asked.rests_ms, *[room.fits_ms for room in asked.rooms]]
            fits = None if None in waits else max(wait for wait in waits if wait is not None)
            # what is told is later than what the limits say by what others may still take, and what is kept for them
            assert asked.wait_ms == fits or (asked.verdict == "refuse" and (asked.wait_ms or 0) > (fits or 0))


def told(reply: wire.Reply, n: int, plan: Plan) -> Sequence[object]:
    """What a tick said to a call, as an explanation has it."""
    for granted in reply.granted:
        if granted.n == n:
            return "go", None, plan.candidates[granted.candidate].key, None, None
    for refused in reply.refused:
        if refused.n == n:
            return "refuse", refused.code, None, refused.wait_ms, wire.charge_at(plan, refused.position)
    (position,) = [position for who, position in reply.held if who == n]
    return "wait", None, None, None, wire.charge_at(plan, position)


@settings(
    max_examples=COUNT,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(step, min_size=10, max_size=60))
def test_what_is_explained_is_what_happens(redis_of_gate: RedisServer, history: list[tuple[str, int, int]]) -> None:
    """In any history and on both hosts, and the question leaves both stores as they were."""
    redis = RedisClockHost(redis_of_gate)
    try:
        play(Twins(redis), history, Asking)
    finally:
        redis.close()
