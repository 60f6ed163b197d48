"""Programs nobody here wrote trust our leaves by the variables of proxy mode alone (proxy/trust.py, onboarding.py)."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from certs.authority import Authority
from certs.leaf import Minter
from proxy.onboarding import parse_entrance, proxy_variables
from proxy.trust import prepare

NOW = datetime.now(UTC)

JAVA = """
import java.net.URI;
import java.net.http.*;
public class Get {
    public static void main(String[] told) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(told[0])).build();
        System.out.print(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""
CLIENTS = {
    "curl": ["curl", "-sS"],
    "node": ["node", "-e", "fetch(process.argv[1]).then(a => a.text()).then(t => process.stdout.write(t))"],
    "urllib": [
        sys.executable,
        "-c",
        "import sys, urllib.request as u; print(end=u.urlopen(sys.argv[1]).read().decode())",
    ],
    "requests": [sys.executable, "-c", "import sys, requests; print(end=requests.get(sys.argv[1]).text)"],
    "httpx": [sys.executable, "-c", "import sys, httpx; print(end=httpx.get(sys.argv[1]).text)"],
    "java": ["java", "Get.java"],
}


class Greeting(BaseHTTPRequestHandler):
    """Answers every GET by one word."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with a CA, and a `worker` directory beside it with the programs' sources."""
    place = tmp_path_factory.mktemp("trusted")
    (place / "worker").mkdir()
    (place / "worker" / "Get.java").write_text(JAVA)
    return place


@pytest.fixture(scope="module")
def url(state: Path) -> Iterator[str]:
    """A TLS server on localhost that shows a leaf of this CA."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Greeting)
    context = Minter(Authority.open(state, now=NOW)).context("localhost", now=NOW)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"https://localhost:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", CLIENTS)
def test_the_variables_alone_make_it_trust_the_leaf(state: Path, url: str, name: str) -> None:
    """With the variables the program gets its answer; without them it refuses the certificate."""
    command = CLIENTS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not on the PATH")
    bare = {"PATH": os.environ["PATH"], "HOME": str(state)}
    told = proxy_variables([], parse_entrance("http://127.0.0.1:1"), bare, prepare(state, bare, now=NOW))

    def answer(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, url], cwd=state / "worker", env=environ, capture_output=True, text=True)

    trusting = answer({**bare, **told})
    assert (trusting.stdout, trusting.returncode) == ("hello", 0), trusting.stderr
    assert answer(bare).returncode != 0


def test_the_server_needs_the_trust_it_is_given(state: Path, url: str) -> None:
    """The leaf is one of our CA and of no public root: a client with the machine's roots alone refuses it."""
    host, port = url.removeprefix("https://").removesuffix("/").split(":")
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.get_server_certificate((host, int(port)), ca_certs=ssl.get_default_verify_paths().cafile)
    assert ssl.get_server_certificate((host, int(port)), ca_certs=str(state / "ca/ca.pem"))
