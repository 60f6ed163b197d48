"""What an upload of audio costs: the seconds it lasts, and which model it is for.

Law: never less than the service can charge. What is not a form, and is said to be audio, is audio as a whole
(Deepgram); what cannot be read is charged by all of its bytes at the lowest rate (audio.py). A form with several files
costs all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import audio
from .document import document_of
from .models import in_path, in_query, model_name
from .multipart import Part, parts_of

_FILES = ("file", "audio")
_MODELS = ("model", "model_id")
_TRUE = (b"true", b"1", b"True")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload of audio."""

    model: str | None
    seconds: float
    """0: the audio is elsewhere (a URL), so nothing is known of it."""
    prompt: str = ""
    stream: bool = False
    readable: bool = True


def read(body: bytes, content_type: str | None, path: str) -> Upload:
    """The upload in a body: a form, JSON that says where the audio is, or the audio itself."""
    model = in_path(path) or in_query(path)
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        parts = parts_of(body, content_type)
        if parts is not None:
            return _form(parts, model)
        return Upload(model=model, seconds=audio.most(len(body)), readable=False)
    if kind == "application/json":
        document = document_of(body, at_once=False)
        if document is not None:
            return Upload(model=model or model_name(document.get("model")), seconds=0.0)
        return Upload(model=model, seconds=audio.most(len(body)), readable=False)
    return Upload(model=model, seconds=audio.seconds(body), readable=kind.startswith(("audio/", "video/")))


def _form(parts: list[Part], model: str | None) -> Upload:
    fields: dict[str, bytes] = {}
    names: set[bytes] = set()
    seconds = 0.0
    for part in parts:
        if part.is_file or part.name in _FILES:
            seconds += audio.seconds(part.data.tobytes())
        else:
            fields[part.name] = part.data[:65_536].tobytes()
            if part.name in _MODELS:
                names.add(fields[part.name])
    if model is None and len(names) == 1:
        model = model_name(names.pop().decode("utf-8", "replace"))
    text: Callable[[str], str] = lambda name: fields.get(name, b"").decode("utf-8", "replace")  # noqa: E731
    return Upload(model=model, seconds=seconds, prompt=text("prompt"), stream=fields.get("stream", b"") in _TRUE)
