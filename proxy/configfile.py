"""Where the configuration stands, and how its files are read: the I/O side of rules.parse.

Every path that was looked at leaves its stamp, taken before it was read, so that whoever watches can tell whether
anything has changed since, however it was changed (a rename, a symlink swapped, a file that appears).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rules.mistakes import ConfigInvalid, Mistake
from rules.parse import Parsed, parse
from rules.sources import SourceUnreadable

# Design 4.3, after --config and HEADGATE_CONFIG.
PLACES = ("config/rate-limits.yaml", "/config/rate-limits.yaml", "/etc/headgate/rate-limits.yaml")
MAX_FILE = 1024 * 1024  # threats J3; keys, tokens and certificates are far smaller
MAX_NAMES = 10_000

Stamp = tuple[int, int, int, int] | None
"""Device, inode, time of change in ns, size; None: it is not there."""


def find(explicit: Path | None) -> Path | None:
    """The operator's file: the given one, else the first of the known places, else the packaged default, else None."""
    if explicit is not None:
        return explicit
    places = [Path(place) for place in PLACES]
    packaged = catalogue_directory()
    if packaged is not None:
        places.append(packaged.parent / "rate-limits.yaml")
    return next((place for place in places if place.is_file()), None)


def catalogue_directory() -> Path | None:
    """The catalogue: beside the packages in a checkout, below the installation's prefix otherwise."""
    beside = Path(__file__).resolve().parent.parent / "config/services"
    installed = Path(sys.prefix) / "share/headgate/config/services"
    # asked for one of its files: another distribution may own a directory of that name
    return next((place for place in (beside, installed) if (place / "openai.yaml").is_file()), None)


def stamp(path: Path) -> Stamp:
    """What tells one state of a path from another, symlinks followed."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


@dataclass(slots=True)
class FileSources:
    """rules.sources.Sources over the real files and a given environment."""

    directory: Path
    environ: Mapping[str, str]
    stamps: dict[Path, Stamp] = field(default_factory=dict)

    def read(self, path: str | Path) -> str:
        place = self.directory / path
        self.stamps.setdefault(place, stamp(place))
        try:
            if not stat.S_ISREG(place.stat().st_mode):  # a pipe would block us for ever
                raise SourceUnreadable("is not a file")
            with place.open("rb") as file:
                raw = file.read(MAX_FILE + 1)
        except OSError as error:
            raise SourceUnreadable(_reason(error)) from None
        except ValueError:  # a NUL in the path
            raise SourceUnreadable("is no path") from None
        if len(raw) > MAX_FILE:
            raise SourceUnreadable("is larger than 1 MiB")
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise SourceUnreadable("is not UTF-8 text") from None

    def names(self, path: str | Path) -> list[str]:
        place = self.directory / path
        self.stamps.setdefault(place, stamp(place))
        try:
            # hidden ones are Kubernetes' own: ..data and the directories it points at
            found = [entry.name for entry in os.scandir(place) if not entry.name.startswith(".") and entry.is_file()]
        except OSError as error:
            raise SourceUnreadable(_reason(error)) from None
        except ValueError:
            raise SourceUnreadable("is no path") from None
        if len(found) > MAX_NAMES:
            raise SourceUnreadable(f"holds more than {MAX_NAMES} files")
        return sorted(found)


def load(path: Path | None, environ: Mapping[str, str], stamps: dict[Path, Stamp] | None = None) -> Parsed:
    """Read everything and parse it. Raises ConfigInvalid. `stamps` is filled with every path that was looked at, also
    when that fails."""
    sources = FileSources(path.parent if path is not None else Path(), environ, {} if stamps is None else stamps)
    if path is None:
        return parse("", filename="no configuration file", sources=sources, catalogue=_catalogue(None, sources))
    try:
        text = sources.read(path.name)
    except SourceUnreadable as error:
        raise ConfigInvalid([Mistake(str(path), 1, 1, "", f"cannot be read: {error}")]) from None
    return parse(text, filename=str(path), sources=sources, catalogue=_catalogue(path, sources))


def _catalogue(path: Path | None, sources: FileSources) -> dict[str, str]:
    """Ours, and what stands in `services/` beside the operator's file."""
    ours = catalogue_directory()
    if ours is None:
        raise ConfigInvalid([Mistake("config/services", 1, 1, "", "the catalogue is missing from this installation")])
    directories = [ours]
    if path is not None:
        beside = path.parent / "services"
        sources.stamps.setdefault(beside, stamp(beside))
        if beside.is_dir() and beside.resolve() != ours.resolve():
            directories.append(beside)
    texts: dict[str, str] = {}
    for directory in directories:
        try:
            for name in sources.names(directory.absolute()):
                if name.endswith((".yaml", ".yml")):
                    texts[str(directory / name)] = sources.read((directory / name).absolute())
        except SourceUnreadable as error:
            raise ConfigInvalid([Mistake(str(directory), 1, 1, "", f"cannot be read: {error}")]) from None
    return texts


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "cannot be opened"
