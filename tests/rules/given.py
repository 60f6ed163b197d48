"""The world as a configuration sees it, held in memory: rules.sources.Sources for tests of pure code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rules.parse import Parsed, parse
from rules.sources import SourceUnreadable

CATALOGUE = {
    str(path): path.read_text() for path in sorted((Path(__file__).parents[2] / "config/services").glob("*.yaml"))
}


class Given:
    """Variables and files by path; a path that ends in `/` is a directory without files."""

    def __init__(self, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> None:
        self.environ = dict(environ or {})
        self.files = dict(files or {})

    def read(self, path: str) -> str:
        if path not in self.files:
            raise SourceUnreadable("no such file or directory")
        return self.files[path]

    def names(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        if not any(name.startswith(prefix) for name in self.files):
            raise SourceUnreadable("no such file or directory")
        return sorted(name.removeprefix(prefix) for name in self.files if name.startswith(prefix) and name != prefix)


def parsed(
    text: str,
    *,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    catalogue: Mapping[str, str] = CATALOGUE,
) -> Parsed:
    """The text read over the real catalogue, as `limits.yaml`."""
    return parse(text, filename="limits.yaml", sources=Given(environ, files), catalogue=catalogue)
