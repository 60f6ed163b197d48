"""The upstream credential in a request: found, taken out, written (design 4.1).

Works on raw fields and the raw target. Every place where a service takes a credential is emptied before ours is
written, so a client's own never reaches the upstream of a pooled service (threats E2).
"""

from __future__ import annotations

from collections.abc import Iterable

from rules.policy import Credential, CredentialPlace

from .headers import Fields


def find(credential: Credential, fields: Iterable[tuple[bytes, bytes]], target: str) -> bytes | None:
    """The credential the client sent, prefix included; None when it sent none."""
    for place in credential.read:
        name = place.name.encode()
        if place.place == "header":
            for field_name, value in fields:
                if field_name.lower() == name and value:
                    return value
        else:
            for part in target.partition("?")[2].split("&"):
                if part.startswith(f"{place.name}=") and len(part) > len(name) + 1:
                    return part.encode()
    return None


def take_out(credential: Credential, fields: Fields, target: str) -> tuple[Fields, str]:
    """Fields and target with every place of the service emptied."""
    names = {place.name.encode() for place in credential.read if place.place == "header"}
    names.update(name.encode() for name in credential.companions)
    fields = [field for field in fields if field[0].lower() not in names]
    parameters = [place.name for place in credential.read if place.place == "query"]
    if parameters and "?" in target:
        target = _without(target, parameters)
    return fields, target


def write(place: CredentialPlace, secret: str, fields: Fields, target: str) -> tuple[Fields, str]:
    """Fields and target with `secret` in its place."""
    if place.place == "header":
        return [*fields, (place.name.encode(), (place.prefix + secret).encode())], target
    path, mark, query = target.partition("?")
    pair = f"{place.name}={secret}"
    return fields, f"{path}?{query}&{pair}" if mark and query else f"{path}?{pair}"


def take_out_token(token: bytes, fields: Fields, target: str) -> tuple[Fields, str]:
    """Fields and target without any that carry one of our own client tokens, whatever the place."""
    fields = [field for field in fields if token not in field[1]]
    path, mark, query = target.partition("?")
    text = token.decode("ascii", "replace")
    if mark and text in query:
        kept = [part for part in query.split("&") if text not in part]
        target = f"{path}?{'&'.join(kept)}" if kept else path
    return fields, target


def _without(target: str, names: list[str]) -> str:
    path, _, query = target.partition("?")
    kept = [part for part in query.split("&") if part.partition("=")[0] not in names]
    return f"{path}?{'&'.join(kept)}" if kept else path
