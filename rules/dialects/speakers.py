"""The dialects by the name a service's `dialect` gives: whose headers, whose rules, and which scope rests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from . import meanings, seen
from .ietf import read_fields
from .meanings import Rule, Scope
from .seen import Fields, How, Seen, Table, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """How one provider speaks."""

    scope: Scope
    """The narrowest scope that should rest after a refusal (limiter Q16)."""
    rules: tuple[Rule, ...] = ()
    headers: Table = field(default_factory=lambda: MappingProxyType({}))
    ietf: bool = False
    """The RateLimit fields of the IETF drafts are read too."""
    how: How = "unknown"
    """How its limits are counted, and so what its reset means."""
    infers: bool = False
    """From the reset its window must be found out: one name stands for a minute and for a day."""
    blur: int = 0
    """How much larger remaining tokens may be than they are told."""
    success: bool = False
    """Errors come with status 200."""

    def limits(self, fields: Fields, now_s: float) -> tuple[Seen, ...]:
        """What a reply's header fields say about limits; `now_s` is Unix time."""
        told: tuple[Seen, ...] = ()
        if self.headers:
            told = read_table(self.headers, fields, now_s, how=self.how, infers=self.infers, blur=self.blur)
        return (*told, *read_fields(fields, now_s, how=self.how)) if self.ietf else told


DIALECTS: Mapping[str, Speaker] = MappingProxyType(
    {
        "openai": Speaker(scope="group_model", rules=meanings.OPENAI, headers=seen.OPENAI, how="refills", infers=True),
        "azure": Speaker(scope="group_model", rules=meanings.AZURE, headers=seen.OPENAI),
        "anthropic": Speaker(
            scope="group_model", rules=meanings.ANTHROPIC, headers=seen.ANTHROPIC, how="refills", blur=500
        ),
        "google": Speaker(scope="group_model", rules=meanings.GOOGLE),
        "youtube": Speaker(scope="endpoint", rules=meanings.GOOGLE),
        "mistral": Speaker(scope="group", rules=meanings.MISTRAL, headers=seen.MISTRAL),
        "cohere": Speaker(scope="endpoint", rules=meanings.COHERE, headers=seen.COHERE),
        "groq": Speaker(scope="group_model", rules=meanings.GROQ, headers=seen.GROQ, how="refills", infers=True),
        "openrouter": Speaker(scope="group_model", rules=meanings.OPENROUTER, headers=seen.PLAIN),
        "elevenlabs": Speaker(scope="group_model", rules=meanings.ELEVENLABS, headers=seen.ELEVENLABS),
        "reddit": Speaker(scope="group", headers=seen.PLAIN, how="fixed"),
        "x": Speaker(scope="endpoint", rules=meanings.X, headers=seen.X, how="fixed"),
        "tiktok": Speaker(scope="endpoint", rules=meanings.TIKTOK),
        "github": Speaker(scope="group", rules=meanings.GITHUB, headers=seen.PLAIN, how="fixed"),
        "notion": Speaker(scope="key", rules=meanings.NOTION),
        "slack": Speaker(scope="endpoint", rules=meanings.SLACK, success=True),
        "stripe": Speaker(scope="endpoint", rules=meanings.STRIPE),
        "huggingface": Speaker(scope="endpoint", ietf=True, how="fixed"),
        # no headers documented (1.4): DeepSeek, Voyage, Deepgram
        "quiet": Speaker(scope="group_model"),
        "generic": Speaker(scope="group_model", headers=seen.ANYBODY, ietf=True),
    }
)


def speaker(dialect: str) -> Speaker:
    """The dialect of that name; `generic` for one that is not known."""
    return DIALECTS.get(dialect) or DIALECTS["generic"]
