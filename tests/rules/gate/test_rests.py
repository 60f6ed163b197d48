"""rules/gate/rests.lua: which keys are out, who tries them, and how they come back."""

from __future__ import annotations

import pytest

from rules.gate import resting, wire
from rules.gate.explain import question

from .driver import (
    Clock,
    Replica,
    block,
    call,
    cancel,
    charge,
    flying,
    gauge,
    grants,
    key,
    lifted,
    refusal,
    turned,
    window,
)
from .driver import said as rests

MINUTE = 60_000
TWO = [key("x", blocks=("k:x", "g:one")), key("y", blocks=("k:y", "g:two"))]


def went(reply: wire.Reply) -> list[tuple[int, bool]]:
    """Candidate of each grant, and whether the call tries it out."""
    return [(granted.candidate, granted.tries) for granted in reply.granted]


def states(a: Replica) -> dict[str, resting.KeyRest]:
    """What the store knows of keys, by scope."""
    answer = a.host.tick(a.key, a.clock.now, question(a.id, a.share, resting.RESTS))
    return {rest.scope: rest for rest in resting.rests(answer)[1]}


def test_a_dead_key_is_tried_once_a_minute_by_one_real_call(a: Replica, clock: Clock) -> None:
    """At its time the next call that can be sent again goes with it, though another key would serve, and one only."""
    a.tick(rests("k:x", MINUTE, every=MINUTE))
    clock.now += MINUTE - 1
    assert [went(a.arrive(call(keys=TWO, replayable=True))) for _ in range(3)] == [[(1, False)]] * 3
    clock.now += 1
    tried = [went(a.arrive(call(keys=TWO, replayable=True))) for _ in range(3)]
    assert tried == [[(0, True)], [(1, False)], [(1, False)]]
    clock.now += MINUTE
    assert went(a.arrive(call(keys=TWO, replayable=True))) == [(0, True)]


def test_a_key_that_was_tried_with_success_serves_again_at_once(a: Replica, clock: Clock) -> None:
    """It takes its turns like the others."""
    a.tick(rests("k:x", MINUTE, every=MINUTE))
    clock.now += MINUTE
    a.arrive(call(keys=TWO, replayable=True))
    a.tick(lifted("k:x", "g:one"))
    assert sorted(went(a.arrive(call(keys=TWO)))[0] for _ in range(2)) == [(0, False), (1, False)]
    assert states(a) == {}


def test_a_call_that_cannot_be_sent_again_tries_no_key_while_another_is_sound(a: Replica, clock: Clock) -> None:
    """It would be the one to meet the refusal; where no key is sound somebody has to."""
    a.tick(rests("k:x", 0, every=MINUTE))
    assert went(a.arrive(call(keys=TWO))) == [(1, False)]
    a.tick(rests("k:y", MINUTE, every=MINUTE))
    assert went(a.arrive(call(keys=TWO))) == [(0, True)]


def test_a_call_that_cannot_be_sent_again_waits_for_the_sound_key_and_not_for_the_dead_one(
    a: Replica, clock: Clock
) -> None:
    """A full key is sound: the wake is for its room."""
    slot = charge(flying(1), scope="y")
    keys = [TWO[0], key("y", slot, blocks=("k:y",))]
    a.arrive(call(keys=keys))
    a.tick(gauge(slot, 1), rests("k:x", MINUTE, every=MINUTE))
    assert went(a.arrive(call(keys=keys, wait=600_000))) == []
    clock.now += MINUTE
    assert went(a.tick()) == []
    assert went(a.tick(gauge(slot, 0))) == [(1, False)]


def test_where_every_key_is_out_a_call_is_refused_at_once_and_told_when_one_is_tried(a: Replica, clock: Clock) -> None:
    """Nobody knows that waiting would help."""
    a.tick(rests("k:x", MINUTE, every=MINUTE), rests("k:y", 2 * MINUTE, every=MINUTE))
    assert refusal(a.arrive(call(keys=TWO, wait=600_000))) == ("no_key", MINUTE)
    clock.now += MINUTE
    assert went(a.arrive(call(keys=TWO, replayable=True))) == [(0, True)]
    assert refusal(a.arrive(call(keys=TWO, wait=600_000, replayable=True))) == ("no_key", MINUTE)


def test_a_key_whose_quota_returns_at_a_known_time_is_waited_for(a: Replica, clock: Clock) -> None:
    """One of those that waited tries it; the others go when it has succeeded."""
    keys = [TWO[0]]
    a.tick(rests("k:x", 5000, every=MINUTE, known=True, state=2))
    for _ in range(3):
        assert a.arrive(call(keys=keys, replayable=True)).next_ms == 5000
    clock.now += 4999
    assert went(a.tick()) == []
    clock.now += 1
    assert went(a.tick()) == [(0, True)]
    assert went(a.tick()) == []
    assert went(a.tick(lifted("k:x"))) == [(0, False)] * 2


def test_a_known_time_that_was_no_end_is_not_waited_for_again(a: Replica, clock: Clock) -> None:
    """The try had no success: from then on nobody knows."""
    a.tick(rests("k:x", 5000, every=MINUTE, known=True, state=2))
    clock.now += 5000
    assert went(a.arrive(call(keys=TWO[:1], replayable=True))) == [(0, True)]
    assert refusal(a.arrive(call(keys=TWO[:1], replayable=True, wait=600_000))) == ("no_key", MINUTE)
    assert not states(a)["k:x"].known


def test_calls_that_waited_when_the_last_key_went_out_try_it_one_by_one(a: Replica, clock: Clock) -> None:
    """They were let into the line, and have their chance each time."""
    slot = charge(flying(1), scope="x")
    keys = [key("x", slot, blocks=("k:x",))]
    a.arrive(call(keys=keys))
    a.arrive(call(keys=keys, replayable=True, wait=10 * MINUTE))
    a.tick(gauge(slot, 1))
    assert a.tick(gauge(slot, 0), rests("k:x", MINUTE, every=MINUTE)).next_ms == MINUTE
    clock.now += MINUTE
    assert went(a.tick()) == [(0, True)]


def test_a_call_that_waits_holds_a_sound_key_rather_than_one_that_is_out(a: Replica, clock: Clock) -> None:
    """Else a dead key of a group would keep its sound ones from those behind."""
    one, two = charge(flying(1), scope="one"), charge(flying(1), scope="two")
    keys = [
        key("dead", one, group="one", blocks=("k:dead",)),
        key("sound", one, group="one", blocks=("k:sound",)),
        key("other", two, group="two", blocks=("k:other",)),
    ]
    a.tick(rests("k:dead", MINUTE, every=MINUTE))
    assert [index for _ in range(2) for index, _ in went(a.arrive(call(keys=keys, wait=600_000)))] == [1, 2]
    a.tick(gauge(one, 1), gauge(two, 1))
    for user in ("first", "second"):
        a.arrive(call(keys=keys, wait=600_000, user=user))
    assert went(a.tick(gauge(one, 0))) == [(1, False)]
    assert went(a.tick(gauge(two, 0))) == [(2, False)]


def test_a_late_refusal_moves_the_next_try_later_and_never_earlier(a: Replica, clock: Clock) -> None:
    """Calls that were under way when the key died say so too."""
    a.tick(rests("k:x", MINUTE, every=MINUTE))
    clock.now += 10_000
    a.tick(rests("k:x", 1000, every=MINUTE))
    assert states(a)["k:x"].for_ms == 50_000
    a.tick(rests("k:x", MINUTE, every=MINUTE))
    assert states(a)["k:x"].for_ms == MINUTE


def test_an_operator_s_off_outlasts_everything(a: Replica, clock: Clock) -> None:
    """Success of a call under way, time, and an idle service that its replicas forget."""
    a.tick(turned("k:x", on=False))
    a.tick(lifted("k:x"))
    clock.now += 400 * 86_400_000
    a.restart()
    assert [went(a.arrive(call(keys=TWO, replayable=True))) for _ in range(2)] == [[(1, False)]] * 2
    assert refusal(a.arrive(call(keys=TWO[:1], wait=600_000))) == ("no_key", None)
    a.tick(turned("k:x", on=True))
    assert went(a.arrive(call(keys=TWO[:1]))) == [(0, False)]


@pytest.mark.parametrize(
    "rest", [rests("k:x", MINUTE, every=MINUTE), rests("k:x", 7000, state=1, status=429), block("k:x", 7000)]
)
def test_an_operator_s_on_forgets_what_the_key_rested_for(a: Replica, rest: list[bytes | int]) -> None:
    """He knows what he mended."""
    a.tick(rest)
    a.tick(turned("k:x", on=True))
    assert went(a.arrive(call(keys=TWO[:1]))) == [(0, False)]
    assert states(a) == {}


def test_who_waits_goes_as_soon_as_the_operator_turns_a_key_on(a: Replica, clock: Clock) -> None:
    """Not at the next look."""
    a.tick(rests("k:x", 30_000, state=1, status=429))
    assert went(a.arrive(call(keys=TWO[:1], wait=MINUTE))) == []
    assert went(a.tick(turned("k:x", on=True))) == [(0, False)]


def test_the_list_says_of_each_state_why_since_when_and_until_when(a: Replica, clock: Clock) -> None:
    """A rest that is over is not in it; the same state goes on from when it began."""
    a.tick(rests("m:1", 9000, state=1, status=429, model="gpt-4o"), rests("k:x", MINUTE, every=MINUTE))
    clock.now += 4000
    a.tick(rests("k:x", MINUTE, every=MINUTE), turned("k:y", on=False))
    clock.now += 1000
    found = states(a)
    assert found["m:1"] == resting.KeyRest("m:1", 4000, False, True, "rate_limited", 429, 5000, "key-1", "gpt-4o")
    assert found["k:x"] == resting.KeyRest("k:x", 59_000, True, False, "error", 401, 5000, "key-1", None, MINUTE)
    assert found["k:y"] == resting.KeyRest("k:y", None, False, True, "off", 0, 1000, None, None)
    clock.now += 4000
    assert set(states(a)) == {"k:x", "k:y"}


def test_a_graver_state_takes_the_place_of_a_lighter_one(a: Replica, clock: Clock) -> None:
    """From now on; the same again is no new beginning."""
    a.tick(rests("k:x", 9000, state=1, status=429))
    clock.now += 1000
    for state, age in ((2, 0), (3, 0), (3, 1000)):
        a.tick(rests("k:x", MINUTE, every=MINUTE, state=state))
        assert (states(a)["k:x"].state, states(a)["k:x"].age_ms) == ({2: "exhausted", 3: "error"}[state], age)
        clock.now += 1000


def test_a_key_that_is_out_and_slowed_down_is_out(a: Replica, clock: Clock) -> None:
    """The 429 of a call under way tells less than its neighbour's 401."""
    a.tick(rests("k:x", MINUTE, every=MINUTE))
    a.tick(rests("k:x", 90_000, state=1, status=429))
    assert states(a)["k:x"].state == "error"
    clock.now += MINUTE
    assert went(a.arrive(call(keys=TWO, replayable=True))) == [(1, False)]
    clock.now += 30_000
    assert went(a.arrive(call(keys=TWO, replayable=True))) == [(0, True)]


def test_the_version_moves_with_every_change_and_with_nothing_else(a: Replica, clock: Clock) -> None:
    """So a replica asks only when there is something to know."""
    versions = [a.tick().version]
    for op in (rests("k:x", 5, every=MINUTE), lifted("k:x"), turned("k:x", on=False), turned("k:x", on=True)):
        versions.append(a.tick(op).version)
    assert sorted(set(versions)) == versions
    for op in (lifted("k:x"), turned("k:y", on=True), block("k:x", 100), []):
        assert a.tick(op).version == versions[-1]
    clock.now += 1000
    assert a.arrive(call(keys=TWO)).version == versions[-1]


def test_asking_changes_nothing(a: Replica, clock: Clock) -> None:
    """A question about a key that waits to be tried leaves the try to a call."""
    a.tick(rests("k:x", 0, every=MINUTE))
    assert a.explain(call(keys=TWO, replayable=True)).key == "x"
    assert went(a.arrive(call(keys=TWO, replayable=True))) == [(0, True)]


def test_a_waiting_call_that_another_replicas_tick_sends_to_try_is_told_so(
    a: Replica, b: Replica, clock: Clock
) -> None:
    """The word travels with the grant that lies ready for it."""
    keys = [TWO[0]]
    b.tick(rests("k:x", 5000, every=MINUTE, known=True, state=2))
    b.arrive(call(keys=keys, replayable=True))
    clock.now += 5000
    assert a.tick().granted == ()
    assert went(b.tick()) == [(0, True)]


def test_a_tiers_reserved_key_goes_first_and_a_shared_one_when_it_is_full(a: Replica) -> None:
    """limiter 8: reserved keys before shared ones."""
    own = key("own", charge(window(3), scope="own"))
    own.rank = 0
    shared = key("shared")
    shared.rank = 1
    assert [went(a.arrive(call(keys=[shared, own])))[0][0] for _ in range(5)] == [1, 1, 1, 0, 0]


def test_models_without_end_leave_no_more_than_a_bounded_trace(a: Replica, clock: Clock) -> None:
    """What rests no more makes room; beyond that a scope rests without a record."""
    for first in range(0, 700, 100):
        a.tick(*[rests(f"m:{n}", 1000, state=1, status=429) for n in range(first, first + 100)])
    assert 512 <= len(states(a)) <= 612
    assert refusal(a.arrive(call(keys=[key("z", blocks=("m:699",))], wait=0))) == ("no_key", 1000)
    clock.now += 1000
    a.tick(rests("m:new", 1000, state=1, status=429))
    assert set(states(a)) == {"m:new"}


def test_a_cancelled_call_leaves_the_try_to_the_next(a: Replica, clock: Clock) -> None:
    """Nobody has to come back for it."""
    keys = [TWO[0]]
    a.tick(rests("k:x", 5000, every=MINUTE, known=True, state=2))
    a.arrive(call(keys=keys, replayable=True))
    a.arrive(call(keys=keys, replayable=True))
    a.tick(cancel(1))
    clock.now += 5000
    assert [granted.n for granted in a.tick().granted] == [2]
    assert grants(a.tick()) == []
