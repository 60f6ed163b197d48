"""Trees against forms: our words, and what is still looked at when a part is wrong."""

from __future__ import annotations

import pytest

from rules.checking import checked
from rules.fileforms import FileForm
from rules.forms import Form, ServiceForm
from rules.ground import Findings, Ground
from rules.yamlmarks import compose

PARTS: tuple[tuple[str | int, ...], ...] = ((), ("services",))


def _ground(text: str) -> Ground:
    return Ground("f", compose(text, "f", []), Findings())


def _told(form: type[Form], text: str) -> list[str]:
    ground = _ground(text)
    checked(form, ground)
    return [str(mistake) for mistake in sorted(ground.findings.mistakes)]


def test_a_part_with_mistakes_is_left_out_and_the_rest_is_kept() -> None:
    """One faulty service does not hide the others, nor the sections beside it."""
    ground = _ground("services: {a: {mode: no}, b: {mode: 'off'}}\nlog: {format: json}\n")
    form, lost = checked(FileForm, ground, parts=PARTS)
    assert form is not None
    assert lost == {("services", "a")}
    assert list(form.services) == ["b"]
    assert form.log.format == "json"


def test_a_section_with_mistakes_is_left_out_whole() -> None:
    """What is not a service is lost by section."""
    form, lost = checked(FileForm, _ground("log: {format: 5}\negress: {ports: [443]}\n"), parts=PARTS)
    assert form is not None
    assert lost == {("log",)}
    assert form.egress.ports == [443]


def test_a_spoilt_value_takes_its_part_along_without_a_word() -> None:
    """A variable that is not set was reported already."""
    ground = _ground("services: {a: {upstream: x}, b: {}}")
    ground.spoil(("services", "a", "upstream"))
    form, lost = checked(FileForm, ground, parts=PARTS)
    assert form is not None
    assert (list(form.services), lost, ground.findings.mistakes) == (["b"], {("services", "a")}, [])


def test_a_tree_that_is_no_mapping_has_no_form() -> None:
    """There is nothing to stand on."""
    ground = _ground("- a\n")
    assert checked(FileForm, ground) == (None, set())
    assert [mistake.message for mistake in ground.findings.mistakes] == ["must be a mapping"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mode: [off]", "f:1:7: mode: must be one of enforce, observe, off"),
        ("llm: 1", "f:1:6: llm: must be true or false"),
        ("hosts: 5", "f:1:8: hosts: must be a list"),
        ("hosts: [5]", "f:1:9: hosts[0]: must be text"),
        ("shape: ''", "f:1:8: shape: must be one of openai, anthropic, google, plain"),
        ("token_margin: .nan", "f:1:15: token_margin: must be a number"),
        ("token_margin: 1e999", "f:1:15: token_margin: must be a number"),
        ("token_margin: 0.5", "f:1:15: token_margin: must be at least 1"),
        ("base_path: v1", "f:1:12: base_path: must look like ^(/[A-Za-z0-9._-]+)*$"),
        ("parts: {a: {}}", "f:1:12: parts.a: needs endpoints"),
        ("keys: 5", "f:1:7: keys: must be a mapping"),
        ("keys: [5]", "f:1:8: keys[0]: must be a mapping"),
        ("keys: {env: ''}", "f:1:13: keys.env: must not be empty"),
        ("keys: [{name: a, evn: B}]", "f:1:18: keys[0].evn: unknown key (did you mean 'env'?)"),
        ("costMaping: {}", "f:1:1: costMaping: unknown key (did you mean 'costMapping'?)"),
        ("cost_mapping: {}", "f:1:1: cost_mapping: unknown key (did you mean 'costMapping'?)"),
        (
            "limits: [{capacity: 5, refilRate: 1}]",
            "f:1:24: limits[0].refilRate: unknown key (did you mean 'refillRate'?)",
        ),
    ],
)
def test_each_kind_of_mistake_is_told_in_our_words(text: str, told: str) -> None:
    """Place, path and a sentence, without pydantic's own."""
    assert told in _told(ServiceForm, text)
