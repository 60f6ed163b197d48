import base64
from typing import Any

import pytest

from rules.meters.audio import seconds
from rules.meters.content import count_content
from rules.meters.images import image_tokens
from rules.meters.tokens import Counter

from .containers.samples import sample
from .test_pixels import picture

FILE = 3000 + image_tokens("gpt-4o", "high")
PNG = "data:image/png;base64," + base64.b64encode(picture("png", 1024, 1024)).decode()
SOUND = base64.b64encode(sample("wav")).decode()
SHOWN = int(seconds(sample("mp4 with a picture")) * 300 + 1)
FILM = "data:video/mp4;base64," + base64.b64encode(sample("mp4 with a picture")).decode()
DATA = "data:image/png;base64," + "iVBORw0KGgo" * 100_000


def counted(content: Any, base: str = "gpt-4o") -> tuple[int, int]:
    """Text tokens and fixed tokens of a content."""
    counter = Counter("o200k_base")
    count_content(content, counter, base)
    return counter.text_tokens, counter.fixed


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hello world", (2, 0)),
        ([{"type": "text", "text": "hello world"}], (2, 0)),
        ([{"type": "input_text", "text": "hello"}, {"type": "refusal", "refusal": "world"}], (2, 0)),
        ([{"type": "image_url", "image_url": {"url": DATA, "detail": "low"}}], (0, 85)),
        ([{"type": "image_url", "image_url": {"url": DATA}}], (0, 1445)),
        ([{"type": "input_image", "image_url": DATA, "detail": "low"}], (0, 85)),
        ([{"type": "image", "source": {"type": "base64", "data": DATA}}], (0, 1445)),
        ([{"type": "image_url", "image_url": {"url": PNG, "detail": "high"}}], (0, 765)),
        ([{"type": "input_image", "image_url": PNG}], (0, 765)),
        ([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}], (0, 765)),
        ([{"type": "image_url", "image_url": PNG}], (0, 765)),
        ([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}], (0, 1445)),
        ([{"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}], (0, 71)),
        ([{"type": "file", "file": {"file_id": "file-1"}}], (0, FILE)),
        ([{"type": "input_file", "file_url": "https://example.com/a.pdf"}], (0, FILE)),
        ([{"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}], (0, FILE)),
        ([{"type": "input_image", "file_id": "file-1", "detail": "high"}], (0, 1445)),
        ([{"type": "document", "title": "hello", "source": {"type": "text", "data": "world"}}], (2, 0)),
        ([{"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "hello"}]}}], (1, 0)),
        # 3,000 bytes that are no sound: four seconds at 6 kbit/s, ten tokens each
        ([{"type": "input_audio", "input_audio": {"data": "A" * 4000, "format": "mp3"}}], (0, 41)),
        ([{"type": "tool_use", "name": "hello", "input": {"a": 1}}], (6, 0)),
        ([{"type": "tool_result", "content": [{"type": "text", "text": "hello"}]}], (1, 0)),
        ([{"type": "thinking", "thinking": "hello", "signature": "A" * 9000}], (1, 0)),
        ([{"type": "video_url", "video_url": {"url": FILM}}], (0, SHOWN)),
        ([{"type": "video_base64", "video_base64": FILM}], (0, SHOWN)),
        # a minute, as nothing is known of its length
        ([{"type": "input_video", "input_video": "https://example.com/a.mp4"}], (0, 60 * 300)),
        ([{"type": "image_base64", "image_base64": PNG}], (0, 765)),
        ([{"type": "document_url", "document_url": "https://example.com/a.pdf"}], (0, FILE)),
        ([{"type": "hologram", "data": DATA, "text": "hello"}], (1, -(-len(DATA) * 3 // 16))),
        ([{"type": "hologram", "beam": DATA, "note": "hello", "id": "world"}], (1, -(-len(DATA) * 3 // 16))),
        ([{"type": "redacted_thinking", "data": "A" * 1600}], (0, 300)),
        ([{"type": "web_search_result", "title": "hello", "encrypted_content": "A" * 1600}], (1, 300)),
        ([{"type": "bash_code_execution_result", "stdout": "hello", "stderr": "world", "return_code": 0}], (2, 0)),
        ([{"type": "x_result", "content": {"lines": ["hello", "world"]}, "signature": "A" * 1600}], (2, 0)),
        ([{"type": {"a": 1}, "text": "hello"}, {"type": ["text"], "content": "world"}], (2, 0)),
        ([None, 1, True, {"type": 3, "text": 4}, [["hello"]]], (1, 0)),
        (None, (0, 0)),
    ],
)
def test_parts(content: object, expected: tuple[int, int]) -> None:
    """Every kind of part counts as what it is, and no data URL is ever read as text."""
    assert counted(content) == expected


def test_depth_costs_no_stack() -> None:
    """Parts nested ten thousand deep are walked without recursion."""
    part: dict[str, Any] = {"type": "text", "text": "hello"}
    for _ in range(10_000):
        part = {"type": "tool_result", "content": [part]}
    assert counted(part) == (1, 0)
