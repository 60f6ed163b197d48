"""proxy/streak.py: what a group's refusals in a row say."""

from __future__ import annotations

import math

from proxy.streak import GROUPS, Streak, Streaks


def refused(
    streaks: Streaks, group: str, model: str | None, *, service: str = "s", endpoint: str | None = None
) -> Streak:
    """A refusal of a call that was let go after all that was heard before."""
    return streaks.refused(service, group, model, endpoint=endpoint, made_ms=math.inf, now_ms=0)


def test_refusals_count_until_the_group_answers() -> None:
    """One, two; and one again after an answer."""
    streaks = Streaks()
    assert [refused(streaks, "g", "m").count for _ in range(2)] == [1, 2]
    streaks.answered("s", "g", None)
    assert refused(streaks, "g", "m").count == 1


def test_groups_and_services_are_told_apart() -> None:
    """Another group's answer changes nothing."""
    streaks = Streaks()
    refused(streaks, "g", "m")
    streaks.answered("s", "other", None)
    streaks.answered("other", "g", None)
    assert refused(streaks, "g", "m").count == 2


def test_a_second_model_makes_it_wide_and_the_first_again_does_not_narrow_it() -> None:
    """Until the group answers."""
    streaks = Streaks()
    assert [refused(streaks, "g", model).wide for model in ("m", "m", None, "m")] == [False, False, True, True]
    streaks.answered("s", "g", None)
    assert not refused(streaks, "g", "n").wide


def test_what_is_remembered_is_bounded() -> None:
    """More groups than are remembered: the oldest streaks begin anew."""
    streaks = Streaks()
    for number in range(GROUPS + 1):
        refused(streaks, str(number), None)
    assert refused(streaks, "0", None).count == 1
    assert refused(streaks, str(GROUPS), None).count == 2


def test_what_was_let_go_before_the_last_refusal_counts_with_it() -> None:
    """A row of calls in flight says once that the limit is met: else ten of them would mean a rest of an hour."""
    streaks = Streaks()
    counts = [
        streaks.refused("s", "g", "m", endpoint=None, made_ms=made, now_ms=now).count
        for made, now in ((0, 100), (50, 101), (99, 102), (100, 103), (102, 104), (103, 105))
    ]
    assert counts == [1, 1, 1, 2, 2, 3]


def test_endpoints_with_limits_of_their_own_have_rows_of_their_own() -> None:
    """An answer of one says nothing about the other."""
    streaks = Streaks()
    for endpoint in ("a", "b", "a"):
        refused(streaks, "g", None, endpoint=endpoint)
    streaks.answered("s", "g", "a")
    assert [refused(streaks, "g", None, endpoint=endpoint).count for endpoint in ("a", "b")] == [1, 2]
