"""proxy/app.py: the process as a whole, how it is wired and how it ends."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.headgate_process import Headgate, serving
from tests.upstreams import openai as provider
from tests.upstreams.standin import Reply, Seen, StandIn

KEY = {"KEY": "sk-canary-app-1111"}
CONFIG = """
services:
  openai:
    keys: [{{name: a, env: KEY}}]
    upstream: {upstream}
    limits: [{limit}]
    hold: {{max_wait: 60s}}
"""
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Good day?"}]}


class Doors:
    """Lets the stand-in answer when the test says so."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, seen: Seen) -> Reply | None:
        assert self.open.wait(30)
        return None


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """OpenAI without TLS."""
    with StandIn(provider.answer) as server:
        yield server


def config(upstream: StandIn, limit: str = "{requests: 1000, window: 60}") -> str:
    """One service with one key and one limit."""
    return CONFIG.format(upstream=upstream.url, limit=limit)


def chat(headgate: Headgate, **headers: str) -> requests.Response:
    """One call."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{headgate.proxy}/openai/v1/chat/completions", json=CHAT, headers=named, timeout=60)


def metric(headgate: Headgate, line: str) -> float:
    """The value of a series."""
    text = requests.get(f"{headgate.admin}/metrics", timeout=30).text
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    assert found, f"no {line} in\n{text}"
    return float(found[1])


def until(headgate: Headgate, true: Callable[[], bool]) -> None:
    """Ask again until it is so; each question is a round trip to the process."""
    for _ in range(20_000):
        if true():
            return
    raise AssertionError(f"it did not come about:\n{headgate.log}")


def held(headgate: Headgate) -> float:
    """Calls that wait."""
    return metric(headgate, 'headgate_waiting{service="openai"}')


def test_gauges_tell_use_rest_and_what_is_left(tmp_path: Path, upstream: StandIn) -> None:
    """After three of ten calls and a 429: 0.4 used, 6 left, a rest that still lasts."""
    with serving(tmp_path, config(upstream, "{requests: 10, window: 60}"), more=KEY) as headgate:
        for _ in range(3):
            assert chat(headgate).status_code == 200
        upstream.rules.append(lambda _: provider.slow_down(600))
        assert chat(headgate, X_Headgate_Max_Wait="0").status_code in (429, 503)
        assert metric(headgate, 'rate_limit_usage_ratio{service="openai"}') == pytest.approx(0.4)
        assert metric(headgate, 'api_quota_remaining{service="openai"}') == 6
        assert 590 < metric(headgate, 'rate_limit_backoff_seconds{service="openai"}') <= 600
        assert metric(headgate, "headgate_connections") >= 0
        assert metric(headgate, "headgate_store_degraded") == 0


def test_a_gauge_tells_what_was_found_out_of_a_limit_that_nobody_publishes(tmp_path: Path, upstream: StandIn) -> None:
    """By group and endpoint; how much of it is used is told as of any other limit."""
    text = f"""
services:
  unknown:
    hosts: [unknown.example]
    keys: [{{name: a, env: KEY, group: team}}]
    upstream: {upstream.url}
    backoff: {{type: adaptive}}
    endpoints: {{list: {{path: /v1/models}}}}
"""
    with serving(tmp_path, text, more=KEY) as headgate:
        for _ in range(2):
            assert requests.get(f"{headgate.proxy}/unknown/v1/models", timeout=30).status_code == 200
        labels = '{endpoint="list",group="team",service="unknown"}'
        assert metric(headgate, f"headgate_learned_limit{labels}") == 60
        assert metric(headgate, 'rate_limit_usage_ratio{service="unknown"}') == pytest.approx(2 / 60)


def test_a_call_that_leads_back_to_us_is_a_loop(tmp_path: Path, upstream: StandIn) -> None:
    """By our own address in a forward call, and by an upstream that is ourselves (threats B10)."""
    with serving(tmp_path, config(upstream), more=KEY) as headgate:
        port = headgate.proxy.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "[::1]", "127.9.9.9"):
            reply = requests.get(f"http://{host}:{port}/a", proxies={"http": headgate.proxy}, timeout=30)
            assert (reply.status_code, reply.headers["X-Headgate-Reason"]) == (508, "loop"), host
        before = metric(headgate, "headgate_config_loaded_timestamp_seconds")
        headgate.config.write_text(config(upstream).replace(upstream.url, f"{headgate.proxy}/openai"))
        until(headgate, lambda: metric(headgate, "headgate_config_loaded_timestamp_seconds") > before)
        # the inner answer is the upstream's to the outer call
        reply = chat(headgate)
        assert (reply.status_code, "leads back" in reply.text) == (508, True)


def test_a_reload_that_would_open_the_door_to_a_network_is_refused(tmp_path: Path, upstream: StandIn) -> None:
    """The old policy stays, the metric and the log say so; calls go on."""
    open_to_all = "clients: {anonymous: everyone}\n" + config(upstream)
    with serving(tmp_path, open_to_all, "--listen", "0.0.0.0:0", more=KEY) as headgate:
        assert chat(headgate).status_code == 200
        headgate.config.write_text(config(upstream))
        until(headgate, lambda: metric(headgate, "headgate_config_last_reload_successful") == 0)
        assert metric(headgate, "headgate_config_reload_failures_total") >= 1
        assert chat(headgate).status_code == 200
        headgate.config.write_text(open_to_all + "# mended\n")
        until(headgate, lambda: metric(headgate, "headgate_config_last_reload_successful") == 1)


def test_sighup_reads_the_configuration_again(tmp_path: Path, upstream: StandIn) -> None:
    """For whoever is used to it: a changed file is in force, and the process lives."""
    with serving(tmp_path, config(upstream), more=KEY) as headgate:
        before = metric(headgate, "headgate_config_loaded_timestamp_seconds")
        headgate.config.write_text(config(upstream, "{requests: 7, window: 60}"))
        headgate.process.send_signal(signal.SIGHUP)
        until(headgate, lambda: metric(headgate, "headgate_config_loaded_timestamp_seconds") > before)
        assert chat(headgate).status_code == 200


def test_a_limit_that_changes_in_the_file_reaches_the_calls_that_wait(tmp_path: Path, upstream: StandIn) -> None:
    """Raised, one of two that wait goes beside the one in flight; at 0 the other is told that nothing may go."""
    doors = Doors()
    upstream.rules.append(doors)
    with (
        ThreadPoolExecutor(3) as workers,
        serving(tmp_path, config(upstream, "{concurrent: 1}"), more=KEY) as headgate,
    ):
        calls = [workers.submit(chat, headgate) for _ in range(3)]
        until(headgate, lambda: held(headgate) == 2)
        headgate.config.write_text(config(upstream, "{concurrent: 2}"))
        until(headgate, lambda: held(headgate) == 1)
        headgate.config.write_text(config(upstream, "{concurrent: 0}"))
        until(headgate, lambda: held(headgate) == 0)
        doors.open.set()
        assert sorted(call.result(30).status_code for call in calls) == [200, 200, 413]
        reply = chat(headgate)
        assert (reply.status_code, "0 in flight per group lets nothing through" in reply.text) == (413, True)
    assert len(upstream.seen) == 2


def test_the_drain_finishes_what_is_granted_and_refuses_what_cannot_go(tmp_path: Path, upstream: StandIn) -> None:
    """At half of the drain the held call is told `draining`; the granted one gets its answer; exit 0."""
    doors = Doors()
    upstream.rules.append(doors)
    with (
        ThreadPoolExecutor(2) as workers,
        serving(tmp_path, config(upstream, "{concurrent: 1}"), "--drain", "2", more=KEY) as headgate,
    ):
        granted = workers.submit(chat, headgate)
        upstream.wait_seen(1)
        waiting = workers.submit(chat, headgate)
        until(headgate, lambda: held(headgate) == 1)
        headgate.terminate()
        refused = waiting.result(30)
        assert (refused.status_code, refused.headers["X-Headgate-Reason"]) == (503, "draining")
        assert not granted.done()
        doors.open.set()
        assert granted.result(30).status_code == 200
        assert headgate.wait() == 0
    assert len(upstream.seen) == 1


def test_a_held_call_is_let_go_while_the_drain_has_time(tmp_path: Path, upstream: StandIn) -> None:
    """Room that comes in the first half of the drain is used."""
    doors = Doors()
    upstream.rules.append(doors)
    with (
        ThreadPoolExecutor(2) as workers,
        serving(tmp_path, config(upstream, "{concurrent: 1}"), "--drain", "60", more=KEY) as headgate,
    ):
        granted = workers.submit(chat, headgate)
        upstream.wait_seen(1)
        waiting = workers.submit(chat, headgate)
        until(headgate, lambda: held(headgate) == 1)
        headgate.terminate()
        until(headgate, lambda: requests.get(f"{headgate.admin}/readyz", timeout=30).status_code == 503)
        doors.open.set()
        assert granted.result(30).status_code == waiting.result(30).status_code == 200
        assert headgate.wait() == 0
    assert len(upstream.seen) == 2


def test_an_idle_process_ends_at_once(tmp_path: Path, upstream: StandIn) -> None:
    """SIGTERM and SIGINT alike, whatever the drain allows."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with serving(tmp_path / number.name, config(upstream), "--drain", "600", more=KEY) as headgate:
            headgate.process.send_signal(number)
            assert headgate.wait() == 0


def test_no_core_file_can_be_written(tmp_path: Path, upstream: StandIn) -> None:
    """It would hold every key (threats D10)."""
    with serving(tmp_path, config(upstream), more=KEY) as headgate:
        limits = Path(f"/proc/{headgate.process.pid}/limits").read_text()
    assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.MULTILINE)
