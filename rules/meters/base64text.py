"""Base64 inside JSON: bare, or as a `data:` URL, in either alphabet (RFC 4648 4 and 5: Google's SDKs write the second).

Law: what a lenient decoder reads is read: line ends and characters of no alphabet are passed over. At most MOST bytes,
in steps, so that no other thread waits long.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from .document import MOST

_STEP = 1 << 18
"""Characters decoded at once."""
_NONE = re.compile(r"[^A-Za-z0-9+/]")
_SECOND_ALPHABET = str.maketrans("-_", "+/")
_LONGEST_HEAD = 256
"""Characters of a `data:` URL before its comma."""


def start_of(encoded: str) -> int:
    """Where the data of a `data:` URL begin; 0 where it is none."""
    return encoded.find(",", 0, _LONGEST_HEAD) + 1 if encoded[:5].lower() == "data:" else 0


def pieces(encoded: str) -> Iterator[bytes]:
    """The bytes, piece by piece."""
    start = start_of(encoded)
    end = min(len(encoded), start + MOST // 3 * 4)
    rest = ""
    for at in range(start, end, _STEP):
        piece = encoded[at : min(at + _STEP, end)]
        if "-" in piece or "_" in piece:
            piece = piece.translate(_SECOND_ALPHABET)
        rest += _NONE.sub("", piece)
        whole = len(rest) // 4 * 4
        yield binascii.a2b_base64(rest[:whole])
        rest = rest[whole:]
    if len(rest) > 1:
        yield binascii.a2b_base64(rest + "=" * (4 - len(rest)))


def decoded(encoded: str) -> bytes:
    """The bytes, whole."""
    return b"".join(pieces(encoded))
