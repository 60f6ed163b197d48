"""A real redis-server on a free port, started by the tests and killed by them.

Law: before it goes, all that it holds is written out once and looked through for secrets (canaries.py).
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .canaries import WATCH

_SNAPSHOT = "looked-through.rdb"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server with a directory of its own; it can be stopped and started again on the same port."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._stalled = False

    def start(self) -> None:
        """Run the server and wait until it takes connections."""
        program = shutil.which("redis-server")
        assert program is not None, "redis-server must be on the PATH"
        self._process = subprocess.Popen(
            [
                program,
                *f"--port {self.port} --bind 127.0.0.1 --appendonly no --daemonize no --save".split(),
                "",
                *f"--rdbcompression no --dbfilename {_SNAPSHOT}".split(),
                "--dir",
                str(self._directory),
                *self._options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                break
        else:
            raise AssertionError("redis-server did not start")

    def command(self, *words: str) -> str:
        """Send one command by hand and return its simple answer, integer or bulk text."""
        encoded = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as peer:
            peer.sendall(encoded)
            with peer.makefile("rb") as answers:
                first = answers.readline().decode().rstrip()
                if first.startswith("$") and first != "$-1":
                    return answers.read(int(first[1:])).decode()
                return first[1:]

    def stall(self, stalled: bool) -> None:
        """Stop the process where it is, or let it go on: its connections stay open meanwhile."""
        assert self._process is not None
        self._stalled = stalled
        self._process.send_signal(signal.SIGSTOP if stalled else signal.SIGCONT)

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is not None:
            kept = self._kept()
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None
            self._stalled = False
            WATCH.look("store", kept)

    def _kept(self) -> bytes:
        """All it holds, uncompressed; nothing where it has died, stands still or wants a password."""
        assert self._process is not None
        if self._stalled or self._process.poll() is not None:
            return b""
        snapshot = self._directory / _SNAPSHOT
        try:
            if self.command("SAVE") != "OK":
                return b""
            return snapshot.read_bytes()
        except OSError:
            return b""
        finally:
            snapshot.unlink(missing_ok=True)  # a server that starts anew here starts empty


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A running server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="headgate-redis-") as directory:
        server = RedisServer(Path(directory), *options)
        try:
            server.start()
            yield server
        finally:
            server.kill()
