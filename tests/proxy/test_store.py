"""proxy/store.py: the fate of the store is told without the library that speaks to it."""

from __future__ import annotations

import subprocess
import sys

EMBEDDED = """
import sys
from proxy import app, gate
from proxy.cli import serve
print("redis" in sys.modules)
"""


def test_redis_is_loaded_where_there_is_one() -> None:
    """The embedded gate does without the library, which takes 8 MiB."""
    done = subprocess.run([sys.executable, "-c", EMBEDDED], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
