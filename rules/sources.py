"""What a configuration may ask of the world: variables, files, directories. Given by proxy; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class SourceUnreadable(Exception):
    """A file or directory cannot be read. The text is the reason alone (`permission denied`), without the path."""


class Sources(Protocol):
    """Relative paths are below the configuration file's directory."""

    @property
    def environ(self) -> Mapping[str, str]: ...

    def read(self, path: str) -> str:
        """The text of a file. Raises SourceUnreadable."""

    def names(self, path: str) -> Sequence[str]:
        """The names of the plain files of a directory, sorted, hidden ones left out. Raises SourceUnreadable."""


def place(path: str) -> str:
    """A path as a message may quote it: a long word without slash or dot is rather a key than the name of its file."""
    return path if "/" in path or "." in path or len(path) <= 16 else "…"


def variable(name: str) -> str:
    """A variable's name as a message may quote it: someone may have put the key itself where its name belongs."""
    return name if len(name) <= 64 and name.replace("_", "a").isalnum() and name.upper() == name else "…"
