"""wrk for the benchmarks: one thread, kept-alive connections, a small chat completion as the body."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BODY = json.dumps(
    {
        "model": "gpt-4o",
        "max_tokens": 64,
        "messages": [
            {"role": "system", "content": "You are a friendly clerk who answers in one short sentence."},
            {"role": "user", "content": "Good day! At what hour does the gate open tomorrow?"},
        ],
    }
)
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-bench-worker"
wrk.body = [==[%s]==]
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run: requests a second, latency in milliseconds, and answers that were not 2xx or never came."""

    rate: float
    p50: float
    p99: float
    errors: int


def program() -> str | None:
    """Where wrk is."""
    return shutil.which("wrk")


def run(url: str, *, connections: int, seconds: int, pin: Sequence[str], directory: Path) -> Figures:
    """Load the URL for so many seconds."""
    script = directory / "post.lua"
    script.write_text(_SCRIPT % BODY)
    command = [*pin, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = next(line for line in out.splitlines() if line.startswith("RESULT "))
    requests, duration, p50, p99, errors = (int(part) for part in line.split()[1:])
    return Figures(rate=requests / (duration / 1e6), p50=p50 / 1000, p99=p99 / 1000, errors=errors)
