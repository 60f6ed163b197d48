"""The pool of a service: from a variable, a file, a directory or a list to keys with a name and a group.

Keys of one pool belong to one group unless the configuration says otherwise: most providers limit the organisation, so
a second key of it brings no second quota (provider-facts 1.1). A key leaves this module as an id or not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from .forms import KeyForm, KeySource
from .ground import Ground, Loc
from .policy import PLACEHOLDER, Key
from .sources import Sources, SourceUnreadable, place, variable
from .spellings import is_name

# What can stand in a header field or a query: visible ASCII (RFC 9110 section 5.5). The longest known keys, OAuth
# tokens, stay under 4 KiB.
_SECRET = re.compile(r"[\x21-\x7e]{1,4096}\Z")


def key_id(name: str, secret: str) -> str:
    """`<name>-<first 8 hex of BLAKE2b>`: what logs, metrics and the gate call a key."""
    return f"{name}-{hashlib.blake2b(secret.encode(), digest_size=32).hexdigest()[:8]}"


def pool_of(keys: KeySource | Sequence[KeyForm], sources: Sources, ground: Ground, loc: Loc) -> tuple[Key, ...]:
    """The keys, in the order they are written. What cannot be read is a mistake on the ground."""
    pool = _Pool(ground)
    if isinstance(keys, KeySource):
        for name, secret in _secrets(keys, sources, ground, loc):
            pool.add(name, secret, keys.group, tuple(keys.reserve_for), loc)
        return pool.keys()
    names: set[str] = set()
    for index, form in enumerate(keys):
        at = (*loc, index)
        if form.name in names:
            ground.wrong((*at, "name"), f"another key of this pool is called {form.name}")
        names.add(form.name)
        for secret in _of_variable(form.env, sources, ground, (*at, "env")) if form.env else []:
            pool.add(form.name, secret, form.group, tuple(form.reserve_for), at)
        for secret in _of_file(form.file, sources, ground, (*at, "file")) if form.file else []:
            pool.add(form.name, secret, form.group, tuple(form.reserve_for), at)
    return pool.keys()


def pool_of_variables(names: Sequence[str], sources: Sources, ground: Ground, loc: Loc) -> tuple[Key, ...]:
    """The keys of the first variable that is set, but not to nothing or to our placeholder; none when there is none."""
    for name in names:
        if sources.environ.get(name, "").strip() not in ("", PLACEHOLDER):
            return pool_of(KeySource(env=name), sources, ground, loc)
    return ()


class _Pool:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._by_secret: dict[str, Key] = {}

    def add(self, name: str, secret: str, group: str, reserve_for: tuple[str, ...], loc: Loc) -> None:
        if not _SECRET.match(secret):
            self._ground.wrong(loc, f"key {name} holds characters that no key can have (spaces, control characters)")
            return
        known = self._by_secret.get(secret)
        if known is None:
            self._by_secret[secret] = Key(id=key_id(name, secret), secret=secret, group=group, reserve_for=reserve_for)
        elif known.group != group:
            self._ground.wrong(loc, f"key {name} is the same as {known.id} but in another group")
        else:
            self._ground.advise(loc, f"key {name} is the same as {known.id}", at_key=False)

    def keys(self) -> tuple[Key, ...]:
        return tuple(self._by_secret.values())


def _secrets(source: KeySource, sources: Sources, ground: Ground, loc: Loc) -> list[tuple[str, str]]:
    """(name, secret) pairs. Keys of a list have no names of their own: `env-1`, `file-2`."""
    if source.env is not None:
        found = _of_variable(source.env, sources, ground, (*loc, "env"))
        return [(f"env-{number}", secret) for number, secret in enumerate(found, 1)]
    if source.file is not None:
        found = _of_file(source.file, sources, ground, (*loc, "file"))
        return [(f"file-{number}", secret) for number, secret in enumerate(found, 1)]
    return _of_directory(source.dir or "", sources, ground, (*loc, "dir"))


def _of_variable(name: str, sources: Sources, ground: Ground, loc: Loc) -> list[str]:
    text = sources.environ.get(name)
    if text is None:
        ground.wrong(loc, f"environment variable {variable(name)} is not set")
        return []
    if text.strip() == PLACEHOLDER:
        ground.wrong(loc, f"environment variable {variable(name)} holds the placeholder of `headgate env`, no key")
        return []
    found = _listed(text)
    if not found:
        ground.wrong(loc, f"environment variable {variable(name)} is empty")
    return found


def _of_file(path: str, sources: Sources, ground: Ground, loc: Loc) -> list[str]:
    try:
        found = _listed(sources.read(path))
    except SourceUnreadable as error:
        ground.wrong(loc, f"cannot read {place(path)}: {error}")
        return []
    if not found:
        ground.wrong(loc, f"{place(path)} holds no key")
    return found


def _of_directory(path: str, sources: Sources, ground: Ground, loc: Loc) -> list[tuple[str, str]]:
    try:
        names = sources.names(path)
    except SourceUnreadable as error:
        ground.wrong(loc, f"cannot read {place(path)}: {error}")
        return []
    if not names:
        ground.wrong(loc, f"{place(path)} holds no key file")
    found: list[tuple[str, str]] = []
    for name in names:
        file = f"{path.rstrip('/')}/{name}"
        if not is_name(name):
            ground.wrong(loc, f"{place(path)} holds a file whose name is no key name: letters, digits and . _ - only")
            continue
        secrets = _of_file(file, sources, ground, loc)
        if len(secrets) > 1:
            ground.wrong(loc, f"{file} holds more than one key")
        found += [(name, secret) for secret in secrets[:1]]
    return found


def _listed(text: str) -> list[str]:
    """Separated by commas or lines; lines that begin with # are comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [part.strip() for line in lines for part in line.split(",") if part.strip()]
