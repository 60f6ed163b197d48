"""nginx for the benchmarks: the upstream that answers one small JSON, and the plain reverse proxy to measure beside."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.redis_server import free_port

REPLY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Good day, Ann."}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 31, "completion_tokens": 5, "total_tokens": 36},
    }
)
_FRAME = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  {servers}
}}
"""
_UPSTREAM = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    default_type application/json;
    location / {{ return 200 '{reply}'; }}
  }}
"""
_PROXY = """
  upstream api {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer sk-bench-pool";
    }}
  }}
"""
# What `proxy_pass` alone does: HTTP/1.0 to the upstream, and a new connection for each call.
_DEFAULT_PROXY = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
  }}
"""


def program() -> str | None:
    """Where nginx is; Debian keeps it outside an ordinary user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def upstream(directory: Path, pin: Sequence[str]) -> Iterator[int]:
    """The fast upstream; yields its port."""
    port = free_port()
    with _running(directory / "upstream", _UPSTREAM.format(port=port, reply=REPLY), pin, port):
        yield port


@contextlib.contextmanager
def proxy(directory: Path, pin: Sequence[str], upstream_port: int) -> Iterator[int]:
    """A reverse proxy with kept-alive upstream connections and one header replaced; yields its port."""
    port = free_port()
    with _running(directory / "proxy", _PROXY.format(port=port, upstream=upstream_port), pin, port):
        yield port


@contextlib.contextmanager
def default_proxy(directory: Path, pin: Sequence[str], upstream_port: int) -> Iterator[int]:
    """A reverse proxy as the manual's first example has it; yields its port."""
    port = free_port()
    with _running(directory / "default-proxy", _DEFAULT_PROXY.format(port=port, upstream=upstream_port), pin, port):
        yield port


@contextlib.contextmanager
def _running(directory: Path, servers: str, pin: Sequence[str], port: int) -> Iterator[None]:
    directory.mkdir()
    config = directory / "nginx.conf"
    config.write_text(_FRAME.format(directory=directory, servers=servers))
    found = program()
    assert found is not None
    command = [*pin, found, "-p", str(directory), "-c", str(config), "-e", str(directory / "error.log")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _listening(port, process)
            yield
        finally:
            process.terminate()


def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once it answers; it says nothing when it is ready, so it is asked."""
    for _ in range(100_000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, "nginx ended at its start"
    raise AssertionError("nginx does not listen")
