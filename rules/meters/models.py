"""The name of the model a call is for: in the body for most, in the path for Gemini and Azure, in the query for
Deepgram.

Law: where the path names a model it decides, as it does upstream. Only printable names of ordinary length are taken:
they go into bucket names, labels and log lines.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote

LONGEST = 256
"""Longest model name believed: longer than any on sale, short enough for a bucket's name."""
_PATH = re.compile(r"/(?:models|tunedModels|deployments|engines)/([^/:?]+)")


def model_name(value: object) -> str | None:
    """The value as a model's name, None when it cannot be one."""
    if isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable():
        return value
    return None


def in_path(path: str) -> str | None:
    """The model that the path names; what a client writes into its query names none."""
    # decoded first: a colon may be written %3A, and every spelling of a model is the same model
    found = _PATH.search(unquote(path.partition("?")[0]))
    return model_name(found[1]) if found is not None else None


def in_query(path: str) -> str | None:
    """The model that the query of the path names: its last `model`, or `model_id`."""
    fields = parse_qs(path.partition("?")[2], max_num_fields=100) if path.count("&") < 100 else {}
    found = fields.get("model") or fields.get("model_id")
    return model_name(found[-1]) if found else None
