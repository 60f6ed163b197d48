"""The upstream credential in a request: found, taken out, written (design 4.1).

Works on raw fields and the raw target. Every place where a service takes a credential is emptied before ours is
written, so a client's own never reaches the upstream of a pooled service (threats E2).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Iterable
from urllib.parse import quote, unquote, unquote_plus

from rules.policy import Credential, CredentialPlace

from .headers import Fields
from .websocket import SUBPROTOCOLS, subprotocols, without_subprotocols

_SIGNER = re.compile(rb"\boauth_(?:consumer_key|token)\s{0,4}=\s{0,4}\"?[^\",\s]{1,256}")


def find(credential: Credential, fields: Iterable[tuple[bytes, bytes]], target: str) -> bytes | None:
    """The credential the client sent, prefix included; None when it sent none."""
    for place in credential.read:
        name = place.name.encode()
        if place.place == "header":
            prefix = place.prefix.encode()
            for field_name, value in fields:
                if field_name.lower() == name and value:
                    if name != SUBPROTOCOLS:
                        return value
                    for offered in subprotocols(value):
                        if offered.startswith(prefix):
                            return offered
        else:
            for part in target.partition("?")[2].split("&"):
                parameter, _, value_text = part.partition("=")
                if value_text and unquote(parameter) == place.name:
                    return part.encode()
    return None


def signer(credential: Credential, fields: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Who signed the call, where it carries a signature: no other key can be put in its place. None: nobody did.

    What names the signer is the same in each of his calls: of OAuth 1.0a, consumer key and token (RFC 5849 section
    3.1); of another scheme, or where they are missing, the scheme.
    """
    if not credential.signed:
        return None
    for name, value in fields:
        if name.lower() == b"authorization":
            scheme = value.partition(b" ")[0].lower()
            if scheme.decode("latin-1") in credential.signed:
                return scheme + b" " + b" ".join(sorted(_SIGNER.findall(value)[:2]))
    return None


def take_out(credential: Credential, fields: Fields, target: str) -> tuple[Fields, str]:
    """Fields and target with every place of the service emptied."""
    names = {place.name.encode(): place.prefix.encode() for place in credential.read if place.place == "header"}
    offered = names.pop(SUBPROTOCOLS, None)
    if offered is not None:
        fields = without_subprotocols(fields, lambda name: name.startswith(offered))
    names.update((name.encode(), b"") for name in credential.companions)
    fields = [field for field in fields if field[0].lower() not in names]
    parameters = [place.name for place in credential.read if place.place == "query"]
    if parameters and "?" in target:
        target = _without(target, parameters)
    return fields, target


def form_parameters(credential: Credential, fields: Iterable[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """Parameters of this request's body that may hold a credential; empty where it is no form that can be read."""
    if not credential.form:
        return ()
    said = {name.lower(): value.lower() for name, value in fields}
    kind = said.get(b"content-type", b"").partition(b";")[0].strip()
    return credential.form if kind == b"application/x-www-form-urlencoded" else ()


def take_out_of_form(parameters: Collection[str], body: bytes) -> bytes:
    """A form body (WHATWG URL, section 5.1) without these parameters, however their names are spelt."""
    parts = body.split(b"&")
    kept = [part for part in parts if unquote_plus(part.partition(b"=")[0].decode("latin-1")) not in parameters]
    return body if len(kept) == len(parts) else b"&".join(kept)


def write(place: CredentialPlace, secret: str, fields: Fields, target: str) -> tuple[Fields, str]:
    """Fields and target with `secret` in its place."""
    if place.place == "header":
        return [*fields, (place.name.encode(), (place.prefix + secret).encode())], target
    path, mark, query = target.partition("?")
    pair = f"{place.name}={quote(secret, safe='')}"
    return fields, f"{path}?{query}&{pair}" if mark and query else f"{path}?{pair}"


def take_out_token(token: bytes, fields: Fields, target: str) -> tuple[Fields, str]:
    """Fields and target without any that carry one of our own client tokens, whatever the place and the spelling."""
    fields = without_subprotocols(fields, lambda name: token in name)
    fields = [field for field in fields if token not in field[1] and not _holds(field[1], token)]
    path, mark, query = target.partition("?")
    if mark:
        text = token.decode("utf-8", "replace")
        parts = query.split("&")
        kept = [part for part in parts if text not in part and text not in unquote(part)]
        if len(kept) < len(parts):
            target = f"{path}?{'&'.join(kept)}" if kept else path
    return fields, target


def basic_pair(value: bytes) -> tuple[bytes, bytes] | None:
    """Name and password of Basic credentials (RFC 7617); None for anything else."""
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = decoded.partition(b":")
    return (name, password) if colon else None


def _holds(value: bytes, token: bytes) -> bool:
    pair = basic_pair(value) if value[:6].lower() == b"basic " else None
    return pair is not None and token in pair


def _without(target: str, names: list[str]) -> str:
    path, _, query = target.partition("?")
    # an upstream decodes names before it compares them
    kept = [part for part in query.split("&") if unquote(part.partition("=")[0]) not in names]
    return f"{path}?{'&'.join(kept)}" if kept else path
