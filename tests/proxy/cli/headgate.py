"""Running `headgate` as a user does: a process of its own, with an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def surroundings(home: Path, **variables: str) -> dict[str, str]:
    """An environment with this home and nothing of the test run's but the path."""
    return {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(ROOT), **variables}


def headgate(home: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What `headgate ARGUMENTS` printed, and its exit status."""
    command = [sys.executable, "-m", "proxy.cli", *map(str, arguments)]
    environ = surroundings(home, **variables)
    return subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
