"""`headgate env`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from rules.policy import PLACEHOLDER

from .headgate import headgate, surroundings


def test_base_urls_are_the_default(tmp_path: Path) -> None:
    """Without options the SDKs of the catalogue are pointed at this machine's default port; no CA is made for that."""
    printed = headgate(tmp_path, "env", "--shell", "json")
    assert (printed.returncode, printed.stderr) == (0, "")
    found = json.loads(printed.stdout)
    assert found["OPENAI_BASE_URL"] == "http://127.0.0.1:8080/openai/v1"
    assert found["OPENAI_API_KEY"] == PLACEHOLDER
    assert found["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8080/anthropic"
    assert list(tmp_path.iterdir()) == []


def test_sh_evaluates_it(tmp_path: Path) -> None:
    """`eval "$(headgate env)"` in a real sh sets the variables for the commands that follow."""
    lines = headgate(tmp_path, "env", "--url", "http://proxy.internal:81").stdout
    script = f'{lines}\nprintf %s "$OPENAI_BASE_URL"'
    said = subprocess.run(["sh", "-c", script], env=surroundings(tmp_path), capture_output=True, text=True, check=True)
    assert said.stdout == "http://proxy.internal:81/openai/v1"


def test_the_url_of_the_environment_is_used(tmp_path: Path) -> None:
    """HEADGATE_URL names the Headgate; --url wins over it."""
    by_variable = headgate(tmp_path, "env", HEADGATE_URL="http://a:1").stdout
    by_flag = headgate(tmp_path, "env", "--url", "http://b:2", HEADGATE_URL="http://a:1").stdout
    assert "OPENAI_BASE_URL=http://a:1/openai/v1" in by_variable
    assert "OPENAI_BASE_URL=http://b:2/openai/v1" in by_flag


def test_proxy_mode_writes_the_files_it_names(tmp_path: Path) -> None:
    """Proxy mode makes the CA and the bundles; every file it names is there."""
    found = json.loads(headgate(tmp_path, "env", "--mode", "proxy", "--shell", "json").stdout)
    assert found["HTTPS_PROXY"] == found["https_proxy"] == "http://127.0.0.1:8080"
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        assert Path(found[name]).is_file()
    assert "OPENAI_BASE_URL" not in found


def test_proxy_mode_for_another_machine_needs_its_certificate(tmp_path: Path) -> None:
    """The CA of this machine is of no use to a worker of another's Headgate: --ca is asked for, and then used."""
    refused = headgate(tmp_path, "env", "--mode", "proxy", "--url", "http://proxy.internal:8080")
    assert refused.returncode == 2
    assert "headgate ca export" in refused.stderr
    exported = tmp_path / "theirs.pem"
    headgate(tmp_path, "ca", "export", "--state-dir", tmp_path / "there", "--out", exported)
    options = [
        "env",
        "--mode",
        "proxy",
        "--shell",
        "json",
        "--url",
        "http://proxy.internal:8080",
        "--ca",
        str(exported),
    ]
    found = json.loads(headgate(tmp_path, *options).stdout)
    assert found["NODE_EXTRA_CA_CERTS"] == str(exported)
    assert exported.read_text().strip() in Path(found["SSL_CERT_FILE"]).read_text()


@pytest.mark.parametrize("url", ["proxy:8080", "https://a:1", "http://name:CANARY@a:1/path"])
def test_a_url_that_is_none_is_a_usage_mistake(tmp_path: Path, url: str) -> None:
    """A URL of another form is exit code 2, and a token in it is not repeated."""
    refused = headgate(tmp_path, "env", "--url", url)
    assert refused.returncode == 2
    assert "looks like http://127.0.0.1:8080" in refused.stderr
    assert "CANARY" not in refused.stderr


OWN = """
services:
  orders:
    hosts: [orders.example.com]
    credential: {write: {header: authorization, prefix: "Bearer "}}
    key_env: [ORDERS_KEY]
    base_url_env: [ORDERS_URL]
    base_path: /v2
"""


def test_a_service_of_the_configuration_is_among_them(tmp_path: Path) -> None:
    """A service that only the operator's file defines is onboarded like the catalogue's."""
    (tmp_path / "own.yaml").write_text(OWN)
    found = json.loads(headgate(tmp_path, "env", "--shell", "json", "--config", tmp_path / "own.yaml").stdout)
    assert found["ORDERS_URL"] == "http://127.0.0.1:8080/orders/v2"
    assert found["ORDERS_KEY"] == PLACEHOLDER
    assert found["OPENAI_BASE_URL"] == "http://127.0.0.1:8080/openai/v1"


def test_a_configuration_that_was_named_must_be_good(tmp_path: Path) -> None:
    """A mistake in the named file is shown with its place, and the exit code is 3."""
    (tmp_path / "bad.yaml").write_text("sevices: {}\n")
    refused = headgate(tmp_path, "env", "--config", tmp_path / "bad.yaml")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert f"{tmp_path / 'bad.yaml'}:1:1" in refused.stderr


def test_a_configuration_that_only_lies_about_is_passed_over(tmp_path: Path) -> None:
    """A worker that lacks a variable of the proxy's file still gets the catalogue's lines, and hears of it."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "rate-limits.yaml").write_text("store: ${NOT_ON_THIS_MACHINE}\n")
    printed = headgate(tmp_path, "env")
    assert printed.returncode == 0
    assert "export OPENAI_BASE_URL=http://127.0.0.1:8080/openai/v1\n" in printed.stdout
    assert "headgate: config/rate-limits.yaml cannot be used here" in printed.stderr


def test_the_placeholder_is_never_a_key_of_a_pool(tmp_path: Path) -> None:
    """A Headgate started in a shell that has evaluated `headgate env` does not take the placeholder for a key."""
    plain = headgate(tmp_path, "check")
    placed = headgate(tmp_path, "check", OPENAI_API_KEY=PLACEHOLDER)
    keyed = headgate(tmp_path, "check", OPENAI_API_KEY="sk-real")
    assert placed.stdout == plain.stdout != keyed.stdout
    (tmp_path / "own.yaml").write_text("services: {openai: {keys: {env: OPENAI_API_KEY}}}\n")
    refused = headgate(tmp_path, "check", tmp_path / "own.yaml", OPENAI_API_KEY=PLACEHOLDER)
    assert refused.returncode == 3
    assert "holds the placeholder of `headgate env`, no key" in refused.stderr
