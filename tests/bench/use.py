"""How much of its quota each type of upstream gives, without ever refusing: `python -m tests.bench.use [--full]`.

Four Headgate processes on one Redis and strict upstreams of six types (tests/upstreams/kinds.py), all at once, each at
three times its quota. Prints one table; exits 1 when a 429 was seen or an aim was missed. Short: windows of 6 s with
`jitter: 100ms`, half a minute. `--full`: windows of 60 s with the defaults.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.e2e.saturation import Run, run
from tests.upstreams.kinds import full, short


def main() -> int:
    """Run it and print."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--full", action="store_true", help="W = 60 s, J = 500 ms")
    flags.add_argument("--windows", type=int, help="whole windows that are measured (short: 3, full: 1)")
    flags.add_argument("--warm-up", type=int, default=1, help="whole windows before those")
    flags.add_argument("--only", nargs="+", metavar="TYPE", help="some of the types")
    flags.add_argument("--explain", action="store_true", help="also what a failed run says")
    chosen = flags.parse_args()
    if shutil.which("redis-server") is None:
        print("redis-server is not on the PATH. Install Debian's package `redis-server`; nothing was measured.")
        return 1
    kinds = [kind for kind in (full() if chosen.full else short()) if not chosen.only or kind.name in chosen.only]
    with tempfile.TemporaryDirectory(prefix="headgate-use-") as directory:
        result: Run = asyncio.run(
            run(
                kinds,
                Path(directory),
                window=60.0 if chosen.full else 6.0,
                jitter=0.5 if chosen.full else 0.1,
                warm_up=chosen.warm_up,
                windows=chosen.windows or (1 if chosen.full else 3),
            )
        )
    print(result.table())
    missed = result.faults() + result.wasted()
    if missed or chosen.explain:
        print(result.explain())
    if missed:
        print("missed:", *missed, sep="\n  ")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
