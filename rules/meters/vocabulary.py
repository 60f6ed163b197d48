"""The tokenizer vocabularies: read from package data, checked, built once, when first needed.

Law: nothing here or below may reach a network. tiktoken's own registry downloads a file it misses or distrusts
(provider-facts 3.1), so it is never asked: an Encoding is built directly from the bytes in rules/encodings.
"""

from __future__ import annotations

import binascii
import gzip
import hashlib
import io
import threading
from dataclasses import dataclass
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


FALLBACK = "o200k_base"
"""What text is counted with where nothing better is known, and what every model now on sale uses (tokens.py)."""

_built: dict[str, tiktoken.Encoding] = {}
_building = threading.Lock()


def ranks(name: str, packed: bytes) -> dict[bytes, int]:
    """Gunzip, check and parse a rank file: one `base64 rank` pair a line. Raises VocabularyDamaged."""
    # the lines are read one by one: a list of them would be larger than the ranks, and the memory is kept
    pairs = map(bytes.split, io.BytesIO(_checked(name, packed)))
    return {binascii.a2b_base64(token): int(rank) for token, rank in pairs}


def _checked(name: str, packed: bytes) -> bytes:
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
    return content


def _packed(name: str) -> bytes:
    try:
        return resources.files("rules.encodings").joinpath(f"{name}.tiktoken.gz").read_bytes()
    except OSError as error:
        raise VocabularyDamaged(f"rules/encodings/{name}.tiktoken.gz cannot be read; install Headgate again") from error


def is_built(name: str) -> bool:
    """Whether `encoding` answers at once."""
    return name in _built


def encoding(name: str) -> tiktoken.Encoding:
    """The encoding of that name, one of NAMES; built at first use (0.2 to 0.7 s, 22 to 44 MiB), once, whichever thread
    asks. Raises VocabularyDamaged."""
    found = _built.get(name)
    if found is not None:
        return found
    with _building:
        if name not in _built:
            _built[name] = _build(name)
    return _built[name]


def _build(name: str) -> tiktoken.Encoding:
    vocabulary = _SHIPPED[name]
    built = tiktoken.Encoding(
        name,
        pat_str=vocabulary.pattern,
        mergeable_ranks=ranks(name, _packed(name)),
        special_tokens=dict(vocabulary.special),
    )
    # The core has copied them, and only pickling an Encoding, which nobody does, reads them again: 27 MiB for o200k.
    built._mergeable_ranks = {}
    return built


def load() -> None:
    """Build FALLBACK and check the files of the others, so that a broken install fails at start.

    The others are of older models that many an install never calls, and take memory for as long as the process lives.
    """
    encoding(FALLBACK)
    for name in NAMES:
        if name not in _built:
            _checked(name, _packed(name))
