"""The JSON Schema of the operator's file, generated from the forms; config/schema.json is its copy for editors."""

from __future__ import annotations

import json

from .fileforms import FileForm


def schema_text() -> str:
    """The schema as JSON text with a last newline."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Headgate configuration",
        **{key: value for key, value in FileForm.model_json_schema().items() if key != "title"},
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
