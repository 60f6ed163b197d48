"""rules/evidence.py: what headers say about limits, as the gate's buckets hear it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.dialects import Seen
from rules.evidence import evidence
from rules.periods import Period
from rules.policy import Kind, Limit
from rules.verdict import Charge, Grant, Taken, Told


def limit(
    amount: int,
    ms: int = 60_000,
    *,
    meter: str = "requests",
    kind: Kind = "window",
    per: tuple[str, ...] = ("group",),
    scale: int = 1,
    jitter: int = 500,
    period: Period | None = None,
    refill: tuple[int, int] = (0, 1),
) -> Limit:
    """A limit whose id says what it counts."""
    return Limit(
        id=f"{meter}-{ms}-{period}-{'.'.join(per)}",
        name="l",
        kind=kind,
        meter=meter,
        amount=amount,
        scale=scale,
        window_ms=ms,
        jitter_ms=jitter,
        per=per,
        period=period,
        refill=refill,
    )


def grant(*limits: Limit, used: int = 0) -> Grant:
    """A call charged 1 on each, when so much was used."""
    taken = tuple(Taken(Charge(f"{one.id}:x", one, 1), 1000, used) for one in limits)
    return Grant(service="s", attempt="a", key="k", group="g", taken=taken, waited_ms=0)


def told(seen: Seen | Sequence[Seen], *limits: Limit, used: int = 0) -> list[tuple[str, int, int, int | None]]:
    """(limit, used, for how long, amount) of what the gate is told."""
    said = (seen,) if isinstance(seen, Seen) else seen
    return [
        (one.taken.charge.limit.id, one.used, one.for_ms, one.amount)
        for one in evidence(said, grant(*limits, used=used))
    ]


MINUTE = limit(500)
DAY = limit(10_000, 86_400_000)


def test_what_is_left_upstream_is_all_that_may_go() -> None:
    """200 of 500 left: 300 are used, until the reset and the jitter are over; the amount is ours, and no news."""
    assert told(Seen("requests", 500, 200, 10_000), MINUTE) == [(MINUTE.id, 300, 10_500, 500)]


def test_a_window_began_as_long_ago_as_its_reset_tells() -> None:
    """Granted at 1,000, half a second of jitter, 10 s left of 60: 50.5 s before. The store compares what came since."""
    (one,) = evidence((Seen("requests", 500, 200, 10_000, how="fixed"),), grant(MINUTE, used=400))
    assert (one.used, one.since_ms) == (300, 1000 + 10_000 - 60_500)


@pytest.mark.parametrize(
    ("seen", "of"),
    [
        (Seen("requests", None, 200, 10_000, how="refills"), MINUTE),
        (Seen("requests", None, 200, None, how="fixed"), MINUTE),
        (Seen("requests", None, 200, 10_000, how="fixed"), limit(500, 0, kind="quota", period="day")),
        (Seen("requests", None, 200, 10_000, how="fixed"), replace(MINUTE, count_at="end")),
    ],
)
def test_where_no_window_is_known_only_use_that_our_books_did_not_have_is_told(seen: Seen, of: Limit) -> None:
    """All that our books knew may be what the upstream counts."""
    assert evidence((seen,), grant(of, used=300)) == ()
    (one,) = evidence((seen,), grant(of, used=299))
    assert (one.used, one.since_ms) == (300, None)


def test_a_bucket_that_refills_is_told_in_whole_units() -> None:
    """200 left may be 201, or 199 where it is rounded to the next; the store compares it with what it knows."""
    (one,) = evidence((Seen("requests", 500, 200, 10_000, how="refills"),), grant(MINUTE, used=499))
    assert (one.used, one.slack, one.refills, one.whole) == (300, 1, True, 500)
    tokens = limit(10_000, meter="tokens")
    (one,) = evidence((Seen("tokens", 9000, 4000, 10_000, blur=500, how="refills"),), grant(tokens))
    assert (one.used, one.slack, one.refills, one.whole) == (4500, 1001, True, 9000)
    (one,) = evidence((Seen("requests", 501, 200, 10_000, how="refills"),), grant(MINUTE))
    assert (one.used, one.slack, one.refills, one.whole) == (300, 0, False, 500)


def test_an_account_larger_than_our_limit_is_used_by_others_without_concern() -> None:
    """Of 5,000 others use 4,000: our 500 are there. Of the last 100, 400 of our 500 are not."""
    assert told(Seen("requests", 5000, 1000, 10_000), MINUTE) == [(MINUTE.id, 0, 10_500, 500)]
    assert told(Seen("requests", 5000, 100, 10_000), MINUTE) == [(MINUTE.id, 400, 10_500, 500)]


def test_an_account_smaller_than_our_limit_is_what_holds() -> None:
    """200 a minute, 150 left: 50 of 200."""
    assert told(Seen("requests", 200, 150, 10_000), MINUTE) == [(MINUTE.id, 50, 10_500, 200)]


def test_a_rounded_remainder_may_be_more() -> None:
    """Anthropic's nearest thousand: 500 more may be left than it says."""
    tokens = limit(10_000, meter="tokens")
    assert told(Seen("tokens", 10_000, 4000, 10_000, blur=500), tokens)[0][1] == 5500


@pytest.mark.parametrize(("reset", "for_ms"), [(None, 60_500), (86_400_000, 60_500), (60_000, 60_500), (1, 501)])
def test_no_word_lasts_longer_than_the_window(reset: int | None, for_ms: int) -> None:
    """Without a reset it lasts the whole of it."""
    assert told(Seen("requests", 500, 0, reset), MINUTE)[0][2] == for_ms


def test_a_window_that_has_just_ended_tells_nothing_of_the_next() -> None:
    """Nor does a time that cannot be meant; the amount is still told."""
    assert told(Seen("requests", 400, 0, 0), MINUTE) == [(MINUTE.id, 0, 500, 400)]


def test_a_window_that_is_named_is_that_limits_alone() -> None:
    """A day's remainder is none of the minute's."""
    assert [one[0] for one in told(Seen("requests", 9000, 10, 5000, 86_400_000), MINUTE, DAY)] == [DAY.id]
    assert told(Seen("requests", 9000, 10, 5000, 3_600_000), MINUTE, DAY) == []


def test_a_day_may_be_the_calendars() -> None:
    """And a month 31 days."""
    day, month = limit(100, 0, kind="quota", period="day"), limit(1000, 0, kind="quota", period="month")
    assert told(Seen("requests", 90, 10, None, 86_400_000), day, month) == [(day.id, 80, 500, 90)]
    assert told(Seen("requests", 900, 10, None, 31 * 86_400_000), day, month) == [(month.id, 890, 500, 900)]


def test_a_window_that_is_not_named_is_the_shortest_its_reset_fits_in() -> None:
    """No more may go until then in any case; but how much the limit is nobody knows."""
    assert told(Seen("requests", 100, 10, 50_000), DAY, MINUTE) == [(MINUTE.id, 90, 50_500, None)]
    assert told(Seen("requests", 100, 10, 70_000), DAY, MINUTE) == [(DAY.id, 90, 70_500, None)]
    assert told(Seen("requests", 100, 10, 90_000_000), DAY, MINUTE) == []


def test_an_uncertain_header_says_no_amount() -> None:
    """200 that may be a day's are not the minute's."""
    assert told(Seen("requests", 200, 200, 1, certain=False), MINUTE) == []


def test_other_meters_and_common_limits_are_left_alone() -> None:
    """The header is about the group: a cap per user is none of its business."""
    assert told(Seen("tokens", 10, 0, 1000), MINUTE) == []
    assert told(Seen("requests", 10, 0, 1000), limit(500, per=("user",))) == []


def test_calls_in_flight_are_limited_and_not_charged() -> None:
    """Others' calls in flight end when they end."""
    flying = limit(50, 0, meter="concurrent", kind="concurrent")
    assert told(Seen("concurrent", 10, 2, None), flying) == [(flying.id, 0, 500, 10)]


def test_amounts_count_in_the_limits_units() -> None:
    """Seconds of audio are kept in thousandths."""
    audio = limit(7_200_000, 3_600_000, meter="audio_seconds", scale=1000)
    assert told(Seen("audio_seconds", 7200, 7000, 10_000), audio) == [(audio.id, 200_000, 10_500, 7_200_000)]


def test_a_mirrored_bucket_keeps_what_refills_within_the_jitter() -> None:
    """C = 60 at one a second, jitter 1 s: 59 may leave at once; of 40 left upstream 39."""
    twin = limit(59, 60_000, kind="token_bucket", refill=(1, 1000), jitter=1000)
    assert told(Seen("requests", 60, 40, 20_000, 60_000), twin) == [(twin.id, 19, 21_000, 59)]
    assert told(Seen("requests", 30, 30, 1, 40_000), twin)[0][3] == 29
    assert told(Seen("requests", 30, 0, 1, 600_000), twin) == []


def test_of_two_words_on_one_bucket_the_stricter_holds() -> None:
    """A project's limit beside the organisation's, in either order."""
    tokens = limit(1000, meter="tokens")
    both = [Seen("tokens", 1000, 900, 1000), Seen("tokens", 300, 250, 2000)]
    for said in (both, both[::-1]):
        assert told(said, tokens) == [(tokens.id, 100, 1500, 300)]


_AMOUNTS = st.none() | st.integers(0, 2**53 - 1)


@given(
    st.lists(
        st.builds(
            Seen, st.sampled_from(["requests", "tokens"]), _AMOUNTS, _AMOUNTS, st.none() | st.integers(0, 86_400_000)
        ),
        max_size=4,
    ),
    st.integers(1, 10**9),
    st.integers(0, 10**9),
)
def test_whatever_is_said_no_limit_is_raised(said: list[Seen], amount: int, used: int) -> None:
    """Use is at most the limit's amount, an amount at most ours, a time at most the window."""
    one: Told
    for one in evidence(said, grant(limit(amount), limit(amount, meter="tokens"), used=used)):
        assert 0 <= one.used <= amount
        assert 0 < one.for_ms <= 60_500
        assert one.amount is None or 0 < one.amount <= amount
