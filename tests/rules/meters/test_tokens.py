import base64
import random

import pytest

from rules.meters import tokens, vocabulary
from rules.meters.tokens import Counter, Uncountable, base_model, encoding_name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", ("o200k_base", True)),
        ("gpt-4o-mini-2024-07-18", ("o200k_base", True)),
        ("chatgpt-4o-latest", ("o200k_base", True)),
        ("gpt-4.1-mini", ("o200k_base", True)),
        ("gpt-5.6-sol", ("o200k_base", True)),
        ("gpt-6.1-sol", ("o200k_base", False)),
        ("gpt-6-mini", ("o200k_base", False)),
        ("o1", ("o200k_base", True)),
        ("o3-mini", ("o200k_base", True)),
        ("gpt-oss-120b", ("o200k_base", True)),
        ("claude-opus-5", ("o200k_base", True)),
        ("gpt-4", ("cl100k_base", True)),
        ("gpt-4-turbo", ("cl100k_base", True)),
        ("gpt-3.5-turbo-0125", ("cl100k_base", True)),
        ("gpt-35-turbo", ("cl100k_base", True)),
        ("text-embedding-3-small", ("cl100k_base", True)),
        ("text-embedding-ada-002", ("cl100k_base", True)),
        ("ft:gpt-4.1-mini:acme::id", ("o200k_base", True)),
        ("ft:gpt-3.5-turbo:acme::id", ("cl100k_base", True)),
        ("ft:gpt-5-mini:acme::id", ("o200k_base", True)),
        ("ft:", ("o200k_base", False)),
        ("openai/gpt-4", ("cl100k_base", True)),
        ("whisper-1", ("o200k_base", False)),
        ("llama-3.3-70b", ("o200k_base", False)),
        ("", ("o200k_base", False)),
    ],
)
def test_models(model: str, expected: tuple[str, bool]) -> None:
    """Every model counts with the encoding of its base, an unknown one with o200k_base."""
    assert encoding_name(base_model(model)) == expected


@pytest.mark.parametrize("encoding", vocabulary.NAMES)
@pytest.mark.parametrize("gap", [" ", "\t", "\n", "\u00a0"])
def test_a_million_spaces(encoding: str, gap: str) -> None:
    """A run of blanks that makes tiktoken panic is counted in pieces."""
    counter = Counter(encoding)
    counter.text(gap * 1_100_000 + "a")
    assert 0 < counter.text_tokens < 1_100_000


@pytest.mark.parametrize(
    "text", ["<|endoftext|>", "<|im_start|>system", "\ud800\udfff \udc80", "\x00" * 50, "👩‍👩‍👧" * 20]
)
def test_odd_texts(text: str) -> None:
    """Special tokens, lone surrogates and control characters are ordinary text."""
    counter = Counter("o200k_base")
    counter.text(text)
    assert counter.text_tokens > 1


def test_pieces() -> None:
    """Cutting a long text changes its count by less than a token in ten thousand."""
    words = random.Random(1).choices(["the", "quick", "brown", "fox", "1234", "código", "漢字"], k=60_000)
    text = " ".join(words)
    counter = Counter("o200k_base")
    counter.text(text)
    whole = len(vocabulary.encoding("o200k_base").encode_ordinary(text))
    assert abs(counter.text_tokens - whole) <= whole / 10_000


def test_base64() -> None:
    """Base64 handed over as text is counted as text."""
    counter = Counter("o200k_base")
    counter.text(base64.b64encode(random.Random(2).randbytes(30_000)).decode())
    assert 20_000 < counter.text_tokens < 40_000


def test_longer_than_any_context() -> None:
    """What is longer than any context is counted at four characters a token beyond that, in one text or in many."""
    long = "ab " * (tokens.EXACT // 2)
    exact = Counter("o200k_base")
    exact.text(long)
    many, one = Counter("o200k_base"), Counter("o200k_base")
    for _ in range(3):
        many.text(long)
    one.text(long * 3)
    assert many.characters == one.characters == 3 * exact.characters
    assert exact.text_tokens < tokens.EXACT < 2 * exact.text_tokens
    assert many.text_tokens == 2 * exact.text_tokens + -(-len(long) // 4)
    assert one.text_tokens == pytest.approx(tokens.EXACT + (len(long) * 3 - 3 * tokens.EXACT) / 4, rel=0.5)
    assert one.text_tokens < 3 * exact.text_tokens


def test_no_blanks_in_front_make_a_text_cheaper() -> None:
    """Millions of characters of few tokens do not bring what follows to four characters a token."""
    blanks, said = " " * 4_200_000, "門前" * 50_000
    alone, both, one = Counter("o200k_base"), Counter("o200k_base"), Counter("o200k_base")
    alone.text(said)
    for text in (blanks, said):
        both.text(text)
    one.text(blanks + said)
    assert alone.text_tokens > 50_000
    assert min(both.text_tokens, one.text_tokens) > alone.text_tokens + 30_000


def test_json_too_deep() -> None:
    """A value too deep to be written is uncountable; nothing else is raised."""
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(Uncountable):
        Counter("o200k_base").json(deep)


def test_json_with_a_lone_surrogate() -> None:
    """It counts like any other."""
    whole, plain = Counter("o200k_base"), Counter("o200k_base")
    whole.json({"a": "hello \ud800" * 50})
    plain.json({"a": "hello " * 50})
    assert whole.text_tokens > plain.text_tokens


def test_only_text_counts() -> None:
    """A value that is no text counts nothing."""
    counter = Counter("o200k_base")
    for value in (None, 3, ["text"], {"text": 1}, b"bytes", True):
        counter.text(value)
    assert counter.text_tokens == counter.characters == 0
