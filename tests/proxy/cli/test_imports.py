"""What people wait for stays light (operators 2.1)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .headgate import surroundings

HEAVY = {"aiohttp", "asyncio", "cryptography", "orjson", "prometheus_client", "pydantic", "redis", "tiktoken", "yaml"}


@pytest.mark.parametrize("verb", ["ca", "env", "explain", "healthcheck", "run"])
def test_a_verb_is_loaded_with_click_alone(tmp_path: Path, verb: str) -> None:
    """Asking a verb for its help loads none of the libraries that take tenths of a second."""
    program = (
        "import sys; from proxy.cli import main\n"
        f"main(['{verb}', '--help'], standalone_mode=False)\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=surroundings(tmp_path), capture_output=True, text=True, check=True
    )
    loaded = set(ended.stderr.split())
    assert "click" in loaded
    assert loaded & HEAVY == set()
