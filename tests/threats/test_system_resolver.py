"""A real process on the system's own resolver, which has a search list and a name server that leads inside.

The resolver reads where its name server is from a file that only root can replace, for one process: these tests run
where that is allowed, as in a container, and are skipped elsewhere. The same laws stand in test_inside_addresses.py
for every machine, below the resolver.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.headgate_process import serving
from tests.raw_server import answering, ok, raw_server

from .nameserver import name_server

SERVER = ("127.53.53.53", 53)
_BIND = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


def prefix(resolver: Path) -> list[str]:
    """What runs a command with this file as its /etc/resolv.conf."""
    return ["unshare", "--mount", "sh", "-c", _BIND, str(resolver)]


def _may_replace(directory: Path) -> bool:
    file = directory / "probe.conf"
    file.write_text("")
    try:
        return subprocess.run([*prefix(file), "true"], capture_output=True, timeout=30).returncode == 0
    except OSError:
        return False


async def test_the_system_s_search_list_is_not_used_and_its_answers_are_judged(tmp_path: Path) -> None:
    """`kubernetes.default` and its kind are asked for as they are; what leads inside is 403, and nobody is dialled."""
    if not _may_replace(tmp_path):
        pytest.skip("only root may replace /etc/resolv.conf for a process")

    def meaning(name: str, turn: int) -> Sequence[str]:
        # with the search list every name would lead to the listener
        return ("127.0.0.1", "::1") if name.startswith("inside.") or ".cluster.test." in name else ()

    resolver = tmp_path / "resolv.conf"
    resolver.write_text(f"nameserver {SERVER[0]}\nsearch cluster.test svc.cluster.test\noptions ndots:5 timeout:1\n")
    async with raw_server(answering(ok())) as listener, name_server(meaning, SERVER) as names:
        config = (
            f"services: {{svc: {{hosts: [inside.catalogue.test], keys: [{{name: a, env: KEY}}]}}}}\n"
            f"egress: {{allow: ['*'], ports: [443, {listener.port}]}}\n"
        )
        with serving(tmp_path / "run", config, more={"KEY": "sk-canary-5353"}, prefix=prefix(resolver)) as headgate:
            for host in ("kubernetes.default", "redis", "metadata", "a.b.test", "nowhere.test."):
                place = f"{host}:{listener.port}"
                for method, target in (("GET", f"http://{place}/x"), ("CONNECT", place)):
                    found = await asyncio.to_thread(headgate.asked, method, target, place)
                    assert found in ((502, "upstream_refused"), (504, "upstream_dns_timeout")), place
            assert names.asked
            assert not [name for name in names.asked if "cluster.test" in name], "the search list was used"
            for target in (f"http://inside.test:{listener.port}/x", "http://inside.catalogue.test/x"):
                host = target.split("/")[2]
                assert await asyncio.to_thread(headgate.asked, "GET", target, host) == (403, "address_denied")
        assert listener.connections == []
