"""Every series of /metrics, declared once.

Labels are closed sets: what a client can type never becomes one (threats F5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .store import FAULTS, Fault

if TYPE_CHECKING:
    from .log import Record

# Seconds: from one event-loop turn to the cap of a hold (threats 4.3).
_WAIT = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
# Codes of a CONNECT that went as it should.
_ENTRANCES = ("tunnel", "intercept")
# Actual over estimate: 1 is exact.
_RATIO = (0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Room:
    """What the gate knows of a service now, for the gauges."""

    usage_ratio: float
    """Share of the fullest limit that is used, 0 to 1 (above 1 in observe mode)."""
    remaining: float | None
    """Natural units left of that limit."""
    waiting: int
    backoff_s: float
    """Longest time a group or key of the service still rests."""


class Counts:
    """The series of one service that every call touches: looking a child up by its labels costs more than counting."""

    __slots__ = (
        *("_checks", "_metrics", "_ratios", "_service", "_statuses", "granted", "late", "spent", "upstream_seconds"),
    )

    def __init__(self, metrics: Metrics, service: str) -> None:
        self._metrics = metrics
        self._service = service
        self._checks: dict[str, Counter] = {}
        self._ratios: dict[str, Histogram] = {}
        self._statuses: dict[int, Counter] = {}
        self.granted = metrics.granted.labels(service)
        self.late = metrics.late.labels(service)
        self.spent = metrics.spent.labels(service)
        self.upstream_seconds = metrics.upstream_seconds.labels(service)

    def checks(self, result: str) -> Counter:
        """Verdicts of the gate with this result."""
        found = self._checks.get(result)
        if found is None:
            found = self._checks[result] = self._metrics.checks.labels(self._service, result)
        return found

    def upstream_status(self, status: int) -> Counter:
        """Answers of the upstream with this status: 200 to 599, nothing else gets past the upstream room."""
        found = self._statuses.get(status)
        if found is None:
            found = self._statuses[status] = self._metrics.upstream_status.labels(self._service, str(status))
        return found

    def estimate_ratio(self, meter: str) -> Histogram:
        """True cost over estimated cost of a meter."""
        found = self._ratios.get(meter)
        if found is None:
            found = self._ratios[meter] = self._metrics.estimate_ratio.labels(self._service, meter)
        return found


class Metrics:
    """The registry and its series."""

    def __init__(self) -> None:
        # one more series per counter, which no dashboard reads
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._counts: dict[str, Counts] = {}
        to = self.registry
        # the four of the earlier system (design 4.5)
        self.checks = Counter("rate_limit_checks", "Verdicts of the gate", ["service", "result"], registry=to)
        self.granted = Counter("headgate_granted", "Calls that were let go", ["service"], registry=to)
        self.late = Counter(
            "headgate_late_grants",
            "Grants that came too late to be used, and were asked for again",
            ["service"],
            registry=to,
        )
        self.held = Counter("headgate_held", "Calls that had to wait", ["service"], registry=to)
        self.refused = Counter("headgate_refused", "Answers of our own, by code", ["service", "code"], registry=to)
        self.observed = Counter(
            "headgate_observed",
            "Calls of observed services that enforcing would have held or refused, by code",
            ["service", "code"],
            registry=to,
        )
        self.waited = Histogram(
            "headgate_waited_seconds", "Time a call was held", ["service"], buckets=_WAIT, registry=to
        )
        self.upstream_status = Counter(
            "headgate_upstream_responses",
            "Answers of the upstream, by status",
            ["service", "status"],
            registry=to,
        )
        self.upstream_seconds = Histogram(
            "headgate_upstream_seconds",
            "From sending a call to the head of its answer",
            ["service"],
            buckets=_WAIT,
            registry=to,
        )
        self.estimate_ratio = Histogram(
            "headgate_estimate_ratio",
            "True cost over estimated cost",
            ["service", "meter"],
            buckets=_RATIO,
            registry=to,
        )
        self.unknown_model = Counter(
            "headgate_unknown_model", "Calls counted with the fallback vocabulary", ["service"], registry=to
        )
        self.unreadable_body = Counter(
            "headgate_unreadable_body", "Bodies counted by their bytes", ["service"], registry=to
        )
        self.unpriced = Counter(
            "headgate_unpriced", "Calls whose price is not known: no budget counts them", ["service"], registry=to
        )
        self.spent = Counter(
            "headgate_spent_usd",
            "What calls did cost in USD; where the reply did not tell, by estimate",
            ["service"],
            registry=to,
        )
        self.key_changes = Counter(
            "headgate_key_state_changes",
            "Changes of a key's state that this replica heard of, by the new state",
            ["service", "key", "state"],
            registry=to,
        )
        self.tunnels = Gauge("headgate_tunnels", "Open blind tunnels", registry=to)
        self.websockets = Gauge("headgate_websockets", "WebSockets that are open, or wait to be", registry=to)
        self.tunnel_bytes = Counter(
            "headgate_tunnel_bytes", "Bytes relayed unread: blind tunnels and WebSockets", ["direction"], registry=to
        )
        self.connections = Gauge("headgate_connections", "Open client connections", registry=to)
        self.cut = Counter(
            "headgate_cut", "What ended without a whole answer, by code", ["service", "code"], registry=to
        )
        self.memory = Gauge("headgate_memory_bytes", "Memory that the process holds", registry=to)
        self.memory_limit = Gauge("headgate_memory_limit_bytes", "Memory it may use; 0: no bound is known", registry=to)
        self.shedding = Gauge(
            "headgate_shedding", "1: no call is held for want of memory; 2: no connection is taken either", registry=to
        )
        self.held_bodies = Gauge("headgate_held_body_bytes", "Bytes of request bodies in memory", registry=to)
        self.config_failures = Counter(
            "headgate_config_reload_failures", "Configurations that were refused", registry=to
        )
        self.config_ok = Gauge(
            "headgate_config_last_reload_successful", "1 while the newest configuration is in force", registry=to
        )
        self.config_loaded = Gauge("headgate_config_loaded_timestamp_seconds", "When it was loaded", registry=to)
        self.config_info = Gauge(
            "headgate_config_info", "Version of the configuration in force", ["version"], registry=to
        )
        self.degraded = Gauge("headgate_store_degraded", "1 while the gate runs without its store", registry=to)

    def of(self, service: str) -> Counts:
        """The series of a service of the configuration."""
        found = self._counts.get(service)
        if found is None:
            found = self._counts[service] = Counts(self, service)
        return found

    def call(self, record: Record) -> None:
        """A call is over."""
        service = record.service
        if record.code is not None and record.code not in _ENTRANCES:
            refused = record.origin == "headgate" and record.status >= 400
            (self.refused if refused else self.cut).labels(service or "none", record.code).inc()
        if service is None:
            return
        if record.observed is not None:
            self.observed.labels(service, record.observed).inc()
        counts = self.of(service)
        if record.attempts:
            counts.granted.inc()
        if record.waited_ms > 0:
            self.held.labels(service).inc()
            self.waited.labels(service).observe(record.waited_ms / 1000)
        counts.checks("refused" if not record.attempts else "held" if record.waited_ms > 0 else "granted").inc()

    def watch_gate(
        self,
        rooms: Callable[[], Mapping[str, Room]],
        degraded: Callable[[], bool],
        faults: Callable[[], Mapping[Fault, int]],
    ) -> None:
        """Read the gate's gauges at each scrape instead of at each call."""
        self.degraded.set_function(lambda: float(degraded()))
        self.registry.register(_Rooms(rooms))
        self.registry.register(_Faults(faults))

    def watch_memory(self, used: Callable[[], float], limit: int, step: Callable[[], float]) -> None:
        """Read the memory in use, and what is shed for it (shedding.py), at each scrape."""
        self.memory.set_function(used)
        self.memory_limit.set(limit)
        self.shedding.set_function(step)

    def watch_keys(self, states: Callable[[], Iterable[tuple[str, str, str]]], every: Sequence[str]) -> None:
        """Read (service, key, state) of the pools' keys at each scrape; `every` state there is."""
        self.registry.register(_Keys(states, every))

    def watch_found(self, amounts: Callable[[], Iterable[tuple[str, str, str, float]]]) -> None:
        """Read (service, group, endpoint, amount) of the limits that are being found out at each scrape."""
        self.registry.register(_Found(amounts))

    def configuration(self, version: str, loaded_at: float) -> None:
        """A configuration came into force."""
        self.config_info.clear()
        self.config_info.labels(version).set(1)
        self.config_loaded.set(loaded_at)
        self.config_ok.set(1)


class _Rooms(Collector):
    def __init__(self, rooms: Callable[[], Mapping[str, Room]]) -> None:
        self._rooms = rooms

    def collect(self) -> Iterable[Metric]:
        usage = GaugeMetricFamily("rate_limit_usage_ratio", "Share of the fullest limit in use", labels=["service"])
        backoff = GaugeMetricFamily("rate_limit_backoff_seconds", "Longest rest still to come", labels=["service"])
        remaining = GaugeMetricFamily("api_quota_remaining", "Left of the fullest limit", labels=["service"])
        waiting = GaugeMetricFamily("headgate_waiting", "Calls held now", labels=["service"])
        for name, room in sorted(self._rooms().items()):
            usage.add_metric([name], room.usage_ratio)
            backoff.add_metric([name], room.backoff_s)
            if room.remaining is not None:
                remaining.add_metric([name], room.remaining)
            waiting.add_metric([name], room.waiting)
        return [usage, backoff, remaining, waiting]


class _Faults(Collector):
    def __init__(self, faults: Callable[[], Mapping[Fault, int]]) -> None:
        self._faults = faults

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "headgate_store_errors", "What went wrong with the store, each try by itself", labels=["fault"]
        )
        counted = self._faults()
        for fault in FAULTS:
            family.add_metric([fault], counted.get(fault, 0))
        return [family]


class _Keys(Collector):
    def __init__(self, states: Callable[[], Iterable[tuple[str, str, str]]], every: Sequence[str]) -> None:
        self._states = states
        self._every = every

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "headgate_key_state", "1 for the state a key is in", labels=["service", "key", "state"]
        )
        for service, key, now in self._states():
            for state in self._every:
                family.add_metric([service, key, state], float(state == now))
        return [family]


class _Found(Collector):
    def __init__(self, amounts: Callable[[], Iterable[tuple[str, str, str, float]]]) -> None:
        self._amounts = amounts

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "headgate_learned_limit",
            "Calls per window that may go where nobody publishes a limit, as found out (backoff: adaptive)",
            labels=["service", "group", "endpoint"],
        )
        for service, group, endpoint, amount in self._amounts():
            family.add_metric([service, group, endpoint], amount)
        return [family]
