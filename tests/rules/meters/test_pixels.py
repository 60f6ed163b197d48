"""rules/meters/pixels.py: the size of pictures, made by ffmpeg, and of bytes that only look like one."""

from __future__ import annotations

import base64
import functools
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.meters.pixels import HEAD, size_of, size_of_bytes

FORMS = {
    "png": ("-c:v", "png"),
    "jpeg": ("-c:v", "mjpeg"),
    "gif": ("-c:v", "gif"),
    "webp": ("-c:v", "libwebp"),
    "webp lossless": ("-c:v", "libwebp", "-lossless", "1"),
}


@functools.cache
def picture(form: str, width: int, height: int) -> bytes:
    """A picture file of that size."""
    source = ("-f", "lavfi", "-i", f"testsrc=size={width}x{height}", "-frames:v", "1")
    muxer = {"png": "image2pipe", "jpeg": "image2pipe", "gif": "gif"}.get(form, "webp")
    command = ("ffmpeg", "-v", "error", "-nostdin", *source, *FORMS[form], "-f", muxer, "-")
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1024, 768), (33, 700)])
def test_the_size_stands_in_the_head(form: str, size: tuple[int, int]) -> None:
    """Width and height of every form, bare, as a data URL, and from a beginning that is cut."""
    data = picture(form, *size)
    assert size_of_bytes(data) == size
    encoded = base64.b64encode(data).decode()
    assert size_of(encoded) == size_of(f"data:image/{form[:4]};base64,{encoded}") == size
    assert size_of(encoded[:2000]) == size


def test_a_picture_inside_a_picture_is_passed_over() -> None:
    """A JPEG whose Exif holds a small preview has its own size; so has one with fill bytes and a long profile."""
    data, preview = picture("jpeg", 1024, 768), picture("jpeg", 33, 700)
    exif = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    profile = b"\xff\xff\xff\xe2" + struct.pack(">H", 60_002) + b"\xff\xc0" * 30_000
    assert size_of_bytes(data[:2] + exif + profile + data[2:]) == (1024, 768)


def test_an_extended_webp_has_the_size_of_its_canvas() -> None:
    """Whatever its first frame has."""
    head = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (1999).to_bytes(3, "little") + (999).to_bytes(3, "little")
    assert size_of_bytes(head) == (2000, 1000)


@pytest.mark.parametrize(
    "text",
    [
        *("", "data:", "data:image/png;base64,", "data:image/svg+xml,<svg/>", "https://example.com/a.png", "\ud800"),
        *(
            "iVBORw0KGgo=",
            "!!!",
            "R0lGODlh",
            "/9j/",
            "UklGRg==",
            base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 50).decode(),
        ),
    ],
)
def test_what_is_no_picture_has_no_size(text: str) -> None:
    """And raises nothing."""
    assert size_of(text) is None


def test_a_long_picture_is_not_decoded_whole() -> None:
    """Only its head: a size that stands behind it is not found."""
    hidden = b"\xff\xd8" + (b"\xff\xe2\xff\xff" + b"\0" * 65_533) * 5 + picture("jpeg", 33, 700)[2:]
    assert len(hidden) > HEAD
    assert size_of(base64.b64encode(hidden).decode()) is None


@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"GIF89a", b"RIFF0000WEBPVP8 ", b""]), st.binary(max_size=200)
)
def test_no_bytes_make_it_fail(start: bytes, rest: bytes) -> None:
    """A size is two positive numbers, or none."""
    found = size_of_bytes(start + rest)
    assert found is None or min(found) > 0
