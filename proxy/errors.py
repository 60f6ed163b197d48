"""Answers of our own: one flat table of codes, written in the error shape of the service's API.

A code is the word that the client's `X-Headgate-Reason`, the log line and the metric label share (design 4.2). A
Problem never carries a peer's bytes, a key, or another client's usage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import orjson

from rules.policy import ErrorShape, Limit

# code -> status; the list is design 4.2, the 4xx of bad input are threats 2.2 and section 5
STATUS = {
    "bad_request": 400,
    "bad_target": 400,
    "bad_host": 400,
    "bad_header": 400,
    "bad_framing": 400,
    "bad_control_header": 400,
    "bad_upgrade": 400,
    "client_unknown": 401,
    "host_denied": 403,
    "address_denied": 403,
    "port_denied": 403,
    "control_denied": 403,
    "page_denied": 403,
    "no_price": 403,
    "service_unknown": 404,
    "method_denied": 405,
    "proxy_auth_required": 407,
    "head_timeout": 408,
    "body_timeout": 408,
    "never_fits": 413,
    "body_too_large": 413,
    "target_too_long": 414,
    "expectation_failed": 417,
    "misdirected": 421,
    "wait_too_long": 429,
    "hold_expired": 429,
    "head_too_large": 431,
    "internal": 500,
    "coding_unsupported": 501,
    "upstream_refused": 502,
    "upstream_broke": 502,
    "upstream_tls": 502,
    "upstream_protocol": 502,
    "queue_full": 503,
    "overloaded": 503,
    "draining": 503,
    "no_key": 503,
    "store_unavailable": 503,
    "upstream_dns_timeout": 504,
    "upstream_connect_timeout": 504,
    "upstream_timeout": 504,
    "upstream_stalled": 504,
    "version_unsupported": 505,
    "loop": 508,
}

REASON = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    407: "Proxy Authentication Required", 408: "Request Timeout", 413: "Content Too Large", 414: "URI Too Long",
    417: "Expectation Failed", 421: "Misdirected Request", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported", 508: "Loop Detected",
}  # fmt: skip

# The words OpenAI's and Anthropic's SDKs know for a status (provider-facts 1.6).
_TYPE = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip
_GOOGLE = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip

# Above this the SDKs differ: some ignore the wait and return at once (provider-facts 6.3, "rejecting for 60-120 s").
_SDK_RETRY_LIMIT_MS = 60_000


@dataclass(eq=False)
class Problem(Exception):
    """An answer of our own.

    `code` is a key of STATUS; `message` is one plain sentence; `close` says that no further request may be read from
    the connection (framing is in doubt, RFC 9112 section 6.3).
    """

    code: str
    message: str
    close: bool = False
    retry_after_ms: int | None = None
    limit: Limit | None = None

    @property
    def status(self) -> int:
        return STATUS[self.code]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Fields that go with the code: Retry-After and its kin, Proxy-Authenticate, Allow."""
        fields = [(b"X-Headgate-Reason", self.code.encode())]
        if self.retry_after_ms is not None:
            seconds = math.ceil(self.retry_after_ms / 1000)
            # whole seconds: urllib3 refuses a float (provider-facts 6.2)
            fields.append((b"Retry-After", b"%d" % seconds))
            fields.append((b"retry-after-ms", b"%d" % self.retry_after_ms))
            if self.retry_after_ms > _SDK_RETRY_LIMIT_MS:
                fields.append((b"x-should-retry", b"false"))
            if self.limit is not None:
                fields += _ratelimit_fields(self.limit, seconds)
        if self.status == 407:
            fields.append((b"Proxy-Authenticate", b'Basic realm="headgate"'))
        if self.status == 401:
            fields.append((b"WWW-Authenticate", b'Bearer realm="headgate"'))
        if self.status == 405:
            fields.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
        return fields

    def body(self, shape: ErrorShape, request_id: str) -> bytes:
        """JSON in the error shape of the service's API, so that its SDKs parse it (design 4.2)."""
        status, message = self.status, f"headgate: {self.message}"
        if shape == "openai":
            kind = _TYPE.get(status, "api_error")
            error: dict[str, object] = {"message": message, "type": kind, "param": None, "code": self.code}
            return orjson.dumps({"error": error})
        if shape == "anthropic":
            error = {"type": _TYPE.get(status, "api_error"), "message": f"{message} ({self.code})"}
            return orjson.dumps({"type": "error", "error": error, "request_id": request_id})
        if shape == "google":
            error = {"code": status, "message": f"{message} ({self.code})", "status": _GOOGLE.get(status, "UNKNOWN")}
            return orjson.dumps({"error": error})
        error = {"code": self.code, "message": message, "request_id": request_id}
        if self.retry_after_ms is not None:
            error["retry_after"] = math.ceil(self.retry_after_ms / 1000)
        return orjson.dumps({"error": error})


def place_of(error: BaseException) -> str:
    """Type and place of an error of ours; never its text, which may quote a peer's bytes (threats F3)."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    spot = f" at {place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place is not None else ""
    return type(error).__name__ + spot


def _ratelimit_fields(limit: Limit, seconds: int) -> list[tuple[bytes, bytes]]:
    """`RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-08 to -10."""
    if limit.kind != "window" or limit.meter == "usd":
        return []  # quotas of the draft are whole numbers, and nothing in it is money
    policy = f'"{limit.id}";q={limit.amount // limit.scale};w={limit.window_ms // 1000}'
    return [(b"RateLimit", f'"{limit.id}";r=0;t={seconds}'.encode()), (b"RateLimit-Policy", policy.encode())]
