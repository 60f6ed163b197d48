import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.meters.streamusage import EVENT, Unasked, ask

ASK = '"stream_options":{"include_usage":true}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"model":"m","stream":true}', f'{{{ASK},"model":"m","stream":true}}'),
        (' {\n "stream": true}', f' {{{ASK},\n "stream": true}}'),
        (
            '{"stream":true,"stream_options":{"include_obfuscation":false}}',
            '{"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}',
        ),
        ('{"stream_options" : {},"stream":true}', '{"stream_options" : {"include_usage":true},"stream":true}'),
        ('{"stream_options": null, "stream":true}', '{"stream_options": {"include_usage":true}, "stream":true}'),
        (
            '{"stream":true,"stream_options":{"include_usage": false, "x": 1}}',
            '{"stream":true,"stream_options":{"include_usage": true, "x": 1}}',
        ),
        ('{"stream":true,"stream_options":{"include_usage":null}}', f'{{"stream":true,{ASK}}}'),
        # the name inside a text is no field
        (
            '{"stream":true,"messages":[{"content":"\\"stream_options\\": {}, \\"stream\\": 1"}]}',
            f'{{{ASK},"stream":true,"messages":[{{"content":"\\"stream_options\\": {{}}, \\"stream\\": 1"}}]}}',
        ),
    ],
)
def test_ask(body: str, expected: str) -> None:
    """Usage is asked for by the smallest edit; every other byte stays."""
    assert ask(body.encode()) == expected.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'["stream"]',
        b'{"model":"m"}',
        b'{"model":"m","stream":false}',
        b'{"stream":"true"}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_usage":1}}',
        b'{"stream":true,"stream_options":{"include_usage":"no"}}',
        b'{"stream":true,"stream_options":[]}',
        b'{"stream":true,"stream_options":"null"}',
        # a name that stands twice, at one level or at two: which one the upstream reads is not known
        b'{"stream":false,"stream":true}',
        b'{"stream":true,"stream_options":{},"stream_options":{}}',
        b'{"stream":true,"stream_options":{"include_usage":false,"include_usage":false}}',
        b'{"stream":true,"tools":[{"stream_options":{}}]}',
        b'{"stream":true,"stream_options":{},"tools":[{"include_usage":false}]}',
        b'{"stream":true,"stream_options":{"include_usage":false},"tools":[{"include_usage":false}]}',
        b'{"stream":true,"tools":{"stream":1}}',
        # a name written with an escape, and the same name plainly inside another object
        rb'{"stream":true,"stream\u005foptions":{}}',
        rb'{"stream":true,"tools":{"stream_options":{}},"stream\u005foptions":{}}',
        rb'{"stream":true,"tools":{"stream_options":nul},"stream\u005foptions":null}',
        # what orjson refuses and others read
        b'{"stream":true,"temperature":NaN}',
        b'\xef\xbb\xbf{"stream":true}',
        b'\x1f\x8b{"stream":true}',
    ],
)
def test_leave_alone(body: bytes) -> None:
    """A body that asks already, or in which anything is in doubt, is not touched."""
    assert ask(body) is None


_SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8)
_NAMES = st.sampled_from(["stream", "stream_options", "include_usage", "model", '"', "a"]) | st.text(max_size=3)
_OBJECTS = st.recursive(
    st.dictionaries(_NAMES, _SCALARS, max_size=4),
    lambda inner: st.dictionaries(_NAMES, inner | _SCALARS | st.lists(inner, max_size=2), max_size=4),
    max_leaves=8,
)


@given(_OBJECTS, st.sampled_from([None, (",", ":")]), st.booleans())
def test_ask_changes_one_thing(document: dict[str, Any], separators: tuple[str, str] | None, ascii_only: bool) -> None:
    """Whatever the body, the edited one says the same and asks for usage."""
    body = json.dumps({**document, "stream": True}, separators=separators, ensure_ascii=ascii_only).encode()
    edited = ask(body)
    if edited is None:
        return
    said = json.loads(edited)
    options = said.pop("stream_options")
    assert options.pop("include_usage") is True
    before = {**document, "stream": True}
    known = before.pop("stream_options", None) or {}
    known.pop("include_usage", None)
    assert (said, options) == (before, known)


USAGE = {"prompt_tokens": 13, "completion_tokens": 5, "total_tokens": 18}
CHUNK: dict[str, Any] = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Good"}}]}


def stream(*documents: Any, end: str = "\n", separators: tuple[str, str] | None = (",", ":")) -> bytes:
    """Documents and words as events."""
    texts = [one if isinstance(one, str) else json.dumps(one, separators=separators) for one in documents]
    return "".join(f"data: {text}{end}{end}" for text in texts).encode()


def passed(data: bytes, size: int = 1_000_000) -> bytes:
    """What a client gets of a stream that comes in pieces of this size."""
    unasked = Unasked()
    return b"".join(unasked.feed(data[at : at + size]) for at in range(0, len(data), size)) + unasked.finish()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1_000_000])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_the_client_reads_what_it_would_have_read(end: str, separators: tuple[str, str], size: int, place: str) -> None:
    """With usage asked for and taken out again a stream is, byte for byte, the one that was not asked for."""
    tail = {"obfuscation": "aXk3"}

    def chunk(usage: bool) -> dict[str, Any]:
        null = {"usage": None} if usage else {}
        return {"first": {**null, **CHUNK}, "middle": {**CHUNK, **null, **tail}, "last": {**CHUNK, **null}}[place]

    without = stream(chunk(False), chunk(False), "[DONE]", end=end, separators=separators)
    extra = {"id": "c", "choices": [], "usage": USAGE}
    asked = stream(chunk(True), chunk(True), extra, "[DONE]", end=end, separators=separators)
    assert passed(asked, size) == without


@pytest.mark.parametrize(
    "data",
    [
        b": keep-alive\n\n",
        b"\n\n\n",
        b"data: [DONE]\n\n",
        b"data: {\n\n",
        b'data: {"usage"}\n\n',
        b'data: {"usage":5,"choices":[]}\n\n',
        b'data: {"usage":{},"choices":[{}]}\n\n',
        b'data: {"usage":{}}\n\n',
        b'data: {"choices":[{"usage":null}]}\n\n',
        b'data: {"choices":[{"delta":{"content":",\\"usage\\":null"}}]}\n\n',
        b'data: {"choices":[],\ndata: "usage":{}}\n\n',
        b'event: x\nid: 5\ndata: {"a":1}\n\n',
        b'data: {"error":{"message":"no"}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_to',
        b"",
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_is_not_ours_passes(data: bytes, size: int) -> None:
    """Anything that asking for usage did not bring goes by untouched."""
    assert passed(data, size) == data


def test_the_null_that_is_taken_is_the_chunk_s_own() -> None:
    """Of two members that look alike only the top-level one goes."""
    inner = b'{"choices":[{"x":1,"usage":null}],"usage":null}'
    assert passed(b"data: " + inner + b"\n\n") == b'data: {"choices":[{"x":1,"usage":null}]}\n\n'
    alone = b'data: {"usage":null}\n\n'
    assert passed(alone) == b"data: {}\n\n"


@pytest.mark.parametrize(
    "event",
    [
        rb'data: {"choices":[{"x":1,"usage":null}],"us\u0061ge":null}',
        rb'data: {"choices":[{"usage":null,"x":1}],"us\u0061ge":null}',
    ],
)
def test_a_member_that_is_not_found_is_left(event: bytes) -> None:
    """A name written with escapes is no reason to take another out."""
    assert passed(event + b"\n\n") == event + b"\n\n"


def test_a_comment_before_the_data_does_not_hide_it() -> None:
    """Lines that are no data belong to an event and change nothing."""
    event = b': wait\ndata: {"choices":[{}],"usage":null}\n\n'
    assert passed(event) == b': wait\ndata: {"choices":[{}]}\n\n'


def test_an_event_leaves_when_it_is_whole() -> None:
    """No event waits for the one behind it."""
    unasked = Unasked()
    first, second = stream(CHUNK), stream(CHUNK)
    assert unasked.feed(first[:20]) == b""
    assert unasked.feed(first[20:] + second[:5]) == first
    assert unasked.feed(second[5:]) == second


@pytest.mark.parametrize("size", [1000, 65_536, 10_000_000])
def test_an_endless_event_is_not_collected(size: int) -> None:
    """An event beyond the bound passes as it comes, and the next one is looked at again."""
    unasked = Unasked()
    long = b'data: {"choices":[],"usage":{},"x":"' + b"y" * 600_000 + b'"}\n\n'
    data = long + stream({**CHUNK, "usage": None})
    out = b""
    for at in range(0, len(data), size):
        out += unasked.feed(data[at : at + size])
        assert len(unasked._held) <= EVENT
    out += unasked.finish()
    whole = size == 10_000_000
    assert out == (stream(CHUNK) if whole else long + stream(CHUNK))


_BITS = st.sampled_from(
    [
        *(b"data: ", b"\n", b"\r", b"\r\n", b"}", b"{", b'"', b"x", b","),
        *(b'{"usage":null', b',"usage":null', b'"choices":[]'),
    ]
)


@given(st.lists(_BITS | st.binary(max_size=3), max_size=30), st.integers(1, 9))
def test_any_bytes(bits: list[bytes], size: int) -> None:
    """No bytes raise, and what the client gets does not depend on how they are cut."""
    data = b"".join(bits)
    assert passed(data, size) == passed(data)
