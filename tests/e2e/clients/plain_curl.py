"""curl: this program only starts it and reads what it prints."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from . import report

CURL = ("curl", "--silent", "--show-error", "--fail", "--no-buffer", "--include", "--suppress-connect-headers")
KEY = ("--header", f"Authorization: Bearer {report.key()}")
READ: dict[str, Callable[[bytes], str]] = {
    "models": report.models,
    "chat": report.content,
    "expect": report.content,
    "audio": bytes.decode,
}
JSON = ("--header", "Content-Type: application/json", "--data-binary", "@-")


def _models() -> None:
    _whole("models", [*CURL, *KEY, f"{report.base()}/models"], b"")


def _chat() -> None:
    _whole("chat", [*CURL, *KEY, *JSON, f"{report.base()}/chat/completions"], report.chat_body())


def _expect() -> None:
    """A body that curl announces with `Expect: 100-continue` and sends once it may."""
    body = report.chat_body()
    _whole(
        "expect", [*CURL, *KEY, *JSON, "--header", "Expect: 100-continue", f"{report.base()}/chat/completions"], body
    )


def _audio() -> None:
    form = ("--form", "model=gpt-4o-transcribe", "--form", f"file=@{os.environ['AUDIO']}")
    _whole("audio", [*CURL, *KEY, *form, f"{report.base()}/audio/transcriptions"], b"")


def _stream() -> None:
    command = [*CURL, *KEY, *JSON, f"{report.base()}/chat/completions"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as curl:
        assert curl.stdin is not None
        assert curl.stdout is not None
        curl.stdin.write(report.chat_body(stream=True))
        curl.stdin.close()
        words: list[str] = []
        headers: list[tuple[str, str]] = []
        for raw in curl.stdout:
            line = raw.decode().rstrip("\r\n")
            if (text := report.delta(line)) is not None:
                words.append(text)
                report.piece(text)
            elif not line.startswith("data: ") and ": " in line:
                headers.append(_header(line))
    assert curl.returncode == 0
    report.call("stream", "".join(words), headers)


def _whole(name: str, command: list[str], body: bytes) -> None:
    out = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True).stdout
    head, _, rest = out.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, rest = rest.partition(b"\r\n\r\n")
    headers = [_header(line) for line in head.decode().split("\r\n")[1:]]
    report.call(name, READ[name](rest), headers)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


report.run({"models": _models, "chat": _chat, "expect": _expect, "audio": _audio, "stream": _stream})
