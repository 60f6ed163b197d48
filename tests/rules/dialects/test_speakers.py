"""rules/dialects/speakers.py: the dialects by name."""

from __future__ import annotations

import pytest

from rules.dialects import NAMES
from rules.dialects.speakers import DIALECTS, speaker

from ..given import parsed


def test_a_name_that_is_not_known_is_generic() -> None:
    """Whatever it is, it is read with caution."""
    assert speaker("no such") is DIALECTS["generic"]
    assert speaker("x") is DIALECTS["x"]


def test_every_dialect_is_spoken_by_a_service_or_is_generic() -> None:
    """No table is kept for nobody."""
    spoken = {service.dialect for service in parsed("").policy.services.values()}
    assert spoken | {"generic"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_head_says_nothing(name: str) -> None:
    """In any dialect."""
    assert speaker(name).limits((), 0.0) == ()
