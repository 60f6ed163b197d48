"""rules/dialects/meanings.py: when a rule holds. What each provider's rules say: tests/rules/cases."""

from __future__ import annotations

from typing import Any

import pytest

from rules.dialects import Seen
from rules.dialects.meanings import Rule
from rules.errorbodies import ErrorBody

ERROR = ErrorBody(frozenset({"one", "two"}), "so it was said")
SPENT = (Seen("requests", 10, 0, None, name="day/requests"), Seen("tokens", 10, 5, None, name="tokens"))
FIELDS = ((b"X-Reason", b" Global "), (b"x-other", b"1"))


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({}, True),
        ({"statuses": (400,)}, False),
        ({"codes": frozenset({"two", "three"})}, True),
        ({"codes": frozenset({"three"})}, False),
        ({"phrases": ("it was",)}, True),
        ({"phrases": ("it is",)}, False),
        ({"codes": frozenset({"three"}), "phrases": ("it was",)}, True),
        ({"spent": "day/requests"}, True),
        ({"spent": "requests"}, False),
        ({"spent": "tokens"}, False),
        ({"header": (b"x-reason", (b"global", b"local"))}, True),
        ({"header": (b"x-reason", (b"local",))}, False),
        ({"header": (b"x-reason", ())}, False),
        ({"header": (b"x-third", ())}, True),
        ({"codes": frozenset({"one"}), "header": (b"x-reason", ())}, False),
    ],
)
def test_a_rule_holds_when_all_it_names_is_there(rule: dict[str, Any], holds: bool) -> None:
    """Status, a code or a phrase, a limit with nothing left, a field or its absence."""
    made = Rule(**{"meaning": "slow_down", "statuses": (429,), **rule})
    assert made.holds(429, ERROR, SPENT, FIELDS) is holds
