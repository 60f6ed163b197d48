"""The size of a picture, from the first bytes of its file: PNG, JPEG, GIF and WebP, which the chat APIs take.

Law: reads what a decoder goes by, never the pixels, and at most HEAD bytes of them; what it cannot read is None, and
then the ceiling of the model is charged.
"""

from __future__ import annotations

from .base64text import pieces, start_of

HEAD = 262_144
"""Bytes looked at: a JPEG may carry colour profile, previews and Exif, each segment below 64 KiB, before its size."""
_ENCODED = HEAD // 3 * 4


def size_of(encoded: str) -> tuple[int, int] | None:
    """Width and height of a picture given as a `data:` URL or as bare base64; None when it cannot be told."""
    start = start_of(encoded)
    if encoded[:5].lower() == "data:" and not encoded[:start].lower().endswith(";base64,"):
        return None
    return size_of_bytes(b"".join(pieces(encoded[start : start + _ENCODED])))


def size_of_bytes(head: bytes) -> tuple[int, int] | None:
    """Width and height of the picture that begins so."""
    found: tuple[int, int] | None = None
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        found = _big(head, 16), _big(head, 20)
    elif head.startswith(b"\xff\xd8"):
        found = _jpeg(head)
    elif head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        found = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        found = _webp(head)
    return found if found is not None and min(found) > 0 else None


def _big(head: bytes, at: int, length: int = 4) -> int:
    return int.from_bytes(head[at : at + length], "big")


def _jpeg(head: bytes) -> tuple[int, int] | None:
    """The first frame header (SOF) behind the other segments; what lies inside those (previews) is passed over."""
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:
            at += 1  # fill byte
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2  # stands alone
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _big(head, at + 7, 2), _big(head, at + 5, 2)
        elif marker in (0xD9, 0xDA):
            return None  # end, or pixels without a frame
        else:
            at += 2 + max(2, _big(head, at + 2, 2))
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if len(head) < 30:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None
