"""Pools: from every source, with names and groups."""

from __future__ import annotations

import pytest

from rules.keys import key_id
from rules.mistakes import ConfigInvalid
from rules.policy import Key

from .given import parsed

ENVIRON = {"LIST": " sk-1 ,sk-2,\n", "ONE": "sk-1", "OPENAI_API_KEY": "sk-usual"}
FILES = {
    "lines": "# ours\nsk-3\n\nsk-4,sk-5\n",
    "keys/alice": "sk-6\n",
    "keys/bob": "sk-7",
    "bad/a b": "sk-8",
}


def _keys(keys: str, more: str = "") -> tuple[Key, ...]:
    text = f"services: {{openai: {{keys: {keys}}}}}\n{more}"
    return parsed(text, environ=ENVIRON, files=FILES).policy.services["openai"].keys


def test_an_id_is_a_name_and_a_hash() -> None:
    """The id tells keys apart without telling them."""
    assert key_id("env-1", "sk-1") == f"env-1-{key_id('x', 'sk-1')[-8:]}"
    assert key_id("a", "sk-1") != key_id("a", "sk-2")
    assert "sk-1" not in repr(Key(id=key_id("a", "sk-1"), secret="sk-1", group="g"))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("{env: LIST}", [("env-1", "sk-1", "default"), ("env-2", "sk-2", "default")]),
        (
            "{file: lines}",
            [("file-1", "sk-3", "default"), ("file-2", "sk-4", "default"), ("file-3", "sk-5", "default")],
        ),
        ("{dir: keys, group: org}", [("alice", "sk-6", "org"), ("bob", "sk-7", "org")]),
        ("{dir: keys/}", [("alice", "sk-6", "default"), ("bob", "sk-7", "default")]),
        (
            "[{name: a, env: ONE, group: x}, {name: b, file: keys/bob, group: y}]",
            [("a", "sk-1", "x"), ("b", "sk-7", "y")],
        ),
        ("caller", []),
    ],
)
def test_a_pool_comes_from_each_source(keys: str, expected: list[tuple[str, str, str]]) -> None:
    """Keys keep their order, have names, and share one group unless another is written."""
    assert [(key.id.rpartition("-")[0], key.secret, key.group) for key in _keys(keys)] == expected


def test_keys_are_reserved_for_tiers() -> None:
    """`reserve_for` takes one tier or several, of a source or of a key."""
    tiers = "tiers: {gold: {weight: 2}, iron: {weight: 1}}"
    assert _keys("{env: ONE, reserve_for: [gold, iron]}", tiers)[0].reserve_for == ("gold", "iron")
    assert _keys("[{name: a, env: ONE, reserve_for: gold}]", tiers)[0].reserve_for == ("gold",)


def test_the_same_key_twice_is_one_key_and_advice() -> None:
    """A repeated secret in one group is kept once, so that nothing counts it double."""
    result = parsed("services: {openai: {keys: {env: TWICE}}}", environ={"TWICE": "sk-1,sk-1"})
    assert len(result.policy.services["openai"].keys) == 1
    assert [one.message for one in result.advice] == [f"key env-2 is the same as {key_id('env-1', 'sk-1')}"]


def test_a_file_whose_name_is_no_name_is_a_mistake() -> None:
    """Names of files become names of keys, so they must be safe."""
    with pytest.raises(ConfigInvalid, match="holds a file whose name is no key name"):
        _keys("{dir: bad}")


def test_saying_nothing_takes_the_usual_variable() -> None:
    """A file that does not speak of keys leaves the pool of the environment; an empty variable is none."""
    services = parsed("services: {openai: {mode: observe}}", environ=ENVIRON).policy.services
    assert [key.secret for key in services["openai"].keys] == ["sk-usual"]
    assert not parsed("", environ={"OPENAI_API_KEY": " "}).policy.services["openai"].pooled
