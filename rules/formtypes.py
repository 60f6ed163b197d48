"""What single values of the YAML look like: durations, names, amounts, and lists where one word will do.

forms.py puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from . import spellings

MAX_AMOUNT = 2**53  # the gate's Lua counts in doubles (limiter 4.3)


def read_by(reader: Callable[[str], Any]) -> Callable[[object], Any]:
    """A validator of `spellings`, whose ValueError is the sentence that is shown."""

    def read(value: object) -> Any:
        try:
            return reader(value if isinstance(value, str) else "")
        except ValueError as error:
            raise PydanticCustomError("spelling", "{problem}", {"problem": str(error)}) from None

    return read


def _window(value: object) -> object:
    if value in ("day", "month"):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 < value <= 31_536_000:
            raise PydanticCustomError("spelling", "must be between 1ms and a year")
        return max(1, round(value * 1000))
    if not isinstance(value, str):
        raise PydanticCustomError(
            "spelling", "must be a number of seconds, a duration such as 500ms, 60s, 5m or 1h, day or month"
        )
    read: int = read_by(spellings.duration)(value)
    if read < 1:
        raise PydanticCustomError("spelling", "must be between 1ms and a year")
    return read


def one_or_more(value: object) -> object:
    """A word where a list of words may stand."""
    return [value] if isinstance(value, str) else value


DURATION_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s?(ms|s|m|h|d)$"}
WORDS_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
TEXT_SCHEMA: dict[str, Any] = {"type": "string"}

Duration = Annotated[int, BeforeValidator(read_by(spellings.duration)), WithJsonSchema(DURATION_SCHEMA)]
Window = Annotated[
    int | Literal["day", "month"],
    BeforeValidator(_window),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, DURATION_SCHEMA, {"enum": ["day", "month"]}]}),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Words = Annotated[list[Text], BeforeValidator(one_or_more), WithJsonSchema(WORDS_SCHEMA)]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SHA256 = r"^[0-9a-fA-F]{64}$"
STATUS = r"^[45][0-9]{2}$"
Name = Annotated[str, StringConstraints(pattern=NAME)]
StatusCode = Annotated[str, StringConstraints(pattern=STATUS)]
HostPattern = Annotated[str, AfterValidator(read_by(spellings.host_pattern))]
Hosts = Annotated[list[HostPattern], BeforeValidator(one_or_more), WithJsonSchema(WORDS_SCHEMA)]
Path = Annotated[str, AfterValidator(read_by(spellings.endpoint_path))]
Store = Annotated[str, AfterValidator(read_by(spellings.store))]
Amount = Annotated[float, Field(ge=0, lt=MAX_AMOUNT, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, lt=MAX_AMOUNT, allow_inf_nan=False)]
Meter = Literal["requests", "tokens", "input_tokens", "output_tokens", "audio_seconds", "images", "units", "usd"]
Scope = Literal["key", "group", "model", "user", "client", "endpoint"]
