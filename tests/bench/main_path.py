"""The main path beside nginx: `python -m tests.bench.main_path [--seconds N] [--rounds N] [--split]`.

A small chat completion, kept-alive connections, one and the same upstream (nginx returning a fixed JSON). As in
design 5 everything runs on one core, load, upstream and Redis too; `--split` gives the proxy a core to itself.
Contenders alternate in rounds, medians are printed, and ratios to nginx as a plain reverse proxy with kept-alive
upstream connections, which counts, reads and decides nothing. nginx as `proxy_pass` alone leaves it stands beside it.
A Headgate call is the whole path: client, match, exact tokens, four limits, key, relay, usage, settle, log, metrics.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.headgate_process import serving
from tests.redis_server import redis_server

from . import load, nginx, rooms

KEY = {"KEY_OPENAI": "sk-bench-pool"}
CONFIG = """
services:
  openai:
    keys: [{{name: a, env: KEY_OPENAI}}]
    upstream: http://127.0.0.1:{port}
    limits:
      - {{requests: 1000000000, window: 60, per: [group, model]}}
      - {{tokens: 100000000000, window: 60, per: [group, model]}}
      - {{concurrent: 100000, per: [group]}}
      - {{requests: 1000000000, window: 60, per: [user]}}
"""
CONNECTIONS = (1, 64)
DIRECT = "upstream itself"
BASELINE = "nginx, plain proxy"


def main() -> int:
    """Measure, print, and say which package is missing where one is."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--seconds", type=int, default=5, help="length of one run")
    flags.add_argument("--rounds", type=int, default=3, help="runs of each contender at each number of connections")
    flags.add_argument("--profile-seconds", type=int, default=5, help="length of a profiled run; 0: none")
    flags.add_argument("--split", action="store_true", help="load, upstream and Redis on a second core")
    chosen = flags.parse_args()
    for name, found in {"wrk": load.program(), "nginx": nginx.program()}.items():
        if found is None:
            _say(f"{name} is not on the PATH. Install Debian's package `{name}`; nothing was measured.")
            return 1
    if shutil.which("redis-server") is None:
        _say("redis-server is not on the PATH: only the embedded gate is measured. Debian's package: `redis-server`.")
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as directory, contextlib.ExitStack() as stack:
        bench = Bench(Path(directory), stack, split=chosen.split)
        bench.compare(chosen.seconds, chosen.rounds)
        if chosen.profile_seconds:
            bench.profile(chosen.profile_seconds)
    return 0


class Bench:
    """The contenders, started once, and what is measured on them."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, *, split: bool) -> None:
        self._directory = directory
        self._stack = stack
        self._proxy_pin, self._load_pin = _pins(split)
        self._upstream = stack.enter_context(nginx.upstream(directory, self._load_pin))
        plain = stack.enter_context(nginx.proxy(directory, self._proxy_pin, self._upstream))
        default = stack.enter_context(nginx.default_proxy(directory, self._proxy_pin, self._upstream))
        self._stores = {"embedded": "memory"}
        if shutil.which("redis-server") is not None:
            cores = ["--server_cpulist", self._load_pin[-1]] if self._load_pin else []
            self._stores["Redis"] = stack.enter_context(redis_server(*cores)).url
        self._urls = {
            DIRECT: f"http://127.0.0.1:{self._upstream}/v1/chat/completions",
            BASELINE: f"http://127.0.0.1:{plain}/v1/chat/completions",
            "nginx, as by default": f"http://127.0.0.1:{default}/v1/chat/completions",
        }

    def compare(self, seconds: int, rounds: int) -> None:
        """Alternate the contenders and print medians and ratios."""
        found: dict[tuple[str, int], list[load.Figures]] = {}
        with contextlib.ExitStack() as stack:
            urls = dict(self._urls)
            for name, store in self._stores.items():
                urls[f"headgate, {name}"] = stack.enter_context(self._headgate(name, store))
            for turn in range(rounds):
                for connections in CONNECTIONS:
                    for name, url in urls.items():
                        figures = self._load(url, connections, seconds)
                        found.setdefault((name, connections), []).append(figures)
                _say(f"round {turn + 1} of {rounds} done")
        for connections in CONNECTIONS:
            _say(f"\n{connections} connection{'s' if connections > 1 else ''}, {rounds} rounds of {seconds} s, medians")
            heads = ("requests/s", "p50 ms", "p99 ms", "to nginx", "added p50", "errors")
            _say("  " + " " * 24 + "".join(f"{head:>12}" for head in heads))
            base = _median(found[BASELINE, connections])
            direct = _median(found[DIRECT, connections])
            for name in urls:
                own = _median(found[name, connections])
                _say(
                    f"  {name:<24}{own.rate:>12,.0f}{own.p50:>12.2f}{own.p99:>12.2f}{own.rate / base.rate:>12.2f}"
                    f"{own.p50 - direct.p50:>12.2f}{own.errors:>12}"
                )

    def profile(self, seconds: int) -> None:
        """The same load under cProfile, by room."""
        for name, store in self._stores.items():
            dump = self._directory / f"{name}.profile"
            with self._headgate(f"{name}-profiled", store, HEADGATE_PROFILE=str(dump)) as url:
                figures = self._load(url, CONNECTIONS[-1], seconds)
            _say(f"\n{name} gate, {CONNECTIONS[-1]} at once, at {figures.rate:,.0f} requests/s profiled: time by room")
            if not dump.exists():
                _say("  serve wrote no profile")
                continue
            for line in rooms.table(dump):
                _say(line)

    @contextlib.contextmanager
    def _headgate(self, name: str, store: str, **more: str) -> Iterator[str]:
        directory = self._directory / f"headgate-{name}"
        config = CONFIG.format(port=self._upstream)
        with serving(directory, config, "--store", store, more={**KEY, **more}, prefix=self._proxy_pin) as running:
            yield f"{running.proxy}/openai/v1/chat/completions"

    def _load(self, url: str, connections: int, seconds: int) -> load.Figures:
        figures = load.run(url, connections=connections, seconds=seconds, pin=self._load_pin, directory=self._directory)
        if figures.rate == 0:
            raise RuntimeError(f"{url} answered nothing in {seconds} s at {connections} connections")
        return figures


def _median(runs: Sequence[load.Figures]) -> load.Figures:
    return load.Figures(
        rate=statistics.median(run.rate for run in runs),
        p50=statistics.median(run.p50 for run in runs),
        p99=statistics.median(run.p99 for run in runs),
        errors=sum(run.errors for run in runs),
    )


def _pins(split: bool) -> tuple[list[str], list[str]]:
    """Commands that put a process on the proxy's core and on the load's; empty where that cannot be."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not cores or shutil.which("taskset") is None or (split and len(cores) < 2):
        _say("too few cores, or no taskset (package `util-linux`): nothing is pinned, all share the machine")
        return [], []
    return ["taskset", "-c", str(cores[0])], ["taskset", "-c", str(cores[1 if split else 0])]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
