"""proxy/streak.py: what a group's refusals in a row say."""

from __future__ import annotations

from proxy.streak import GROUPS, Streaks


def test_refusals_count_until_the_group_answers() -> None:
    """One, two; and one again after an answer."""
    streaks = Streaks()
    assert [streaks.refused("s", "g", "m").count for _ in range(2)] == [1, 2]
    streaks.answered("s", "g")
    assert streaks.refused("s", "g", "m").count == 1


def test_groups_and_services_are_told_apart() -> None:
    """Another group's answer changes nothing."""
    streaks = Streaks()
    streaks.refused("s", "g", "m")
    streaks.answered("s", "other")
    streaks.answered("other", "g")
    assert streaks.refused("s", "g", "m").count == 2


def test_a_second_model_makes_it_wide_and_the_first_again_does_not_narrow_it() -> None:
    """Until the group answers."""
    streaks = Streaks()
    assert [streaks.refused("s", "g", model).wide for model in ("m", "m", None, "m")] == [False, False, True, True]
    streaks.answered("s", "g")
    assert not streaks.refused("s", "g", "n").wide


def test_what_is_remembered_is_bounded() -> None:
    """More groups than are remembered: the oldest streaks begin anew."""
    streaks = Streaks()
    for number in range(GROUPS + 1):
        streaks.refused("s", str(number), None)
    assert streaks.refused("s", "0", None).count == 1
    assert streaks.refused("s", str(GROUPS), None).count == 2
