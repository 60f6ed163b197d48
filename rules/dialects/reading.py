"""A reply -> what it means for limits and keys.

Law: a reply is untrusted: no header or body makes `read` raise, no time leaves it above 24 hours, and none of its text
leaves at all. Sources: provider-facts 1.4 (headers), 1.5 (grammars), 1.6 (what an error means), 1.7 and 1.8.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import times
from ..errorbodies import ErrorBody, read_error
from . import meanings
from .meanings import Meaning, Rule, Scope
from .seen import Fields, Seen
from .speakers import speaker

__all__ = ["Meaning", "Reading", "Scope", "explains_success", "in_stream", "read", "rests", "stream_meaning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reply means for the limits and keys."""

    meaning: Meaning
    """ok · slow_down: wait, same key · exhausted: not before a date or a payment · dead: take the key out ·
    overloaded: the upstream's own trouble · fault: teaches nothing about limits and keys."""
    retry_after_ms: int | None
    """1 to 86,400,000; None: the reply names no time that can be believed, or a wait does not help."""
    scope: Scope
    """The narrowest scope that should rest (limiter Q16)."""
    counted: bool
    """False: the upstream cannot have charged the call to the group, because it did not accept the key. What is not
    documented counts (1.7)."""
    limits: tuple[Seen, ...]


_NOTHING = ErrorBody()


def explains_success(dialect: str) -> bool:
    """Whether replies with status 200 may be errors, so that their body must be read to know."""
    return speaker(dialect).success


def rests(dialect: str) -> Scope:
    """The scope that rests after a refusal, unless the reply is about a wider one or about the key."""
    return speaker(dialect).scope


def in_stream(dialect: str, meaning: Meaning) -> Reading:
    """What a failure reported inside a stream means: nothing says how long it lasts, and the call was counted. What is
    used up is the group's: a code alone does not say which of its models."""
    scope = "group" if meaning == "exhausted" else speaker(dialect).scope
    return Reading(meaning=meaning, retry_after_ms=None, scope=scope, counted=True, limits=())


def read(dialect: str, status: int, headers: Fields, body: bytes, *, now_s: float) -> Reading:
    """Read a reply's status, headers and, for errors, body (whole, as it came: gzip and deflate are unpacked). A good
    reply tells of limits too.

    `now_s` is Unix time, for dates. Order of belief for the wait: `retry-after-ms`, `Retry-After`, the body's own
    words, the latest reset of a limit that has nothing left.
    """
    who = speaker(dialect)
    limits = who.limits(headers, now_s)
    if status < 400 and not (who.success and status == 200):
        return Reading(meaning="ok", retry_after_ms=None, scope=who.scope, counted=True, limits=limits)
    error = read_error(body, _coding(headers)) if body else _NOTHING
    candidates = (*who.rules, *meanings.AFTER_ALL)
    rule = next((rule for rule in candidates if rule.holds(status, error, limits, headers)), None)
    # A request larger than its limit is refused for ever (1.6): no wait helps.
    if rule is None or (rule.meaning == "slow_down" and error.never_fits):
        meaning: Meaning = "ok" if status < 400 else "fault"
        return Reading(meaning=meaning, retry_after_ms=None, scope=who.scope, counted=True, limits=limits)
    return Reading(
        meaning=rule.meaning,
        retry_after_ms=_wait(rule, headers, error, limits, now_s),
        scope=rule.scope or who.scope,
        counted=rule.meaning != "dead",
        limits=limits,
    )


def stream_meaning(code: str) -> Meaning:
    """What an error code inside a stream that began with 200 means (provider-facts 1.6, "in a stream")."""
    if code in ("rate_limit_exceeded", "rate_limit_error", "slow_down", "429", "RESOURCE_EXHAUSTED"):
        return "slow_down"
    if code in ("overloaded_error", "server_is_overloaded", "api_error", "503", "529", "UNAVAILABLE"):
        return "overloaded"
    known = (*meanings.OPENAI, *meanings.ANTHROPIC)
    exhausted = any(rule.meaning == "exhausted" and code in rule.codes for rule in known)
    return "exhausted" if exhausted else "fault"


def _coding(headers: Fields) -> str:
    return next((times.text(value).lower() for name, value in headers if name.lower() == b"content-encoding"), "")


def _wait(rule: Rule, headers: Fields, error: ErrorBody, limits: tuple[Seen, ...], now_s: float) -> int | None:
    if rule.meaning == "dead" or not rule.timed:
        return None
    if rule.until is not None:
        return times.bounded_ms(rule.until(now_s))
    found = _retry_after(headers, now_s)
    if found is None:
        found = error.retry_ms
    if found is None:
        found = max((seen.reset_ms for seen in limits if seen.remaining == 0 and seen.reset_ms), default=None)
    return rule.or_ms if found is None else found


def _retry_after(headers: Fields, now_s: float) -> int | None:
    milliseconds = seconds = None
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"retry-after-ms":
            milliseconds = times.milliseconds(times.text(value))
        elif lowered == b"retry-after":
            seconds = times.retry_after(times.text(value), now_s)
    return milliseconds if milliseconds is not None else seconds
