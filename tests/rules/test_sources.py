"""What may be quoted of variables and paths."""

from __future__ import annotations

from rules.sources import place, variable


def test_names_of_variables_are_quoted_and_keys_in_their_place_are_not() -> None:
    """Upper case, digits and underscores make a variable; anything else may be the secret itself."""
    assert variable("OPENAI_API_KEY_2") == "OPENAI_API_KEY_2"
    assert [variable(name) for name in ("sk-live-1", "lower", "A" * 65, "", "A B")] == ["…"] * 5


def test_paths_are_quoted_and_keys_in_their_place_are_not() -> None:
    """A path has a slash, a dot, or is short."""
    assert [place(path) for path in ("/run/secrets/openai", "key.txt", "openai-key")] == [
        "/run/secrets/openai",
        "key.txt",
        "openai-key",
    ]
    assert place("sk-proj-0123456789abcdef") == "…"
