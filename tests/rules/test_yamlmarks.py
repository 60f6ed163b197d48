"""Text to a tree with marks: types, places, bounds."""

from __future__ import annotations

import pytest

from rules.mistakes import ConfigInvalid, Mistake
from rules.yamlmarks import MAX_DEPTH, MAX_NODES, MAX_TEXT, compose, locate, spelling


def _plain(text: str) -> object:
    mistakes: list[Mistake] = []
    tree = compose(text, "f", mistakes)
    assert mistakes == []
    return tree.plainly()


def _refused(text: str) -> str:
    with pytest.raises(ConfigInvalid) as refused:
        compose(text, "f", [])
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1_000", 1000),
        ("0", 0),
        ("0755", "0755"),
        ("5.5", 5.5),
        (".5", 0.5),
        ("2e6", 2e6),
        ("true", True),
        ("False", False),
        ("off", "off"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("~", None),
        ("", None),
        ("null", None),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("0x10", "0x10"),
        ("9" * 30, "9" * 30),
        ("2024-01-01", "2024-01-01"),
        ("5 ", "5 "),
    ],
)
def test_a_plain_scalar_has_the_type_it_spells(text: str, value: object) -> None:
    """The core schema of YAML 1.2, without what its readers disagree about."""
    assert spelling(text) == value
    assert type(spelling(text)) is type(value)


def test_quotes_make_text() -> None:
    """What stands in quotes, or is a block, is text whatever it spells."""
    assert _plain("a: '5'\nb: \"true\"\nc: |\n  7\n") == {"a": "5", "b": "true", "c": "7\n"}


def test_a_key_without_a_value_is_not_given() -> None:
    """A section whose lines are all commented out is no mistake."""
    assert _plain("services:\n  # openai: {}\nstore: memory\n") == {"store": "memory"}


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_text_is_an_empty_mapping(text: str) -> None:
    """Nothing written is nothing asked for."""
    assert _plain(text) in ({}, None)


def test_merged_mappings_stay_below_own_entries() -> None:
    """`<<` brings entries of other mappings, which the mapping's own override wherever they stand."""
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 9}\nd: {x: 8, <<: *a}\n"
    assert _plain(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"y": 3, "z": 4},
        "c": {"x": 9, "y": 2, "z": 4},
        "d": {"x": 8, "y": 2},
    }
    assert "<< needs a mapping" in _refused("a: {<<: 5}")


def test_places_are_those_of_the_text() -> None:
    """Values, keys and items are found at their line and column, counted from 1."""
    tree = compose("services:\n  openai:\n    limits:\n      - {requests: 5}\n", "f", [])
    assert locate(tree, ("services", "openai", "limits", 0, "requests")) == (
        4,
        20,
        "services.openai.limits[0].requests",
    )
    assert locate(tree, ("services", "openai"), at_key=True) == (2, 3, "services.openai")
    assert locate(tree, ("services", "openai", "list", "limits", 3)) == (4, 7, "services.openai.limits")
    assert locate(tree, ()) == (1, 1, "")


def test_a_key_twice_is_told_and_the_rest_is_read() -> None:
    """The first value stands, the second is a mistake with the line of the first."""
    mistakes: list[Mistake] = []
    tree = compose("a: 1\nb: {c: 2,\n  c: 3}\na: 4\n", "f", mistakes)
    assert tree.plainly() == {"a": 1, "b": {"c": 2}}
    assert [str(mistake) for mistake in mistakes] == [
        "f:3:3: b.c: stands here twice (first in line 2)",
        "f:4:1: a: stands here twice (first in line 1)",
    ]


def test_depth_is_bounded_also_through_aliases() -> None:
    """32 levels are read, 33 are not, and aliases cannot stack them."""
    assert _plain("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert "deeper" in _refused("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))
    assert "deeper" in _refused(chain)
    assert "deeper" in _refused("[" * 1_000_000)


def test_size_is_bounded_also_through_aliases() -> None:
    """The number of values counts what aliases stand for, so a bomb is refused before it is built."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 20)
    )
    assert f"more than {MAX_NODES} values" in _refused(bomb)
    assert "larger than 1 MiB" in _refused("# " + "é" * (MAX_TEXT // 2))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: !!python/object:os.system x", "f:1:4: a: tags are not allowed"),
        ("a: !mine x", "f:1:4: a: tags are not allowed"),
        ("a: !!int 5", "f:1:4: a: tags are not allowed"),
        ("a: !x!y z", "f:1:4: is not YAML: found an undefined tag handle"),
        ("a:\n  \x00", "f:2:3: holds a character that YAML does not allow"),
        ("a: \ud800", "f:1:4: holds a character that YAML does not allow"),
        ('a: "\\uD800"', "f:1:4: a: holds half a surrogate pair"),
        ('a: "\\UFFFFFFFF"', "is not YAML: a number is out of range"),
        ("%YAML " + "9" * 5000 + ".1\n---\n", "is not YAML: a number is out of range"),
        ("a: [1, 2", "is not YAML: expected ',' or ']'"),
        ("[a, b]: 1", "a key must be text"),
        ("*a : 1", "alias *a stands for nothing"),
        ("a: &a [*a]", "f:1:8: a[0]: alias *a holds itself"),
        ("a: 1\n---\nb: 2\n", "holds more than one document"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_place(text: str, complaint: str) -> None:
    """Tags, broken characters, loops and further documents stop the reading."""
    assert complaint in _refused(text)


def test_str_tags_and_the_bare_mark_are_text() -> None:
    """`!!str 5` and `! 5` are the ways YAML has to say text."""
    assert _plain("a: !!str 5\nb: ! 6\n") == {"a": "5", "b": "6"}
