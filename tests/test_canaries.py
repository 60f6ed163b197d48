"""tests/canaries.py, and what hands over to it: a secret is found wherever it comes out."""

from __future__ import annotations

import base64
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from .canaries import WATCH, Leak, Watch
from .headgate_process import finished, serving
from .proxy.corridor import corridor
from .redis_server import redis_server

SECRET = "sk-canary-4f1d"


@contextlib.contextmanager
def leaking(where: str) -> Iterator[None]:
    """The block leaks there, and is forgiven."""
    with pytest.raises(Leak, match=where):
        yield
    (leak,) = WATCH.take()
    assert where in leak


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        SECRET.upper(),
        f'{{"key": "{SECRET}"}}',
        f"Authorization: Bearer {SECRET}",
        SECRET.encode().hex(),
        *(base64.b64encode(f"{'x' * before}:{SECRET}".encode()).decode() for before in range(4)),
        *(base64.b64encode(f"{'x' * before}{SECRET.upper()}".encode()).decode() for before in range(3)),
    ],
)
def test_a_secret_is_found_in_any_writing(text: str) -> None:
    """As it is, in capitals, in Base64 wherever it begins, in hexadecimal; what stands behind it is not told."""
    with pytest.raises(Leak) as caught:
        Watch().look("log", f"line one\nline {text} two")
    assert text not in str(caught.value)
    assert "log" in str(caught.value)


@pytest.mark.parametrize("text", ["", "can ary", "canar", "Y2FuYXJ", "sk-...4f1d", "63616e6172"])
def test_what_holds_none_is_counted(text: str) -> None:
    """Its size, by where it was."""
    watch = Watch()
    watch.look("store", text)
    watch.look("store", b"123")
    assert watch.seen == {"store": len(text) + 3}


def test_a_log_line_is_looked_at() -> None:
    """Of our own loggers each, even one that nobody writes; of others none."""
    logging.getLogger("elsewhere").debug("%s", SECRET)
    with leaking("log"):
        logging.getLogger("headgate.test").error("%s", SECRET)
    failed = ValueError(SECRET)
    with leaking("log"):
        logging.getLogger("headgate.test").error("it failed", exc_info=failed)


async def test_a_corridor_s_log_and_metrics_are_looked_at() -> None:
    """A user who calls himself so stands in the call's line; a label would stand in the metrics."""
    with leaking("log"):
        async with corridor("") as front:
            await front.ask("/nowhere/x", None, X_Headgate_User=SECRET)
    with leaking("metrics"):
        async with corridor("") as front:
            front.metrics.refused.labels(SECRET, "x").inc()


def test_a_process_s_log_and_admin_port_are_looked_at(tmp_path: Path) -> None:
    """The same for a real one, when it stops."""
    with leaking("log"), serving(tmp_path / "a", "") as headgate:
        requests.get(f"{headgate.proxy}/nowhere/x", headers={"X-Headgate-User": SECRET}, timeout=30)
    named = f"services: {{{SECRET}: {{hosts: [a.test], keys: [{{name: a, env: KEY}}]}}}}"
    with leaking("metrics"), serving(tmp_path / "b", named, more={"KEY": "x" * 20}):
        pass


def test_a_leak_that_somebody_catches_is_remembered() -> None:
    """The product answers 500 to whatever is raised in it; the test fails all the same."""

    def tells(*_: object) -> None:
        with contextlib.suppress(Exception):
            logging.getLogger("headgate.test").error("%s", SECRET)

    tells()
    assert len(WATCH.take()) == 1


def test_a_command_s_output_is_looked_at(tmp_path: Path) -> None:
    """Both streams."""
    with leaking("output"):
        finished(tmp_path, SECRET)


def test_a_store_is_looked_through() -> None:
    """Names and values of keys of every kind, also those too long to be stored as they are."""
    for words in (("SET", SECRET, "1"), ("HSET", "k", "f", SECRET * 9), ("SET", "k", f"{SECRET}" + " " * 9000)):
        with leaking("store"), redis_server() as server:
            assert server.command(*words) in ("OK", "1")
    before = WATCH.seen["store"]
    with redis_server() as server:
        server.command("SET", "a", "b" * 5000)
    assert WATCH.seen["store"] > before + 5000
