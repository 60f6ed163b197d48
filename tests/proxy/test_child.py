"""A command in the foreground: its status and its signals are its own. Each test drives a real process tree."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRAPPER = "import os, sys; from proxy.child import CannotStart, accompany, become\n"
# Signals 32 and 33 are glibc's own: its posix_spawn leaves them ignored, and its start-up code takes them back.
GLIBC = 0x1_8000_0000
ACCOMPANY = WRAPPER + "sys.exit(accompany(sys.argv[1:], os.environ))"
BECOME = WRAPPER + "become(sys.argv[1:], os.environ)"
# A command that says which signals it gets, and ends at SIGTERM.
LISTENER = """
import signal, sys
def got(number):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM: sys.exit(7)
listened = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH, signal.SIGUSR1)
signal.pthread_sigmask(signal.SIG_BLOCK, listened)
print("ready", flush=True)
while True: got(signal.sigwait(listened))
"""


def wrapped(program: str, *command: str) -> list[str]:
    """The command line of a Python that wraps `command` by `program`."""
    return [sys.executable, "-c", program, *command]


@pytest.mark.parametrize("program", [ACCOMPANY, BECOME])
@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_the_commands_status_is_ours(program: str, status: int) -> None:
    """The exit status of the command comes back unchanged."""
    assert subprocess.run(wrapped(program, "sh", "-c", f"exit {status}"), cwd=ROOT).returncode == status


@pytest.mark.parametrize("program", [ACCOMPANY, BECOME])
def test_a_command_killed_by_a_signal_is_128_plus_its_number(program: str) -> None:
    """As in a shell, death by SIGTERM is status 143."""
    shell = ["sh", "-c", '"$@"; exit $?', "sh", *wrapped(program, "sh", "-c", "kill -TERM $$")]
    assert subprocess.run(shell, cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 128 + signal.SIGTERM


def test_signals_from_other_processes_are_passed_on() -> None:
    """Each signal sent to the wrapper reaches the command once, and the wrapper ends when the command does."""
    with subprocess.Popen(
        wrapped(ACCOMPANY, sys.executable, "-c", LISTENER), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == "ready\n"
        for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGWINCH", "SIGUSR1", "SIGTERM"):
            wrapper.send_signal(signal.Signals[name])
            assert wrapper.stdout.readline() == f"{name}\n"
        assert wrapper.wait() == 7


def test_ctrl_c_reaches_the_command_once() -> None:
    """What the terminal sends to the foreground group is not sent again: one Ctrl-C is one SIGINT."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, wrapped(ACCOMPANY, sys.executable, "-c", LISTENER))
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        seen = b""
        while b"ready" not in seen:
            seen += screen.read(1024)
        screen.write(b"\x03")
        while b"SIGINT" not in seen:
            seen += screen.read(1024)
        os.kill(pid, signal.SIGTERM)  # passed on; whatever was sent before it has been printed before it
        while b"SIGTERM" not in seen:
            seen += screen.read(1024)
        _, status = os.waitpid(pid, 0)
    assert seen.count(b"SIGINT") == 1
    assert os.waitstatus_to_exitcode(status) == 7


@pytest.mark.parametrize("program", [ACCOMPANY, BECOME])
def test_the_command_starts_with_the_signals_a_shell_would_give_it(program: str) -> None:
    """Blocked and ignored is what was so for the wrapper, though Python ignores SIGPIPE and the wrapper blocks some."""
    show = ("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    masks = []
    for command in (show, wrapped(program, *show)):
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        masks.append([int(line.split()[1], 16) & ~GLIBC for line in ended.stdout.splitlines()])
    alone, inside = masks
    assert len(inside) == 2
    assert inside == alone


@pytest.mark.parametrize("wrapper", ["accompany", "become"])
def test_a_command_that_cannot_start_is_told_as_a_shell_tells_it(tmp_path: Path, wrapper: str) -> None:
    """Not found is 127, not executable is 126, with the command's name and the reason."""
    (tmp_path / "plain").write_text("no program")
    program = WRAPPER + (
        f"try:\n    {wrapper}(sys.argv[1:], os.environ)\nexcept CannotStart as error:\n    print(error.status, error)"
    )
    for command, said in (
        ("headgate-has-no-such-command", "127 headgate-has-no-such-command: No such file or directory\n"),
        (str(tmp_path / "plain"), f"126 {tmp_path / 'plain'}: Permission denied\n"),
    ):
        assert subprocess.run(wrapped(program, command), cwd=ROOT, capture_output=True, text=True).stdout == said


def test_other_children_that_end_are_noticed() -> None:
    """When another child of the wrapper ends, `on_child` is called and the command goes on."""
    program = WRAPPER + (
        "import subprocess\n"
        "other = subprocess.Popen(['sh', '-c', 'read _'], stdin=subprocess.PIPE)\n"
        "def noticed(): print('other ended', other.poll(), flush=True)\n"
        "status = accompany(['sh', '-c', f'kill -KILL {other.pid}; read _; exit 5'], os.environ, on_child=noticed)\n"
        "sys.exit(status)"
    )
    with subprocess.Popen(
        wrapped(program), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == "other ended -9\n"
        wrapper.communicate("go\n")
        assert wrapper.returncode == 5
