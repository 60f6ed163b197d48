"""proxy/metrics.py: names that Prometheus accepts, labels that are closed sets."""

from __future__ import annotations

import re

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.errors import STATUS
from proxy.metrics import Metrics, Room
from tests.raw_server import answering, ok, raw_server

from .corridor import CHAT, corridor, service

LABELS = {"service", "result", "code", "status", "meter", "direction", "version", "fault", "le"}


def text_of(metrics: Metrics) -> str:
    """What a scrape gets."""
    return generate_latest(metrics.registry).decode()


def filled() -> Metrics:
    """Every series with one sample at least."""
    metrics = Metrics()
    for metric, labels in (
        (metrics.checks, ("s", "granted")),
        (metrics.granted, ("s",)),
        (metrics.held, ("s",)),
        (metrics.refused, ("s", "no_key")),
        (metrics.observed, ("s", "held")),
        (metrics.upstream_status, ("s", "200")),
        (metrics.unknown_model, ("s",)),
        (metrics.unreadable_body, ("s",)),
        (metrics.tunnel_bytes, ("up",)),
    ):
        metric.labels(*labels).inc()
    for histogram, labels in (
        (metrics.waited, ("s",)),
        (metrics.upstream_seconds, ("s",)),
        (metrics.estimate_ratio, ("s", "tokens")),
    ):
        histogram.labels(*labels).observe(1)
    metrics.configuration("v1", 1000.0)
    metrics.watch_gate(
        lambda: {"s": Room(0.5, 10.0, 3, 1.5), "t": Room(0.0, None, 0, 0.0)}, lambda: True, lambda: {"oom": 2}
    )
    return metrics


def test_the_text_parses_and_every_name_follows_the_conventions() -> None:
    """Help for each, counters end in _total, times in seconds, sizes in bytes; our own names begin with headgate_."""
    families = list(text_string_to_metric_families(text_of(filled())))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation, family.name
        assert re.fullmatch(r"(headgate|rate_limit|api_quota)_[a-z_]+", family.name)
        assert not family.name.endswith(("_milliseconds", "_ms", "_count", "_sum", "_bucket", "_info_total"))
        for sample in family.samples:
            assert set(sample.labels) <= LABELS, sample
            if family.type == "counter":
                assert sample.name == f"{family.name}_total", "no _created series"


def test_every_fault_of_the_store_has_its_series_before_it_is_met() -> None:
    """So that a rate over it is 0 and not absent."""
    text = text_of(filled())
    assert 'headgate_store_errors_total{fault="oom"} 2.0' in text
    assert 'headgate_store_errors_total{fault="slow"} 0.0' in text


def test_the_four_series_of_the_earlier_system_keep_their_names() -> None:
    """Dashboards of that system go on working (design 4.5)."""
    text = text_of(filled())
    for line in (
        'rate_limit_checks_total{result="granted",service="s"} 1.0',
        'rate_limit_usage_ratio{service="s"} 0.5',
        'rate_limit_backoff_seconds{service="s"} 1.5',
        'api_quota_remaining{service="s"} 10.0',
    ):
        assert line in text


def test_a_limit_nobody_knows_has_no_remaining() -> None:
    """A gap says more than a number that is made up."""
    assert 'api_quota_remaining{service="t"}' not in text_of(filled())


def test_a_new_configuration_replaces_the_version_of_the_old() -> None:
    """One version at a time, however often it changes."""
    metrics = filled()
    for number in range(50):
        metrics.configuration(f"v{number}", float(number))
    found = re.findall(r"^headgate_config_info\{.*$", text_of(metrics), re.MULTILINE)
    assert found == ['headgate_config_info{version="v49"} 1.0']


def test_the_state_of_the_gate_is_read_at_each_scrape() -> None:
    """What changes between two scrapes is in the second."""
    metrics, rooms = Metrics(), {"s": Room(0.1, 9.0, 1, 0.0)}
    metrics.watch_gate(lambda: rooms, lambda: len(rooms) > 1, dict)
    assert "headgate_store_degraded 0.0" in text_of(metrics)
    rooms["t"] = Room(0.9, 1.0, 7, 0.0)
    after = text_of(metrics)
    assert "headgate_store_degraded 1.0" in after
    assert 'headgate_waiting{service="t"} 7.0' in after


async def test_what_clients_type_adds_no_series() -> None:
    """Odd paths, services, methods, models, users and tiers: the same series as for one plain call of each kind."""
    async with raw_server(answering(ok(b"{}"))) as upstream, corridor(service(upstream)) as front:

        async def odd(number: int) -> None:
            name = f"odd{number}"
            await front.ask(body=CHAT.replace(b"gpt-4o", name.encode()), x_headgate_user=name)
            await front.ask(f"/openai/{name}?{name}={name}", None)
            await front.ask(f"/{name}/v1", None)
            await front.ask(f"/openai/{name}", None, x_headgate_tier=name)
            await front.ask(f"/openai/{name}", None, method=f"ODD{number}")

        await odd(0)
        before = set(re.findall(r"^[^# ]+", text_of(front.metrics), re.MULTILINE))
        for number in range(1, 100):
            await odd(number)
        text = text_of(front.metrics)
        after = set(re.findall(r"^[^# ]+", text, re.MULTILINE))
    assert after == before
    assert "odd" not in text.lower()
    assert set(re.findall(r'code="([a-z_]+)"', text)) <= set(STATUS)
