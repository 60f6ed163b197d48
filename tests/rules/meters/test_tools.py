from typing import Any

import pytest

from rules.meters.tokens import Counter
from rules.meters.tools import count_schema, count_tools


def counted(tools: Any, opening: int = 7) -> int:
    """All tokens of a list of tools."""
    counter = Counter("o200k_base")
    count_tools(tools, counter, opening=opening)
    return counter.text_tokens + counter.fixed


def test_nested_properties_count() -> None:
    """Properties of inner objects, of items and of alternatives count like outer ones."""
    flat = {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}}
    plain = counted([{"type": "function", "name": "f", "parameters": flat}])
    for nested in (
        {"type": "object", "properties": {"x": flat}},
        {"type": "object", "properties": {"x": {"type": "array", "items": flat}}},
        {"type": "object", "properties": {"x": {"anyOf": [{"type": "null"}, flat]}}},
        {"type": "object", "properties": {"x": {"$ref": "#/$defs/f"}}, "$defs": {"f": flat}},
    ):
        assert counted([{"type": "function", "name": "f", "parameters": nested}]) > plain


LONG = "Opens when the water is there. " * 100
WITH_A_TEXT: dict[str, Any] = {
    "of itself": {"type": "object", "description": LONG},
    "of items": {"properties": {"a": {"type": "array", "items": {"type": "string", "description": LONG}}}},
    "in a choice of items": {"properties": {"a": {"type": "array", "items": {"enum": [LONG]}}}},
    "in a constant": {"properties": {"a": {"const": LONG}}},
    "in a default": {"properties": {"a": {"type": "object", "default": {"b": LONG}}}},
    "in examples": {"properties": {"a": {"examples": [LONG]}}},
    "in a pattern": {"properties": {"a": {"type": "string", "pattern": LONG}}},
    "of other properties": {"additionalProperties": {"type": "string", "description": LONG}},
    "of properties by pattern": {"patternProperties": {"x": {"description": LONG}}},
    "in a name that is no property's": {"properties": {"a": {}}, "required": ["a", LONG]},
    "in a list of items": {"properties": {"a": {"prefixItems": [{"description": LONG}]}}},
    "under a keyword that nobody knows": {"x-note": [LONG]},
}


@pytest.mark.parametrize("where", WITH_A_TEXT)
def test_every_text_of_a_schema_counts(where: str) -> None:
    """Once, wherever it stands."""
    counter = Counter("o200k_base")
    counter.text(LONG)
    found = counted([{"type": "function", "name": "f", "parameters": WITH_A_TEXT[where]}])
    assert counter.text_tokens * 0.99 < found < counter.text_tokens * 1.01 + 40


def test_three_forms_agree() -> None:
    """The wrapped form of chat, the flat form of responses and the older bare form count alike."""
    function = {"name": "f", "description": "Does it.", "parameters": {"properties": {"a": {"enum": ["x", "y"]}}}}
    wrapped = counted([{"type": "function", "function": function}])
    assert wrapped == counted([{"type": "function", **function}]) == counted([function])


def test_other_tools() -> None:
    """A tool that is no function counts as its JSON text."""
    assert counted([{"type": "web_search", "filters": {"allowed_domains": ["example.com"]}}]) > 5


@pytest.mark.parametrize(
    "tools", [None, 3, {}, [], [None, 3], [{}], [{"function": {"name": 3, "parameters": [1, {"properties": 7}]}}]]
)
def test_odd_shapes(tools: object) -> None:
    """Tools of the wrong shape count little and raise nothing."""
    assert counted(tools) < 25


@pytest.mark.parametrize(
    ("place", "some"),
    [
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}, True),
        ({"type": "json_schema", "name": "x", "schema": {"type": "object"}}, True),
        ({"type": "json_object"}, False),
        (None, False),
    ],
)
def test_schemas(place: object, some: bool) -> None:
    """The schema of a structured output counts, in both forms."""
    counter = Counter("o200k_base")
    count_schema(place, counter)
    assert (counter.text_tokens > 0) is some
