"""What we send on, HAProxy, nginx and h11 take too, and read alike: we are at least as strict as the strict ones.

Where one of them refuses what we take, the case stands below with the rule that is on our side.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e import toolchains
from tests.proxy.frontdoor import talk

from .hall import PROBE_PATH, Hall, hall
from .mutations import read, requests
from .origin import Origin, origin
from .row import Row
from .test_rows import ROWS

_HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend front
  bind 127.0.0.1:{port}
  default_backend back
backend back
  server one 127.0.0.1:{origin}
"""
_NGINX = """
daemon off;
pid {place}/pid;
error_log {place}/error crit;
worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {place}/body;
  proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi;
  scgi_temp_path {place}/scgi;
  large_client_header_buffers 8 64k;
  merge_slashes off;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1; proxy_request_buffering off; }}
  }}
}}
"""

# Ids of the rows that each refuses or reads otherwise, with the rule on our side.
OTHERWISE = {
    "h11": {},
    "haproxy": {
        "A20 a target of 16,000 bytes": "our bound is higher than its 16 KiB, for tokens in a query",
        "A20 200 fields": "our bound is higher than its 101",
    },
    "nginx": {
        "E2 the client's own key, twice": "we take out every one of them",
        "A3 spaces around": "a tab is white space (RFC 9110 section 5.6.3)",
        "A5 TE Chunked in OWS": "a tab is white space",
        "B8 b'/%'": "a percent sign by itself goes on as it came; what it means is the upstream's affair",
        "B8 b'/%2'": "the same",
        "B8 b'/%zz'": "the same",
        "B8 b'/%00'": "the same; endpoints are matched in what stands before it too",
    },
}

Message = tuple[bytes, bytes, bytes]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def place() -> AsyncIterator[Hall]:
    """Ours."""
    async with hall() as here:
        yield here


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["haproxy", "nginx"])
async def other(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, int, Origin]]:
    """Name and port of another proxy, and the upstream behind it. Skips with the reason where it cannot be had."""
    name: str = request.param
    try:
        program = toolchains.haproxy() if name == "haproxy" else toolchains.nginx()
    except toolchains.ToolchainMissing as missing:
        pytest.skip(str(missing))
    with tempfile.TemporaryDirectory() as folder:
        async with origin() as behind:
            port, path = _free_port(), Path(folder) / "conf"
            text = _HAPROXY if name == "haproxy" else _NGINX
            path.write_text(text.format(port=port, origin=behind.port, place=folder))
            options = ["-db", "-f", str(path)] if name == "haproxy" else ["-c", str(path), "-e", f"{folder}/error"]
            process = await asyncio.create_subprocess_exec(program, *options, stderr=asyncio.subprocess.DEVNULL)
            try:
                await _listening(port, process)
                yield name, port, behind
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()


def _passed() -> list[Row]:
    """Rows that a reverse call sends on whole, and in whose target we change nothing."""
    rows = [row for row in ROWS if row.sees and row.stays and "reverse" in row.entrances]
    return [row for row in rows if b"?key=" not in row.raw]


def _read_otherwise(name: str, row: Row) -> bool:
    return row.id in OTHERWISE[name]


@pytest.mark.parametrize("row", _passed(), ids=lambda row: row.id)
def test_h11_takes_what_we_take(row: Row) -> None:
    """The same messages, in the client's own bytes."""
    raw = row.raw.replace(b"<base>", b"/svc").replace(b"<host>", b"a.test")
    truth = read(raw).messages
    alike = [(method, body) for method, _, body in truth] == [(sent.method, sent.body) for sent in row.sees]
    assert alike is not _read_otherwise("h11", row)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_others_take_what_we_take(other: tuple[str, int, Origin]) -> None:
    """Method, target and body of every message come out alike, or the difference is one that is known."""
    name, port, behind = other
    different = [row.id for row in _passed() if await _through(port, behind, _ask(row.raw)) != _expected(row)]
    assert sorted(different) == sorted(OTHERWISE[name])


@pytest.mark.asyncio(loop_scope="module")
async def test_the_others_take_the_bent_lines_that_we_take(place: Hall, other: tuple[str, int, Origin]) -> None:
    """Of the bent framing lines, too."""
    name, port, behind = other
    different: list[tuple[bytes, list[Message]]] = []
    taken = 0
    for template in requests():
        raw = place.filled(template, "reverse")
        answers = await place.talk(raw, "reverse")
        ours = [(one.method, b"/svc" + one.target, one.body) for one in place.service.take()]
        if answers[0].code is None:
            taken += 1
            theirs = await _through(port, behind, raw)
            # to nginx a tab is no white space
            if theirs[: len(ours)] != ours[: len(theirs)] or not (theirs or (name == "nginx" and b"\t" in raw)):
                different.append((raw, theirs))
    assert different == []
    assert taken > 10


def _ask(raw: bytes) -> bytes:
    return (
        raw.replace(b"<base>", b"/svc")
        .replace(b"<host>", b"a.test")
        .replace(b"<token>", b"t")
        .replace(b"<basic>", b"b")
    )


def _expected(row: Row) -> list[Message]:
    return [(sent.method, b"/svc" + sent.path, sent.body) for sent in row.sees]


async def _through(port: int, behind: Origin, raw: bytes) -> list[Message]:
    probe = b"GET /svc%b HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n" % PROBE_PATH
    behind.clear()
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(20):
            await talk(port, raw + probe)
    found = [(one.method, one.target, one.body) for one in behind.take()]
    return [one for one in found if not one[1].endswith(PROBE_PATH)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until somebody accepts there."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, "it did not start"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                turn = loop.create_future()
                loop.call_later(0.02, turn.set_result, None)
                await turn
            else:
                writer.close()
                return
