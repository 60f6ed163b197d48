"""tests/rules/cases: recorded-style replies of every service of the catalogue, and what each teaches.

A case: `status`, `headers`, `body` (JSON, or text where it is text); `means`; `rests`, `for` and `retry`, the lesson
for a key of a pool at its first refusal (nothing rests where they are missing); `limits`, where it is about them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rules import dialects
from rules.dialects import Reading, Seen
from rules.plan import endpoint_scope, group_scope, key_scope, learn, model_scope
from rules.policy import Service
from rules.verdict import Grant

from .given import parsed

FOLDER = Path(__file__).parent / "cases"
NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
SERVICES = parsed("").policy.services
SCOPES = {
    "key": key_scope("k"),
    "group": group_scope("g"),
    "model": model_scope("g", "m"),
    "endpoint": endpoint_scope("g", "e"),
}
GRANT = Grant(service="s", attempt="a", key="k", group="g", taken=(), waited_ms=0)


def _cases() -> list[Any]:
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            found.append(pytest.param(path.stem, case, id=f"{path.stem}: {case['it']}"))
    return found


def _read(service: Service, case: dict[str, Any]) -> Reading:
    body = case.get("body")
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else b""
    fields = [(name.encode(), value.encode()) for name, value in case.get("headers", {}).items()]
    return dialects.read(service.dialect, case["status"], fields, raw, now_s=NOW)


@pytest.mark.parametrize(("name", "case"), _cases())
def test_a_reply_teaches(name: str, case: dict[str, Any]) -> None:
    """What it means, what rests and for how long, whether the call may go again, and the limits it tells of."""
    service = SERVICES[name]
    reading = _read(service, case)
    means = case["means"]
    assert reading.meaning == means
    assert reading.counted is (means != "dead")
    lesson = learn(reading, GRANT, model="m", endpoint="e", backoff=service.backoff, attempt=0, pooled=True)
    blocks = [(SCOPES[case["rests"]], case["for"], means)] if "rests" in case else []
    assert [(block.scope, block.for_ms, block.reason) for block in lesson.blocks] == blocks
    assert lesson.retry is case.get("retry", bool(blocks))
    if "limits" in case:
        assert [_plain(seen) for seen in reading.limits] == case["limits"]


def _plain(seen: Seen) -> dict[str, Any]:
    """What it says, without what it does not."""
    said = {"meter": seen.meter, "limit": seen.limit, "remaining": seen.remaining, "reset_ms": seen.reset_ms}
    said |= {"window_ms": seen.window_ms, "blur": seen.blur or None, "certain": None if seen.certain else False}
    return {name: value for name, value in said.items() if value is not None}


def test_every_service_has_its_cases() -> None:
    """And no file is about a service that is not there."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SERVICES)
