"""What a file inside a message counts: a text as the text it is, a PDF by its pages, anything else by its bytes.

Law: a file that is only named (an id, a URL) counts as one page: the true usage settles it.
"""

from __future__ import annotations

from .base64text import decoded, pieces, start_of
from .images import image_tokens
from .pdf import pages
from .tokens import CHARACTERS_PER_TOKEN, Counter

_PAGE_TEXT = 3000
"""Text tokens of a PDF page at their most (provider-facts 2.5: 1,500 to 3,000); its image comes on top."""
_TEXTS = ("text/", "application/json", "application/xml", "application/x-ndjson", "application/yaml")


def count_file(encoded: object, kind: object, counter: Counter, base: str) -> None:
    """Count a file for the base model: `encoded` a `data:` URL or bare base64, `kind` its media type where that is said
    beside it. Anything else counts as one page."""
    data = encoded if isinstance(encoded, str) else ""
    start = start_of(data)
    media = kind.lower() if isinstance(kind, str) else ""
    if start:
        media = data[5:start].partition(";")[0].partition(",")[0].lower()
    page = _PAGE_TEXT + image_tokens(base, "high")
    size = (len(data) - start) * 3 // 4
    if not data or size <= 0:
        counter.guess(page)
    elif media.startswith(_TEXTS):
        text = b"".join(pieces(data)).decode("utf-8", "replace")
        counter.text(text)
        if not text:
            counter.guess(-(-size // CHARACTERS_PER_TOKEN))
    else:
        shown = pages(decoded(data)) if data.startswith("JVBERi", start) else 0  # %PDF
        counter.guess(page * shown or max(page, -(-size // CHARACTERS_PER_TOKEN)))
