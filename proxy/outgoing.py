"""The head a call leaves with: where it goes, its fields, and the granted key in its place."""

from __future__ import annotations

from functools import lru_cache

from rules.policy import Service
from rules.verdict import Grant

from . import credentials, headers
from .call import Call
from .errand import Errand
from .head import Authority
from .headers import Fields
from .upstream import Target
from .websocket import SWITCH

# Never sent on as they came: we write Host and the framing, and have answered Expect ourselves.
_OURS = (b"host", b"content-length", b"expect")
_TAPPED_CODINGS = (b"gzip", b"deflate", b"identity")


def addressed(errand: Errand, grant: Grant, pseudonym: bytes) -> tuple[Target, str, Fields]:
    """Target, raw request target and fields of a call to a service, with the granted key in place.

    The key is bound to the place: dialled name, SNI and Host are the one authority the rules decided on (threats D).
    """
    call, service = errand.call, errand.service
    head = call.head
    fields = headers.end_to_end(head.fields, drop=_OURS)
    target = head.target
    if errand.identity.token is not None:
        fields, target = credentials.take_out_token(errand.identity.token, fields, target)
    if errand.pooled:
        fields, target = credentials.take_out(service.credential, fields, target)
        secret = secret_of(service, grant)
        fields, target = credentials.write(service.credential.write, secret, fields, target)
    if errand.endpoint.body != "none":
        # of a stream something is taken out again, which needs its plain text (stream.py)
        fields = _readable_codings(fields, (b"identity",) if errand.asked_usage else _TAPPED_CODINGS)
    where, prefix = _where(service, errand.authority)
    return where, prefix + target, framed(call, fields, _host(where.scheme, where.host, where.port), pseudonym)


def secret_of(service: Service, grant: Grant) -> str:
    """The granted key itself; empty where the caller's own credential is the key."""
    return next((key.secret for key in service.keys if key.id == grant.key), "")


def framed(call: Call, fields: Fields, host: bytes, pseudonym: bytes) -> Fields:
    """`fields` behind Host and before Via; those that ask for a WebSocket stand last."""
    switch = SWITCH if call.head.websocket is not None else ()
    return [(b"Host", host), *fields, headers.via(call.head.version, pseudonym), *switch]


def passed(call: Call, target: Target, token: bytes | None, pseudonym: bytes) -> tuple[str, Fields]:
    """Raw request target and fields of a forward call to a host outside the catalogue.

    `token`: what the client identified itself with; it was meant for us and goes no further (threats E1).
    """
    fields, raw_target = headers.end_to_end(call.head.fields, drop=_OURS), call.head.target
    if token is not None:
        fields, raw_target = credentials.take_out_token(token, fields, raw_target)
    return raw_target, framed(call, fields, _host(target.scheme, target.host, target.port), pseudonym)


@lru_cache(maxsize=1024)
def _host(scheme: str, host: str, port: int) -> bytes:
    """The Host field of a place."""
    return Authority(host, port).field(scheme)


def _where(service: Service, asked: Authority | None) -> tuple[Target, str]:
    origin = service.upstream
    if origin is not None:
        scheme, host, port, prefix = origin.scheme, origin.host, origin.port, origin.path
    else:
        # a key never travels in clear text: catalogue hosts are spoken to over TLS whatever the target said
        scheme, host, port, prefix = "https", asked.host if asked is not None else service.hosts[0], 443, ""
    where = Target(
        scheme=scheme,
        host=host,
        port=port,
        connect_to=service.connect_to,
        ca=service.upstream_ca,
        checked=origin is None and service.connect_to is None,
    )
    return where, prefix


def _readable_codings(fields: Fields, readable: tuple[bytes, ...]) -> Fields:
    """Accept-Encoding narrowed to what can be read here (provider-facts 6.3)."""
    narrowed = []
    for name, value in fields:
        if len(name) == 15 and name.lower() == b"accept-encoding":
            known = [part for part in value.split(b",") if part.partition(b";")[0].strip().lower() in readable]
            value = b",".join(known).strip() or b"identity"
        narrowed.append((name, value))
    return narrowed
