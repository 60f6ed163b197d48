"""The states of all pools' keys, as this replica last heard of them: for metrics, the log and the admin port.

Law: the store knows (gate/rests.lua); this is its mirror, told anew with every change (Gate's `on_rests`). What ends by
itself ends here too, by the clock, when somebody looks. Callers' own keys are no part of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from rules.gate.resting import KeyRest
from rules.keystates import KeyStatus, scopes_of, statuses
from rules.policy import Key, KeyState, Policy, Service

from .metrics import Metrics

_log = logging.getLogger("headgate.keys")


class Keyring:
    """Who serves, who rests, and why."""

    def __init__(self, policy: Callable[[], Policy], metrics: Metrics, now_ms: Callable[[], float]) -> None:
        """`policy`: the one in force. `now_ms`: the gate's clock."""
        self._policy = policy
        self._metrics = metrics
        self._now_ms = now_ms
        self._rests: dict[str, tuple[Sequence[KeyRest], float]] = {}
        self._seen: dict[tuple[str, str], KeyState] = {}

    def on_rests(self, service: str, rests: Sequence[KeyRest]) -> None:
        """The store said all that rests of a service."""
        self.look()  # what ended before this was said
        self._rests[service] = (rests, self._now_ms())
        self.look()

    def pools(self) -> dict[str, Service]:
        """The services with keys of ours."""
        return {name: service for name, service in self._policy().services.items() if service.keys}

    def statuses(self, service: Service) -> list[KeyStatus]:
        """How the keys of a pool stand now."""
        rests, at = self._rests.get(service.name, ((), self._now_ms()))
        return statuses(service.keys, rests, max(0.0, self._now_ms() - at))

    def scopes(self, service: Service, key: Key) -> list[str]:
        """Everything that rests of which the key has a part, itself first."""
        return scopes_of(service.keys, self._rests.get(service.name, ((), 0.0))[0], key)

    def look(self) -> list[tuple[str, KeyStatus]]:
        """How every key stands now, by service; what has changed since the last look is counted and logged."""
        found = [(name, status) for name, service in self.pools().items() for status in self.statuses(service)]
        seen = {(name, status.key): status.state for name, status in found}
        for name, status in found:
            before = self._seen.get((name, status.key), "active")
            if before != status.state:
                self._metrics.key_changes.labels(name, status.key, status.state).inc()
                line = f"{name}: key {status.key}: {before} -> {status.state}"
                if status.state == "active":
                    _log.info("%s", line)
                else:
                    _log.warning("%s: %s", line, status.reason)
        self._seen = seen
        return found
