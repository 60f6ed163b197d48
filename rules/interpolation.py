"""`${NAME}`, `${NAME:-default}` and `${file:PATH}` inside the values of a tree; `$${` stands for `${` itself.

A value is replaced after the YAML has been read, so what a variable holds can never become structure. In a plain scalar
the result takes the type it spells (`requests: ${RPM:-500}` is a number); in quotes it stays text.
"""

from __future__ import annotations

import re

from .ground import Ground
from .sources import Sources, SourceUnreadable, place, variable
from .yamlmarks import Node, spelling

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)
MAX_VALUE = 64 * 1024  # what one value may grow to; a key or a PEM bundle path is far below


def interpolate(root: Node, sources: Sources, ground: Ground) -> None:
    """Replace in place. What cannot be replaced is a mistake on the ground, and its value is taken out of the tree's
    checks (`Ground.spoilt`)."""
    todo: list[tuple[tuple[str | int, ...], Node]] = [((), root)]
    seen: set[int] = set()
    while todo:
        loc, node = todo.pop()
        if id(node) in seen:  # an alias: replaced already
            continue
        seen.add(id(node))
        if node.kind == "scalar" and "${" in node.text:
            _replace(node, loc, sources, ground)
        todo.extend(((*loc, step), child) for step, child in node.children())


def _replace(node: Node, loc: tuple[str | int, ...], sources: Sources, ground: Ground) -> None:
    problems: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        text, problem = ("", "${ is never closed") if match[1] is None else _looked_up(match[1], sources)
        if problem:
            problems.append(problem)
        return text

    replaced = _TOKEN.sub(value, node.text)
    if not problems and len(replaced) > MAX_VALUE:
        problems.append("becomes larger than 64 KiB")
    if problems:
        for problem in problems:
            ground.wrong(loc, problem)
        ground.spoil(loc)
        replaced = ""
    node.text = replaced
    node.value = spelling(replaced) if node.plain and not problems else replaced


def _looked_up(expression: str, sources: Sources) -> tuple[str, str]:
    """The value, or why there is none."""
    if expression.startswith("file:"):
        path = expression.removeprefix("file:")
        try:
            return sources.read(path).rstrip("\r\n"), ""
        except SourceUnreadable as error:
            return "", f"cannot read {place(path)}: {error}"
    match = _VARIABLE.match(expression)
    if match is None:
        return "", "${…} needs a variable's name, or file: and a path"
    name, default = match[1], match[2]
    found = sources.environ.get(name)
    if default is not None:
        return found or default, ""
    if found is None:
        return (
            "",
            f"environment variable {variable(name)} is not set (${{{variable(name)}:-default}} gives it a default)",
        )
    return found, ""
