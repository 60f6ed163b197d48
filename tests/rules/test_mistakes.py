"""How mistakes are told."""

from __future__ import annotations

from rules.mistakes import ConfigInvalid, Mistake, did_you_mean, shown, spelled


def test_mistakes_are_sorted_by_place_and_told_once() -> None:
    """The text of ConfigInvalid is one line a mistake, in order of file, line and column."""
    late, early = Mistake("f", 10, 1, "b", "late"), Mistake("f", 9, 5, "", "early")
    assert str(ConfigInvalid([late, early, late])) == "f:9:5: early\nf:10:1: b: late"


def test_the_nearest_known_word_is_offered() -> None:
    """A near word is offered, a far one is not, and neither is anything for a value that is no text."""
    assert did_you_mean("timout", ["timeout", "window"]) == " (did you mean 'timeout'?)"
    assert did_you_mean("Timout", ["timeout"]) == " (did you mean 'timeout'?)"
    assert did_you_mean("zzz", ["timeout"]) == ""
    assert did_you_mean(5, ["timeout"]) == ""
    assert did_you_mean("x" * 1000, ["timeout"]) == ""


def test_only_names_are_shown() -> None:
    """What does not look like a name is not quoted, long or strange."""
    assert shown("api.openai.com") == "api.openai.com"
    assert shown("a\nb") == "…"
    assert shown("k" * 41) == "…"
    assert spelled(("services", "a b", 3, "limits", 0)) == "services.…[3].limits[0]"
