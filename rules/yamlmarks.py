"""YAML text -> a tree that knows where everything stands.

Built from PyYAML's events with a stack of our own, so that depth, aliases and size are bounded while reading (threats
J3) and no Python object is ever constructed. Plain scalars follow the core schema of YAML 1.2, not 1.1: `off`, `no`
and `12:30` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import yaml
from yaml import events

from .mistakes import ConfigInvalid, Mistake, shown, spelled

MAX_TEXT = 1024 * 1024  # bytes; an operator's file is a few KiB (brief of threats J3)
MAX_DEPTH = 32
MAX_NODES = 50_000  # after aliases are followed: a bomb is refused, 1,000 services of 50 values fit

_NULL = re.compile(r"(?:~|null|Null|NULL)?\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,18})\Z")
_EXPONENT = r"[eE][-+]?[0-9]{1,3}"
_FLOAT = re.compile(
    rf"[-+]?(?:(?:[0-9]{{1,18}}\.[0-9]{{0,24}}|\.[0-9]{{1,24}})(?:{_EXPONENT})?|[0-9]{{1,18}}{_EXPONENT})\Z"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TAGS = {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """A scalar (`value`), a list (`items`) or a mapping (`entries`), with its line and column from 1."""

    line: int
    column: int
    kind: str
    text: str = ""
    plain: bool = False
    """A scalar without quotes: its type comes from its spelling."""
    value: Scalar = None
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Node] = field(default_factory=dict)
    key_marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1
    """Values in it, aliases followed."""
    height: int = 0
    """Collections below it, aliases followed; a scalar has none."""

    def plainly(self) -> object:
        """Lists, dicts and scalars; a key without a value counts as not given."""
        if self.kind == "map":
            return {key: child.plainly() for key, child in self.entries.items() if not child.absent}
        if self.kind == "seq":
            return [child.plainly() for child in self.items]
        return self.value

    @property
    def absent(self) -> bool:
        return self.kind == "scalar" and self.value is None

    def children(self) -> Iterator[tuple[str | int, Node]]:
        yield from self.entries.items()
        yield from enumerate(self.items)


def spelling(text: str) -> Scalar:
    """The value of a plain scalar."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text[0] in "tT"
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text


def locate(root: Node, loc: Sequence[str | int], *, at_key: bool = False) -> tuple[int, int, str]:
    """Line, column and spelled path of a place; steps that do not stand in the text are passed over.

    `at_key` points at the last key itself (an unknown key) rather than at its value.
    """
    node, path = root, list[str | int]()
    key_mark: tuple[int, int] | None = None
    for step in loc:
        if isinstance(step, str) and step in node.entries:
            key_mark = node.key_marks.get(step)
            node = node.entries[step]
        elif isinstance(step, int) and step < len(node.items):
            key_mark = None
            node = node.items[step]
        else:
            continue
        path.append(step)
    line, column = key_mark if at_key and key_mark else (node.line, node.column)
    return line, column, spelled(path)


def compose(text: str, filename: str, mistakes: list[Mistake]) -> Node:
    """The tree of one document; an empty text is an empty mapping.

    Mistakes that leave the rest readable (a key twice) are appended to `mistakes`; one that does not raises
    ConfigInvalid with all of them.
    """
    if len(text) > MAX_TEXT or len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT:
        raise ConfigInvalid([Mistake(filename, 1, 1, "", "is larger than 1 MiB")])
    builder = _Builder(filename, mistakes)
    loader: yaml.SafeLoader | None = None
    where, problem = (1, 1), ""
    try:
        loader = yaml.SafeLoader(text)
        while loader.check_event():
            builder.take(loader.get_event())  # type: ignore[no-untyped-call]
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        problem = "holds a character that YAML does not allow"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = f"is not YAML: {_problem(error)}"
    except (ValueError, OverflowError):
        # PyYAML's scanner lets int() and chr() fail on absurd directives and escapes
        mark = loader.get_mark() if loader is not None else None
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = "is not YAML: a number is out of range"
    finally:
        if loader is not None:
            loader.dispose()
    if problem:
        raise ConfigInvalid([*mistakes, Mistake(filename, *where, "", problem)])
    return builder.root or Node(1, 1, "map")


def _problem(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's own words, unless they quote more of the text than one character."""
    words = error.problem or error.context or "unreadable"
    return "found an undefined tag handle" if "tag handle" in words else words


class _Builder:
    """Events in, one tree out. The stack replaces recursion, so depth is known before anything is built."""

    def __init__(self, filename: str, mistakes: list[Mistake]) -> None:
        self.root: Node | None = None
        self._filename = filename
        self._mistakes = mistakes
        self._stack: list[tuple[Node, str | None]] = []  # open collection, its anchor
        self._keys: list[tuple[str, int, int] | None] = []  # the key that waits for its value, per open collection
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if isinstance(event, events.AliasEvent):
            self._alias(event.anchor or "", place)
        elif isinstance(event, events.NodeEvent):
            self._node(event, place)
        elif isinstance(event, events.CollectionEndEvent):
            node, anchor = self._stack.pop()
            self._keys.pop()
            self._close(node, anchor)
        elif isinstance(event, events.DocumentStartEvent) and self.root is not None:
            raise self._fatal(place, "holds more than one document")

    def _node(self, event: yaml.NodeEvent, place: tuple[int, int]) -> None:
        tag = event.tag  # type: ignore[attr-defined]  # every node event but an alias has one
        if tag not in _TAGS:
            raise self._fatal(place, "tags are not allowed")
        if isinstance(event, events.ScalarEvent):
            if _SURROGATE.search(event.value):
                raise self._fatal(place, "holds half a surrogate pair")
            node = Node(*place, "scalar", text=event.value, plain=event.style is None and tag is None)
            node.value = spelling(event.value) if node.plain else event.value
            self._close(node, event.anchor)
            return
        if len(self._stack) >= MAX_DEPTH:
            raise self._fatal(place, f"is nested deeper than {MAX_DEPTH} levels")
        if self._awaits_key():
            raise self._fatal(place, "a key must be text")
        if event.anchor:
            self._anchors[event.anchor] = None
        kind = "map" if isinstance(event, events.MappingStartEvent) else "seq"
        self._stack.append((Node(*place, kind, height=1), event.anchor))
        self._keys.append(None)

    def _alias(self, anchor: str, place: tuple[int, int]) -> None:
        if anchor not in self._anchors:
            raise self._fatal(place, f"alias *{shown(anchor)} stands for nothing")
        target = self._anchors[anchor]
        if target is None:
            raise self._fatal(place, f"alias *{shown(anchor)} holds itself")
        self._count(target.size, place)
        self._attach(target, place)

    def _close(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        self._count(1, (node.line, node.column))
        self._attach(node, (node.line, node.column))

    def _count(self, more: int, place: tuple[int, int]) -> None:
        self._nodes += more
        if self._nodes > MAX_NODES:
            raise self._fatal(place, f"holds more than {MAX_NODES} values")

    def _awaits_key(self) -> bool:
        return bool(self._stack) and self._stack[-1][0].kind == "map" and self._keys[-1] is None

    def _attach(self, node: Node, place: tuple[int, int]) -> None:
        if not self._stack:
            self.root = node
            return
        if len(self._stack) + node.height > MAX_DEPTH:
            raise self._fatal(place, f"is nested deeper than {MAX_DEPTH} levels")
        parent, waiting = self._stack[-1][0], self._keys[-1]
        if parent.kind == "seq":
            parent.items.append(node)
        elif waiting is None:
            if node.kind != "scalar":
                raise self._fatal(place, "a key must be text")
            self._keys[-1] = (node.text, *place)
            return
        else:
            self._keys[-1] = None
            self._enter(parent, waiting, node)
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)

    def _enter(self, parent: Node, waiting: tuple[str, int, int], node: Node) -> None:
        key, *place = waiting
        if key == "<<":
            self._merge(parent, node)
            return
        if key in parent.key_marks:
            message = f"stands here twice (first in line {parent.key_marks[key][0]})"
            self._mistakes.append(self._mistake((place[0], place[1]), message, key))
            return
        parent.entries[key] = node
        parent.key_marks[key] = (place[0], place[1])

    def _merge(self, parent: Node, node: Node) -> None:
        """YAML's `<<`: entries of other mappings, below the mapping's own."""
        for source in node.items if node.kind == "seq" else [node]:
            if source.kind != "map":
                raise self._fatal((node.line, node.column), "<< needs a mapping")
            for key, child in source.entries.items():
                parent.entries.setdefault(key, child)

    def _mistake(self, place: tuple[int, int], message: str, *last: str) -> Mistake:
        path: list[str | int] = []
        for (node, _), key in zip(self._stack, self._keys, strict=True):
            if node.kind == "seq":
                path.append(len(node.items))
            elif key is not None:
                path.append(key[0])
        return Mistake(self._filename, *place, spelled([*path, *last]), message)

    def _fatal(self, place: tuple[int, int], message: str) -> ConfigInvalid:
        return ConfigInvalid([*self._mistakes, self._mistake(place, message)])
