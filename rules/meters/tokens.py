"""Text to a number of tokens, and which encoding a model uses.

Law: a count never fails, whatever the text, and never keeps it. Text is encoded as ordinary text (a special token in it
is just characters) and in pieces, because tiktoken panics on one run of about a million spaces with an exception that
`except Exception` does not catch (provider-facts 2.1). Encoding releases the GIL. Counts of long texts
are remembered (counts.py).
"""

from __future__ import annotations

import json
import math

import orjson

from . import vocabulary
from .counts import SHORTEST, Counts, digest

PIECE = 100_000
"""Characters encoded at once: a tenth of the run that makes tiktoken panic (provider-facts 2.1)."""
EXACT = 1_050_000
"""Tokens up to which texts are counted exactly; the rest at four characters each. It is the largest context on sale
(provider-facts 5.1), so whatever is longer is refused by the upstream anyway."""
AT_ONCE = 16_384
"""Characters encoded while others wait: 0.5 ms of prose, 2 to 3 ms of the slowest texts known, one repeated letter and
spaces (measured beside tests/bench/pauses.py; provider-facts 2.1 has the same order)."""
CHARACTERS_PER_TOKEN = 4
"""Rule of thumb of the public tools for English (provider-facts 2.8)."""

# provider-facts 2.1, which has none of gpt-6. Claude has no public tokenizer; the facts (2.8) state its counts as a
# multiple of o200k, which is the caller's margin.
_O200K = (
    *("gpt-4o", "chatgpt-4o-", "gpt-4.1", "gpt-4.5-", "gpt-5", "gpt-oss-"),
    *("o1", "o3", "o4-mini", "claude-"),
)
_CL100K = (
    *("gpt-4-", "gpt-3.5-turbo", "gpt-35-turbo", "davinci-002", "babbage-002"),
    *("text-embedding-ada-002", "text-embedding-3-small", "text-embedding-3-large"),
)


class Uncountable(Exception):
    """The value has a shape that no upstream takes; its bytes are counted instead."""


def base_model(model: str) -> str:
    """The name that decides how a model counts: `ft:gpt-4.1-mini:org::id` -> `gpt-4.1-mini`, `openai/gpt-5` -> `gpt-5`.

    A fine-tuned name must be resolved first: tiktoken's own table takes `ft:gpt-4.1-mini` for gpt-4 (facts 2.1).
    A vendor before a slash is how OpenRouter writes names.
    """
    if model.startswith("ft:"):
        model = model.split(":", 2)[1]
    return model.rpartition("/")[2]


def encoding_name(base: str) -> tuple[str, bool]:
    """(encoding, known) of a base model; an unknown one is counted with o200k_base (provider-facts 3.3)."""
    if base.startswith(_O200K):
        return "o200k_base", True
    if base == "gpt-4" or base.startswith(_CL100K):
        return "cl100k_base", True
    return "o200k_base", False


class NotAtOnce(Exception):
    """Counting would take longer than the caller can wait."""


_remembered = {name: Counts() for name in vocabulary.NAMES}


class Counter:
    """Adds up one body: tokens of texts, fixed tokens that stand for no text, characters of the texts.

    `at_once`: raise NotAtOnce rather than encode more than AT_ONCE characters in all, or build a vocabulary.
    """

    __slots__ = ("_counts", "_encode", "_left", "characters", "fixed", "seen_all", "text_tokens")

    def __init__(self, encoding: str, *, at_once: bool = False) -> None:
        if at_once and not vocabulary.is_built(encoding):
            raise NotAtOnce
        self._encode = vocabulary.encoding(encoding).encode_ordinary
        self._counts = _remembered[encoding]
        self._left: float = AT_ONCE if at_once else math.inf
        self.text_tokens = 0
        self.fixed = 0
        self.characters = 0
        self.seen_all = True
        """The texts are all there is: nothing in the body stands for input that was guessed or is not in it."""

    def add(self, tokens: int) -> None:
        """Count tokens that stand for no text: overheads."""
        self.fixed += tokens

    def guess(self, tokens: int) -> None:
        """Count tokens of something that is no text, or is not in the body: an image, a file, tools."""
        self.fixed += tokens
        self.seen_all = False

    def text(self, value: object) -> None:
        """Count a text; anything that is not one counts nothing."""
        if not isinstance(value, str):
            return
        length = len(value)
        self.characters += length
        if self.text_tokens >= EXACT:
            self.text_tokens += -(-length // CHARACTERS_PER_TOKEN)
            return
        if length < SHORTEST:
            self._left -= length
            if self._left < 0:
                raise NotAtOnce
            self.text_tokens += len(self._encode(value))
            return
        key = digest(value)
        found = self._counts.find(key)
        if found is None:
            found = self._count(value, length)
            self._counts.keep(key, found)
        self.text_tokens += found

    def _count(self, text: str, length: int) -> int:
        self._left -= length
        if self._left < 0:
            raise NotAtOnce
        if length <= PIECE:
            return len(self._encode(text))
        tokens = 0
        for start in range(0, length, PIECE):
            if tokens >= EXACT:
                return tokens + -(-(length - start) // CHARACTERS_PER_TOKEN)
            tokens += len(self._encode(text[start : start + PIECE]))
        return tokens

    def json(self, value: object) -> None:
        """Count a value as its compact JSON text. Raises Uncountable when it is too deep."""
        try:
            self.text(_written(value))
        except RecursionError:
            raise Uncountable from None


def _written(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # takes lone surrogates, and four times the depth
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
