"""rules/meters/audio.py: seconds of every container, and of files that lie about theirs."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.meters.audio import most, seconds

from .containers.samples import FORMS, LASTS, played, sample

# Bounded from above: ADPCM packs its samples, mp3 at 8 kbit/s is padded by 0.2 s, which decoders drop, and AC-3 counts
# as if it were at its lowest rate.
ABOVE = {"wav of ADPCM", "mp3 of low rate", "mp4 ac3"}


@pytest.mark.parametrize("name", FORMS)
def test_every_container_is_right_within_2_percent_or_bounded_from_above(name: str) -> None:
    """Of the twelve cases of provider-facts 4.1, and of others."""
    found = seconds(sample(name))
    assert found >= LASTS
    assert found <= LASTS * 1.02 or name in ABOVE


@pytest.mark.parametrize("name", FORMS)
def test_a_file_that_breaks_off_costs_what_a_decoder_plays(name: str) -> None:
    """Never less, whatever the header promised; and not much more than all of it, or than its bytes can last."""
    data = sample(name)[:3000]
    assert played(data) * 0.99 <= seconds(data) <= max(LASTS * 1.1, most(len(data)))


def test_bytes_that_are_no_audio_cost_what_so_many_bytes_can_last() -> None:
    """Random bytes, text and nothing are not taken for a short sound."""
    for data in (random.Random(1).randbytes(5000), b"To be, or not to be. " * 250, b"", b"\0" * 1000):
        assert seconds(data) >= most(len(data)) * 0.98


@pytest.mark.parametrize("name", ["mp3 without Xing header", "aac", "wav", "flac", "ogg opus"])
def test_a_tag_before_the_sound_costs_nothing(name: str) -> None:
    """A cover of 100 kB in an ID3 tag is no sound, whatever container follows it."""
    size = bytes(100_000 >> shift & 0x7F for shift in (21, 14, 7, 0))
    tagged = b"ID3\x04\x00\x00" + size + b"\0" * 100_000 + sample(name)
    assert seconds(tagged) == pytest.approx(seconds(sample(name)), rel=0.01)


def test_a_tag_longer_than_the_file_hides_nothing() -> None:
    """Then it is no tag."""
    assert seconds(b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + sample("mp3 without Xing header")) >= LASTS


def told_short(name: str, seconds_each: float = 0.0) -> bytes:
    """An MP4 whose samples are said to play so long each at the most."""
    data = bytearray(sample(name))
    table, media = data.find(b"stts"), data.find(b"mdhd")
    scale, rows = (int.from_bytes(data[at : at + 4], "big") for at in (media + 16, table + 8))
    for row in range(rows):
        at = table + 16 + 8 * row
        least = min(int.from_bytes(data[at : at + 4], "big"), int(scale * seconds_each))
        data[at : at + 4] = least.to_bytes(4, "big")
    return bytes(data)


def patched(name: str, mark: bytes, at: int, value: bytes, *, every: bool = True) -> bytes:
    """A sample in which what stands `at` bytes behind each mark is replaced."""
    data = bytearray(sample(name))
    start = data.find(mark)
    assert start >= 0
    while start >= 0:
        data[start + at : start + at + len(value)] = value
        start = data.find(mark, start + 1) if every else -1
    return bytes(data)


def at_once(name: str) -> bytes:
    """A Matroska file whose clusters and blocks are all said to begin at 0, and which has no duration."""
    data = re.sub(rb"\xe7\x82..|\xe7\x81.", lambda found: found[0][:2] + b"\0" * (len(found[0]) - 2), sample(name))
    data = re.sub(rb"\x44\x89\x88.{8}", b"\x44\x89\x88" + b"\0" * 8, data, flags=re.DOTALL)
    return re.sub(rb"(\xa3[\x40-\x9f].?\x81)..", rb"\1\0\0", data)


LIES: dict[str, Callable[[], bytes]] = {
    "wav: size 0": lambda: patched("wav", b"data", 4, b"\0\0\0\0"),
    "wav: size of all ones": lambda: patched("wav", b"data", 4, b"\xff" * 4),
    "wav: a short data chunk": lambda: patched("wav", b"data", 4, struct.pack("<I", 100)),
    "wav: many bytes a second": lambda: patched("wav", b"fmt ", 16, struct.pack("<I", 10**9)),
    "wav of A-law: wide samples": lambda: patched("wav of A-law", b"fmt ", 22, b"\x40\0"),
    "mp3: one frame in Xing": lambda: patched("mp3 of variable rate", b"Xing", 4, b"\0\0\0\x03\0\0\0\x01\0\0\0\x01"),
    "flac: one sample": lambda: patched("flac", b"fLaC", 21, b"\x70\0\0\0\1", every=False),
    "ogg: granules of 0": lambda: patched("ogg opus", b"OggS", 6, b"\0" * 8),
    "ogg vorbis: granules of 0": lambda: patched("ogg vorbis", b"OggS", 6, b"\0" * 8),
    "mp4: movie of 1 unit": lambda: patched("m4a", b"mvhd", 20, b"\0\0\0\1"),
    "mp4: track of 1 unit": lambda: patched("m4a", b"mdhd", 20, b"\0\0\0\1"),
    "mp4: samples of 0": lambda: patched("m4a", b"stts", 16, b"\0\0\0\0"),
    "mp4: a fine time scale": lambda: patched("m4a", b"mdhd", 16, b"\xff" * 4),
    "mp4 opus: samples of 0": lambda: patched("mp4 opus", b"stts", 16, b"\0\0\0\0"),
    "mp4: a fine rate": lambda: patched("m4a", b"mp4a", 28, b"\xff\xff\0\0").replace(b"mdhd", b"mdhx"),
    "mp4 opus of 60 ms packets: 20 ms each": lambda: told_short("mp4 opus of 60 ms packets", 0.02),
    "mp4 mp3: 20 ms each": lambda: told_short("mp4 mp3", 0.02),
    "mp4 flac: 20 ms each": lambda: told_short("mp4 flac", 0.02),
    "mp4 ac3: 20 ms each": lambda: told_short("mp4 ac3", 0.02),
    "m4a lossless: 21 ms each": lambda: told_short("m4a lossless", 0.021),
    "fragmented mp4 opus: samples of 0": lambda: patched("fragmented mp4 opus", b"mdhd", 12, b"\xff" * 4),
    "mkv mp3: blocks at 0": lambda: at_once("mkv mp3"),
    "mkv flac: blocks at 0": lambda: at_once("mkv flac"),
    "mkv aac: a fine rate": lambda: patched("mkv aac", b"\xb5\x88", 2, struct.pack(">d", 192_000.0)),
    "mp4: fragments of 0": lambda: patched("fragmented mp4", b"tfhd", 12, b"\0\0\0\0"),
    "webm: a short duration": lambda: patched("webm", b"\x44\x89\x88", 3, struct.pack(">d", 1.0)),
    "webm: blocks at 0": lambda: patched("webm recorded live", b"\xe7\x81", 2, b"\0"),
}


@pytest.mark.parametrize("lie", LIES)
def test_no_field_that_a_client_writes_makes_a_sound_shorter(lie: str) -> None:
    """Headers, tables and time stamps may say what they like: as many frames are charged as there are."""
    assert seconds(LIES[lie]()) >= LASTS * 0.99


def box(name: bytes, *parts: bytes) -> bytes:
    """A box of an MP4."""
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + name + content


def opus_track(*tables: bytes) -> bytes:
    """A track of Opus with those tables."""
    entry = struct.pack(">I", 36) + b"Opus" + b"\0" * 16 + struct.pack(">HHHHI", 2, 16, 0, 0, 48_000 << 16)
    media = box(b"mdhd", b"\0" * 12 + struct.pack(">I", 48_000)) + box(b"hdlr", b"\0" * 8 + b"soun")
    samples = box(b"minf", box(b"stbl", box(b"stsd", struct.pack(">II", 0, 1), entry), *tables))
    return box(b"trak", box(b"tkhd", b"\0" * 12 + struct.pack(">I", 1)), box(b"mdia", media, samples))


@pytest.mark.parametrize("size", [0, 1])
def test_tables_that_promise_millions_of_samples_are_read_within_bounds(size: int) -> None:
    """In `moov` and in fragments: what is there counts, and what was not looked at by its bytes."""
    most_of_them = 2**32 - 1
    tables = (
        box(b"stsz", struct.pack(">III", 0, size, most_of_them)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, most_of_them, 1)),
        box(b"stco", struct.pack(">III", 0, 1, 0)),
    )
    run = box(b"trun", struct.pack(">II", 0, most_of_them))
    fragment = box(b"moof", box(b"traf", box(b"tfhd", struct.pack(">III", 0x10, 1, size)), run * 1000))
    for data in (box(b"moov", opus_track(*tables)), box(b"moov", opus_track()) + fragment):
        whole = box(b"ftyp", b"isom") + data + b"\0" * 100_000
        assert most(len(whole)) <= seconds(whole) < 10_000_000


def test_sounds_behind_each_other_are_added_up() -> None:
    """Chained Ogg streams, MPEG frames and sounds behind a WAV file's end all count."""
    for name in ("ogg opus", "mp3 without Xing header", "aac", "wav"):
        assert seconds(sample(name) * 2) >= LASTS * 1.99


@pytest.mark.parametrize("name", FORMS)
def test_no_damage_makes_a_reader_fail(name: str) -> None:
    """Bytes changed, cut out and put in at random places: an answer comes, and is no endless number."""
    dice = random.Random(name)
    whole = sample(name)
    for _ in range(30):
        data = bytearray(whole[: dice.randrange(200, 12_000)])
        for _ in range(dice.randrange(1, 20)):
            at = dice.randrange(len(data))
            data[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(5))
        assert 0 < seconds(bytes(data)) < 10_000_000


@pytest.mark.parametrize("name", FORMS)
def test_a_damaged_file_costs_at_least_what_a_decoder_plays(name: str) -> None:
    """Bytes changed near its head, or anywhere: what ffmpeg still gets out of it is charged."""
    dice = random.Random(name)
    data = bytearray(sample(name))
    for _ in range(10):
        data[dice.randrange(len(data) if dice.random() < 0.3 else 2000)] = dice.randrange(256)
    assert seconds(bytes(data)) >= played(bytes(data), FORMS[name][1]) * 0.98 - 0.05


_STARTS = st.sampled_from(
    [
        *(b"RIFF\0\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"OggS\0", b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\0\0\0\x10ftyp"),
        *(b"ID3\4\0\0", b"\xff\xfb\x90", b"\xff\xf1\x50", b"\0\0\0\0moov", b"\0\0\0\1mdat", b""),
    ]
)


@settings(max_examples=300, deadline=None)
@given(_STARTS, st.binary(max_size=400))
def test_no_bytes_make_a_reader_fail(start: bytes, rest: bytes) -> None:
    """Whatever follows the mark of a container."""
    assert 0 < seconds(start + rest) < 10_000_000
