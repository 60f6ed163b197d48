"""What stands inside a message: a text, or parts of any kind, as the three chat APIs write them.

Law: data URLs and base64 are priced as what they are and never read as text (1 MB of base64 would be 680,000 tokens,
provider-facts 2.1). Parts may hold parts (a tool's result): the walk keeps its own list, so depth costs no stack.
"""

from __future__ import annotations

from .images import FILE, audio_tokens, image_tokens
from .tokens import Counter

_TEXT_FIELDS = ("text", "refusal", "thinking", "title", "context")
_IMAGES = frozenset(("image_url", "input_image", "image", "computer_screenshot"))
_FILES = frozenset(("file", "input_file", "document", "container_upload"))
_TOOL_CALLS = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))


def count_content(content: object, counter: Counter, base: str) -> None:
    """Count a text, a part, or a list of parts, for the base model. Unknown kinds count their texts only."""
    if isinstance(content, str):
        counter.text(content)
        return
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            counter.text(part)
        elif isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            for field in _TEXT_FIELDS:
                if field in part:
                    counter.text(part[field])
            if "content" in part:
                waiting.append(part["content"])
            _count_kind(part, counter, base, waiting)


def _count_kind(part: dict[str, object], counter: Counter, base: str, waiting: list[object]) -> None:
    kind = part.get("type")
    if not isinstance(kind, str):
        return
    if kind in _IMAGES:
        inner = part.get("image_url")
        counter.add(image_tokens(base, inner.get("detail") if isinstance(inner, dict) else part.get("detail")))
    elif kind in _FILES:
        source = part.get("source")
        form = source.get("type") if isinstance(source, dict) else None
        if isinstance(source, dict) and form in ("text", "content"):
            waiting.append(source.get("data" if form == "text" else "content"))
        else:
            counter.add(FILE)
    elif kind == "input_audio":
        sound = part.get("input_audio")
        if isinstance(sound, dict) and isinstance(data := sound.get("data"), str):
            counter.add(audio_tokens(len(data), sound.get("format")))
    elif kind in _TOOL_CALLS:
        counter.text(part.get("name"))
        counter.json(part.get("input"))
