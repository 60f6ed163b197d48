"""What a file inside a message counts: a text as the text it is, a PDF by its pages, anything else by its bytes.

Law: a file that is only named (an id, a URL) counts as one page, and so does one that cannot be read: the true usage
settles it. At most MOST bytes are unpacked, in steps, so that no other thread waits long.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from .images import image_tokens
from .tokens import CHARACTERS_PER_TOKEN, Counter

MOST = 32 << 20
"""As much as a metered body may hold (proxy/measure.py)."""
_STEP = 1 << 18
"""Characters decoded at once; a multiple of four."""
_PAGE_TEXT = 3000
"""Text tokens of a PDF page at their most (provider-facts 2.5: 1,500 to 3,000); its image comes on top."""
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])|/Count\s+(\d{1,7})")
_LEAST_PAGE = 400
"""Bytes a page takes at the least, packed: a page tree of so many pages is not believed in fewer."""
_OVERLAP = 64
_TEXTS = ("text/", "application/json", "application/xml", "application/x-ndjson", "application/yaml")


def count_file(encoded: object, kind: object, counter: Counter, base: str) -> None:
    """Count a file for the base model: `encoded` a `data:` URL or bare base64, `kind` its media type where that is said
    beside it. Anything else counts as one page."""
    data = encoded if isinstance(encoded, str) else ""
    media = kind.lower() if isinstance(kind, str) else ""
    start = 0
    if data[:5].lower() == "data:":
        start = data.find(",", 0, 256) + 1
        media = data[5:start].partition(";")[0].partition(",")[0].lower()
    page = _PAGE_TEXT + image_tokens(base, "high")
    size = (len(data) - start) * 3 // 4
    if not data or size <= 0:
        counter.guess(page)
    elif media.startswith(_TEXTS):
        text = b"".join(_decoded(data, start)).decode("utf-8", "replace")
        counter.text(text)
        if not text:
            counter.guess(-(-size // CHARACTERS_PER_TOKEN))
    elif data.startswith("JVBERi", start):  # %PDF
        counter.guess(page * _pages(data, start, size))
    else:
        counter.guess(max(page, -(-size // CHARACTERS_PER_TOKEN)))


def _pages(data: str, start: int, size: int) -> int:
    """Pages of a PDF: the objects that are one, or what the page tree says (the objects may be packed), whichever is
    more; what it says is believed up to a page in each _LEAST_PAGE bytes."""
    objects = told = 0
    before = b""
    for piece in _decoded(data, start):
        window = before + piece
        for found in _PAGE.finditer(window):
            if found.end() <= len(before):
                continue  # counted with the piece before
            if found[1] is None:
                objects += 1
            else:
                told = max(told, int(found[1]))
        before = window[-_OVERLAP:]
    return max(1, objects, min(told, size // _LEAST_PAGE))


def _decoded(data: str, start: int) -> Iterator[bytes]:
    """The bytes of base64 text from `start`, in pieces, up to where it breaks off or MOST is reached."""
    end = min(len(data), start + MOST // 3 * 4)
    for at in range(start, end, _STEP):
        piece = data[at : min(at + _STEP, end)]
        try:
            yield binascii.a2b_base64(piece + "=" * (-len(piece) % 4))
        except ValueError:
            return


def decoded(encoded: str) -> bytes:
    """The bytes of a `data:` URL or of bare base64, up to where it breaks off or MOST is reached."""
    start = encoded.find(",", 0, 256) + 1 if encoded[:5].lower() == "data:" else 0
    return b"".join(_decoded(encoded, start))
