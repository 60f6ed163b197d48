"""The request bodies of the OpenAI formats and of Anthropic's: what their parts add to the input, what bounds their
output.

Law: each function counts the input into the counter and returns the bound on output tokens, or None when the body gives
none. It raises Uncountable when the part that carries the input has a type no upstream takes, and nothing else.
"""

from __future__ import annotations

from typing import Any

from .content import count_content, count_picture, count_sealed
from .tokens import Counter, Uncountable
from .tools import count_schema, count_tools

Document = dict[str, Any]

MESSAGE = 3
"""Of each message (provider-facts 2.2: verified to the token by the OpenAI cookbook, as are the next two)."""
_NAME = 1
_PRIMER = 3
_CALL = 3
_OLDEST = "gpt-3.5-turbo-0301"
"""Counts 4 for a message and takes 1 off for a name (provider-facts 2.2)."""
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
"""Each is one token in both encodings; a test holds that."""
_PARTS = frozenset(("output", "outputs", "results", "summary", "queries"))
"""Fields of an item that hold texts and parts, beside its content."""
_OF_ITEM = frozenset(("content", "role", "type", "id", "call_id", "status", "result"))
"""Fields of an item that are counted elsewhere, or are no input."""
_COMPLETION_DEFAULT = 16
"""`max_tokens` of completions when absent (provider-facts 2.3)."""
_AMOUNT = 2**40
"""Largest number believed in a body: above every limit, and far below the gate's 2^53 after scaling."""

# Hidden system prompt of Claude when any tool is present: (auto or none, any or tool), provider-facts 2.8.
_CLAUDE_TOOLS: tuple[tuple[tuple[str, ...], tuple[int, int]], ...] = (
    (("claude-opus-5",), (286, 406)),
    (("claude-opus-4-8",), (290, 410)),
    (("claude-sonnet-5",), (354, 474)),
    (("claude-opus-4-6", "claude-sonnet-4-6"), (497, 589)),
    (("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"), (496, 588)),
)
_CLAUDE_TOOLS_MOST = (675, 804)
"""Opus 4.7, the largest listed: for models not listed."""
_CLAUDE_OWN = (("bash_", 325), ("text_editor_", 700))
"""What Anthropic's own tools add to that, at their most (provider-facts 2.8)."""


def amount(value: object) -> int | None:
    """A count in a body: a whole number from 0 up; anything else is as if absent."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if value >= 0:  # NaN is not
        return int(min(value, _AMOUNT))
    return None


def chat_completions(document: Document, counter: Counter, base: str) -> int | None:
    """`max_completion_tokens` or the older `max_tokens`, times `n` (provider-facts 2.3)."""
    messages = document.get("messages")
    if not isinstance(messages, list):
        raise Uncountable
    counter.add(_PRIMER)
    for message in messages:
        if isinstance(message, dict):
            _chat_message(message, counter, base)
            if base == _OLDEST:
                counter.add(1 - 2 * _NAME if "name" in message else 1)
    opening = _function_opening(base)
    count_tools(document.get("tools"), counter, opening=opening)
    count_tools(document.get("functions"), counter, opening=opening)
    count_schema(document.get("response_format"), counter)
    documents = document.get("documents")
    for text in documents if isinstance(documents, list) else ():
        _cohere_document(text, counter)
    prediction = document.get("prediction")
    if isinstance(prediction, dict):
        # what is predicted and not used is billed as output; counted once, on this side
        count_content(prediction.get("content"), counter, base)
        counter.seen_all = False
    return times(_largest(document, "max_completion_tokens", "max_tokens"), _largest(document, "n"))


def _chat_message(message: Document, counter: Counter, base: str) -> None:
    _opening(message, counter)
    count_content(message.get("content"), counter, base)
    if len(message) == 2 and "content" in message:  # nearly always
        return
    if "name" in message:
        counter.add(_NAME)
        counter.text(message["name"])
    counter.text(message.get("refusal"))
    counter.text(message.get("reasoning_content"))
    # OpenRouter sends both, of one content
    thoughts = message.get("reasoning_details")
    count_content(thoughts or message.get("reasoning"), counter, base)
    if message.get("audio") is not None:
        counter.guess(0)  # an earlier answer that was spoken, by its id
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            _function_call(call.get("function") or call.get("custom"), counter)
    _function_call(message.get("function_call"), counter)


def _cohere_document(document: object, counter: Counter) -> None:
    """Cohere's texts to answer from: a text, or an object of texts. Counted as its JSON text."""
    counter.seen_all = False
    if isinstance(document, str):
        counter.text(document)
    else:
        counter.json(document)


def _opening(message: Document, counter: Counter) -> None:
    role = message.get("role")
    if isinstance(role, str) and role in _ROLES:
        counter.add(MESSAGE + 1)
    else:
        counter.add(MESSAGE)
        counter.text(role)


def _function_call(call: object, counter: Counter) -> None:
    if isinstance(call, dict):
        counter.guess(_CALL)
        for field in ("name", "arguments", "input"):
            counter.text(call.get(field))


def _function_opening(base: str) -> int:
    """10 for the gpt-4 and gpt-3.5 families, 7 for gpt-4o and later (provider-facts 2.2)."""
    older = base == "gpt-4" or base.startswith(("gpt-4-", "gpt-3.5", "gpt-35"))
    return 10 if older else 7


def responses(document: Document, counter: Counter, base: str) -> int | None:
    """`max_output_tokens` (provider-facts 2.4). What a previous response or a template brings is not in the body."""
    given = document.get("input")
    counter.add(_PRIMER)
    counter.text(document.get("instructions"))
    if isinstance(given, str):
        counter.add(MESSAGE + 1)
        counter.text(given)
    elif isinstance(given, list):
        for item in given:
            if isinstance(item, dict):
                _response_item(item, counter, base)
    elif given is not None:
        raise Uncountable
    count_tools(document.get("tools"), counter, opening=_function_opening(base))
    text = document.get("text")
    if isinstance(text, dict):
        count_schema(text.get("format"), counter)
    template = document.get("prompt")
    if isinstance(template, dict):
        variables = template.get("variables")
        count_content(list(variables.values()) if isinstance(variables, dict) else None, counter, base)
    if any(document.get(field) is not None for field in ("prompt", "previous_response_id", "conversation")):
        counter.seen_all = False
    return _largest(document, "max_output_tokens")


def _response_item(item: Document, counter: Counter, base: str) -> None:
    if "role" in item:
        _opening(item, counter)
    else:
        counter.guess(MESSAGE)
    count_content(item.get("content"), counter, base)
    if len(item) == 2 and "role" in item:  # nearly always
        return
    if item.get("type") == "image_generation_call":
        count_picture(item.get("result"), None, counter, base)
    for field, value in item.items():
        if field == "encrypted_content":
            count_sealed(value, counter)
        elif field in _PARTS:
            count_content(value, counter, base)
        elif field in _OF_ITEM:
            continue
        elif isinstance(value, str):
            counter.text(value)
        elif isinstance(value, list | dict) and value:
            counter.guess(0)
            counter.json(value)


def completions(document: Document, counter: Counter, base: str) -> int | None:
    """`max_tokens` (16 when absent) for each prompt, times the larger of `n` and `best_of` (provider-facts 2.3)."""
    prompts = _count_inputs(document.get("prompt"), counter, base)
    counter.text(document.get("suffix"))
    bound = _largest(document, "max_tokens")
    bound = _COMPLETION_DEFAULT if bound is None else bound
    return min(prompts * (times(bound, _largest(document, "n", "best_of")) or 0), _AMOUNT)


def embeddings(document: Document, counter: Counter, base: str) -> int | None:
    """No output is counted (provider-facts 2.6). Cohere writes `texts`, `images`, or `inputs` of parts."""
    fields = [document[field] for field in ("input", "texts", "inputs") if document.get(field) is not None]
    pictures = document.get("images")
    for picture in pictures if isinstance(pictures, list) else ():
        count_picture(picture, None, counter, base)
    for given in fields or [[] if pictures else None]:
        _count_inputs(given, counter, base)
    return 0


def moderations(document: Document, counter: Counter, base: str) -> int | None:
    """A text, texts, or parts; no output is counted (provider-facts 2.6)."""
    _count_inputs(document.get("input"), counter, base)
    return 0


def _count_inputs(given: object, counter: Counter, base: str) -> int:
    """Count a text, texts, parts, one input as token numbers, or several of those; returns how many inputs (2.6)."""
    if isinstance(given, str):
        counter.text(given)
        return 1
    if not isinstance(given, list):
        raise Uncountable
    inputs = numbers = 0
    for one in given:
        if isinstance(one, str):
            inputs += 1
            counter.text(one)
        elif isinstance(one, list):
            inputs += 1
            counter.add(len(one))
        elif isinstance(one, dict):
            inputs += 1
            count_content(one, counter, base)
        else:
            numbers += 1
    counter.add(numbers)
    return inputs + (1 if numbers else 0)


def messages(document: Document, counter: Counter, base: str) -> int | None:
    """Anthropic's `max_tokens`. Overheads are not published: those of chat completions stand in."""
    turns = document.get("messages")
    if not isinstance(turns, list):
        raise Uncountable
    counter.add(_PRIMER)
    count_content(document.get("system"), counter, base)
    for turn in turns:
        if isinstance(turn, dict):
            _opening(turn, counter)
            count_content(turn.get("content"), counter, base)
    count_schema(document.get("output_format"), counter)
    wished = document.get("output_config")
    if isinstance(wished, dict):
        count_schema(wished.get("format"), counter)
    if document.get("mcp_servers"):
        counter.guess(0)  # what tools they bring is not in the body
    tools = document.get("tools")
    if isinstance(tools, list) and tools:
        _claude_tools(tools, document.get("tool_choice"), counter, base)
    return _largest(document, "max_tokens")


def _claude_tools(tools: list[object], choice: object, counter: Counter, base: str) -> None:
    listed = (hidden for prefixes, hidden in _CLAUDE_TOOLS if base.startswith(prefixes))
    hidden = next(listed, _CLAUDE_TOOLS_MOST)
    forced = isinstance(choice, dict) and choice.get("type") in ("any", "tool")
    counter.guess(hidden[1] if forced else hidden[0])
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, dict) else None
        counter.add(next((more for name, more in _CLAUDE_OWN if isinstance(kind, str) and kind.startswith(name)), 0))
        counter.json(tool)


def _largest(document: Document, *fields: str) -> int | None:
    given = [found for field in fields if (found := amount(document.get(field))) is not None]
    return max(given) if given else None


def times(bound: int | None, choices: int | None) -> int | None:
    """A bound for each of several choices."""
    return None if bound is None else min(bound * max(1, choices or 1), _AMOUNT)
