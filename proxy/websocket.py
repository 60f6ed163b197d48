"""The WebSocket handshake, on both sides of us (RFC 6455 section 4).

The law: bytes change from HTTP to something else only when both sides meant it. A 101 that is not the answer to the
very handshake that was sent is no upgrade (threats H6): an API that can be made to say 101 would else open a way past
every rule for whatever the client sends next. Frames are not read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Protocol

from aiohttp.http_parser import RawResponseMessage

from .errors import Problem
from .faults import UpstreamProtocol
from .framing import holds_control
from .headers import Fields, connection_options

PROTOCOL = b"websocket"
SUBPROTOCOLS = b"sec-websocket-protocol"
# What both heads of a handshake say beside the fields that pass (RFC 6455 sections 4.1 and 4.2.2).
SWITCH: Fields = [(b"Connection", b"Upgrade"), (b"Upgrade", PROTOCOL)]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_NONCE_BYTES = 16  # RFC 6455 section 4.1


class Request(Protocol):
    """A request head with an upgrade in it, by the parser's own measure: Connection names it."""

    @property
    def method(self) -> str: ...
    @property
    def version(self) -> tuple[int, int]: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...


def handshake_key(message: Request) -> bytes | None:
    """The Sec-WebSocket-Key of a request that asks for a WebSocket; None for any other upgrade, and for HTTP/1.0, which
    knows none (RFC 9110 section 7.8). Raises Problem: bad_upgrade.

    The version is for the upstream to judge, which says 426 to one it does not know (RFC 6455 section 4.4).
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in message.raw_headers:
        found.setdefault(name.lower(), []).append(value)
    upgrades = [value.lower() for value in found.get(b"upgrade", ())]
    if message.version != (1, 1) or PROTOCOL not in upgrades:
        return None
    # with two of a field, parsers differ in what they believe; and what comes behind the head is the other protocol's
    has_body = b"transfer-encoding" in found or any(value.strip(b"0") for value in found.get(b"content-length", ()))
    keys = found.get(b"sec-websocket-key", [])
    if message.method != "GET" or len(upgrades) > 1 or has_body or len(keys) != 1 or not _is_nonce(keys[0]):
        words = "a WebSocket handshake is a GET without a body, with one Upgrade and one Sec-WebSocket-Key"
        raise Problem("bad_upgrade", words, close=True)
    return keys[0]


def _is_nonce(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _NONCE_BYTES
    except binascii.Error:
        return False


def judge_switch(message: RawResponseMessage, key: bytes) -> None:
    """Raise UpstreamProtocol unless this 101 answers the handshake that was sent with `key`."""
    accepts, upgrades = [], []
    options: list[bytes] = []
    for name, value in message.raw_headers:
        lower = name.lower()
        if lower == b"sec-websocket-accept":
            accepts.append(value)
        elif lower == b"upgrade":
            upgrades.append(value.lower())
        elif lower == b"connection":
            options += connection_options(value)
        elif lower in (b"content-length", b"transfer-encoding"):
            raise UpstreamProtocol  # RFC 9110 section 8.6: a 1xx has neither
    switches = accepts == [_accept(key)] and upgrades == [PROTOCOL] and b"upgrade" in options
    if not switches or message.version != (1, 1) or holds_control(message):
        raise UpstreamProtocol


def without_subprotocols(fields: Fields, gone: Callable[[bytes], bool]) -> Fields:
    """`fields` less the offered subprotocols that are `gone`: a browser can put a key nowhere else."""
    kept = []
    for name, value in fields:
        if name.lower() == SUBPROTOCOLS:
            offered = subprotocols(value)
            left = [one for one in offered if not gone(one)]
            if not left:
                continue
            if len(left) < len(offered):
                value = b", ".join(left)
        kept.append((name, value))
    return kept


def subprotocols(value: bytes) -> list[bytes]:
    """The names in a Sec-WebSocket-Protocol field (RFC 6455 section 11.3.4)."""
    return [name for part in value.split(b",") if (name := part.strip())]


def _accept(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
