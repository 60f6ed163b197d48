"""Seven seconds of a rising tone in every container an upload may have, made by ffmpeg; provider-facts 4.1 lists
them."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

LASTS = 7.0
"""Seconds of each sample."""
_SOUND = ("-f", "lavfi", "-i", f"aevalsrc=0.3*sin(2*PI*t*(300+100*t)):s=48000:d={LASTS}")
_PICTURE = ("-f", "lavfi", "-i", f"testsrc=size=160x120:rate=10:d={LASTS}")
_OPUS = ("-c:a", "libopus", "-b:a", "32k")
_FRAGMENTED = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")

# Name -> (with a picture, ending, how it is written). The first twelve are the cases of provider-facts 4.1.
FORMS: dict[str, tuple[bool, str, tuple[str, ...]]] = {
    "flac": (False, "flac", ()),
    "mp3 with Xing header": (False, "mp3", ("-b:a", "64k")),
    "mp3 without Xing header": (False, "mp3", ("-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0")),
    "m4a": (False, "m4a", ("-c:a", "aac")),
    "mp4 with a picture": (True, "mp4", ("-c:a", "aac", "-c:v", "mpeg4", "-shortest")),
    "fragmented mp4": (False, "mp4", ("-c:a", "aac", *_FRAGMENTED)),
    "ogg opus": (False, "ogg", _OPUS),
    "wav": (False, "wav", ("-ar", "16000")),
    "webm": (False, "webm", _OPUS),
    "webm recorded live": (False, "webm", (*_OPUS, "-live", "1")),
    "mpeg program stream": (True, "mpeg", ("-c:a", "mp2", "-c:v", "mpeg1video", "-r", "25", "-shortest")),
    "aac": (False, "aac", ("-c:a", "aac")),
    # and what else clients send
    "mp3 of variable rate": (False, "mp3", ("-q:a", "4")),
    "mp3 of low rate": (False, "mp3", ("-b:a", "8k", "-ar", "8000")),
    "mp2": (False, "mp2", ()),
    "vob": (True, "vob", ("-c:a", "mp2", "-c:v", "mpeg2video", "-r", "25", "-shortest")),
    "ogg vorbis": (False, "ogg", ("-c:a", "libvorbis")),
    "ogg flac": (False, "oga", ("-c:a", "flac")),
    "opus of 60 ms packets": (False, "opus", (*_OPUS, "-frame_duration", "60")),
    "opus of 2.5 ms packets": (False, "opus", (*_OPUS, "-frame_duration", "2.5")),
    "webm vorbis": (False, "webm", ("-c:a", "libvorbis")),
    "webm with a picture": (True, "webm", (*_OPUS, "-c:v", "libvpx", "-shortest")),
    "mkv aac": (False, "mkv", ("-c:a", "aac")),
    "wav of floats": (False, "wav", ("-c:a", "pcm_f32le", "-ac", "2")),
    "wav of A-law": (False, "wav", ("-c:a", "pcm_alaw", "-ar", "8000")),
    "wav of ADPCM": (False, "wav", ("-c:a", "adpcm_ms", "-ar", "16000")),
    "rf64": (False, "wav", ("-rf64", "always")),
    "mp4 opus": (False, "mp4", _OPUS),
    "mp4 opus of 60 ms packets": (False, "mp4", (*_OPUS, "-frame_duration", "60")),
    "fragmented mp4 opus": (False, "mp4", (*_OPUS, *_FRAGMENTED)),
    "fragmented mp4 opus with a picture": (True, "mp4", (*_OPUS, "-c:v", "mpeg4", "-shortest", *_FRAGMENTED)),
    "mp4 mp3": (False, "mp4", ("-c:a", "libmp3lame", "-b:a", "64k")),
    "mp4 flac": (False, "mp4", ("-c:a", "flac", "-strict", "-2")),
    "mp4 ac3": (False, "mp4", ("-c:a", "ac3", "-b:a", "96k")),
    "mov of plain samples": (False, "mov", ("-c:a", "pcm_s16le")),
    "mov of wide samples": (False, "mov", ("-c:a", "pcm_s24be", "-ac", "2", "-ar", "96000")),
    "mkv mp3": (False, "mkv", ("-c:a", "libmp3lame", "-b:a", "64k")),
    "mkv flac": (False, "mkv", ("-c:a", "flac")),
    "mkv lossless": (False, "mkv", ("-c:a", "alac")),
    "mkv of plain samples": (False, "mkv", ("-c:a", "pcm_s16le")),
    "m4a lossless": (False, "m4a", ("-c:a", "alac")),
    "fragments without head": (False, "mp4", ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov+separate_moof")),
}


@functools.cache
def sample(name: str) -> bytes:
    """The file of that name."""
    picture, ending, how = FORMS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"sample.{ending}")
        sources = (*_SOUND, *_PICTURE) if picture else _SOUND
        command = ("ffmpeg", "-v", "error", "-nostdin", *sources, *how, "-y", str(path))
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return path.read_bytes()


def played(data: bytes, ending: str = "bin") -> float:
    """Seconds that ffmpeg decodes from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"upload.{ending}")
        path.write_bytes(data)
        command = ("ffmpeg", "-v", "quiet", "-nostdin", "-i", str(path), "-map", "0:a:0", "-ar", "8000", "-ac", "1")
        done = subprocess.run((*command, "-f", "s16le", "-"), capture_output=True, timeout=60)
    return len(done.stdout) / 16_000
