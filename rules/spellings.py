"""How single values are written in the YAML: durations, host names, URLs, `host:port`. Each reader raises ValueError
with a plain sentence that does not quote the value."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .policy import Origin

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s?(ms|s|m|h|d)\Z")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # RFC 1123 2.1, and the underscore of container names
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\Z")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()+,;=:@%-]*)*\Z")  # RFC 3986 pchar without the wildcard *

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")

_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")  # urlsplit drops line breaks and tabs in silence

YEAR_MS = 365 * 86_400_000


def duration(text: str) -> int:
    """`500ms`, `60s`, `5m`, `1h`, `1d` -> milliseconds."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError("must be a duration such as 500ms, 60s, 5m or 1h")
    value = float(match[1]) * _UNIT_MS[match[2]]
    if value > YEAR_MS:
        raise ValueError("is longer than a year")
    return round(value)


def is_name(text: str) -> bool:
    """A name of a service, key, client, tier or group: safe in a path, a metric label and a file system."""
    return _NAME.match(text) is not None


def is_host(text: str) -> bool:
    """A host name as a client may spell it, without a trailing dot (RFC 1123 section 2.1)."""
    return len(text) <= 253 and _HOST.match(text) is not None


def host_pattern(text: str) -> str:
    """An exact host name or `*.suffix` in lower case."""
    name = text.removeprefix("*.")
    if not is_host(name):
        raise ValueError("must be a host name, or *. and a host name (no scheme, port or path)")
    return text.lower()


def address(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        fits = re.fullmatch(r"[0-9A-Fa-f:.]{2,45}", host) is not None
    else:
        fits = is_host(host)
    if not colon or not fits or not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
        raise ValueError("must be host:port")
    return host, int(port)


def origin(text: str) -> Origin:
    """`https://host[:port][/path]` -> Origin; a trailing slash is dropped."""
    complaint = "must be a URL such as https://host:port/path, without user, query or fragment"
    try:
        parts = urlsplit(text if _VISIBLE.match(text) else "")
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError(complaint) from None
    scheme = parts.scheme
    if scheme not in ("http", "https") or not host or "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError(complaint)
    if not (is_host(host) or re.fullmatch(r"[0-9a-f:.]{2,45}", host)) or not _PATH.match(parts.path):
        raise ValueError(complaint)
    default = 443 if scheme == "https" else 80
    secure = "https" if scheme == "https" else "http"
    return Origin(scheme=secure, host=host, port=default if port is None else port, path=parts.path.rstrip("/"))  # type: ignore[arg-type]


def endpoint_path(text: str) -> str:
    """`/v1/files/*/content`, `/v1/**`: `*` stands for one segment, a last `**` for the rest."""
    segments = text.split("/")
    literal = [segment for segment in segments[1:] if segment not in ("*", "**")]
    if segments[0] or len(segments) < 2 or "**" in segments[1:-1] or not _PATH.match("/" + "/".join(literal)):
        raise ValueError("must be a path such as /v1/files/*, with ** only as its last segment")
    return text


def store(text: str) -> str:
    """`memory`, or where Redis is: `redis://`, `rediss://`, `unix://`."""
    if text == "memory":
        return text
    try:
        parts = urlsplit(text if _VISIBLE.match(text) else "")
        _ = parts.port
    except ValueError:
        parts = None
    reachable = parts is not None and (
        (parts.scheme in ("redis", "rediss") and bool(parts.hostname)) or (parts.scheme == "unix" and bool(parts.path))
    )
    if not reachable:
        raise ValueError("must be memory, or a URL that begins with redis://, rediss:// or unix://")
    return text
