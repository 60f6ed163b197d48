"""What an upstream says a call did cost: the usage objects of every API, as one value.

Law: numbers only, and only believable ones; nothing is guessed. The last value of every field counts, because streams
repeat usage and let it grow (provider-facts 2.7). Two things are counted for two purposes: `meters` is what the
service's limits count (1.8), the fields are what it bills (5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..policy import BodyFormat
from .models import model_name
from .scanner import Path

MOST = 2**24
"""Tokens above this are not believed: the longest answer on sale has 128k (provider-facts 5.1), and `n` goes to 128.
What lies cannot fill a limit for ever."""
_MOST_SECONDS = 2**20
"""Seconds of audio above this are not believed: the largest upload a service takes, 100 MB, holds 133,000 at the
lowest plausible rate of 750 bytes a second (provider-facts 4.1, 4.3)."""
_MOST_USD = 1000.0
"""USD of a call above this are not believed: MOST tokens of the dearest output on sale, 50 a million (provider-facts
5.1), are 840."""

# provider-facts 2.7. Groq repeats usage under x_groq; Cohere's streams end with it under delta, its embeddings have it
# under meta.
PATHS: tuple[Path, ...] = (
    *((b"usage",), (b"response", b"usage"), (b"message", b"usage"), (b"x_groq", b"usage")),
    *((b"usageMetadata",), (b"delta", b"usage"), (b"meta",)),
)
WORDS: Mapping[Path, str] = {
    (b"service_tier",): "tier",
    (b"response", b"service_tier"): "tier",
    (b"model",): "model",
    (b"response", b"model"): "model",
}
"""Where the OpenAI formats say at which of their prices a call went, and which model answered."""
_START = (b"message", b"usage")

# Theirs -> ours, and the same inside the objects of a usage.
_NAMES: Mapping[str, str] = {
    "prompt_tokens": "input",
    "input_tokens": "input",
    "promptTokenCount": "input",
    "completion_tokens": "output",
    "output_tokens": "output",
    "candidatesTokenCount": "output",
    "total_tokens": "total",
    "totalTokenCount": "total",
    "toolUsePromptTokenCount": "tool_input",
    "thoughtsTokenCount": "thoughts",
    "cachedContentTokenCount": "cached",
    "prompt_cache_hit_tokens": "cached",
    "cache_read_input_tokens": "cached",
    "cache_creation_input_tokens": "written",
}
_OF_PROMPT: Mapping[str, str] = {
    "cached_tokens": "cached",
    "cache_write_tokens": "written",
    "audio_tokens": "audio_input",
}
_INSIDE: Mapping[str, Mapping[str, str]] = {
    "tokens": {"input_tokens": "input", "output_tokens": "output"},
    "prompt_tokens_details": _OF_PROMPT,
    "input_tokens_details": _OF_PROMPT,
    "input_token_details": _OF_PROMPT,
    "completion_tokens_details": {"audio_tokens": "audio_output"},
    "cache_creation": {"ephemeral_1h_input_tokens": "written_1h"},
    "server_tool_use": {"web_search_requests": "searches"},
    "billed_units": {"input_tokens": "billed_input", "output_tokens": "billed_output"},
}


# a value; rules/verdict.py says why such are not declared frozen
@dataclass(slots=True, kw_only=True)
class Usage:
    """True cost of one call. Tokens are whole and from 0 up; None: the upstream did not say."""

    input_tokens: int | None = None
    """All of the prompt: what was read from a cache or written to one is part of it."""
    output_tokens: int | None = None
    """All that was produced, reasoning included."""
    tokens: int | None = None
    """Both, as the service's limits count them; of Gemini the input alone (provider-facts 2.3)."""
    limited_input: int | None = None
    """Input as the service's limits count it: without what Anthropic read from its cache (provider-facts 1.8)."""
    cached: int = 0
    """Of the input: read from a cache."""
    written: int = 0
    """Of the input: written to a cache."""
    written_1h: int = 0
    """Of `written`: to stay for an hour."""
    audio_input: int = 0
    """Of the input."""
    audio_output: int = 0
    """Of the output."""
    searches: int = 0
    """Searches of the web that are billed one by one."""
    audio_seconds: float | None = None
    """Length of a transcribed recording, where it is billed by time."""
    billed: tuple[int, int] | None = None
    """Input and output tokens that are billed, where the service says so beside those it counted (Cohere)."""
    tier: str | None = None
    """`service_tier`: at which of the service's prices (provider-facts 5.1)."""
    model: str | None = None
    """Which answered; a deployment's name says nothing about that."""
    usd: float | None = None
    """What the call is billed, where the service says so (OpenRouter's usage accounting)."""

    def meters(self) -> dict[str, float]:
        """By meter, as limits count: input_tokens, output_tokens, tokens, audio_seconds; what is not known is left
        out."""
        known = {
            "input_tokens": self.limited_input,
            "output_tokens": self.output_tokens,
            "tokens": self.tokens,
            "audio_seconds": self.audio_seconds,
        }
        return {meter: float(amount) for meter, amount in known.items() if amount is not None}


def counts_input_only(body_format: BodyFormat) -> bool:
    """The service's limits of tokens count the input alone (provider-facts 2.3)."""
    return body_format == "gemini"


class Findings:
    """Collects the usage objects of one reply."""

    __slots__ = ("_anthropic", "_fields", "_input_only", "_seconds", "_usd", "_words")

    def __init__(self, body_format: BodyFormat) -> None:
        self._anthropic = body_format == "messages"
        self._input_only = counts_input_only(body_format)
        self._fields: dict[str, int] = {}
        self._seconds: float | None = None
        self._words: dict[str, str] = {}
        self._usd: float | None = None

    def take(self, path: Path, usage: Any) -> None:
        """Take the value found at one of PATHS, whatever it is."""
        if not isinstance(usage, dict):
            return
        for name, value in usage.items():
            if name in _NAMES:
                # Anthropic's first output count is a beginning, not a result: a stream that breaks off has none yet
                if is_count(value) and not (path == _START and name == "output_tokens"):
                    self._fields[_NAMES[name]] = value
            elif name in _INSIDE and isinstance(value, dict):
                names = _INSIDE[name]
                for inner, amount in value.items():
                    if inner in names and is_count(amount):
                        self._fields[names[inner]] = amount
            elif name == "promptTokensDetails" and isinstance(value, list):
                self._fields["audio_input"] = sum(
                    one["tokenCount"]
                    for one in value
                    if isinstance(one, dict) and one.get("modality") == "AUDIO" and is_count(one.get("tokenCount"))
                )
        seconds: Any = usage.get("seconds")
        if usage.get("type") == "duration" and _is_within(seconds, _MOST_SECONDS):
            self._seconds = float(seconds)
        usd: Any = usage.get("cost")
        if _is_within(usd, _MOST_USD):
            self._usd = float(usd)

    def take_word(self, path: Path, value: Any) -> None:
        """Take the value found at one of WORDS, whatever it is."""
        word = model_name(value)
        if word is not None:
            self._words[WORDS[path]] = word

    def usage(self) -> Usage | None:
        """What the objects say together; None when they say nothing."""
        fields = self._fields
        if not fields and self._seconds is None and self._usd is None:
            return None
        given, output, total = fields.get("input"), fields.get("output"), fields.get("total")
        cached, written = fields.get("cached", 0), fields.get("written", 0)
        billed = None
        if "billed_input" in fields or "billed_output" in fields:
            billed = (fields.get("billed_input", 0), fields.get("billed_output", 0))
            if given is None and output is None:
                given, output = billed
        if output is not None or "thoughts" in fields:
            output = (output or 0) + fields.get("thoughts", 0)
        if given is not None:
            given += fields.get("tool_input", 0)
        limited = given
        if self._anthropic and given is not None:
            # its input_tokens are those behind the last cache mark only (provider-facts 2.7)
            limited = given + written
            given = limited + cached
        if output is None and given is not None and total is not None:
            output = max(0, total - given)  # embeddings name no output
        if limited is not None and output is not None:
            total = limited if self._input_only else max(limited + output, total or 0)
        cached = min(cached, given or 0)
        written = min(written, (given or 0) - cached)
        return Usage(
            input_tokens=given,
            output_tokens=output,
            tokens=total,
            limited_input=limited,
            cached=cached,
            written=written,
            written_1h=min(fields.get("written_1h", 0), written),
            audio_input=min(fields.get("audio_input", 0), (given or 0) - cached - written),
            audio_output=min(fields.get("audio_output", 0), output or 0),
            searches=fields.get("searches", 0),
            audio_seconds=self._seconds,
            billed=billed,
            tier=self._words.get("tier"),
            model=self._words.get("model"),
            usd=self._usd,
        )


def is_count(value: object) -> bool:
    """A number of tokens that can be believed."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST


def _is_within(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < most  # NaN is not
