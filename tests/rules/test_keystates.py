"""rules/keystates.py: one state per key, and the words for it."""

from __future__ import annotations

from rules.gate.resting import KeyRest
from rules.keystates import STATES, statuses
from rules.plan import group_scope, key_scope, model_scope
from rules.policy import Key, KeyState

A = Key(id="a-1", secret="sk-canary-a", group="one")
B = Key(id="b-2", secret="sk-canary-b", group="one")
C = Key(id="c-3", secret="sk-canary-c", group="two")


def rest(
    scope: str,
    state: KeyState = "error",
    *,
    for_ms: int | None = 5000,
    tries: bool = False,
    status: int = 401,
    key: str | None = "a-1",
    model: str | None = None,
) -> KeyRest:
    """A scope that rests."""
    return KeyRest(scope, for_ms, tries, True, state, status, 1000, key, model)


def test_a_key_rests_alone_and_a_group_with_all_its_keys() -> None:
    """Others are active, and have no reason."""
    assert [one.state for one in statuses([A, B, C], [rest(key_scope("a-1"))])] == ["error", "active", "active"]
    found = statuses([A, B, C], [rest(group_scope("one"), "exhausted", status=429)])
    assert [(one.state, one.reason) for one in found] == [
        ("exhausted", "the upstream answered 429: its quota is used up"),
        ("exhausted", "the upstream answered 429: its quota is used up (met with a-1)"),
        ("active", ""),
    ]


def test_models_that_rest_are_named() -> None:
    """Up to three of them, and those of the group's every key."""
    rests = [
        rest(model_scope("one", f"m{n}"), "rate_limited", status=429, model=f"m{n}", for_ms=100 * n + 1)
        for n in range(5)
    ]
    a, b, c = statuses([A, B, C], rests)
    assert a.reason == "the upstream answered 429: too fast for m0, m1, m2 and 2 more"
    assert (a.for_ms, b.state, c.state) == (401, "rate_limited", "active")


def test_the_gravest_state_is_the_keys() -> None:
    """An operator's hand before an error, an error before a quota, a quota before a pause."""
    every = [rest(key_scope("a-1"), state, for_ms=None if state == "off" else 5000) for state in STATES[1:]]
    for count in range(1, 5):
        assert statuses([A], every[:count])[0].state == STATES[count]
    assert statuses([A], every)[0].reason == "turned off by an operator"
    assert statuses([A], every)[0].for_ms is None


def test_what_ends_by_itself_ends_with_time_and_what_a_success_ends_does_not() -> None:
    """Times run on from when the store said them."""
    timed, tried = rest(key_scope("a-1"), "rate_limited"), rest(key_scope("b-2"), tries=True, key="b-2")
    a, b = statuses([A, B], [timed, tried], 4999)
    assert (a.state, a.for_ms, a.age_ms, b.for_ms) == ("rate_limited", 1, 5999, 1)
    a, b = statuses([A, B], [timed, tried], 5000)
    assert (a.state, b.state, b.for_ms) == ("active", "error", 0)


def test_no_status_means_a_stream_said_so() -> None:
    """Its 200 had been sent already."""
    (a,) = statuses([A], [rest(key_scope("a-1"), status=0)])
    assert a.reason == "the upstream said in a stream: the key is refused"


def test_no_secret_is_in_what_is_told() -> None:
    """Only ids."""
    assert "canary" not in repr(statuses([A, B, C], [rest(key_scope("a-1"))]))
