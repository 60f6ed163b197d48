"""The survivors that are known, each with the reason why no test can tell it from the original: known.txt.

A paragraph of that file is one or more mutants and, below them, the reason:

    <file> <function>
    - <the statement as it is>
    + <the statement as changed>
    <why>
"""

from __future__ import annotations

from pathlib import Path

Identity = tuple[str, str, str, str]

FILE = Path(__file__).with_name("known.txt")


def read(text: str) -> dict[Identity, str]:
    """Identity of a mutant -> reason. Raises ValueError where a paragraph lacks something."""
    out: dict[Identity, str] = {}
    for paragraph in text.split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        here: list[Identity] = []
        file, within, before = "", "", ""
        reason: list[str] = []
        for line in lines:
            if line.startswith("- "):
                before = line[2:]
            elif line.startswith("+ "):
                here.append((file, within, before, line[2:]))
            elif not here:
                file, _, within = line.partition(" ")
            else:
                reason.append(line)
        if not here or not reason or not all(all((f, b, a)) for f, _, b, a in here):
            raise ValueError(f"a known survivor needs file, both lines and a reason: {paragraph!r}")
        out |= dict.fromkeys(here, " ".join(reason))
    return out
