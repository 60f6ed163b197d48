"""rules/gate/wire.py: operations and replies as both hosts speak them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.gate import wire
from rules.policy import Limit

from .driver import call, charge, flying, key, quota, window


@given(st.text(), st.text())
def test_words_are_harmless_and_distinct(one: str, other: str) -> None:
    """One printable word without braces, and different texts stay different."""
    word = wire.word(one)
    assert word.isascii()
    assert word.isprintable()
    assert not set(" {}") & set(word)
    assert (wire.word(other) == word) == (other == one)


def test_a_text_that_looks_like_a_hash_is_hashed() -> None:
    """Nobody can name another's word."""
    assert wire.word(wire.word(" ")) != wire.word(" ")


def test_the_hash_tag_is_the_service_alone() -> None:
    """All keys of a service's script lie in one slot, whatever the service is called."""
    assert wire.meta_key("openai") == b"rl:{openai}:meta"
    assert wire.meta_key("a}b").count(b"}") == 1


def test_a_pool_is_its_keys_and_buckets_not_its_amounts() -> None:
    """A changed amount leaves the calls that wait in the same line."""
    one = call(keys=[key("x", charge(window(5), 1))])
    same = call(keys=[key("x", charge(window(9), 7))])
    other = call(keys=[key("y", charge(window(5), 1))])
    pools = [wire.arrival(plan).frame.split()[0] for plan in (one, same, other)]
    assert pools[0] == pools[1] != pools[2]


def test_a_grant_and_a_refusal_are_read_back() -> None:
    """Two grants, one of them pushed, a refusal and a hold in one reply."""
    reply = wire.reply(b"8 0 77 5 1 2 3 9 1 10 1 1 2 100 4 0 1 2 11 1 2 -1 3 9 2 0 1 7 5 250 4 12 3")
    assert (reply.epoch, reply.next_ms, reply.rank, reply.replicas, reply.waiting) == (77, 5, 1, 2, 3)
    assert reply.age_ms == 8
    assert [(g.n, g.candidate, g.fullest, g.slices, g.uses, g.pushed, g.age_ms) for g in reply.granted] == [
        (10, 0, 1, (100, 0), (4, 1), False, 0),
        (9, 1, 0, (7,), (5,), True, 250),
    ]
    assert [(r.n, r.code, r.position, r.wait_ms) for r in reply.refused] == [(11, "wait_too_long", 2, None)]
    assert reply.held == ((12, 3),)


def test_how_much_of_a_learned_limit_may_be_used_belongs_to_its_grant() -> None:
    """It stands before it, alone or behind what says that the grant tries a key; the grants beside it have none."""
    reply = wire.reply(b"0 0 77 -1 0 1 0 9 1 1 1 0 0 8 2 60 1 2 1 0 0 7 3 8 3 61 3 3 1 0 0 5 1 4 1 0 0")
    said = [(g.n, g.learned, g.tries) for g in reply.granted]
    assert said == [(1, None, False), (2, 60, False), (3, 61, True), (4, None, False)]


def test_what_an_observed_call_would_have_been_told_belongs_to_its_grant() -> None:
    """It stands before it; the grants beside it have none."""
    reply = wire.reply(b"0 0 77 -1 0 1 0 9 1 1 1 0 0 6 2 0 1 900 1 2 1 0 0 6 3 2 1 -1 1 3 1 0 0 1 4 1 0 0")
    said = [(g.n, g.observed and (g.observed.code, g.observed.position, g.observed.wait_ms)) for g in reply.granted]
    assert said == [(1, None), (2, ("held", 1, 900)), (3, ("never_fits", 1, None)), (4, None)]
    assert not reply.refused


@pytest.mark.parametrize("amount", [-1, 2**53])
@pytest.mark.parametrize("kind", [window, quota, flying])
def test_an_amount_that_doubles_cannot_count_is_refused(kind: Callable[[int], Limit], amount: int) -> None:
    """Whatever the kind; the policy refuses it at load, so this is a fault of ours."""
    with pytest.raises(ValueError, match="amount"):
        wire.arrival(call(charge(kind(amount))))


@pytest.mark.parametrize("cost", [-1, 2**53])
def test_a_cost_that_doubles_cannot_count_is_refused(cost: int) -> None:
    """It would be rounded, and what is rounded cannot be taken back."""
    with pytest.raises(ValueError, match="cost"):
        wire.arrival(call(charge(window(1), cost)))


def test_a_grant_carries_its_charges_and_slices() -> None:
    """Common limits first, then those of the key."""
    common, own = charge(window(5, name="a")), charge(window(5, name="b"))
    plan = call(common, keys=[key("x"), key("y", own, group="g")])
    grant = wire.Granted(1, 1, 0, (3, 4), (1, 1), False).grant(plan, "attempt", 12)
    assert (grant.key, grant.group, grant.waited_ms) == ("y", "g", 12)
    assert [(t.charge, t.slice) for t in grant.taken] == [(common, 3), (own, 4)]
