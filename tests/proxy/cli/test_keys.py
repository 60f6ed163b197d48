"""proxy/cli/keys.py against a real process."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.headgate_process import finished, serving
from tests.redis_server import redis_server

CONFIG = """
services:
  openai:
    keys:
      - {name: a, env: KEY_A, group: one}
      - {name: b, env: KEY_B, group: two, reserve_for: [gold]}
tiers: {gold: {weight: 2}}
"""
KEYS = {"KEY_A": "sk-canary-aaaa-1111", "KEY_B": "sk-canary-bbbb-2222"}


def test_keys_are_listed_turned_off_and_on(tmp_path: Path) -> None:
    """In a table for people and in JSON for programs; no key is shown."""
    with serving(tmp_path, CONFIG, more=KEYS, canaries=list(KEYS.values())) as headgate:

        def keys(*arguments: str) -> tuple[int, str]:
            done = finished(tmp_path, "keys", *arguments, "--url", headgate.admin)
            return done.returncode, done.stdout + done.stderr

        code, table = keys("list")
        assert code == 0
        assert [line.split()[3] for line in table.splitlines()] == ["STATE", "active", "active"]
        assert "reserved for gold" in table
        code, said = keys("off", "a")
        assert (code, "off" in said, "turned off by an operator" in said) == (0, True, True)
        states = [key["state"] for key in json.loads(keys("list", "--json")[1])["keys"]]
        assert states == ["off", "active"]
        headgate.until(lambda: 'state="off"} 1.0' in metrics(headgate.admin))
        assert keys("on", "a", "--service", "openai")[0] == 0
        code, said = keys("off", "nobody")
        assert (code, said) == (1, "headgate: no pool has a key of this name\n")
        assert not any(secret in table for secret in KEYS.values())


def test_a_key_turned_off_stays_off_over_a_restart_where_there_is_a_store(tmp_path: Path, redis_url: str) -> None:
    """And a second replica that knew nothing of it lists it too."""
    for turn in (["off", "a"], None):
        with serving(tmp_path, CONFIG, "--store", redis_url, more=KEYS, canaries=list(KEYS.values())) as headgate:
            if turn:
                assert finished(tmp_path, "keys", *turn, "--url", headgate.admin).returncode == 0
            listed = finished(tmp_path, "keys", "list", "--json", "--url", headgate.admin)
            assert [key["state"] for key in json.loads(listed.stdout)["keys"]] == ["off", "active"]


def test_nobody_there_is_exit_code_5(tmp_path: Path) -> None:
    """In words, and not as an error of ours."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = finished(tmp_path, "keys", "list", "--url", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert done.returncode == 5
    assert "no Headgate answers" in done.stderr


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis of the test's own."""

    with redis_server() as server:
        yield server.url


def metrics(admin: str) -> str:
    """What /metrics says."""

    with urllib.request.urlopen(f"{admin}/metrics", timeout=30) as reply:
        text: str = reply.read().decode()
        return text
