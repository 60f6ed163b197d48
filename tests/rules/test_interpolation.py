"""Variables and files inside values."""

from __future__ import annotations

import pytest

from rules.ground import Findings, Ground
from rules.interpolation import MAX_VALUE, interpolate
from rules.yamlmarks import compose

from .given import Given

WORLD = Given({"RPM": "500", "NAME": "x: {y}", "EMPTY": "", "BIG": "b" * MAX_VALUE}, {"secret": "s3\n", "/abs": "a b"})


def _read(text: str) -> tuple[object, list[str]]:
    ground = Ground("f", compose(text, "f", []), Findings())
    interpolate(ground.root, WORLD, ground)
    return ground.root.plainly(), [str(mistake) for mistake in ground.findings.mistakes]


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("${RPM}", 500),
        ("'${RPM}'", "500"),
        ("${RPM}0", 5000),
        ("a${RPM}b${RPM}", "a500b500"),
        ("${NAME}", "x: {y}"),
        ("${UNSET:-7}", 7),
        ("${UNSET:-}", None),
        ("${EMPTY:-8}", 8),
        ("'${EMPTY}'", ""),
        ("${RPM:-9}", 500),
        ("${UNSET:-redis://h:1/0}", "redis://h:1/0"),
        ("${file:secret}", "s3"),
        ("${file:/abs}", "a b"),
        ("$${RPM}", "${RPM}"),
        ("$RPM", "$RPM"),
        ("a$", "a$"),
    ],
)
def test_a_value_is_replaced_and_takes_its_type(value: str, result: object) -> None:
    """Plain values spell their type after replacing; what a variable holds is never read as YAML."""
    plain, mistakes = _read(f"a: {value}\n")
    assert mistakes == []
    assert plain == ({"a": result} if result is not None else {})


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("${UNSET}", "environment variable UNSET is not set (${UNSET:-default} gives it a default)"),
        ("${sk-live-99}", "${…} needs a variable's name, or file: and a path"),
        ("${unset}", "environment variable … is not set (${…:-default} gives it a default)"),
        ("${file:none}", "cannot read none: no such file or directory"),
        ("a ${", "${ is never closed"),
        ("${BIG}x", "becomes larger than 64 KiB"),
    ],
)
def test_what_cannot_be_replaced_is_a_mistake_at_its_place(value: str, complaint: str) -> None:
    """The complaint names line and variable, and nothing that could be a secret."""
    assert _read(f"a:\n  - {value}\n")[1] == [f"f:2:5: a[0]: {complaint}"]


def test_an_aliased_value_is_replaced_once() -> None:
    """A value that an alias repeats is not replaced a second time by what it became."""
    assert _read("a: &a '$${RPM}'\nb: *a\n") == ({"a": "${RPM}", "b": "${RPM}"}, [])


def test_keys_are_left_alone() -> None:
    """Only values are replaced; structure comes from the text."""
    assert _read("'${RPM}': 1\n") == ({"${RPM}": 1}, [])
