"""The flat list of what can go wrong upstream."""

from __future__ import annotations

import pytest

from proxy.errors import STATUS
from proxy.faults import (
    AddressDenied,
    PortDenied,
    UpstreamBroke,
    UpstreamConnectTimeout,
    UpstreamDnsTimeout,
    UpstreamFull,
    UpstreamProblem,
    UpstreamProtocol,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamTimeout,
    UpstreamTls,
)


@pytest.mark.parametrize(
    ("problem", "status", "counted"),
    [
        (AddressDenied(), 403, False),
        (PortDenied(), 403, False),
        (UpstreamRefused(), 502, False),
        (UpstreamTls(), 502, False),
        (UpstreamFull(), 503, False),
        (UpstreamDnsTimeout(), 504, False),
        (UpstreamConnectTimeout(), 504, False),
        (UpstreamBroke(), 502, True),
        (UpstreamBroke(sent=False), 502, False),
        (UpstreamProtocol(), 502, True),
        (UpstreamTimeout(), 504, True),
        (UpstreamStalled(), 504, True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_status_and_refund(problem: UpstreamProblem, status: int, counted: bool) -> None:
    """Each problem has a code of design 4.2, and is refunded exactly when nothing can have been sent."""
    assert (problem.status, problem.counted) == (status, counted)
    assert problem.code in STATUS
    assert problem.message


def test_every_problem_is_listed() -> None:
    """The table above is whole: each problem has its own code."""
    words = [kind.word for kind in UpstreamProblem.__subclasses__()]
    assert len(words) == len(set(words)) == 11
