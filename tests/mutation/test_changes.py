"""tests/mutation: what is changed in a Lua file, and what is left alone."""

from __future__ import annotations

import lupa.lua51
import pytest

from rules import gate

from . import known
from .changes import mutants
from .lua import parts


def changes(text: str) -> list[tuple[str, str]]:
    """Before and after of every change."""
    return [(mutant.before, mutant.after) for mutant in mutants("f", text)]


def test_operators_literals_and_statements_are_changed_one_at_a_time() -> None:
    """A comparison, a number either way, a sum, an assignment, a condition and a return."""
    assert changes("local function f(a)\n  if a < 10 then\n    a = a + b\n  end\n  return a\nend") == [
        ("if a < 10", "if not (a < 10)"),
        ("if a < 10", "if true"),
        ("if a < 10", "if false"),
        ("if a < 10", "if a <= 10"),
        ("if a < 10", "if a < 11"),
        ("if a < 10", "if a < 9"),
        ("a = a + b", "(nothing)"),
        ("a = a + b", "a = a - b"),
        ("return a", "(nothing)"),
    ]


def test_comments_and_strings_are_left_alone() -> None:
    """Whatever stands in them."""
    assert changes('local a = "x < 1" -- not true\nlocal b = [[ 1 + 1 ]] --[[ 2\n3 ]]') == []


def test_roundings_and_bounds_are_swapped_in_calls_by_any_name() -> None:
    """Through `math`, whether or not the file has a local name for the other."""
    assert changes("local floor = math.floor\nlocal a = floor(b)\nlocal c = math.min(a, b)") == [
        ("local a = floor(b)", "local a = math.ceil(b)"),
        ("local c = math.min(a, b)", "local c = math.max(a, b)"),
    ]


def test_logic_is_changed() -> None:
    """and, or, not, true, false and a sign; a subtraction is no sign."""
    assert changes("local a = not b and true or -c - d") == [
        ("local a = not b and true or -c - d", "local a = b and true or -c - d"),
        ("local a = not b and true or -c - d", "local a = not b or true or -c - d"),
        ("local a = not b and true or -c - d", "local a = not b and false or -c - d"),
        ("local a = not b and true or -c - d", "local a = not b and true and -c - d"),
        ("local a = not b and true or -c - d", "local a = not b and true or c - d"),
        ("local a = not b and true or -c - d", "local a = not b and true or -c + d"),
    ]


def test_a_call_is_deleted_whole_and_its_function_body_is_changed_too() -> None:
    """A statement of several lines is one change; what is in its function is a change of its own."""
    assert changes("sort(t, function(a, b)\n  return a > b\nend)") == [
        ("sort(t, function(a, b) return a > b end)", "(nothing)"),
        ("return a > b", "(nothing)"),
        ("return a > b", "return a >= b"),
    ]


def test_a_change_is_named_by_its_function_wherever_that_stands() -> None:
    """Lines above it do not matter."""
    text = "function a.b()\n  c()\nend"
    (before,), (after,) = mutants("f", text), mutants("f", "\n\n\n" + text)
    assert before.identity == after.identity == ("f", "a.b", "c()", "(nothing)")
    assert before.lines != after.lines


@pytest.mark.parametrize("name", sorted({*gate.REDIS_FILES, *gate.TABLES_FILES}))
def test_every_change_of_the_gate_loads(name: str) -> None:
    """A mutant that is no Lua would count as killed and show nothing."""
    lua = lupa.lua51.LuaRuntime()
    text = gate.text(name)
    assert parts(text) or name == "this"
    for mutant in mutants(name, text):
        lua.compile(mutant.text)


def test_a_known_survivor_has_a_reason() -> None:
    """Several may share one; without it, the list is no list."""
    text = "# head\n\nf g.h\n- a = 1\n+ a = 2\n- b = 1\n+ b = 2\nbecause\n"
    assert known.read(text) == {("f", "g.h", "a = 1", "a = 2"): "because", ("f", "g.h", "b = 1", "b = 2"): "because"}
    with pytest.raises(ValueError, match="reason"):
        known.read("f g.h\n- a = 1\n+ a = 2\n")
