"""README's worked example, run as it is printed; only the ports are replaced, because tests share the machine."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.headgate_process import ROOT, Headgate, environment, serving

README = (ROOT / "README.md").read_text()
BLOCKS: list[str] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The example's strict provider on a free port, and the file it prints to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    printed = tmp_path / "provider.txt"
    command = [sys.executable, str(ROOT / "docs/examples/strict_provider.py"), str(port)]
    with printed.open("wb") as out, subprocess.Popen(command, stdout=out) as process:
        try:
            yield port, printed
        finally:
            process.kill()


@contextlib.contextmanager
def example(tmp_path: Path, port: int) -> Iterator[Headgate]:
    """Headgate with the example's configuration."""
    config = (ROOT / "docs/examples/first-limit.yaml").read_text().replace("9000", str(port))
    with serving(tmp_path / "headgate", config, more={"EXAMPLE_KEY": "sk-pooled"}, canaries=("sk-pooled",)) as running:
        yield running


def printed_by(block: str, headgate: Headgate, tmp_path: Path) -> list[str]:
    """What a block of README prints in a shell of its own, after the lines that set the base URL."""
    exports = next(line for line in README.splitlines() if line.startswith("export OPENAI_BASE_URL="))
    script = f"{exports}\n{block}".replace("http://127.0.0.1:8080", headgate.proxy)
    script = script.replace(".venv/bin/python", sys.executable)
    done = subprocess.run(
        ["bash", "-c", script], env=environment(tmp_path, {}), capture_output=True, text=True, timeout=50, check=True
    )
    return done.stdout.splitlines()


def block_with(text: str) -> str:
    """The one block of README that holds a text."""
    (found,) = [block for block in BLOCKS if text in block]
    return found


def test_readme_opens_with_the_two_commands() -> None:
    """Nothing but the title stands before `make run` and `make test`."""
    commands = [line.partition("#")[0].strip() for line in BLOCKS[0].splitlines()]
    assert commands == ["make run", "make test"]
    assert README.startswith("# Headgate\n\n```sh\n" + BLOCKS[0])


def test_of_eight_calls_three_wait_and_nobody_sees_a_429(tmp_path: Path, provider: tuple[int, Path]) -> None:
    """The example's promise: five at once, three after the window, eight times 200 with the pooled key."""
    port, printed = provider
    with example(tmp_path, port) as headgate:
        lines = printed_by(block_with("for i in 1 2 3 4 5 6 7 8"), headgate, tmp_path)
        refused = printed_by(block_with("X-Headgate-Max-Wait: 0"), headgate, tmp_path)
    waits = sorted(float(re.fullmatch(r"200, waited ([0-9.]+) s", line)[1]) for line in lines)  # type: ignore[index]
    assert len(waits) == 8
    assert max(waits[:5]) < 1
    assert min(waits[5:]) >= 10
    assert printed.read_text().splitlines()[:8] == ["200 for Bearer sk-pooled"] * 8
    assert "X-Headgate-Reason: wait_too_long" in refused
    assert any(re.fullmatch(r"Retry-After: (1[0-2]|[1-9])", line) for line in refused)
    assert "HTTP/1.1 429 Too Many Requests" in refused


def test_the_openai_package_works_unchanged(tmp_path: Path, provider: tuple[int, Path]) -> None:
    """The Python block of README prints the reply and how long it waited."""
    with example(tmp_path, provider[0]) as headgate:
        assert printed_by(block_with("from openai import OpenAI"), headgate, tmp_path) == ["Hello. - waited 0.000 s"]


def test_the_question_is_answered(tmp_path: Path) -> None:
    """The example's limit with its room, and that the call would go."""
    block = block_with("headgate explain").replace(".venv/bin/headgate", f"{sys.executable} -m proxy.cli")
    done = subprocess.run(
        ["bash", "-ec", block], cwd=ROOT, env=environment(tmp_path, {}), capture_output=True, text=True, check=True
    )
    assert "5 requests per 10s per group: 0 of 5 used, takes 1, fits now" in done.stdout
    assert done.stdout.endswith("verdict   go now\n")
    assert "sk-pooled" not in done.stdout
