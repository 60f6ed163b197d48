"""A tree against its form: every mistake of shape in our own words, at its place, with the nearest known word.

pydantic finds them; its own sentences are replaced, because some quote what was written.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .formtypes import NAME, SHA256, STATUS
from .ground import Ground, Loc
from .mistakes import did_you_mean

_PATTERNS = {
    NAME: "must be a name: at most 64 letters, digits and . _ -, a letter or digit first",
    SHA256: "must be 64 hexadecimal digits",
    STATUS: "must be the status of an error: 400 to 599",
}

F = TypeVar("F", bound=BaseModel)

_WORDS = {
    "missing": "is required",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "too_short": "must not be empty",
}


def checked(
    form: type[F], ground: Ground, at: Loc = (), *, parts: tuple[Loc, ...] = ((),)
) -> tuple[F | None, set[Loc]]:
    """The form of the whole tree, less the parts that have mistakes; and which parts those are.

    `parts` lists the places that may be left out one by one (the last element of each `()` means any key), so that the
    rest is still looked at for what it means. None when nothing is left to stand on.
    """
    data = ground.root.plainly()
    lost = {part for spoilt in ground.spoilt if (part := _part_of(spoilt, parts))}
    for part in lost:
        _remove(data, part)
    try:
        return form.model_validate(data), lost
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=True)
    for detail in found:
        _report(form, ground, detail)
    broken = {_part_of(_known(data, detail["loc"]), parts) for detail in found}
    if () in broken:
        return None, lost
    for part in broken:
        _remove(data, part)
    try:
        return form.model_validate(data), lost | broken
    except ValidationError:  # what is left lacks what was taken out: nothing new to say
        return None, lost | broken


def _part_of(loc: Loc, parts: tuple[Loc, ...]) -> Loc:
    """The longest part that holds the place: `("services", "x")` for anything inside x, else the section."""
    for part in sorted(parts, key=len, reverse=True):
        if len(loc) > len(part) and loc[: len(part)] == part:
            return loc[: len(part) + 1]
    return ()


def _known(data: object, loc: tuple[int | str, ...]) -> Loc:
    """The steps that stand in the text: pydantic adds the names of union members."""
    kept: list[int | str] = []
    for step in loc:
        if isinstance(data, dict):
            inside = step in data
        else:
            inside = isinstance(data, list) and isinstance(step, int) and step < len(data)
        if inside:
            data = data[step]  # type: ignore[index]  # both indexes were looked at just above
            kept.append(step)
    return tuple(kept)


def _remove(data: object, loc: Loc) -> None:
    for step in loc[:-1]:
        if not isinstance(data, dict) or step not in data:
            return
        data = data[step]
    if isinstance(data, dict):
        data.pop(loc[-1], None)


def _report(form: type[BaseModel], ground: Ground, detail: ErrorDetails) -> None:
    loc, kind = detail["loc"], detail["type"]
    if kind == "extra_forbidden":
        known = _fields(form, loc[:-1])
        ground.wrong(loc, f"unknown key{did_you_mean(loc[-1], known)}", at_key=True)
    elif kind == "missing":
        ground.wrong(loc[:-1], f"needs {loc[-1]}")
    elif kind == "literal_error":
        choices = _choices(form, loc) or [detail["ctx"]["expected"].strip("'")]
        listed = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
        ground.wrong(loc, f"must be {listed}{did_you_mean(detail['input'], choices)}", at_key=loc[-1:] == ("[key]",))
    elif loc[-1:] == ("[key]",):
        ground.wrong(loc[:-1], _PATTERNS.get(detail.get("ctx", {}).get("pattern", NAME), _PATTERNS[NAME]), at_key=True)
    else:
        ground.wrong(loc, _sentence(kind, detail))


def _sentence(kind: str, detail: ErrorDetails) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    bounds: Mapping[str, Any] = detail.get("ctx", {})
    for name, words in (("ge", "at least"), ("gt", "greater than"), ("le", "at most"), ("lt", "less than")):
        if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than") and name in bounds:
            bound = bounds[name]
            return f"must be {words} {int(bound) if bound == int(bound) else bound}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(bounds["pattern"], f"must look like {bounds['pattern']}")
    if kind in ("spelling", "one_of", "pair"):  # our own sentences
        return str(detail["msg"])
    return "has the wrong form"


def _choices(form: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for annotation in _descend(form, loc):
        if get_origin(annotation) is Literal:
            return [str(choice) for choice in get_args(annotation)]
    return []


def _fields(form: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    return [
        field.alias or name
        for annotation in _descend(form, loc)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel)
        for name, field in annotation.model_fields.items()
    ]


def _descend(annotation: Any, loc: tuple[int | str, ...]) -> Iterator[Any]:
    """The types that may stand at a place of the form; names of union members are passed over."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _descend(args[0], loc)
    elif origin in (Union, types.UnionType):
        for member in args:
            yield from _descend(member, loc)
    elif not loc:
        yield annotation
    elif loc[0] in ("text", "list", "mapping") and not (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    ):
        yield from _descend(annotation, loc[1:])
    elif origin is dict:
        yield from _descend(args[0] if loc[1:] == ("[key]",) else args[1], () if loc[1:] == ("[key]",) else loc[1:])
    elif origin is list:
        yield from _descend(args[0], loc[1:] if isinstance(loc[0], int) else loc)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _descend_model(annotation, loc)


def _descend_model(form: type[BaseModel], loc: tuple[int | str, ...]) -> Iterator[Any]:
    if loc[0] in ("list", "mapping"):
        yield from _descend(form, loc[1:])
    for name, field in form.model_fields.items():
        if loc[0] == (field.alias or name):
            yield from _descend(field.annotation, loc[1:])
