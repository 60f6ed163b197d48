"""Findings know where they stand."""

from __future__ import annotations

from rules.ground import Findings, Ground
from rules.yamlmarks import compose


def test_mistakes_and_advice_are_kept_apart_with_their_places() -> None:
    """A mistake points at the value, advice at the key, unless asked otherwise."""
    ground = Ground("f", compose("a:\n  b: [1, 2]\n", "f", []), Findings())
    ground.wrong(("a", "b", 1), "is wrong")
    ground.wrong(("a", "b"), "is unknown", at_key=True)
    ground.advise(("a", "b"), "could be better")
    assert [str(one) for one in ground.findings.mistakes] == ["f:2:10: a.b[1]: is wrong", "f:2:3: a.b: is unknown"]
    assert [str(one) for one in ground.findings.advice] == ["f:2:3: a.b: could be better"]


def test_grounds_of_several_files_share_their_findings() -> None:
    """Everything that was found is in one list, file by file."""
    findings = Findings()
    for name in ("f", "g"):
        Ground(name, compose("a: 1", name, []), findings).wrong(("a",), "is wrong")
    assert [one.file for one in findings.mistakes] == ["f", "g"]
