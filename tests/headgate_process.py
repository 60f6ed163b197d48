"""A real `headgate serve` for tests: started from source on free ports, stopped with SIGTERM, its log kept.

Laws: it is ready when the ready-file is there; on SIGTERM it must exit 0; and no secret (canaries.py, or what the test
names) may stand in what it printed or in what its admin port says.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import watchfiles

from .canaries import WATCH

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_MS = 30_000
"""How long a start or a stop may take on a loaded machine."""


def command(*arguments: str) -> list[str]:
    """The command line of headgate from source."""
    return [sys.executable, "-m", "proxy.cli", *arguments]


def environment(directory: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's environment but what a program needs to start, so that no key of the machine is seen."""
    base = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    return base | dict(more)


def finished(
    directory: Path, *arguments: str, more: Mapping[str, str] | None = None, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run headgate to its end; for commands that answer, and for starts that must fail."""
    done = subprocess.run(
        command(*arguments),
        cwd=directory,
        env=environment(directory, more or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    WATCH.look("output of commands", done.stdout + done.stderr)
    return done


@dataclass(kw_only=True)
class Headgate:
    """A running process and where it listens."""

    process: subprocess.Popen[bytes]
    proxy: str
    admin: str
    ca: Path
    config: Path
    log_file: Path
    canaries: tuple[str, ...]
    stopped: bool = False

    @property
    def log(self) -> str:
        """Everything it has printed so far, both streams."""
        return self.log_file.read_text(errors="replace")

    def metric(self, line: str) -> float:
        """The value of a series of /metrics, named with its labels as it is printed there."""
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=30) as reply:
            for shown in reply.read().decode().splitlines():
                if shown.startswith(line + " "):
                    return float(shown.rpartition(" ")[2])
        raise AssertionError(f"no metric {line}")

    def asked(self, method: str, target: str, host: str) -> tuple[int, str | None]:
        """Status and code of one request with this very target and Host, on a connection of its own."""
        connection = http.client.HTTPConnection(self.proxy.removeprefix("http://"), timeout=30)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host)
            connection.endheaders()
            reply = connection.getresponse()
            return reply.status, reply.getheader("X-Headgate-Reason")
        finally:
            connection.close()

    def until(self, true: Callable[[], bool]) -> None:
        """Ask again until it is so. Each question should be a round trip to the process, which gets its turn so."""
        for _ in range(20_000):
            if true():
                return
        raise AssertionError(f"it did not come about:\n{self.log}")

    def look_at_admin(self) -> None:
        """What the admin port says to whoever asks holds no secret."""
        for path in ("/metrics", "/healthz", "/readyz", "/api/keys"):
            try:
                with urllib.request.urlopen(self.admin + path, timeout=10) as reply:
                    said = reply.read()
            except urllib.error.HTTPError as error:
                said = error.read()
            except OSError:
                return  # a test has stopped it
            WATCH.look("metrics" if path == "/metrics" else "answers", said)

    def terminate(self) -> None:
        """Ask it to stop; does not wait."""
        self.process.send_signal(signal.SIGTERM)

    def stall(self, stalled: bool) -> None:
        """Stop the process where it is, or let it go on: what reaches it meanwhile waits."""
        self.process.send_signal(signal.SIGSTOP if stalled else signal.SIGCONT)

    def wait(self) -> int:
        """Its exit code."""
        self.stopped = True
        return self.process.wait(PATIENCE_MS / 1000)

    def stop(self) -> None:
        """SIGTERM; it must exit 0 and must not have printed a secret."""
        if not self.stopped:
            self.look_at_admin()
            self.terminate()
            code = self.wait()
            assert code == 0, f"headgate exited {code}:\n{self.log}"
        printed = self.log
        WATCH.look("log", printed)
        for canary in self.canaries:
            assert canary not in printed, "a secret stands in headgate's log"
        assert "Traceback" not in printed, f"headgate printed a traceback:\n{printed}"


@contextlib.contextmanager
def serving(
    directory: Path,
    config: str,
    *arguments: str,
    more: Mapping[str, str] | None = None,
    canaries: Sequence[str] = (),
    prefix: Sequence[str] = (),
) -> Iterator[Headgate]:
    """A serving headgate with this configuration; `more` is its environment, `prefix` stands before its command."""
    directory.mkdir(parents=True, exist_ok=True)
    config_file = directory / "rate-limits.yaml"
    config_file.write_text(config)
    ready = directory / "ready.json"
    ready.unlink(missing_ok=True)
    log_file = directory / "headgate.log"
    wanted = {"--config": config_file, "--listen": "127.0.0.1:0", "--admin": "127.0.0.1:0", "--ready-file": ready}
    wanted["--state-dir"] = directory / "state"
    flags = [str(part) for flag, value in wanted.items() for part in (flag, value)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*prefix, *command("serve", *flags, *arguments)],
            cwd=directory,
            env=environment(directory, more or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_ready(ready, process, log_file)
        said = json.loads(ready.read_text())
        running = Headgate(
            process=process,
            proxy=said["proxy"],
            admin=said["admin"],
            ca=Path(said["ca"]),
            config=config_file,
            log_file=log_file,
            canaries=tuple(canaries),
        )
        yield running
        running.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_ready(ready: Path, process: subprocess.Popen[bytes], log_file: Path) -> None:
    waited = 0
    step = 100
    # Woken by the file; the short time-out is for a process that ends without ever writing it.
    for _ in watchfiles.watch(ready.parent, debounce=10, step=5, rust_timeout=step, yield_on_timeout=True):
        if ready.exists():
            return
        assert process.poll() is None, f"headgate exited {process.returncode} at start:\n{log_file.read_text()}"
        waited += step
        assert waited < PATIENCE_MS, f"headgate was not ready in {PATIENCE_MS} ms:\n{log_file.read_text()}"
