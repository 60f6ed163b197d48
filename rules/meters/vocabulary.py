"""The tokenizer vocabularies: read from package data, checked, built once.

Law: nothing here or below may reach a network. tiktoken's own registry downloads a file it misses or distrusts
(provider-facts 3.1), so it is never asked: an Encoding is built directly from the bytes in rules/encodings.
"""

from __future__ import annotations

import binascii
import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import tiktoken


class VocabularyDamaged(Exception):
    """A vocabulary file is missing, or is not the one that was shipped."""


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    sha256: str
    pattern: str
    special: tuple[tuple[str, int], ...]


_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

# Hashes, split patterns and special tokens are those of tiktoken 0.14.0, tiktoken_ext/openai_public.py. A test compares
# the patterns with the installed tiktoken, so an update that changes them is seen.
_SHIPPED = {
    "o200k_base": _Vocabulary(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern="|".join(
            (
                rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}",
                rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
        special=(("<|endoftext|>", 199999), ("<|endofprompt|>", 200018)),
    ),
    "cl100k_base": _Vocabulary(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern="|".join(
            (
                r"'(?i:[sdmt]|ll|ve|re)",
                r"[^\r\n\p{L}\p{N}]?+\p{L}++",
                r"\p{N}{1,3}+",
                r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
                r"\s++$",
                r"\s*[\r\n]",
                r"\s+(?!\S)",
                r"\s",
            )
        ),
        special=(
            ("<|endoftext|>", 100257),
            ("<|fim_prefix|>", 100258),
            ("<|fim_middle|>", 100259),
            ("<|fim_suffix|>", 100260),
            ("<|endofprompt|>", 100276),
        ),
    ),
}

NAMES = tuple(_SHIPPED)


def ranks(name: str, packed: bytes) -> dict[bytes, int]:
    """Gunzip, check and parse a rank file: one `base64 rank` pair a line. Raises VocabularyDamaged."""
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, ValueError) as error:
        raise VocabularyDamaged(
            f"rules/encodings/{name}.tiktoken.gz cannot be unpacked; install Headgate again"
        ) from error
    if hashlib.sha256(content).hexdigest() != _SHIPPED[name].sha256:
        raise VocabularyDamaged(
            f"rules/encodings/{name}.tiktoken.gz is not the file that was shipped; install Headgate again"
        )
    return {binascii.a2b_base64(token): int(rank) for token, rank in (line.split() for line in content.splitlines())}


@cache
def encoding(name: str) -> tiktoken.Encoding:
    """The encoding of that name, one of NAMES; built at first use (0.2 to 0.7 s). Raises VocabularyDamaged."""
    vocabulary = _SHIPPED[name]
    try:
        packed = resources.files("rules.encodings").joinpath(f"{name}.tiktoken.gz").read_bytes()
    except OSError as error:
        raise VocabularyDamaged(f"rules/encodings/{name}.tiktoken.gz cannot be read; install Headgate again") from error
    return tiktoken.Encoding(
        name,
        pat_str=vocabulary.pattern,
        mergeable_ranks=ranks(name, packed),
        special_tokens=dict(vocabulary.special),
    )


def load() -> None:
    """Build every encoding now, so that a broken install fails at start and no call pays for it."""
    for name in NAMES:
        encoding(name)
