"""`headgate healthcheck`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ..test_probe import answering
from .headgate import headgate


@pytest.mark.parametrize(("status", "code", "said"), [(200, 0, "ready\n"), (503, 1, "")])
def test_the_exit_code_is_the_answer(tmp_path: Path, status: int, code: int, said: str) -> None:
    """Ready is 0, an answer that it is not ready is 1; proxy variables of the container play no part."""
    with answering(status) as entrance:
        asked = headgate(tmp_path, "healthcheck", "--url", entrance.url, http_proxy="http://127.0.0.1:1")
    assert (asked.returncode, asked.stdout) == (code, said)


def test_the_admin_address_of_the_environment_is_asked(tmp_path: Path) -> None:
    """Without --url the address that `serve` would use is asked."""
    with answering(200) as entrance:
        assert headgate(tmp_path, "healthcheck", HEADGATE_ADMIN=f":{entrance.port}").returncode == 0


def test_nobody_there_is_5(tmp_path: Path) -> None:
    """A closed port is exit code 5 with the address; a URL that is none is 2."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    asked = headgate(tmp_path, "healthcheck", "--url", url)
    assert (asked.returncode, asked.stderr) == (5, f"headgate: nobody answers at {url}\n")
    assert headgate(tmp_path, "healthcheck", "--url", "nonsense").returncode == 2
