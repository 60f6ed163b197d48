"""rules/formtypes.py: what single values of the YAML look like."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from rules.formtypes import Duration, StatusCode, Words


def test_a_word_may_stand_for_a_list_of_one() -> None:
    """As most lists of the configuration have one."""
    assert TypeAdapter(Words).validate_python("a") == ["a"]
    assert TypeAdapter(Words).validate_python(["a", "b"]) == ["a", "b"]


def test_a_duration_has_a_unit() -> None:
    """In milliseconds afterwards."""
    assert TypeAdapter(Duration).validate_python("1.5s") == 1500
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python("15")


@pytest.mark.parametrize(
    ("code", "good"), [("400", True), ("599", True), ("399", False), ("600", False), ("4xx", False)]
)
def test_a_status_is_that_of_an_error(code: str, good: bool) -> None:
    """400 to 599."""
    if good:
        assert TypeAdapter(StatusCode).validate_python(code) == code
    else:
        with pytest.raises(ValidationError):
            TypeAdapter(StatusCode).validate_python(code)
