"""rules/gate/resting.py: what rests and what is learned, as the wire carries it."""

from __future__ import annotations

from rules.gate import resting, wire
from rules.gate.resting import KeyRest
from rules.verdict import Block

from .driver import charge
from .hidden import LIMIT


def test_of_a_callers_own_key_only_the_end_is_kept() -> None:
    """Callers come and go; nothing says why."""
    assert resting.rest(Block("g:x", 500, "slow_down", 429)) == [b"B", b"g:x", 500]


def test_of_a_pools_key_state_status_and_model_are_said() -> None:
    """A model's name is a client's, and made harmless."""
    said = resting.rest(Block("m:x", 500, "exhausted", 429, "a-1", "gpt 4{o}", 60_000, False))
    assert said[:8] == [b"R", b"m:x", 500, 60_000, 0, resting.EXHAUSTED, 429, b"a-1"]
    assert bytes(str(said[8]), "ascii").find(b"{") < 0
    assert resting.rest(Block("k:a", 1, "dead", 401, "a-1"))[8] == b"-"


def test_no_time_leaves_the_integers_of_the_gate() -> None:
    """Whatever a reply said."""
    assert resting.rest(Block("g:x", 2**60, "slow_down"))[2] == wire.MOST >> 10
    assert resting.rest(Block("g:x", -5, "slow_down"))[2] == 0
    assert resting.refused(charge(LIMIT), -5)[4] == 0
    assert resting.given(charge(LIMIT), 10**15, 10**15)[2:4] == [2**31, 2**31]


def test_what_is_over_is_not_said_again() -> None:
    """A key that waits to be tried is never over."""
    timed = KeyRest("k:a", 500, False, True, "rate_limited", 429, 0, "a", None)
    tried = KeyRest("k:a", 500, True, False, "error", 401, 0, "a", None, 60_000)
    assert resting.again(timed, 500, off=True) == []
    assert resting.again(tried, 500, off=True)[2] == 0
    assert resting.again(timed, 499.5, off=True)[2] == 1
