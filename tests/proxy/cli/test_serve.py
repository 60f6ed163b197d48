"""proxy/cli/serve.py: what a start says, what it writes, and how it ends. More starts that fail: tests/e2e."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.headgate_process import finished, serving

POOL = "services: {openai: {keys: [{name: a, env: KEY}]}}\n"
KEY = {"KEY": "sk-canary-serve-1111"}


def test_what_is_printed_can_be_evaluated_by_a_shell(tmp_path: Path) -> None:
    """The lines a worker exports set the base URLs to where we listen; no key of the pool is among them."""
    with serving(tmp_path, POOL, more=KEY, canaries=tuple(KEY.values())) as headgate:
        lines = [line for line in headgate.log.splitlines() if line.startswith(("export ", "#"))]
        script = "\n".join([*lines, 'printf "%s\\n" "$OPENAI_BASE_URL" "$OPENAI_API_KEY" "$ANTHROPIC_BASE_URL"'])
        said = subprocess.run(["sh", "-euc", script], env={}, capture_output=True, text=True, check=True)
        assert said.stdout.splitlines() == [f"{headgate.proxy}/openai/v1", "headgate", f"{headgate.proxy}/anthropic"]
        assert f"workers call {headgate.proxy}" in headgate.log
        assert f"at {headgate.admin}" in headgate.log


def test_the_ready_file_is_whole_and_its_own(tmp_path: Path) -> None:
    """It names both ports and the certificate; one that an earlier process left says nothing."""
    with serving(tmp_path, POOL, more=KEY) as headgate:
        said = json.loads((tmp_path / "ready.json").read_text())
        assert said == {"proxy": headgate.proxy, "admin": headgate.admin, "ca": str(headgate.ca)}
        assert headgate.ca.read_text().startswith("-----BEGIN CERTIFICATE")
        assert not list(tmp_path.glob("*.partial"))
    done = finished(
        tmp_path, "serve", "--config", str(tmp_path / "gone.yaml"), "--ready-file", str(tmp_path / "ready.json")
    )
    assert done.returncode == 3
    assert not (tmp_path / "ready.json").exists()


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--listen", "8080"), 2, "HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), 2, "HOST:PORT"),
        (("--drain", "-1"), 2, "--drain"),
        (("--log-format", "xml"), 2, "auto, json, console"),
        (("--admin", "no-such-host.invalid:1"), 1, "no such name"),
        (("--state-dir", "/proc/nowhere"), 1, "--state-dir"),
        (("--ready-file", "/proc/nowhere/ready"), 1, "cannot write /proc/nowhere/ready"),
        (("--store", "ftp://x"), 2, "--store: must be memory, or a URL"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_start_that_cannot_be_says_why_in_a_line(
    tmp_path: Path, flags: tuple[str, ...], code: int, words: str
) -> None:
    """The flag or the path is named, the exit code is that of design 4.4, and nobody sees a traceback."""
    (tmp_path / "c.yaml").write_text("")
    given = ["--config", "c.yaml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state-dir", "state"]
    done = finished(tmp_path, "serve", *given, *flags)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
