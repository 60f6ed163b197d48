"""`headgate config schema`."""

from __future__ import annotations

from pathlib import Path

from .headgate import ROOT, headgate


def test_the_schema_is_printed_as_it_is_shipped(tmp_path: Path) -> None:
    """What editors get from the repository is what the program itself says."""
    ended = headgate(tmp_path, "config", "schema")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (ROOT / "config/schema.json").read_text()
