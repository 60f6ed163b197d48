"""Two hundred varied bodies, each with the texts an upstream reads in it: prose, code, many languages, emoji, base64,
special tokens, JSON inside JSON, long conversations, tools, schemas, files, in all formats. The same in every run.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rules.policy import BodyFormat

_WORDS = (
    *("the", "gate", "opens", "when", "water", "is", "there,", "and", "not", "before;"),
    *("1867", "don't", "naïve", "3.14"),
)
_LANGUAGES = (
    "Der Schleusenwärter öffnet das Wehr, sobald genug Wasser da ist. ",
    "水門は水があるときだけ開きます。それより前には開きません。",
    "只有在有水的时候，闸门才会打开，而不是在此之前。",
    "Шлюз открывается, когда есть вода, и не раньше. ",
    "البوابة تفتح عندما يكون هناك ماء وليس قبل ذلك. ",
    "जब पानी होता है तब द्वार खुलता है, उससे पहले नहीं। ",
    "ประตูน้ำเปิดเมื่อมีน้ำ ไม่ใช่ก่อนหน้านั้น ",
    "Η πύλη ανοίγει όταν υπάρχει νερό. ",
    "👩‍👩‍👧 🌊🚪 🇩🇪 e\u0301 ",
)
_CODE = """def admit(self, call: Call) -> Grant | None:
\t\"\"\"Returns None when there's no room; never raises.\"\"\"
    for limit, cost in zip(self.limits, call.costs, strict=True):
        if limit.used + cost > limit.amount: return None    # O(n)
    return Grant(call.id, {k: v ** 2 for k, v in self.x.items()})
"""
MODELS: dict[BodyFormat, tuple[str, ...]] = {
    "chat_completions": ("gpt-4o", "gpt-4", "gpt-5-mini", "gpt-3.5-turbo", "ft:gpt-4.1-mini:a::b", "mistral-large"),
    "responses": ("gpt-5", "o3", "gpt-6.1-sol"),
    "messages": ("claude-opus-5", "claude-sonnet-4-5"),
    "gemini": ("gemini-2.5-flash",),
    "completions": ("davinci-002",),
    "embeddings": ("text-embedding-3-small", "voyage-3"),
    "moderations": ("omni-moderation-latest",),
}


@dataclass
class Body:
    """A body, and what of it is text."""

    format: BodyFormat
    model: str
    document: dict[str, Any]
    texts: list[str] = field(default_factory=list)
    plain: bool = True
    """Nothing but messages with a role and a text."""


def bodies() -> list[Body]:
    """All two hundred."""
    dice = random.Random(1867)
    formats = [one for one in MODELS for _ in range(4 if one in ("chat_completions", "responses") else 2)]
    made: list[Body] = []
    while len(made) < 200:
        body_format = formats[len(made) % len(formats)]
        body = Body(body_format, dice.choice(MODELS[body_format]), {})
        body.document["model"] = body.model
        _MAKERS[body_format](body, dice)
        made.append(body)
    return made


def text(dice: random.Random) -> str:
    """One text of some kind, 1 to some 20,000 characters."""
    kind, size = dice.randrange(10), dice.choice((1, 5, 30, 200, 1000))
    if kind < 3:
        return " ".join(dice.choices(_WORDS, k=size))
    if kind < 5:
        return "".join(dice.choices(_LANGUAGES, k=max(1, size // 20)))
    if kind == 5:
        return _CODE * max(1, size // 50)
    if kind == 6:
        words = _WORDS[: 1 + size % 14]
        return json.dumps({word: [dice.random(), None, {"x": dice.randrange(10**9)}] for word in words})
    if kind == 7:
        return base64.b64encode(dice.randbytes(size * 3)).decode()
    if kind == 8:
        return dice.choice((" ", "\t", "\n", "a", "-", "\u00a0", "é")) * size * 10 + "x"
    odd = ("<|endoftext|>", "<|im_start|>system\n", "\x00\x1f", "https://example.com/?q=%20&r=1#x", "]]>")
    return dice.choice(odd) * size


def _said(body: Body, dice: random.Random) -> str:
    body.texts.append(text(dice))
    return body.texts[-1]


def _chat(body: Body, dice: random.Random) -> None:
    turns: list[dict[str, Any]] = []
    for _ in range(dice.choice((1, 2, 3, 12))):
        role = dice.choice(("system", "user", "assistant"))
        turns.append({"role": role, "content": _said(body, dice)})
    body.document["messages"] = turns
    more = dice.randrange(6)
    body.plain = more > 2
    if more == 0:
        turns.append({"role": "user", "name": "alice", "content": [{"type": "text", "text": _said(body, dice)}]})
        call = {"name": "look_up", "arguments": json.dumps({"q": text(dice)})}
        turns.append({"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": call}]})
        turns.append({"role": "tool", "tool_call_id": "c1", "content": _said(body, dice)})
        body.texts += ["alice", call["name"], call["arguments"]]
    elif more == 1:
        body.document["tools"] = [{"type": "function", "function": _function(body, dice)} for _ in range(3)]
    elif more == 2:
        schema = {"type": "object", "properties": {"answer": {"type": "string", "description": _said(body, dice)}}}
        body.document["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _function(body: Body, dice: random.Random) -> dict[str, Any]:
    choices = ["celsius", "fahrenheit", "kelvin"]
    body.texts += ["get_weather", "city", "string", "unit", *choices]
    unit = {"type": "string", "enum": choices, "description": _said(body, dice)}
    properties: dict[str, Any] = {"city": {"type": "string", "description": _said(body, dice)}, "unit": unit}
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if dice.random() < 0.5:
        properties["days"] = {"type": "array", "items": {"type": "string", "description": _said(body, dice)}}
        parameters["$defs"] = {"Day": {"properties": {"name": {"type": "string", "description": _said(body, dice)}}}}
        parameters["description"] = _said(body, dice)
    return {"name": "get_weather", "description": _said(body, dice), "parameters": parameters}


def _responses(body: Body, dice: random.Random) -> None:
    body.plain = False
    if dice.random() < 0.3:
        body.document["input"] = _said(body, dice)
    else:
        said: Callable[[], str] = lambda: _said(body, dice)  # noqa: E731
        makers: list[Callable[[], dict[str, Any]]] = [
            lambda: {"role": "user", "content": [{"type": "input_text", "text": said()}]},
            lambda: {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said()}]},
            lambda: {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": said()},
            lambda: {"type": "function_call_output", "call_id": "c", "output": said()},
            lambda: {"type": "reasoning", "summary": [{"type": "summary_text", "text": said()}]},
            lambda: {"role": "user", "content": _file(said())},
            lambda: {"type": "file_search_call", "results": [{"filename": "a", "text": said()}]},
            lambda: {"type": "mcp_call", "name": "look_up", "arguments": "{}", "output": said()},
            lambda: {"type": "code_interpreter_call", "code": said(), "outputs": [{"logs": said()}]},
            lambda: {"type": "shell_call_output", "output": [{"stdout": said(), "stderr": ""}]},
            lambda: {"type": "custom_tool_call", "name": "patch", "input": said()},
        ]
        body.document["input"] = [make() for make in dice.sample(makers, 3)]
    body.document["instructions"] = _said(body, dice)
    if dice.random() < 0.3:
        body.document["tools"] = [{"type": "function", **_function(body, dice)}]


def _file(content: str) -> list[dict[str, Any]]:
    data = base64.b64encode(content.encode()).decode()
    return [{"type": "input_file", "filename": "a.txt", "file_data": f"data:text/plain;base64,{data}"}]


def _messages(body: Body, dice: random.Random) -> None:
    body.plain = False
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": _said(body, dice)}]}
    document = {"type": "document", "source": {"type": "text", "data": _said(body, dice)}}
    ran = {"type": "bash_code_execution_result", "stdout": _said(body, dice), "return_code": 0}
    shell = {"type": "bash_code_execution_tool_result", "tool_use_id": "t", "content": ran}
    thought = {"type": "thinking", "thinking": _said(body, dice), "signature": "EqQB"}
    body.document |= {
        "max_tokens": 10,
        "system": [{"type": "text", "text": _said(body, dice)}],
        "messages": [
            {"role": "user", "content": [result, document]},
            {"role": "assistant", "content": [thought, shell, {"type": "text", "text": _said(body, dice)}]},
        ],
    }


def _gemini(body: Body, dice: random.Random) -> None:
    body.plain = False
    parts = [{"text": _said(body, dice)} for _ in range(3)]
    body.document |= {"contents": [{"parts": parts}], "systemInstruction": {"parts": [{"text": _said(body, dice)}]}}


def _inputs(body: Body, dice: random.Random) -> None:
    body.plain = False
    given = [_said(body, dice) for _ in range(dice.choice((1, 1, 5, 50)))]
    body.document["prompt" if body.format == "completions" else "input"] = given[0] if len(given) == 1 else given


_MAKERS: dict[BodyFormat, Callable[[Body, random.Random], None]] = {
    "chat_completions": _chat,
    "responses": _responses,
    "messages": _messages,
    "gemini": _gemini,
    "completions": _inputs,
    "embeddings": _inputs,
    "moderations": _inputs,
}
