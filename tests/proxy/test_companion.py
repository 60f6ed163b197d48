"""A private Headgate for one command. The program started is a small one of ours in place of `proxy.cli`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.companion import NotReady, companion

ROOT = Path(__file__).parents[2]

SERVE = """
import json, os, signal, sys
def main(prog_name):
    said = dict(zip(sys.argv[2::2], sys.argv[3::2]))
    print("log line", flush=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    {at_start}
    ready = said["--ready-file"]
    with open(ready + ".new", "w") as file:
        json.dump({{"proxy": "http://127.0.0.1:1", "argv": sys.argv[1:]}}, file)
    os.rename(ready + ".new", ready)
    os.rename(said["--witness"], said["--witness"] + "-ready")
    while True:
        signal.sigwait([signal.SIGTERM])
        print("asked to end", file=sys.stderr, flush=True)
        {at_end}
"""


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """A file that the program renames when it is ready."""
    (tmp_path / "witness").write_text("")
    return tmp_path / "witness"


def environ(tmp_path: Path, *, at_start: str = "pass", at_end: str = "sys.exit(0)") -> dict[str, str]:
    """An environment in which `proxy.cli` is the small program."""
    package = tmp_path / "stand-in" / "proxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text(SERVE.format(at_start=at_start, at_end=at_end))
    return {**os.environ, "PYTHONPATH": str(package.parent)}


def test_it_is_there_within_the_block_and_gone_after(tmp_path: Path, witness: Path) -> None:
    """The block begins when the program says it is ready, and after it the program has ended by SIGTERM, in peace."""
    with companion(["--witness", str(witness)], environ(tmp_path), drain=20) as started:
        assert started.url == "http://127.0.0.1:1"
        assert started.process.poll() is None
        assert os.getsid(started.process.pid) == started.process.pid
    assert started.process.returncode == 0


def test_it_ends_when_the_block_fails(tmp_path: Path, witness: Path) -> None:
    """An exception in the block passes through, and the program is ended all the same."""
    with (
        pytest.raises(KeyboardInterrupt),
        companion(["--witness", str(witness)], environ(tmp_path), drain=20) as started,
    ):
        raise KeyboardInterrupt
    assert started.process.returncode == 0


def test_one_that_does_not_end_is_killed(tmp_path: Path, witness: Path) -> None:
    """When the time to drain is over it is killed; nothing is left behind."""
    with companion(["--witness", str(witness)], environ(tmp_path, at_end="pass"), drain=0.05) as started:
        pass
    assert started.process.returncode == -signal.SIGKILL


def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    """When it ends before it is ready, its exit code and the end of its log are the answer."""
    with (
        pytest.raises(NotReady) as refused,
        companion([], environ(tmp_path, at_start="print('line 3: unknown key'); sys.exit(3)"), drain=1),
    ):
        raise AssertionError("it never started")
    assert refused.value.status == 3
    assert str(refused.value) == "log line\nline 3: unknown key"


def test_its_log_is_shown_when_asked_for(tmp_path: Path, witness: Path) -> None:
    """With `verbose` the log goes to stderr, else nothing of it does."""
    program = (
        "import os, sys; from proxy.companion import companion\n"
        "environ = {**os.environ, 'PYTHONPATH': sys.argv[2]}\n"
        "with companion(['--witness', sys.argv[3]], environ, drain=20, verbose=sys.argv[1] == 'verbose'): pass"
    )
    place = environ(tmp_path)["PYTHONPATH"]
    for how, said in (("verbose", "log line\nasked to end\n"), ("quiet", "")):
        witness.write_text("")
        command = [sys.executable, "-c", program, how, place, str(witness)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert (ended.stdout, ended.stderr) == ("", said)


def test_it_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    """A wrapper that is killed outright takes its private Headgate with it: no proxy with keys is left running."""
    reading, writing = os.pipe()
    program = (
        "import os, sys; from proxy.companion import companion\n"
        "environ = {**os.environ, 'PYTHONPATH': sys.argv[1]}\n"
        "with companion(['--witness', sys.argv[2]], environ, drain=20, verbose=True) as started:\n"
        "    print(started.process.pid, flush=True)\n"
        "    sys.stdin.read()"
    )
    (tmp_path / "witness").write_text("")
    command = [sys.executable, "-c", program, environ(tmp_path)["PYTHONPATH"], str(tmp_path / "witness")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing, text=True
    ) as starter:
        os.close(writing)
        assert starter.stdout is not None
        assert int(starter.stdout.readline()) > 0
        starter.kill()
        with os.fdopen(reading) as log:
            assert log.read() == "log line\nasked to end\n"  # the end of file: nobody holds the other end any more
