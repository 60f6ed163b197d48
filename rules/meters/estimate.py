"""What a call will cost, from its body, before it goes.

Law: reserve what the upstream reserves (limiter 14.2), fail for no bytes whatever, and keep nothing of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ..policy import BodyFormat
from . import bodies
from .tokens import CHARACTERS_PER_TOKEN, Counter, Uncountable, base_model, encoding_name
from .vocabulary import NotBuilt, is_built

_READERS: Mapping[str, Callable[[bodies.Document, Counter, str], int | None]] = {
    "chat_completions": bodies.chat_completions,
    "responses": bodies.responses,
    "completions": bodies.completions,
    "embeddings": bodies.embeddings,
    "messages": bodies.messages,
}
_MODEL_NAME = 256
"""Longest model name believed: longer than any on sale, short enough for a bucket's name."""
CLAUDE_OUTPUT = 1024
"""Most output tokens reserved for a call of Anthropic's. Only what is produced counts there (provider-facts 1.8), so
reserving `max_tokens` would leave most of the quota unused. Tier Start gives 400k output tokens and 1,000 requests a
minute (1.3): 400 a call when both are used up; this is about two and a half times that."""


# a value; rules/verdict.py says why such are not declared frozen
@dataclass(slots=True, kw_only=True)
class Estimate:
    """What a body says about its cost. `costs` are in tokens, by meter: input_tokens, output_tokens, tokens."""

    model: str | None
    """As the body names it; None when it names none that could be one."""
    costs: Mapping[str, float]
    stream: bool = False
    include_usage: bool = False
    """The caller asked for usage in the stream (`stream_options.include_usage`)."""
    known_model: bool = True
    """False: counted with o200k_base because nothing better is known."""
    readable: bool = True
    """False: counted by its bytes."""
    max_output: int | None = None
    """The body's own bound on all output of the call; None when it gives none."""


def estimate(body_format: BodyFormat, body: bytes, *, margin: float = 1.0, build: bool = True) -> Estimate:
    """Estimate the cost of a call from its body. CPU-bound (about 0.1 s a MB); encoding releases the GIL.

    `build`: build the model's vocabulary if need be (vocabulary.py says how long that takes); False: raise NotBuilt.

    `input_tokens` is the count of the texts times `margin` (provider-facts 2.8), plus overheads and images.
    `output_tokens` is the body's bound, 0 without one; for Anthropic at most CLAUDE_OUTPUT.
    `tokens`, for the OpenAI formats, is the larger of input + bound and characters / 4. OpenAI charges the larger of
    `max_tokens` and a character estimate, Azure prompt + `max_tokens`: this covers both. Without a bound OpenAI
    deducts about the prompt only, so nothing more is reserved (provider-facts 1.8). For Anthropic it is the sum of the
    other two, which is what its combined limit counts.
    A body that cannot be read, or names no model, counts its bytes / 4 (2.8). Format `none` costs no tokens.
    """
    reader = _READERS.get(body_format)
    if reader is None:
        return Estimate(model=None, costs={})
    document = _document(body)
    if document is None:
        return Estimate(model=None, costs=_by_bytes(body), known_model=False, readable=False)
    stream = document.get("stream") is True
    options = document.get("stream_options")
    include_usage = isinstance(options, dict) and options.get("include_usage") is True
    model = _model(document.get("model"))
    base = base_model(model or "")
    encoding, known = encoding_name(base)
    if not build and not is_built(encoding):
        raise NotBuilt
    counter = Counter(encoding)
    try:
        if model is None:
            raise Uncountable
        bound = reader(document, counter, base)
    except Uncountable:
        costs, bound, readable = _by_bytes(body), None, False
    else:
        costs, readable = _costs(body_format, counter, bound, margin), True
    return Estimate(
        model=model,
        costs=costs,
        stream=stream,
        include_usage=include_usage,
        known_model=known,
        readable=readable,
        max_output=bound,
    )


def _costs(body_format: str, counter: Counter, bound: int | None, margin: float) -> dict[str, float]:
    given = math.ceil(counter.text_tokens * margin) + counter.fixed
    if body_format == "messages":
        output = CLAUDE_OUTPUT if bound is None else min(bound, CLAUDE_OUTPUT)
        tokens = given + output
    else:
        output = bound or 0
        tokens = max(given + output, -(-counter.characters // CHARACTERS_PER_TOKEN))
    return {"input_tokens": float(given), "output_tokens": float(output), "tokens": float(tokens)}


def _by_bytes(body: bytes) -> dict[str, float]:
    tokens = float(-(-len(body) // CHARACTERS_PER_TOKEN))
    return {"input_tokens": tokens, "output_tokens": 0.0, "tokens": tokens}


def _document(body: bytes) -> bodies.Document | None:
    """The JSON object in the body. The standard library reads what orjson refuses and upstreams may take (NaN, lone
    surrogates, a byte order mark): otherwise such a body would hide its model from the limits of that model."""
    found: Any
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def _model(value: object) -> str | None:
    """Printable names only: they go into bucket names, labels and log lines."""
    if isinstance(value, str) and 0 < len(value) <= _MODEL_NAME and value.isprintable():
        return value
    return None
