"""proxy/keyring.py: the mirror of the keys' states, what it counts and what it logs."""

from __future__ import annotations

import logging

import pytest

from proxy.keyring import Keyring
from proxy.metrics import Metrics
from rules.gate.resting import KeyRest
from rules.keystates import STATES
from rules.plan import key_scope
from tests.rules.given import parsed

KEYS = {"KEY_A": "sk-canary-aaaa-1111", "KEY_B": "sk-canary-bbbb-2222"}
POLICY = parsed("services: {openai: {keys: [{name: a, env: KEY_A}, {name: b, env: KEY_B}]}}", environ=KEYS).policy
A, B = (key.id for key in POLICY.services["openai"].keys)


class World:
    """A keyring whose clock the test turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.metrics = Metrics()
        self.keyring = Keyring(lambda: POLICY, self.metrics, lambda: self.now)

    def changes(self, key: str, state: str) -> float:
        """How often a key came into the state."""
        labels = {"service": "openai", "key": key, "state": state}
        return self.metrics.registry.get_sample_value("headgate_key_state_changes_total", labels) or 0.0


def limited(ms: int) -> KeyRest:
    """Key a is too fast."""
    return KeyRest(key_scope(A), ms, False, True, "rate_limited", 429, 0, A, None)


def test_each_change_is_counted_once_and_what_ends_by_itself_too(caplog: pytest.LogCaptureFixture) -> None:
    """By the new state, with the reason in the log and no key."""
    caplog.set_level(logging.INFO)
    world = World()
    world.keyring.on_rests("openai", [limited(1000)])
    world.now = 500
    world.keyring.on_rests("openai", [limited(500)])
    world.now = 1000
    for _ in range(2):
        world.keyring.look()
    assert (world.changes(A, "rate_limited"), world.changes(A, "active"), world.changes(B, "rate_limited")) == (1, 1, 0)
    assert caplog.messages == [
        f"openai: key {A}: active -> rate_limited: the upstream answered 429: too fast",
        f"openai: key {A}: rate_limited -> active",
    ]


def test_a_rest_that_was_over_before_the_next_was_said_is_counted_as_two() -> None:
    """Nobody looked in between."""
    world = World()
    world.keyring.on_rests("openai", [limited(1000)])
    world.now = 2000
    world.keyring.on_rests("openai", [limited(1000)])
    assert (world.changes(A, "rate_limited"), world.changes(A, "active")) == (2, 1)


def test_the_metric_says_one_for_the_state_a_key_is_in() -> None:
    """And nought for the others; callers' own keys are not in it."""
    world = World()
    world.metrics.watch_keys(lambda: [(of, one.key, one.state) for of, one in world.keyring.look()], STATES)
    world.keyring.on_rests("reddit", [KeyRest("k:caller-1", 1000, False, True, "rate_limited", 429, 0, None, None)])
    world.keyring.on_rests("openai", [limited(1000)])
    found = {
        (sample.labels["key"], sample.labels["state"])
        for family in world.metrics.registry.collect()
        if family.name == "headgate_key_state"
        for sample in family.samples
        if sample.value == 1
    }
    assert found == {(A, "rate_limited"), (B, "active")}
