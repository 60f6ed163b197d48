from typing import Any

import pytest

from rules.meters import bodies
from rules.meters.tokens import Counter, Uncountable

READERS = {
    "chat": bodies.chat_completions,
    "responses": bodies.responses,
    "completions": bodies.completions,
    "embeddings": bodies.embeddings,
    "messages": bodies.messages,
    "moderations": bodies.moderations,
}


def read(kind: str, document: dict[str, Any], base: str = "gpt-4o") -> tuple[int, int | None]:
    """Input tokens and output bound of a body."""
    counter = Counter("o200k_base")
    bound = READERS[kind](document, counter, base)
    return counter.text_tokens + counter.fixed, bound


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_roles(encoding: str) -> None:
    """Every role that is counted by a constant is one token."""
    for role in bodies._ROLES:
        counter = Counter(encoding)
        counter.text(role)
        assert counter.text_tokens == 1


@pytest.mark.parametrize(
    ("kind", "document", "expected"),
    [
        ("chat", {"messages": [{"role": "user", "content": "hello world"}]}, (9, None)),
        ("chat", {"messages": [{"role": "user", "content": "hello", "name": "world"}]}, (10, None)),
        ("chat", {"messages": [{"role": "judge", "content": "hello"}]}, (8, None)),
        ("chat", {"messages": [], "max_tokens": 5}, (3, 5)),
        ("chat", {"messages": [], "max_completion_tokens": 7, "max_tokens": 5, "n": 3}, (3, 21)),
        ("chat", {"messages": [], "max_tokens": -5, "n": "many"}, (3, None)),
        ("chat", {"messages": [], "max_tokens": True}, (3, None)),
        ("chat", {"messages": [], "max_tokens": float("nan")}, (3, None)),
        ("chat", {"messages": [], "max_tokens": 10**30, "n": 10**30}, (3, 2**40)),
        (
            "chat",
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "hello", "arguments": "world"}}, 3]}
                ]
            },
            (12, None),
        ),
        ("responses", {"input": "hello world", "max_output_tokens": 50}, (9, 50)),
        ("responses", {"input": [{"role": "user", "content": "hello world"}]}, (9, None)),
        ("responses", {"input": [{"type": "function_call", "name": "hello", "arguments": "world"}]}, (8, None)),
        ("responses", {"input": [{"type": "function_call_output", "output": "hello"}]}, (7, None)),
        (
            "responses",
            {"input": [{"type": "reasoning", "summary": [{"text": "hello"}], "encrypted_content": "A" * 16}]},
            (10, None),
        ),
        ("responses", {"instructions": "hello", "previous_response_id": "resp_1"}, (4, None)),
        ("completions", {"prompt": "hello world"}, (2, 16)),
        ("completions", {"prompt": ["hello", "world"], "max_tokens": 10, "n": 2, "best_of": 3}, (2, 60)),
        ("completions", {"prompt": [1, 2, 3], "max_tokens": 0}, (3, 0)),
        ("completions", {"prompt": [[1, 2], [3]], "max_tokens": 5}, (3, 10)),
        ("embeddings", {"input": "hello world"}, (2, 0)),
        ("embeddings", {"input": ["hello", "world"]}, (2, 0)),
        ("embeddings", {"input": [1, 2, 3]}, (3, 0)),
        ("embeddings", {"input": [[1, 2, 3], [4]]}, (4, 0)),
        ("messages", {"system": "hello", "messages": [{"role": "user", "content": "world"}], "max_tokens": 9}, (9, 9)),
        ("messages", {"system": [{"type": "text", "text": "hello"}], "messages": []}, (4, None)),
    ],
)
def test_counts(kind: str, document: dict[str, Any], expected: tuple[int, int | None]) -> None:
    """Input and bound of every shape the providers document."""
    assert read(kind, document) == expected


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("chat", {}),
        ("chat", {"messages": "hello"}),
        ("responses", {"input": 3}),
        ("completions", {}),
        ("embeddings", {"input": {"text": "hello"}}),
        ("messages", {"messages": None}),
    ],
)
def test_uncountable(kind: str, document: dict[str, Any]) -> None:
    """A body whose input has a type no upstream takes is uncountable."""
    with pytest.raises(Uncountable):
        read(kind, document)


@pytest.mark.parametrize(
    ("base", "choice", "hidden"),
    [("claude-opus-5", None, 286), ("claude-opus-5", {"type": "any"}, 406), ("claude-haiku-9", {"type": "auto"}, 675)],
)
def test_hidden_prompt_of_claude(base: str, choice: object, hidden: int) -> None:
    """Tools bring Claude's hidden system prompt, the largest one for models not listed."""
    bare, _ = read("messages", {"messages": []}, base)
    counter = Counter("o200k_base")
    counter.json({"name": "f"})
    tools = {"messages": [], "tools": [{"name": "f"}], "tool_choice": choice}
    assert read("messages", tools, base)[0] == bare + hidden + counter.text_tokens
