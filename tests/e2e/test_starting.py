"""Starts that must not succeed say what is wrong, where, and end with the exit code of design 4.4."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.headgate_process import finished, serving
from tests.redis_server import free_port
from tests.upstreams.providers import Providers

from .conftest import CANARIES, POOLED

GOOD = """
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    upstream: {upstream}
"""
KEYED_BY_FILE = """
services:
  openai:
    keys: [{{name: a, file: {file}}}]
"""


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def idle_port() -> int:
    """A port nobody listens on."""
    return free_port()


def _serve(directory: Path, config: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Start with this configuration and wait for the end, which must come by itself."""
    file = directory / "rate-limits.yaml"
    file.write_text(config)
    given = {"--config": file, "--listen": "127.0.0.1:0", "--admin": "127.0.0.1:0", "--state-dir": directory / "state"}
    laid = [str(part) for flag, value in given.items() if flag not in flags for part in (flag, value)]
    done = finished(directory, "serve", *laid, *flags, more=POOLED)
    for printed in (done.stdout, done.stderr):
        assert "Traceback" not in printed, printed
        assert not any(canary in printed for canary in CANARIES)
    return done


def test_a_malformed_config_exits_3_and_names_every_mistake_with_its_place(tmp_path: Path) -> None:
    """Two mistakes in one file: both are told, with line and column, and the exit code is 3."""
    done = _serve(tmp_path, "services:\n  openai:\n    limts: []\n    mode: sometimes\n")
    assert done.returncode == 3
    assert "rate-limits.yaml:3:5" in done.stderr
    assert "limits" in done.stderr, "the spelling that was meant"
    assert "rate-limits.yaml:4:" in done.stderr


def test_text_that_is_no_yaml_exits_3(tmp_path: Path) -> None:
    """A file that does not even parse is told by line."""
    done = _serve(tmp_path, "services: [\n")
    assert done.returncode == 3
    assert "rate-limits.yaml:" in done.stderr


def test_a_config_that_is_not_there_exits_3_and_names_the_path(tmp_path: Path) -> None:
    """A path given and missing is never silently replaced by a default."""
    missing = tmp_path / "nowhere.yaml"
    done = _serve(tmp_path, "", "--config", str(missing))
    assert done.returncode == 3
    assert str(missing) in done.stderr


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
def test_a_port_in_use_is_named(tmp_path: Path, taken_port: int, providers: Providers, flag: str) -> None:
    """The message holds the address that is taken; the exit code is that of a failure."""
    done = _serve(tmp_path, GOOD.format(upstream=providers.plain_openai.url), flag, f"127.0.0.1:{taken_port}")
    assert done.returncode == 1
    assert f"127.0.0.1:{taken_port}" in done.stderr
    assert "in use" in done.stderr


def test_a_redis_that_is_not_there_exits_5_and_names_its_address_without_its_password(
    tmp_path: Path, idle_port: int, providers: Providers
) -> None:
    """Who reads the message knows where to look, and learns no secret."""
    store = f"redis://:{CANARIES[0]}@127.0.0.1:{idle_port}/0"
    done = _serve(tmp_path, GOOD.format(upstream=providers.plain_openai.url), "--store", store)
    assert done.returncode == 5
    assert f"127.0.0.1:{idle_port}" in done.stderr


def test_fallback_serves_without_its_redis_and_says_so(tmp_path: Path, idle_port: int, providers: Providers) -> None:
    """With --fallback the same start serves calls on the embedded gate, and the metric tells."""
    config = GOOD.format(upstream=providers.plain_openai.url)
    store = f"redis://127.0.0.1:{idle_port}/0"
    with serving(tmp_path, config, "--store", store, "--fallback", more=POOLED, canaries=CANARIES) as headgate:
        reply = requests.get(f"{headgate.proxy}/openai/v1/models", timeout=30)
        assert reply.status_code == 200
        assert "headgate_store_degraded 1.0" in requests.get(f"{headgate.admin}/metrics", timeout=30).text
        assert f"127.0.0.1:{idle_port}" in headgate.log


def test_a_ca_key_that_others_may_read_is_refused(tmp_path: Path, providers: Providers) -> None:
    """The key file's name and the mode it should have are told; nothing is served."""
    config = GOOD.format(upstream=providers.plain_openai.url)
    with serving(tmp_path, config, more=POOLED):
        pass
    key = tmp_path / "state" / "ca" / "ca-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    done = _serve(tmp_path, config)
    assert done.returncode == 1
    assert str(key) in done.stderr
    assert "600" in done.stderr
    assert "PRIVATE KEY" not in done.stderr


def test_a_key_file_that_cannot_be_read_is_a_mistake_of_the_config(tmp_path: Path) -> None:
    """A file that is missing, and one that is a directory: exit 3, the path, and where the config names it."""
    for path in (tmp_path / "missing.key", tmp_path):
        done = _serve(tmp_path, KEYED_BY_FILE.format(file=path))
        assert done.returncode == 3
        assert str(path) in done.stderr
        assert "rate-limits.yaml:4:" in done.stderr


def test_listening_to_a_network_without_clients_is_refused(tmp_path: Path, providers: Providers) -> None:
    """Open to everybody by accident is not possible: the start fails and tells the line that allows it."""
    done = _serve(tmp_path, GOOD.format(upstream=providers.plain_openai.url), "--listen", "0.0.0.0:0")
    assert done.returncode == 3
    assert "anonymous: everyone" in done.stderr


def test_an_unknown_flag_exits_2(tmp_path: Path) -> None:
    """A usage error is told apart from a bad configuration."""
    done = finished(tmp_path, "serve", "--lisen", "127.0.0.1:0")
    assert done.returncode == 2
    assert "--listen" in done.stderr
