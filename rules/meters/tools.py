"""What the description of tools and schemas adds to the input.

Law: OpenAI publishes no formula. Functions are counted by the cookbook's num_tokens_for_tools, which is exact for its
samples (provider-facts 2.2); nested properties count like outer ones, and texts it does not speak of count whole.
Everything else counts as its JSON text.
"""

from __future__ import annotations

from .tokens import Counter

_SECTION = 3
_PROPERTY = 3
_ENUM = -3
_ENUM_ITEM = 3
_END = 12
_UNDER = frozenset(
    (
        *("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "items", "prefixItems", "contains"),
        *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    )
)
"""Keywords whose value is a schema, or a list of them."""
_NAMED_UNDER = frozenset(("$defs", "definitions", "patternProperties", "dependentSchemas"))
"""Keywords whose value names schemas."""
_OF_PROPERTY = frozenset(("type", "description", "enum"))


def count_tools(tools: object, counter: Counter, *, opening: int) -> None:
    """Count a `tools` or `functions` list of chat completions or responses; `opening` is the overhead per function.

    Takes `{type: function, function: {…}}`, the flat form of responses, and the bare form of the older `functions`.
    """
    if not isinstance(tools, list):
        return
    counter.seen_all = counter.seen_all and not tools
    functions = 0
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        inner = tool.get("function")
        function = inner if isinstance(inner, dict) else tool
        if tool.get("type", "function") != "function":
            counter.json(tool)
            continue
        functions += 1
        counter.add(opening)
        counter.text(f"{_written(function.get('name'))}:{_written(function.get('description'))}")
        _count_schema(function.get("parameters"), counter)
    if functions:
        counter.add(_END)


def count_schema(place: object, counter: Counter) -> None:
    """Count a structured-output schema (`response_format`, `text.format`): it is put into the prompt (2.2), and so are
    its name and description. What brings it there is not published, so what is written counts whole."""
    if isinstance(place, dict):
        inner = place.get("json_schema")
        form = inner if isinstance(inner, dict) else place
        if form.get("schema") is not None:
            counter.seen_all = False
            counter.json({field: form[field] for field in ("name", "description", "schema") if field in form})


def _count_schema(outer: object, counter: Counter) -> None:
    """Count a schema and those inside it."""
    waiting = [(outer, False)]  # True: it is a property, whose type, description and choices were counted
    while waiting:
        schema, counted = waiting.pop()
        if isinstance(schema, list):
            waiting.extend((one, False) for one in schema)
        if not isinstance(schema, dict):
            continue
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        if known:
            counter.add(_SECTION)
        for name, value in known.items():
            _count_property(name, value, counter)
            waiting.append((value, True))
        for keyword, value in schema.items():
            if keyword in _UNDER:
                waiting.append((value, False))
            elif keyword in _NAMED_UNDER and isinstance(value, dict):
                waiting.extend((one, False) for one in value.values())
            elif keyword == "required" and isinstance(value, list):
                counter.text(" ".join(name for name in value if isinstance(name, str) and name not in known))
            elif value is not known and keyword != "type" and not (counted and keyword in _OF_PROPERTY):
                _count_rest(value, counter)


def _count_rest(value: object, counter: Counter) -> None:
    if isinstance(value, str):
        counter.text(value)
    elif isinstance(value, list | dict) and value:
        counter.json(value)


def _count_property(name: str, value: object, counter: Counter) -> None:
    counter.add(_PROPERTY)
    if not isinstance(value, dict):
        counter.text(name)
        return
    choices = value.get("enum")
    if isinstance(choices, list) and choices:
        counter.add(_ENUM + _ENUM_ITEM * len(choices))
        for choice in choices:
            counter.text(choice)
    kind = value.get("type")
    if isinstance(kind, list):
        kind = "|".join(_written(one) for one in kind)
    counter.text(f"{name}:{_written(kind)}:{_written(value.get('description'))}")


def _written(value: object) -> str:
    """A text without its final full stop, as the cookbook counts it."""
    return value.removesuffix(".") if isinstance(value, str) else ""
