"""`headgate run -- CMD` beside a Headgate that is there. The private one: tests/proxy/test_companion.py."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..test_probe import answering
from .headgate import headgate, surroundings


@pytest.fixture
def url() -> Iterator[str]:
    """Something that answers as a Headgate's proxy port does."""
    with answering(404, X_Headgate_Reason="service_unknown") as entrance:
        yield entrance.url


def test_the_command_has_the_variables_and_its_output_is_untouched(tmp_path: Path, url: str) -> None:
    """The command finds base URLs and the mark in its environment; we say one line, on stderr."""
    ran = headgate(
        tmp_path, "run", "--url", url, "--", "sh", "-c", 'echo "$OPENAI_BASE_URL $HEADGATE_ACTIVE $HOME"; echo own >&2'
    )
    assert ran.stdout == f"{url}/openai/v1 {url} {tmp_path}\n"
    assert ran.stderr == f"headgate: sh uses the Headgate at {url} (base URLs set)\nown\n"


def test_proxy_mode_sets_the_proxy_and_the_bundle(tmp_path: Path, url: str) -> None:
    """In proxy mode the command finds the proxy and a bundle that exists."""
    script = 'echo "$https_proxy"; grep -c BEGIN "$SSL_CERT_FILE"'
    ran = headgate(tmp_path, "run", "--mode", "proxy", "--url", url, "--", "sh", "-c", script)
    proxy, count = ran.stdout.splitlines()
    assert proxy == url
    assert int(count) > 1


@pytest.mark.parametrize("status", [0, 1, 42])
def test_the_exit_status_is_the_commands(tmp_path: Path, url: str, status: int) -> None:
    """Whatever the command returns is returned."""
    assert headgate(tmp_path, "run", "--url", url, "--", "sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize(
    ("told", "given"),
    [
        (["--", "printf", "%s|", "--mode", "-v"], "--mode|-v|"),
        (["printf", "%s|", "--url", "--"], "--url|--|"),
        (["--", "printf", "%s|", "a", "--", "b"], "a|--|b|"),
        (["--", "printf", "%s|", "a b", "", "$HOME"], "a b||$HOME|"),
    ],
)
def test_the_commands_own_arguments_are_left_alone(tmp_path: Path, url: str, told: list[str], given: str) -> None:
    """After the first word of the command nothing is taken for an option of ours, a second `--` included."""
    assert headgate(tmp_path, "run", "--url", url, *told).stdout == given


def test_arguments_are_not_repeated(tmp_path: Path, url: str) -> None:
    """What we say names the command only: its arguments may hold a secret."""
    assert "CANARY" not in headgate(tmp_path, "run", "--url", url, "--", "true", "CANARY").stderr


def test_a_token_in_the_url_reaches_the_worker_and_nobody_else(tmp_path: Path, url: str) -> None:
    """The client token is the SDK's key; neither the mark nor our line holds it."""
    ran = headgate(
        tmp_path,
        "run",
        "--url",
        url.replace("//", "//ada:CANARY@"),
        "--",
        "sh",
        "-c",
        "echo $OPENAI_API_KEY $HEADGATE_ACTIVE",
    )
    assert ran.stdout == f"CANARY {url}\n"
    assert "CANARY" not in ran.stderr


def test_a_nested_run_passes_through(tmp_path: Path, url: str) -> None:
    """Inside `headgate run` another one changes nothing, whatever it is told, and says so."""
    inner = [
        sys.executable,
        "-m",
        "proxy.cli",
        "run",
        "--mode",
        "proxy",
        "--",
        "sh",
        "-c",
        "echo [$https_proxy]; exit 9",
    ]
    ran = headgate(tmp_path, "run", "--url", url, "--", *inner)
    assert (ran.returncode, ran.stdout) == (9, "[]\n")
    assert "headgate: already inside `headgate run`: sh starts as it is\n" in ran.stderr


def test_signals_reach_the_command(tmp_path: Path, url: str) -> None:
    """A signal sent to `headgate run` is the command's to answer."""
    listener = "import signal, sys; print('ready', flush=True); sys.exit(signal.sigwait({signal.SIGTERM}))"
    blocked = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); {listener}"
    command = [sys.executable, "-m", "proxy.cli", "run", "--url", url, "--", sys.executable, "-c", blocked]
    with subprocess.Popen(
        command, cwd=tmp_path, env=surroundings(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait() == signal.SIGTERM


def test_a_command_that_is_not_there_is_127(tmp_path: Path, url: str) -> None:
    """As a shell says it: 127 and the name."""
    ran = headgate(tmp_path, "run", "--url", url, "--", "headgate-has-no-such-command")
    assert ran.returncode == 127
    assert ran.stderr.endswith("headgate: headgate-has-no-such-command: No such file or directory\n")


def test_no_command_is_a_usage_mistake(tmp_path: Path) -> None:
    """`headgate run` alone is exit code 2."""
    assert headgate(tmp_path, "run").returncode == 2


def test_a_headgate_elsewhere_that_does_not_answer_is_5(tmp_path: Path) -> None:
    """A private Headgate never stands in for a shared one on another machine: that would split its limits."""
    ran = headgate(tmp_path, "run", "--url", "http://headgate.invalid:8080", "--", "echo", "started")
    assert (ran.returncode, ran.stdout) == (5, "")
    assert ran.stderr == "headgate: no Headgate answers at http://headgate.invalid:8080\n"


def test_a_certificate_is_of_no_use_to_a_private_headgate(tmp_path: Path) -> None:
    """--ca speaks of a Headgate that runs; when none answers, that is said instead of ignoring it."""
    headgate(tmp_path, "ca", "export", "--out", tmp_path / "ca.pem")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    ran = headgate(tmp_path, "run", "--url", url, "--ca", tmp_path / "ca.pem", "--", "true")
    assert ran.returncode == 2
    assert "none answers" in ran.stderr
