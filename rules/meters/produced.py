"""What a stream has produced so far, for calls that end before the upstream says what they cost.

Law: the count is of the text seen, never less than one token a delta, and no more of the text is held than LINE bytes.
Reasoning that is not shown cannot be counted.
"""

from __future__ import annotations

import math
import re
from functools import cache

import orjson

from ..policy import BodyFormat
from .tokens import CHARACTERS_PER_TOKEN, Counter, base_model, encoding_name
from .vocabulary import FALLBACK, is_built

HELD = 32_768
"""Bytes of text held; what comes after counts a token for four bytes."""

# Fields that carry output (provider-facts 2.7 for the events). A name inside a string has its quotes escaped and is
# not found. Responses repeat the whole text in the events that end a part, so that only `delta` counts there.
_FIELDS: dict[str, str] = {
    "chat_completions": "content|refusal|arguments|reasoning_content|reasoning",
    "completions": "text",
    "responses": "delta",
    "messages": "text|thinking|partial_json",
    "audio": "delta",
}
_OTHER = "text"


@cache
def _pattern(body_format: str) -> re.Pattern[bytes]:
    names = _FIELDS.get(body_format, _OTHER).encode()
    return re.compile(rb'"(?:%b)"\s*:\s*"([^"\\]++(?:\\.[^"\\]*+)*+|(?:\\.[^"\\]*+)++)"' % names, re.DOTALL)


class Produced:
    """Adds up the deltas of one stream."""

    __slots__ = ("_beyond", "_deltas", "_find", "_text")

    def __init__(self, body_format: BodyFormat) -> None:
        self._find = _pattern(body_format).findall
        self._text = bytearray()
        self._beyond = HELD
        self._deltas = 0

    def take(self, events: bytes) -> None:
        """Take whole events, or whole lines of one."""
        for text in self._find(events):
            self._deltas += 1
            if self._beyond > 0:
                self._text += text
            self._beyond -= len(text)

    def tokens(self, model: str | None, margin: float) -> int:
        """Output tokens so far, counted with the model's vocabulary times `margin` (provider-facts 2.8)."""
        # all at once: a character outside the basic plane may be cut between its halves
        try:
            text = orjson.loads(b'"' + self._text + b'"')
        except orjson.JSONDecodeError:
            text = self._text.decode("utf-8", "replace")
        encoding = encoding_name(base_model(model or ""))[0]
        # a vocabulary that is not built is not built for this: the others differ little
        counter = Counter(encoding if is_built(encoding) else FALLBACK)
        counter.text(text)
        beyond = max(0, -self._beyond) // CHARACTERS_PER_TOKEN
        return max(self._deltas, math.ceil(counter.text_tokens * margin) + beyond)
