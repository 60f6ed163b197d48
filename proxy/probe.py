"""Asking a Headgate from outside: is it one, is it ready. Plain http.client, which follows no proxy variables."""

from __future__ import annotations

import http.client

from .onboarding import Entrance

# A Headgate on this machine answers in milliseconds; one across a network is given a SYN retry (1 s) and more.
PATIENCE_S = 3.0


def is_headgate(entrance: Entrance) -> bool:
    """Whether a Headgate's proxy port answers there: each of its answers has an X-Headgate- header (design 4.1)."""
    connection = http.client.HTTPConnection(entrance.host, entrance.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/")
        return any(name.lower().startswith("x-headgate-") for name, _ in connection.getresponse().getheaders())
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def status_of(entrance: Entrance, path: str) -> int | None:
    """The status that a GET of this path is answered with; None when nothing there speaks HTTP."""
    connection = http.client.HTTPConnection(entrance.host, entrance.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
