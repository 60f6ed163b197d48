"""A private Headgate for one command: started by `headgate run` when none is there, gone when the command is.

It runs in a session of its own, so Ctrl-C reaches the command first and the proxy stays until its last call is
answered; it ends with us even when we are killed.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# The packages are found where this process found them, whatever stands in the working directory: `proxy` is a common
# name, and -P keeps a stranger's out.
_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from proxy.cli import main; main(prog_name='headgate')"
# A cold start reads the vocabularies; half a minute is a machine in trouble.
_PATIENCE_S = 30.0
_LOOK_EVERY_S = 0.02
_LAST_LINES = 20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class NotReady(Exception):
    """The private proxy did not come up. `status` is its exit code, the text the end of what it said."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True, slots=True)
class Companion:
    """A running private proxy."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def companion(
    arguments: Sequence[str], environ: Mapping[str, str], *, drain: float, verbose: bool = False
) -> Iterator[Companion]:
    """`headgate serve` on free loopback ports with these further arguments, until the block ends.

    Its log goes to our stderr when `verbose`, else it is kept only to be shown in NotReady. `drain`: seconds it has to
    finish before it is killed. Raises NotReady.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-run-") as place:
        ready, log = Path(place, "ready.json"), Path(place, "log")
        command = [sys.executable, "-P", "-c", _BOOT, str(Path(__file__).parent.parent), "serve"]
        command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--ready-file", str(ready), *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr if verbose else output,
                stderr=sys.stderr if verbose else output,
                start_new_session=True,
                preexec_fn=_end_with_parent(),  # safe: this process has one thread
            )
        try:
            url = _wait(process, ready, log)
            yield Companion(url, process)
        finally:
            _stop(process, drain)


def _wait(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            status = process.wait(timeout=_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            try:
                return str(json.loads(ready.read_bytes())["proxy"])
            except (FileNotFoundError, ValueError):
                continue
        raise NotReady(status if status > 0 else 1, _end_of(log))
    raise NotReady(5, _end_of(log))


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def _stop(process: subprocess.Popen[bytes], drain: float) -> None:
    process.terminate()
    try:
        process.wait(timeout=drain)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: a child of fork(2) should do next to nothing

    def ask_for_sigterm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask_for_sigterm
