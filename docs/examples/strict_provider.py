"""A stand-in for an API with a hard limit: 5 calls in any 10 seconds, and 429 beyond. Standard library only.

It prints one line a call: the status it gave and the key that arrived.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

CALLS, SECONDS = 5, 10.0


class Provider(BaseHTTPRequestHandler):
    """Answers chat completions."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[deque[float]] = deque()
    lock = threading.Lock()

    def do_POST(self) -> None:
        """Count the call, answer it."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        with self.lock:
            now = time.monotonic()
            while self.seen and self.seen[0] <= now - SECONDS:
                self.seen.popleft()
            admitted = len(self.seen) < CALLS
            if admitted:
                self.seen.append(now)
        status = 200 if admitted else 429
        sys.stdout.write(f"{status} for {self.headers.get('Authorization')}\n")
        sys.stdout.flush()
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}
        reply = {"id": "c1", "object": "chat.completion", "created": 0, "model": "gpt-4o"}
        body = json.dumps({**reply, "choices": [choice], "usage": usage} if admitted else {"error": "slow down"})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """The line above is enough."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9000), Provider)
    server.serve_forever()
