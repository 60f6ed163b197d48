"""The clients of the configuration: a list, or a directory with one file a client, to hashes of their tokens.

Only the SHA-256 of a token is kept: what was configured cannot leak from here (threats F).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

from .checking import checked
from .fileforms import ClientsForm, TokenDirForm, TokenFileForm, TokenForm
from .ground import Ground, Loc
from .mistakes import ConfigInvalid, did_you_mean
from .policy import Clients, ClientToken
from .sources import Sources, SourceUnreadable, place, variable
from .spellings import is_name
from .yamlmarks import compose

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}\Z")  # what a header field can carry without a space (RFC 9110 section 5.5)


def clients_of(form: ClientsForm, tiers: Collection[str], sources: Sources, ground: Ground) -> Clients:
    """Everybody who may call. Mistakes go to the ground, those inside a client's file to that file."""
    loc: Loc = ("clients", "tokens")
    listed: list[ClientToken] = []
    if isinstance(form.tokens, TokenDirForm):
        listed = _of_directory(form.tokens.dir, sources, ground, (*loc, "dir"), tiers)
    elif form.tokens is not None:
        for index, one in enumerate(form.tokens):
            if digest := _digest(one, sources, ground, (*loc, index)):
                listed.append(_client(one.name, digest, one, ground, (*loc, index), tiers))
    _unique(listed, ground, loc)
    return Clients(anonymous=form.anonymous, tokens=tuple(listed))


def _client(
    name: str, digest: bytes, form: TokenForm | TokenFileForm, ground: Ground, loc: Loc, tiers: Collection[str]
) -> ClientToken:
    if form.tier is not None and form.tier not in tiers:
        ground.wrong((*loc, "tier"), f"is no tier of this configuration{did_you_mean(form.tier, tiers)}")
    return ClientToken(
        name=name, token_sha256=digest, user=form.user, tier=form.tier, may_set=tuple(dict.fromkeys(form.may_set))
    )


def _digest(form: TokenForm, sources: Sources, ground: Ground, loc: Loc) -> bytes | None:
    if form.sha256 is not None:
        return bytes.fromhex(form.sha256)
    if form.env is not None:
        text = sources.environ.get(form.env)
        if text is None:
            ground.wrong((*loc, "env"), f"environment variable {variable(form.env)} is not set")
            return None
    else:
        file = form.file or ""
        try:
            text = sources.read(file)
        except SourceUnreadable as error:
            ground.wrong((*loc, "file"), f"cannot read {place(file)}: {error}")
            return None
    return _hashed(text, ground, loc)


def _hashed(text: str, ground: Ground, loc: Loc) -> bytes | None:
    token = text.strip()
    if not _TOKEN.match(token):
        ground.wrong(loc, "the token is empty or holds characters that no token can have (spaces, control characters)")
        return None
    return hashlib.sha256(token.encode()).digest()


def _of_directory(path: str, sources: Sources, ground: Ground, loc: Loc, tiers: Collection[str]) -> list[ClientToken]:
    try:
        names = sources.names(path)
    except SourceUnreadable as error:
        ground.wrong(loc, f"cannot read {place(path)}: {error}")
        return []
    found = []
    for name in names:
        file = f"{path.rstrip('/')}/{name}"
        if not is_name(name.removesuffix(".yaml")):
            ground.wrong(
                loc, f"{place(path)} holds a file whose name is no client name: letters, digits and . _ - only"
            )
            continue
        try:
            text = sources.read(file)
        except SourceUnreadable as error:
            ground.wrong(loc, f"cannot read {place(file)}: {error}")
            continue
        if client := _of_file(name.removesuffix(".yaml"), file, text, ground, tiers):
            found.append(client)
    return found


def _of_file(name: str, file: str, text: str, outer: Ground, tiers: Collection[str]) -> ClientToken | None:
    """A mapping of token or sha256, user, tier, may_set; or the token alone."""
    word = text.strip()
    if _TOKEN.match(word) and not re.match(r"(token|sha256):", word):
        return ClientToken(name=name, token_sha256=hashlib.sha256(word.encode()).digest())
    try:
        root = compose(text, file, outer.findings.mistakes)
    except ConfigInvalid as error:
        outer.findings.mistakes.extend(error.errors)
        return None
    ground = Ground(file, root, outer.findings)
    form, lost = checked(TokenFileForm, ground)
    if form is None or lost:
        return None
    if form.sha256 is not None:
        digest: bytes | None = bytes.fromhex(form.sha256)
    else:
        digest = _hashed(form.token or "", ground, ("token",))
    return _client(name, digest, form, ground, (), tiers) if digest else None


def _unique(listed: list[ClientToken], ground: Ground, loc: Loc) -> None:
    names: set[str] = set()
    owners: dict[bytes, str] = {}
    for client in listed:
        if client.name in names:
            ground.wrong(loc, f"two clients are called {client.name}")
        elif client.token_sha256 in owners:
            ground.wrong(loc, f"{client.name} and {owners[client.token_sha256]} have the same token")
        names.add(client.name)
        owners.setdefault(client.token_sha256, client.name)
