"""Change the gate's Lua one place at a time and see that a test fails: `make mutants`.

    python -m tests.mutation [-j N] [--quick] [--new] [file ...]

Prints how many changes of each file were killed, and every survivor that known.txt does not name. Exit code 1 where
there is one, or where an entry of known.txt no longer names a survivor.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rules import gate

from . import known
from .changes import Mutant, mutants

_BLOCK = 32
NAMES = sorted({*gate.REDIS_FILES, *gate.TABLES_FILES})


def main() -> int:
    """Share the work among processes, and judge what survived."""
    options = argparse.ArgumentParser(prog="tests.mutation", description="Mutation run over the gate's Lua.")
    options.add_argument("-j", type=int, default=2, metavar="N", help="processes (2)")
    options.add_argument("--quick", action="store_true", help="without the tests that take long: a first look")
    options.add_argument("--new", action="store_true", help="without what known.txt names")
    options.add_argument("file", nargs="*", help="names as in rules/gate/__init__.py; none: all")
    chosen = options.parse_args()
    files = chosen.file or NAMES
    everything = [mutant for name in files for mutant in mutants(name, gate.text(name))]
    reasons = known.read(known.FILE.read_text(encoding="utf-8"))
    if chosen.new:
        everything = [mutant for mutant in everything if mutant.identity not in reasons]
        reasons = {}
    survivors = _run(everything, reasons, chosen.j, ["quick"] if chosen.quick else [])
    return _judge(everything, survivors, reasons, files)


def _run(
    everything: list[Mutant], reasons: dict[known.Identity, str], processes: int, options: list[str]
) -> list[Mutant]:
    # neighbours stay together: what kills one is likely to kill the next
    blocks = [range(i, min(i + _BLOCK, len(everything))) for i in range(0, len(everything), _BLOCK)]
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for i in range(processes):
            part = [j for block in blocks[i::processes] for j in block]
            work, result = Path(folder, f"{i}.work"), Path(folder, f"{i}.result")
            parts = [everything[j] for j in part]
            work.write_text(json.dumps([[m.file, m.text, _said(m), m.identity in reasons] for m in parts]))
            command = [sys.executable, "-m", "tests.mutation.session", str(work), str(result), *options]
            running.append((part, result, subprocess.Popen(command)))
        survivors = []
        for part, result, process in running:
            if process.wait() != 0:
                raise SystemExit("the tests could not be run, or fail on the original")
            survivors += [everything[part[j]] for j in json.loads(result.read_text())]
    return survivors


def _said(mutant: Mutant) -> str:
    return f"{mutant.file}.lua:{mutant.lines[0]} {mutant.within}\n- {mutant.before}\n+ {mutant.after}\n"


def _judge(
    everything: list[Mutant], survivors: list[Mutant], reasons: dict[known.Identity, str], files: list[str]
) -> int:
    new = [mutant for mutant in survivors if mutant.identity not in reasons]
    alive = {mutant.identity for mutant in survivors}
    stale = [identity for identity in reasons if identity[0] in files and identity not in alive]
    print(f"{'file':14}{'mutants':>9}{'killed':>9}{'known':>9}{'survive':>9}")
    for name in files:
        counts = [sum(m.file == name for m in group) for group in (everything, survivors, new)]
        print(f"{name:14}{counts[0]:9}{counts[0] - counts[1]:9}{counts[1] - counts[2]:9}{counts[2]:9}")
    print(f"{'all':14}{len(everything):9}{len(everything) - len(survivors):9}{len(survivors) - len(new):9}{len(new):9}")
    for mutant in new:
        print(f"\nsurvives: {_said(mutant)}")
    for file, within, before, after in stale:
        print(f"\nknown.txt names what is no survivor: {file} {within}\n- {before}\n+ {after}")
    return 1 if new or stale else 0


if __name__ == "__main__":
    sys.exit(main())
