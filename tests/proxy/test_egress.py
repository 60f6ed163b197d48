"""Which hosts outside the catalogue may be reached, by name and port."""

from __future__ import annotations

import pytest

from proxy.egress import Egress
from proxy.errors import Problem
from proxy.head import Authority
from rules.policy import Egress as Rules


def _may(rules: Rules, host: str, port: int = 443, *, loopback_only: bool = False) -> str:
    """`yes`, or the code of the refusal."""
    try:
        target = Egress(rules, loopback_only=loopback_only).target(Authority(host, port), "https")
    except Problem as problem:
        return problem.code if problem.close else "stays open"
    assert (target.host, target.port, target.checked, target.connect_to) == (host, port, True, None)
    return "yes"


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        ("allowed.test", "yes"),
        ("evilallowed.test", "host_denied"),
        ("allowed.test.evil", "host_denied"),
        ("x.allowed.test", "host_denied"),
        ("a.wild.test", "yes"),
        ("a.b.wild.test", "yes"),
        ("wild.test", "host_denied"),
        ("evilwild.test", "host_denied"),
        ("a.wild.test.evil", "host_denied"),
        ("10.0.0.1", "host_denied"),
    ],
)
def test_names(host: str, verdict: str) -> None:
    """A whole name, or a suffix behind a dot; never a part of a label (threats B7)."""
    assert _may(Rules(allow=("Allowed.Test", "*.wild.test")), host) == verdict


def test_nothing_said_is_everything_on_loopback_and_nothing_else() -> None:
    """A proxy that others can reach opens nothing by itself (threats J5); an empty list opens nothing anywhere."""
    assert _may(Rules(), "a.test", loopback_only=True) == "yes"
    assert _may(Rules(), "a.test") == "host_denied"
    assert _may(Rules(allow=()), "a.test", loopback_only=True) == "host_denied"
    assert _may(Rules(allow=("*",)), "a.test") == "yes"


@pytest.mark.parametrize("port", [22, 25, 6379, 10250, 8080])
def test_ports(port: int) -> None:
    """80 and 443, what the policy adds, and ports of inside addresses it names (threats C10)."""
    assert _may(Rules(allow=("*",)), "a.test", port) == "port_denied"
    assert _may(Rules(allow=("*",), ports=(port,)), "a.test", port) == "yes"
    assert _may(Rules(allow=("*",), addresses=(("10.0.0.0/8", port),)), "a.test", port) == "yes"
