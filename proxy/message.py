"""What is kept of a parsed request head while its call is served.

aiohttp's message holds every field three times: as raw bytes, as text, and as a map. Only the raw bytes are used here,
and a held call keeps them for minutes; so the rest goes, and fields that are alike from call to call are kept once.
"""

from __future__ import annotations

from aiohttp.http import RawRequestMessage

Pair = tuple[bytes, bytes]

_ALIKE = frozenset(
    (b"accept", b"accept-encoding", b"accept-language", b"connection", b"content-type", b"host", b"user-agent")
)
"""Fields that say what program calls, and no secret."""
_ALIKE_PREFIX = b"x-stainless-"
"""Ten fields that the SDKs of OpenAI and Anthropic send with every call."""
_LONGEST = 256
_MOST_SHARED = 1024
_shared: dict[Pair, Pair] = {}


class Message:
    """One request head, as head.RawHead asks for it, and how its body is framed."""

    __slots__ = ("chunked", "length", "method", "path", "raw_headers", "should_close", "upgrade", "version")

    def __init__(self, parsed: RawRequestMessage) -> None:
        self.method: str = parsed.method
        self.path: str = parsed.path
        self.version: tuple[int, int] = parsed.version
        self.should_close: bool = parsed.should_close
        self.upgrade: bool = parsed.upgrade
        self.chunked: bool = parsed.chunked
        self.length = 0
        """Content-Length; 0 without one."""
        kept = []
        for pair in parsed.raw_headers:
            shared = _shared.get(pair)
            if shared is None:
                name = pair[0].lower()
                if name == b"content-length":
                    self.length = int(pair[1])
                elif (name in _ALIKE or name.startswith(_ALIKE_PREFIX)) and len(pair[1]) <= _LONGEST:
                    if len(_shared) >= _MOST_SHARED:
                        _shared.clear()
                    _shared[pair] = pair
            kept.append(shared or pair)
        self.raw_headers = tuple(kept)
