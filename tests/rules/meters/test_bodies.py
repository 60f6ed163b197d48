import base64
from typing import Any

import pytest

from rules.meters import bodies
from rules.meters.tokens import Counter, Uncountable

from .test_pixels import picture

# 300 x 200: one tile of gpt-4o
PNG = "data:image/png;base64," + base64.b64encode(picture("png", 300, 200)).decode()
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
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "hello"}]}]},
            (8, None),
        ),
        (
            "chat",
            {"messages": [{"role": "assistant", "tool_calls": [{"custom": {"name": "hello", "input": "world"}}]}]},
            (12, None),
        ),
        (
            "chat",
            {"messages": [{"role": "assistant", "reasoning": "hello", "reasoning_details": [{"text": "hello"}]}]},
            (8, None),
        ),
        ("chat", {"messages": [{"role": "assistant", "content": "", "reasoning": "hello"}]}, (8, None)),
        ("chat", {"messages": [], "prediction": {"type": "content", "content": "hello world"}}, (5, None)),
        ("chat", {"messages": [], "documents": ["hello world", {"text": "a"}]}, (3 + 2 + 5, None)),
        (
            "chat",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]},
            (262, None),
        ),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PNG}]}]},
            (262, None),
        ),
        ("responses", {"input": [{"type": "custom_tool_call", "name": "hello", "input": "hello world"}]}, (9, None)),
        ("responses", {"input": [{"type": "image_generation_call", "result": PNG}]}, (261, None)),
        (
            "responses",
            {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": PNG}}]},
            (261, None),
        ),
        ("responses", {"input": [{"type": "file_search_call", "results": [{"text": "hello"}]}]}, (7, None)),
        ("responses", {"input": [{"type": "mcp_call", "id": "mcp_1", "error": "hello world"}]}, (8, None)),
        ("responses", {"input": [{"type": "shell_call_output", "output": [{"stdout": "hello"}]}]}, (7, None)),
        (
            "responses",
            {"input": [{"type": "code_interpreter_call", "code": "hello", "outputs": [{"logs": "world"}]}]},
            (8, None),
        ),
        ("responses", {"input": [{"type": "mcp_list_tools", "tools": [{"a": 1}]}]}, (12, None)),
        ("responses", {"input": [{"type": "local_shell_call", "action": {"a": 1}}]}, (11, None)),
        ("responses", {"prompt": {"id": "p", "variables": {"a": "hello", "b": {"text": "world"}}}}, (5, None)),
        ("embeddings", {"texts": ["hello", "world"], "input_type": "search_query"}, (2, 0)),
        ("embeddings", {"inputs": [{"content": [{"type": "text", "text": "hello"}]}]}, (1, 0)),
        ("embeddings", {"images": [PNG]}, (255, 0)),
        ("embeddings", {"inputs": [{"content": [{"type": "image_base64", "image_base64": PNG}]}]}, (255, 0)),
        ("moderations", {"input": "hello world"}, (2, 0)),
        ("moderations", {"input": ["hello", "world"]}, (2, 0)),
        (
            "moderations",
            {"input": [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": PNG}}]},
            (256, 0),
        ),
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


def test_claude_s_own_tools_cost_more() -> None:
    """Its shell and its editor bring texts of their own (provider-facts 2.8)."""
    plain = read("messages", {"messages": [], "tools": [{"type": "custom", "name": "bash"}]}, "claude-opus-5")[0]
    shell = read("messages", {"messages": [], "tools": [{"type": "bash_20250124", "name": "bash"}]}, "claude-opus-5")[0]
    editor = {"type": "text_editor_20250728", "name": "edit"}
    assert 325 < shell - plain < 335
    assert read("messages", {"messages": [], "tools": [editor]}, "claude-opus-5")[0] > plain + 690


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("chat", {"messages": [], "tools": [{"function": {"name": "f"}}]}),
        ("chat", {"messages": [], "response_format": {"json_schema": {"schema": {}}}}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
        ("responses", {"input": "hello", "previous_response_id": "resp_1"}),
        ("responses", {"input": "hello", "conversation": "conv_1"}),
        ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        ("messages", {"messages": [], "tools": [{"name": "f"}]}),
        ("messages", {"messages": [], "mcp_servers": [{"url": "https://example.com"}]}),
        ("messages", {"messages": [], "output_config": {"format": {"type": "json_schema", "schema": {}}}}),
        ("messages", {"messages": [], "output_format": {"type": "json_schema", "schema": {}}}),
        ("chat", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
    ],
)
def test_what_is_not_all_text_says_so(kind: str, document: dict[str, Any]) -> None:
    """Then the upstream's usage says nothing about how it counts texts."""
    counter = Counter("o200k_base")
    READERS[kind](document, counter, "gpt-4o")
    assert not counter.seen_all


def test_a_schema_counts_with_its_name_and_description() -> None:
    """All that is written there stands in the prompt."""
    form = {"name": "answer", "description": "What was asked. " * 20, "schema": {"type": "object"}}
    whole = read("chat", {"messages": [], "response_format": {"type": "json_schema", "json_schema": form}})[0]
    del form["description"]
    assert (
        whole > read("chat", {"messages": [], "response_format": {"type": "json_schema", "json_schema": form}})[0] + 50
    )
