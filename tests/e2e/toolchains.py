"""Foreign toolchains for the client tests: builds go to `.tools/`, once for each state of their sources.

A machine without a toolchain, or without a way to its packages, gets a reason in plain words: the tests skip with it
and never fail for it. `python -m tests.e2e.toolchains` prepares everything beforehand.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).resolve().parent / "clients"
TOOLS = ROOT / ".tools" / "clients"
PATIENCE = 540
"""Seconds for one build: the Go client with an empty build cache takes more than a minute on one busy core."""


class ToolchainMissing(Exception):
    """The client cannot be had on this machine; the text says why."""


def node() -> list[str]:
    """The start of a command that runs a Node client; the script's name follows, see `node_script`."""
    _need("node", "npm")
    return ["node"]


def node_script(name: str) -> Path:
    """The script beside its installed packages: Node finds packages from where the script lies."""
    _need("node", "npm")

    def build(target: Path) -> None:
        shutil.copytree(SOURCES / "node", target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        _do(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], target, {})

    return _built("node", build) / name


def go_client() -> Path:
    """The built openai-go program."""
    _need("go")

    def build(target: Path) -> None:
        caches = {"GOFLAGS": "-mod=readonly", "GOCACHE": str(TOOLS / "go-cache")}
        _do(["go", "build", "-o", str(target / "client"), "."], SOURCES / "go", caches)

    return _built("go", build) / "client"


def java_client() -> list[str]:
    """The start of a command that runs the Java program."""
    _need("java", "javac")

    def build(target: Path) -> None:
        _do(["javac", "-d", str(target), str(SOURCES / "java" / "Client.java")], target, {})

    return ["java", "-cp", str(_built("java", build)), "-Xshare:auto", "-XX:TieredStopAtLevel=1", "Client"]


def curl() -> str:
    """The path of curl."""
    _need("curl")
    return str(shutil.which("curl"))


def haproxy() -> str:
    """The path of HAProxy."""
    _need("haproxy")
    return str(shutil.which("haproxy"))


def nginx() -> str:
    """The path of nginx."""
    _need("nginx")
    return str(shutil.which("nginx"))


def _need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise ToolchainMissing(f"{program} is not on the PATH")


def _built(name: str, build: Callable[[Path], None]) -> Path:
    """The folder that holds the build of these sources; builds it where it is not there yet."""
    state = hashlib.sha256()
    for path in sorted((SOURCES / name).rglob("*")):
        if path.is_file() and "node_modules" not in path.parts:
            state.update(path.relative_to(SOURCES).as_posix().encode() + path.read_bytes())
    target = TOOLS / f"{name}-{state.hexdigest()[:12]}"
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side
        if not (target / ".built").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            build(target)
            (target / ".built").touch()
    return target


def _do(command: list[str], directory: Path, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command, cwd=directory, env=os.environ | environment, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise ToolchainMissing(f"{command[0]} did not finish in {PATIENCE} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise ToolchainMissing(f"`{' '.join(command[:2])}` failed: {last}")


def main() -> None:
    """Prepare every client and say what could not be had."""
    for name, prepare in {"node": lambda: node_script(""), "go": go_client, "java": java_client}.items():
        try:
            prepare()
        except ToolchainMissing as missing:
            sys.stdout.write(f"{name}: its client tests will be skipped: {missing}\n")
        else:
            sys.stdout.write(f"{name}: ready\n")


if __name__ == "__main__":
    main()
