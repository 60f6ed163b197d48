"""proxy/exposure.py: which policies may be in force where others can reach us."""

from __future__ import annotations

import pytest

from proxy.exposure import objection
from proxy.settings import Address, parse_address
from tests.rules.given import parsed

HERE, NETWORK = Address("127.0.0.1", 8080), parse_address(":8080")
TOKENS = "clients: {tokens: [{name: crawler, env: TOKEN}]}\n"


@pytest.mark.parametrize(
    "config",
    ["", "clients: {anonymous: everyone}\negress: {allow: ['*']}\n"],
)
def test_on_this_machine_alone_every_policy_may_be_in_force(config: str) -> None:
    """Nobody else reaches it."""
    assert objection(HERE, parsed(config).policy) is None


@pytest.mark.parametrize(
    ("config", "because"),
    [
        ("", ":8080 can be reached from the network, and no clients are configured"),
        ("clients: {anonymous: everyone}\negress: {allow: ['*']}\n", "would lead everyone everywhere"),
        (TOKENS, None),
        ("clients: {anonymous: everyone}\n", None),
        ("clients: {anonymous: everyone}\negress: {allow: ['a.test']}\n", None),
        (TOKENS + "egress: {allow: ['*']}\n", None),
    ],
)
def test_on_the_network_somebody_must_be_named(config: str, because: str | None) -> None:
    """Clients, or everyone in so many words; and everyone is led to named hosts only."""
    reason = objection(NETWORK, parsed(config, environ={"TOKEN": "a" * 32}).policy)
    if because is None:
        assert reason is None
    else:
        assert because in (reason or "")
