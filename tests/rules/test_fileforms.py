"""rules/fileforms.py: what may stand in the operator's file beside its services."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rules.fileforms import FileForm, TokenFileForm, TokenForm


def test_an_empty_file_is_a_whole_one() -> None:
    """Every section has its default."""
    form = FileForm.model_validate({})
    assert (form.store, form.services, form.clients.anonymous, form.egress.ports) == (None, {}, "loopback", [80, 443])


@pytest.mark.parametrize(
    ("form", "given"),
    [
        (TokenForm, {"name": "a"}),
        (TokenForm, {"name": "a", "env": "A", "file": "b"}),
        (TokenFileForm, {"user": "ann"}),
        (TokenFileForm, {"token": "t", "sha256": "0" * 64}),
    ],
)
def test_a_token_has_one_source(form: type[TokenForm] | type[TokenFileForm], given: dict[str, Any]) -> None:
    """None, or two of them, is a mistake."""
    with pytest.raises(ValidationError, match="needs exactly one of"):
        form.model_validate(given)


def test_what_a_client_may_set_is_a_word_or_a_list() -> None:
    """A word stands for a list of one."""
    assert TokenFileForm.model_validate({"token": "t", "may_set": "user"}).may_set == ["user"]
