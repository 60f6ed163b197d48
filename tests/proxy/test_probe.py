"""Asking a Headgate from outside. The stand-ins are real servers of the standard library."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from proxy.onboarding import Entrance, parse_entrance
from proxy.probe import is_headgate, status_of


@contextmanager
def answering(status: int, **headers: str) -> Iterator[Entrance]:
    """An HTTP server on a free port that answers every GET alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield parse_entrance(f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


def test_a_headgate_is_known_by_its_headers() -> None:
    """An answer with an X-Headgate- header comes from a Headgate, whatever its status."""
    with answering(404, X_Headgate_Reason="service_unknown") as entrance:
        assert is_headgate(entrance)


def test_another_server_is_no_headgate() -> None:
    """A web server that happens to listen there is not taken for one."""
    with answering(200, Server="other") as entrance:
        assert not is_headgate(entrance)


def test_nobody_is_no_headgate() -> None:
    """A closed port and one that speaks no HTTP are no Headgate, and have no status."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        entrance = parse_entrance(f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert not is_headgate(entrance)
    assert status_of(entrance, "/readyz") is None
    with socket.create_server(("127.0.0.1", 0)) as mute:

        def answer() -> None:
            connection, _ = mute.accept()
            with connection:
                connection.sendall(b"-ERR unknown\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert status_of(parse_entrance(f"http://127.0.0.1:{mute.getsockname()[1]}"), "/readyz") is None
        thread.join()


def test_the_status_is_what_was_answered() -> None:
    """The status of the answer comes back."""
    with answering(503) as entrance:
        assert status_of(entrance, "/readyz") == 503
