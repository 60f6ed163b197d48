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
    UpstreamFault,
    UpstreamFull,
    UpstreamProtocol,
    UpstreamRefused,
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
    ],
    ids=lambda value: type(value).__name__,
)
def test_status_and_refund(problem: UpstreamFault, status: int, counted: bool) -> None:
    """Each problem has a code of design 4.2, and is refunded exactly when nothing can have been sent."""
    assert (STATUS[problem.code], problem.counted) == (status, counted)
    assert problem.message == str(problem) != ""


def test_every_problem_is_listed() -> None:
    """The table above is whole: each problem has its own code."""
    words = [kind.code for kind in UpstreamFault.__subclasses__()]
    assert len(words) == len(set(words)) == 10
