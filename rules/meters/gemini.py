"""Gemini's request bodies: `generateContent`, `countTokens`, `embedContent`, `batchEmbedContents`.

Law: as for the other formats (bodies.py). Overheads are not published: a turn counts like a message of chat
completions. The model stands in the path. Field names come in two spellings, and both are read.
"""

from __future__ import annotations

from typing import Any

from .bodies import MESSAGE, amount, times
from .content import FILM_TOKENS_PER_SECOND, count_elsewhere, count_picture, count_sound
from .documents import count_file
from .tokens import Counter, Uncountable

Document = dict[str, Any]

# Tokens a second; of a sound: hearsay, Google's pages on media; not in provider-facts.
_PER_SECOND = {"audio": 32, "video": FILM_TOKENS_PER_SECOND}
_CAMEL = {
    "system_instruction": "systemInstruction",
    "generation_config": "generationConfig",
    "inline_data": "inlineData",
    "mime_type": "mimeType",
    "file_data": "fileData",
    "function_call": "functionCall",
    "function_response": "functionResponse",
    "executable_code": "executableCode",
    "code_execution_result": "codeExecutionResult",
    "max_output_tokens": "maxOutputTokens",
    "candidate_count": "candidateCount",
    "response_schema": "responseSchema",
    "response_json_schema": "responseJsonSchema",
    "cached_content": "cachedContent",
}


def contents(document: Document, counter: Counter, base: str) -> int | None:
    """`generationConfig.maxOutputTokens` times `candidateCount` (provider-facts 2.3); embeddings have no output."""
    wrapped = _get(document, "generateContentRequest")
    if isinstance(wrapped, dict):
        document = wrapped
    requests = _get(document, "requests")
    if isinstance(requests, list):
        for request in requests:
            _turns(_get(request, "content"), counter, base)
        return 0
    if "content" in document:
        _turns(document["content"], counter, base)
        return 0
    turns = _get(document, "contents")
    if not isinstance(turns, list | dict | str):
        raise Uncountable
    _turns(turns, counter, base)
    _turns(_get(document, "system_instruction"), counter, base)
    tools = _get(document, "tools")
    if tools:
        counter.seen_all = False
        counter.json(tools)
    if _get(document, "cached_content") is not None:
        counter.seen_all = False  # its tokens are not in the body
    config = _get(document, "generation_config")
    if not isinstance(config, dict):
        return None
    for field in ("response_schema", "response_json_schema"):
        schema = _get(config, field)
        if schema is not None:
            counter.seen_all = False
            counter.json(schema)
    return times(amount(_get(config, "max_output_tokens")), amount(_get(config, "candidate_count")))


def _get(place: object, name: str) -> Any:
    if not isinstance(place, dict):
        return None
    found = place.get(_CAMEL.get(name, name))
    return place.get(name) if found is None else found


def _turns(given: object, counter: Counter, base: str) -> None:
    """A turn `{role, parts}`, a list of them, or a bare text, as the SDKs allow."""
    for turn in given if isinstance(given, list) else [given]:
        if isinstance(turn, str):
            counter.add(MESSAGE)
            counter.text(turn)
        elif isinstance(turn, dict):
            counter.add(MESSAGE)
            parts = turn.get("parts", turn)
            for part in parts if isinstance(parts, list) else [parts]:
                _part(part, counter, base)


def _part(part: object, counter: Counter, base: str) -> None:
    if isinstance(part, str):
        counter.text(part)
    if not isinstance(part, dict):
        return
    counter.text(part.get("text"))
    inline = _get(part, "inline_data")
    if isinstance(inline, dict):
        _inline(inline, counter, base)
    told = _get(part, "file_data")
    if told is not None:
        per_second = _PER_SECOND.get(_family(told))
        count_file(None, None, counter, base) if per_second is None else count_elsewhere(counter, per_second)
    for field in ("function_call", "function_response", "executable_code", "code_execution_result"):
        told = _get(part, field)
        if told is not None:
            counter.seen_all = False
            counter.json(told)


def _inline(inline: Document, counter: Counter, base: str) -> None:
    data, family = inline.get("data"), _family(inline)
    if family == "image":
        count_picture(data, None, counter, base)
    elif family in _PER_SECOND and isinstance(data, str):
        count_sound(data, counter, _PER_SECOND[family])
    else:
        count_file(data, _get(inline, "mime_type"), counter, base)


def _family(place: object) -> str:
    """The first half of its media type."""
    kind = _get(place, "mime_type")
    return kind.lower().partition("/")[0] if isinstance(kind, str) else ""
