"""Functions on header lists: what must not be forwarded, what we add, what we read from the client.

A header list is `list[tuple[bytes, bytes]]`, order and spelling as received (RFC 9110 section 5.3 lets neither be
lost for repeated names). Names are compared in lower case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .log import Record

Fields = list[tuple[bytes, bytes]]

# RFC 9110 section 7.6.1, with the two that old clients still send.
HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
        b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info", b"http2-settings",
    )
)  # fmt: skip

# Fields a Connection header may not take away: the message would change its meaning (threats 2.2 row 13).
PROTECTED = frozenset((b"host", b"content-length", b"transfer-encoding", b"authorization"))

# Names whose underscore spelling some servers read as the real one (threats 2.2 row 14, E5).
_TWINS = HOP_BY_HOP | PROTECTED | {b"x-api-key", b"api-key", b"x-goog-api-key", b"expect", b"via", b"cookie"}

# Who called whom on our side of the proxy is not the upstream's business, and a forged one is a lie (threats E7).
_FORWARDING = frozenset((b"forwarded", b"x-real-ip"))
_PREFIXES = (b"x-headgate-", b"x-forwarded-")
_NEVER = HOP_BY_HOP | _FORWARDING
# Proxies in a row that no honest call passes (threats B10).
_MAX_HOPS = 10
VIA_NAME = b"headgate"


def is_twin(lower_name: bytes) -> bool:
    """True for a name with an underscore (or a trailing one) that equals a known name but for it."""
    if b"_" not in lower_name:
        return False
    dashed = lower_name.replace(b"_", b"-").strip(b"-")
    return dashed in _TWINS or dashed in _FORWARDING or dashed.startswith(_PREFIXES)


def connection_options(value: bytes) -> list[bytes]:
    """The tokens of a Connection header, in lower case (RFC 9110 section 7.6.1)."""
    return [token for token in (part.strip().lower() for part in value.split(b",")) if token]


def end_to_end(fields: Iterable[tuple[bytes, bytes]], *, drop: Sequence[bytes] = ()) -> Fields:
    """The fields that go on to the next hop: no hop-by-hop, nothing Connection names, no control header, no twin,
    nothing that says where the call came from.

    `drop` names more fields to leave out, in lower case. Connection cannot take away a PROTECTED field.
    """
    fields = list(fields)
    gone = _gone(tuple(drop))
    for name, value in fields:
        if len(name) == 10 and name.lower() == b"connection":
            gone = gone.union(option for option in connection_options(value) if option not in PROTECTED)
    kept = []
    for field in fields:
        lower = field[0].lower()
        if lower in gone or lower.startswith(_PREFIXES) or is_twin(lower):
            continue
        kept.append(field)
    return kept


@lru_cache(maxsize=16)
def _gone(drop: tuple[bytes, ...]) -> frozenset[bytes]:
    return frozenset((*_NEVER, *drop))


def value_of(fields: Iterable[tuple[bytes, bytes]], lower_name: bytes) -> bytes | None:
    """The first value of a field, or None."""
    for name, value in fields:
        if len(name) == len(lower_name) and name.lower() == lower_name:
            return value
    return None


def own_fields(call_id: str, record: Record) -> Fields:
    """What every answer says of its call (design 4.1)."""
    fields = [(b"X-Headgate-Request-Id", call_id.encode())]
    if record.service is not None:
        fields.append((b"X-Headgate-Service", record.service.encode()))
        fields.append((b"X-Headgate-Waited", b"%.3f" % (record.waited_ms / 1000)))
        if record.observed is not None:
            fields.append((b"X-Headgate-Observed", record.observed.encode()))
    return fields


@lru_cache(maxsize=4)
def date(now_s: int) -> tuple[bytes, bytes]:
    """The Date field for a moment, in seconds of the epoch (RFC 9110 sections 5.6.7 and 6.6.1)."""
    return b"Date", formatdate(now_s, usegmt=True).encode()


def via(version: tuple[int, int], pseudonym: bytes) -> tuple[bytes, bytes]:
    """The Via field of this hop (RFC 9110 section 7.6.3)."""
    return b"Via", b"%d.%d %s" % (*version, pseudonym)


def passed_through(fields: Iterable[tuple[bytes, bytes]], pseudonym: bytes) -> bool:
    """True when a Via field names this very process, or when Via names so many that the call must be going round."""
    hops = 0
    for name, value in fields:
        if len(name) == 3 and name.lower() == b"via":
            if pseudonym in value:
                return True
            hops += value.count(b",") + 1
    return hops >= _MAX_HOPS
