"""What a call will cost, from its body, before it goes.

Law: reserve what the upstream reserves (limiter 14.2), fail for no bytes whatever, and keep nothing of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..policy import BodyFormat
from . import audio, bodies, gemini, margins, upload
from .content import TOKENS_PER_SECOND
from .document import Packed, document_of, unpacked
from .models import in_path, model_name
from .tokens import CHARACTERS_PER_TOKEN, Counter, NotAtOnce, Uncountable, base_model, encoding_name
from .usage import counts_input_only

_READERS: Mapping[str, Callable[[bodies.Document, Counter, str], int | None]] = {
    "chat_completions": bodies.chat_completions,
    "responses": bodies.responses,
    "completions": bodies.completions,
    "embeddings": bodies.embeddings,
    "moderations": bodies.moderations,
    "messages": bodies.messages,
    "gemini": gemini.contents,
}
CLAUDE_OUTPUT = 1024
"""Most output tokens reserved for a call of Anthropic's. Only what is produced counts there (provider-facts 1.8), so
reserving `max_tokens` would leave most of the quota unused. Tier Start gives 400k output tokens and 1,000 requests a
minute (1.3): 400 a call when both are used up; this is about two and a half times that."""
AUDIO_AT_ONCE = 4096
"""Bytes of an upload read while others wait: the readers take up to 1 us a byte."""
_PACKED = 2
"""Tokens a byte of a body that is packed and cannot be unpacked here: JSON packs to an eighth at best in ordinary
use."""
TRANSCRIBED = "gpt-"
"""Names of the models that count a transcription in tokens, beside its seconds (provider-facts 2.7, 4.3)."""


# a value; rules/verdict.py says why such are not declared frozen
@dataclass(slots=True, kw_only=True)
class Estimate:
    """What a body says about its cost. `costs` by meter: input_tokens, output_tokens, tokens, audio_seconds."""

    model: str | None
    """As the path or the body names it; None when neither names one that could be one."""
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
    text_tokens: int = 0
    """Tokens of its texts, without the margin; 0 where the body holds more than texts, or less than the upstream reads,
    so that usage says nothing about the margin."""
    fixed: int = 0
    """Tokens of overheads, on top of those."""

    def taught(self, input_tokens: float) -> tuple[float, float] | None:
        """(tokens counted, true tokens) of the texts, when the upstream counted so many input tokens; None where that
        teaches nothing (margins.py)."""
        return (float(self.text_tokens), input_tokens - self.fixed) if self.text_tokens else None


def estimate(
    body_format: BodyFormat,
    body: bytes,
    *,
    content_type: str | None = None,
    content_encoding: str | None = None,
    path: str = "",
    margin: Callable[[str], float] = margins.start,
    stands_for: Callable[[str], str] = str,
    at_once: bool = False,
) -> Estimate:
    """Estimate the cost of a call from its body. CPU-bound (about 0.1 s a MB); encoding releases the GIL.

    `content_type`, `content_encoding`: the request's header fields; `path`: its path, where some APIs name the model.
    `margin`: model -> factor for the texts. `stands_for`: a name as the call gives it -> the model behind it, by which
    its tokens are counted. `at_once`: raise NotAtOnce rather than take more than a few milliseconds.

    `input_tokens` is the count of the texts times `margin` (provider-facts 2.8), plus overheads and images.
    `output_tokens` is the body's bound, 0 without one; for Anthropic at most CLAUDE_OUTPUT.
    `tokens`, for the OpenAI formats, is the larger of input + bound and characters / 4. OpenAI charges the larger of
    `max_tokens` and a character estimate, Azure prompt + `max_tokens`: this covers both. Without a bound OpenAI
    deducts about the prompt only, so nothing more is reserved (provider-facts 1.8); Azure holds the model's maximum
    until the call ends, of which few would go if it were reserved here (config/services/azure-openai.yaml). For
    Anthropic it is the sum of the other two, which is what its combined limit counts; for Gemini the input, which is
    all its limit counts (2.3).
    A body that cannot be read counts its bytes / 4 (2.8); bytes that are packed in a way nobody here unpacks count
    _PACKED each. A call that names no model is counted as one of a model nobody knows. Format `none` costs no tokens.
    """
    if body_format == "audio":
        return _audio(body, content_type, content_encoding, path, stands_for, at_once=at_once)
    reader = _READERS.get(body_format)
    if reader is None:
        return Estimate(model=None, costs={})
    try:
        body = unpacked(body, content_encoding, at_once=at_once)
    except Packed:
        return Estimate(model=in_path(path), costs=_tokens(_PACKED * len(body)), known_model=False, readable=False)
    document = document_of(body, at_once=at_once)
    named = in_path(path)
    if document is None:
        return Estimate(model=named, costs=_by_bytes(body), known_model=False, readable=False)
    options = document.get("stream_options")
    model = named or model_name(document.get("model"))
    base, encoding, known = _of_model(stands_for(model or ""))
    counter = Counter(encoding, at_once=at_once)
    try:
        bound = reader(document, counter, base)
    except Uncountable:
        costs, bound, readable = _by_bytes(body), None, False
    else:
        costs, readable = _costs(body_format, counter, bound, margin(model or "")), True
    # what comes from a cache is not in Anthropic's usage as limits count it (1.8)
    whole = readable and counter.seen_all and counter.characters > 0 and b'"cache_control"' not in body
    return Estimate(
        model=model,
        costs=costs,
        stream=document.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        known_model=known,
        readable=readable,
        max_output=bound,
        text_tokens=counter.text_tokens if whole else 0,
        fixed=counter.fixed,
    )


@lru_cache(maxsize=4096)
def _of_model(model: str) -> tuple[str, str, bool]:
    """Base model, its encoding, and whether that is known."""
    base = base_model(model)
    return base, *encoding_name(base)


def _audio(
    body: bytes,
    content_type: str | None,
    content_encoding: str | None,
    path: str,
    stands_for: Callable[[str], str],
    *,
    at_once: bool,
) -> Estimate:
    """`audio_seconds`; and tokens, for models that count them: of the prompt, and of each second."""
    if at_once and len(body) > AUDIO_AT_ONCE:
        raise NotAtOnce
    try:
        body = unpacked(body, content_encoding, at_once=at_once)
    except Packed:
        return Estimate(model=None, costs={"audio_seconds": audio.most(_PACKED * len(body))}, readable=False)
    found = upload.read(body, content_type, path)
    costs = {"audio_seconds": found.seconds or audio.ELSEWHERE}
    model = stands_for(found.model or "")
    if model.startswith(TRANSCRIBED):
        counter = Counter(encoding_name(model)[0], at_once=at_once)
        counter.text(found.prompt)
        costs.update(_tokens(counter.text_tokens + math.ceil(found.seconds * TOKENS_PER_SECOND)))
    return Estimate(model=found.model, costs=costs, stream=found.stream, readable=found.readable)


def _costs(body_format: BodyFormat, counter: Counter, bound: int | None, margin: float) -> dict[str, float]:
    given = math.ceil(counter.text_tokens * margin) + counter.fixed
    output = bound or 0
    if body_format == "messages":
        output = CLAUDE_OUTPUT if bound is None else min(bound, CLAUDE_OUTPUT)
        tokens = given + output
    elif counts_input_only(body_format):
        tokens = given
    else:
        tokens = max(given + output, -(-counter.characters // CHARACTERS_PER_TOKEN))
    return {"input_tokens": float(given), "output_tokens": float(output), "tokens": float(tokens)}


def _by_bytes(body: bytes) -> dict[str, float]:
    return _tokens(-(-len(body) // CHARACTERS_PER_TOKEN))


def _tokens(tokens: float) -> dict[str, float]:
    return {"input_tokens": float(tokens), "output_tokens": 0.0, "tokens": float(tokens)}
