"""From the bytes of a body to the JSON object in it: unpacked, decoded, without a long pause for other threads.

Law: what an upstream may read is read, lenient or not: otherwise a body could hide its model from the limits of that
model. Bodies of many small values are decoded step by step, because a decoder in C lets no other thread run meanwhile
(a megabyte of empty lists: 45 ms), and of more than any call has, only the model is looked for.
"""

from __future__ import annotations

import json
import json.decoder
import json.scanner
import zlib
from collections.abc import Callable
from typing import Any

import orjson

from .scanner import Scanner
from .tokens import NotAtOnce

Document = dict[str, Any]

MOST = 32 << 20
"""Bytes unpacked at the most: as much as a metered body may hold as it is (proxy/measure.py)."""
_VALUES = 20_000
"""Commas and opening brackets up to which the decoder in C is taken: about 3 ms of them. A megabyte of prose has some
15,000 commas."""
_VALUES_AT_ONCE = 5_000
_STEP = 1 << 18


_CONTAINERS = 50_000
"""Objects and lists of a body that is decoded: twice as many as short messages fill a megabyte. Freeing them is one
step that no other thread interrupts, 20 ns each."""
_MODEL = (b"model",)


class Packed(Exception):
    """The body is in a coding that is not unpacked here, is broken, or is larger than MOST."""


def unpacked(body: bytes, coding: str | None, *, at_once: bool) -> bytes:
    """The body without its Content-Encoding. Raises Packed; NotAtOnce where `at_once` is asked and there is one."""
    if coding is None:
        return body
    name = coding.strip().lower()
    if name in ("identity", ""):
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise Packed
    if at_once:
        raise NotAtOnce
    inflate = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, told by their heads
    pieces: list[bytes] = []
    left, rest = MOST, body
    try:
        while rest and not inflate.eof:
            pieces.append(inflate.decompress(rest, _STEP))
            rest = inflate.unconsumed_tail
            left -= len(pieces[-1])
            if left < 0:
                raise Packed
        pieces.append(inflate.flush())
    except zlib.error:
        raise Packed from None
    if not inflate.eof or inflate.unused_data:
        raise Packed
    return b"".join(pieces)


def document_of(body: bytes, *, at_once: bool) -> Document | None:
    """The JSON object in the body, None where there is none. Raises NotAtOnce where `at_once` is asked and it holds
    many values."""
    found: Any
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if at_once and values > _VALUES_AT_ONCE:
        raise NotAtOnce
    try:
        found = orjson.loads(body) if values <= _VALUES else _in_steps(body)
    except _TooMany:
        return _model_alone(body)
    except ValueError:
        try:
            # reads NaN, lone surrogates, a byte order mark, UTF-16 and -32
            found = json.loads(body) if values <= _VALUES else None
        except (ValueError, RecursionError):
            return None
    except RecursionError:
        return None
    return found if isinstance(found, dict) else None


class _TooMany(Exception):
    """More objects and lists than are decoded."""


class _Stepwise(json.JSONDecoder):
    """The standard library's decoder in Python, which other threads may interrupt between any two values; texts are
    still read by C."""

    def __init__(self) -> None:
        super().__init__()
        self._left = _CONTAINERS
        self.parse_object = self._counting(json.decoder.JSONObject)  # type: ignore[attr-defined]
        self.parse_array = self._counting(json.decoder.JSONArray)  # type: ignore[attr-defined]
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]

    def _counting(self, parse: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise _TooMany
            return parse(*args)

        return counted


def _model_alone(body: bytes) -> Document:
    """What a body of too many values is counted as: a document that names its model and holds nothing countable."""
    scanner = Scanner((), (_MODEL,))
    for at in range(0, len(body), _STEP):
        scanner.feed(body[at : at + _STEP])
    name = scanner.found.get(_MODEL)
    try:
        return {"model": orjson.loads(b'"%b"' % name) if name is not None else None}
    except orjson.JSONDecodeError:
        return {"model": None}


def _in_steps(body: bytes) -> Any:
    return _Stepwise().decode(body.decode(json.detect_encoding(body), "surrogatepass").removeprefix("\ufeff"))
