"""What stands inside a message: a text, or parts of any kind, as the chat APIs write them.

Law: data URLs and base64 are priced as what they are and never read as text (1 MB of base64 would be 680,000 tokens,
provider-facts 2.1). Parts may hold parts (a tool's result): the walk keeps its own list, so depth costs no stack.
"""

from __future__ import annotations

from . import audio
from .base64text import decoded
from .documents import count_file
from .images import image_tokens
from .pixels import size_of
from .tokens import CHARACTERS_PER_TOKEN, Counter

_TEXT_FIELDS = ("text", "refusal", "thinking", "title", "context", "transcript")
_TEXTS = frozenset(("text", "input_text", "output_text", "summary_text", "thinking", "tool_result"))
"""Kinds that hold nothing but those, and content."""
_NO_INPUT = frozenset(
    (
        *(*_TEXT_FIELDS, "content", "type", "id", "tool_use_id", "tool_call_id", "call_id", "status"),
        *("signature", "cache_control", "citations", "format", "index"),
    )
)
"""Fields of a part of any other kind that are counted already, or are no input."""
_SEALED = frozenset(("encrypted_content", "data"))
_IMAGES = frozenset(("image_url", "input_image", "image", "computer_screenshot", "image_base64"))
_FILES = frozenset(("file", "input_file", "document", "container_upload", "document_url"))
_FILMS = frozenset(("video_url", "input_video", "video", "video_base64"))
_TOOL_CALLS = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))
_TEXT_SOURCES = {"text": "data", "content": "content"}

TOKENS_PER_SECOND = 10
"""One token per 100 ms of audio a user sends: hearsay about OpenAI's realtime models, not in provider-facts."""

FILM_TOKENS_PER_SECOND = 300
"""Hearsay: Google's pages on media, pictures and sound together; not in provider-facts. Nobody else's figure is
known."""


def count_content(content: object, counter: Counter, base: str) -> None:
    """Count a text, a part, or a list of parts, for the base model. Of unknown kinds all that is written counts."""
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
            kind = part.get("type")
            if not isinstance(kind, str):
                _count_unknown(part, counter, waiting)
            elif kind not in _TEXTS:
                _count_kind(kind, part, counter, base, waiting)


def _count_kind(kind: str, part: dict[str, object], counter: Counter, base: str, waiting: list[object]) -> None:
    if kind in _IMAGES:
        _count_image(part, counter, base)
    elif kind in _FILES:
        _count_file(part, counter, base, waiting)
    elif kind in _FILMS:
        _count_film(part.get(kind), counter)
    elif kind == "input_audio":
        _count_audio(part.get("input_audio"), counter)
    elif kind in _TOOL_CALLS:
        counter.text(part.get("name"))
        counter.json(part.get("input"))
    else:
        _count_unknown(part, counter, waiting)


def _count_unknown(part: dict[str, object], counter: Counter, waiting: list[object]) -> None:
    for field, value in part.items():
        if field in _NO_INPUT:
            continue
        counter.seen_all = False
        if field in _SEALED or (isinstance(value, str) and value.startswith("data:")):
            count_sealed(value, counter)
        elif isinstance(value, str):
            counter.text(value)
        elif isinstance(value, list | dict):
            waiting.append(value)


def count_sealed(value: object, counter: Counter) -> None:
    """Count base64 of what only the upstream can read (thoughts, pages it fetched): its bytes, four to a token."""
    if isinstance(value, str):
        counter.guess(-(-len(value) * 3 // (4 * CHARACTERS_PER_TOKEN)))


def _count_image(part: dict[str, object], counter: Counter, base: str) -> None:
    """`image_url: {url, detail}`, `image_url: "…"` with `detail` beside it, `source: {type: base64, data}`, or Voyage's
    `image_base64`."""
    place, source = part.get("image_url", part.get("image_base64")), part.get("source")
    detail = part.get("detail")
    given: object = place
    if isinstance(place, dict):
        given, detail = place.get("url"), place.get("detail", detail)
    elif isinstance(source, dict):
        given = source.get("data")
    count_picture(given, detail, counter, base)


def count_picture(given: object, detail: object, counter: Counter, base: str) -> None:
    """Count an image: its `data:` URL or base64, or anything else, whose size is then unknown."""
    size = size_of(given) if isinstance(given, str) and not given.startswith(("http:", "https:")) else None
    counter.guess(image_tokens(base, detail, size))


def _count_file(part: dict[str, object], counter: Counter, base: str, waiting: list[object]) -> None:
    source, inner = part.get("source"), part.get("file")
    if isinstance(source, dict):
        field = _TEXT_SOURCES.get(str(source.get("type")))
        if field is not None:
            waiting.append(source.get(field))
        else:
            count_file(source.get("data"), source.get("media_type"), counter, base)
    else:
        count_file((inner if isinstance(inner, dict) else part).get("file_data"), None, counter, base)


def _count_film(film: object, counter: Counter) -> None:
    """`video_url: {url}`, or the same without an object."""
    given = film.get("url", film.get("data")) if isinstance(film, dict) else film
    if isinstance(given, str) and not given.startswith(("http:", "https:")):
        count_sound(given, counter, FILM_TOKENS_PER_SECOND)
    else:
        count_elsewhere(counter, FILM_TOKENS_PER_SECOND)


def _count_audio(sound: object, counter: Counter) -> None:
    data = sound.get("data") if isinstance(sound, dict) else None
    if isinstance(data, str):
        count_sound(data, counter, TOKENS_PER_SECOND)


def count_sound(encoded: str, counter: Counter, per_second: int) -> None:
    """Count a sound in base64 by how long it lasts."""
    counter.guess(int(audio.seconds(decoded(encoded)) * per_second + 1))


def count_elsewhere(counter: Counter, per_second: int) -> None:
    """Count a sound or film of which only the address is here."""
    counter.guess(int(audio.ELSEWHERE * per_second))
