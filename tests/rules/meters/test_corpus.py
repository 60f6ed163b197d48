"""The estimate against tiktoken itself: over two hundred bodies, and to the token where the cookbook has a formula."""

from __future__ import annotations

import base64
import functools
import gzip
import importlib
from importlib import resources
from typing import Any

import orjson
import pytest
import tiktoken

from rules.meters import estimate
from rules.meters.tokens import base_model, encoding_name

from .corpus import Body, bodies

CORPUS = bodies()


@functools.cache
def tiktokens_own(name: str) -> tiktoken.Encoding:
    """The encoding as tiktoken's own registry builds it, from the shipped ranks instead of the network."""
    published: Any = importlib.import_module("tiktoken_ext.openai_public")
    packed = resources.files("rules.encodings").joinpath(f"{name}.tiktoken.gz").read_bytes()
    lines = (line.split() for line in gzip.decompress(packed).splitlines())
    shipped = {base64.b64decode(token): int(rank) for token, rank in lines}
    fetch, published.load_tiktoken_bpe = published.load_tiktoken_bpe, lambda *_args, **_kwargs: shipped
    try:
        built: dict[str, Any] = getattr(published, name)()
    finally:
        published.load_tiktoken_bpe = fetch
    return tiktoken.Encoding(**built)


def own_count(text: str, model: str) -> int:
    """tiktoken's count of a text as ordinary text, whole."""
    return len(tiktokens_own(encoding_name(base_model(model))[0]).encode(text, disallowed_special=()))


def input_tokens(body: Body) -> float:
    """The estimate."""
    path = f"/v1beta/models/{body.model}:generateContent" if body.format == "gemini" else ""
    found = estimate(body.format, orjson.dumps(body.document), path=path)
    assert found.readable
    return found.costs["input_tokens"]


@pytest.mark.parametrize("number", range(len(CORPUS)))
def test_never_more_than_2_percent_under_tiktoken(number: int) -> None:
    """Of the texts in the body; and where the encoding is published, nothing but overheads is above it."""
    body = CORPUS[number]
    own = sum(own_count(text, body.model) for text in body.texts)
    assert input_tokens(body) >= 0.98 * own


@pytest.mark.parametrize("number", [n for n, body in enumerate(CORPUS) if body.plain and "mistral" not in body.model])
def test_plain_chats_are_the_cookbook_s_count(number: int) -> None:
    """Three a message, the role, the text, and three for the reply (provider-facts 2.2)."""
    body = CORPUS[number]
    turns = body.document["messages"]
    said = sum(3 + own_count(turn["role"], body.model) + own_count(turn["content"], body.model) for turn in turns)
    # long texts are counted in pieces: a token more at a cut, at the most
    assert input_tokens(body) == said + 3


def test_the_corpus_is_what_it_says() -> None:
    """Two hundred bodies of every format, plain chats among them, and long ones."""
    assert len(CORPUS) == 200
    assert {body.format for body in CORPUS} == {
        *("chat_completions", "responses", "messages", "gemini", "completions", "embeddings", "moderations")
    }
    assert sum(body.plain for body in CORPUS) > 20
    assert max(sum(map(len, body.texts)) for body in CORPUS) > 20_000


# The cookbook's own example, counted there by the API: 129 tokens for the models of 2023, 124 for gpt-4o.
_NAMED = "example_user", "example_assistant"
_SAID = (
    ("You are a helpful, pattern-following assistant that translates corporate jargon into plain English.", None),
    ("New synergies will help drive top-line growth.", _NAMED[0]),
    ("Things working well together will increase revenue.", _NAMED[1]),
    (
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        _NAMED[0],
    ),
    ("Let's talk later when we're less busy about how to do better.", _NAMED[1]),
)
_LAST = "This late pivot means we don't have time to boil the ocean for the client deliverable."
JARGON = [
    *({"role": "system", "content": said} | ({"name": name} if name else {}) for said, name in _SAID),
    {"role": "user", "content": _LAST},
]


@pytest.mark.parametrize(
    ("model", "expected"),
    [("gpt-3.5-turbo", 129), ("gpt-4-0613", 129), ("gpt-4", 129), ("gpt-4o", 124), ("gpt-4o-mini", 124)],
)
def test_the_cookbook_s_example(model: str, expected: int) -> None:
    """What the API charged for it."""
    body = orjson.dumps({"model": model, "messages": JARGON})
    assert estimate("chat_completions", body).costs["input_tokens"] == expected


def test_the_oldest_model() -> None:
    """gpt-3.5-turbo-0301: one more a message, two less a name (provider-facts 2.2)."""
    body = orjson.dumps({"model": "gpt-3.5-turbo-0301", "messages": JARGON})
    assert estimate("chat_completions", body).costs["input_tokens"] == 129 + 6 - 2 * 4
