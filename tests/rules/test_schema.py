"""The JSON Schema and its copy in config/."""

from __future__ import annotations

import json
from pathlib import Path

from rules.schema import schema_text

COPY = Path(__file__).parents[2] / "config/schema.json"


def test_the_copy_is_fresh() -> None:
    """config/schema.json is what `headgate config schema` prints."""
    assert COPY.read_text() == schema_text()


def test_the_schema_knows_every_section_and_refuses_others() -> None:
    """Editors are told the sections of design 4.3, in the spelling of the YAML."""
    schema = json.loads(schema_text())
    assert set(schema["properties"]) == {"store", "clients", "tiers", "services", "log", "egress"}
    assert schema["additionalProperties"] is False
    service = schema["$defs"]["ServiceForm"]["properties"]
    assert {"costMapping", "limits", "keys", "hold", "backoff", "connect_to", "upstream_ca"} <= set(service)
