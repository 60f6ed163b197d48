"""Each limiter against a slow definition that keeps the whole history and shares no line with it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from .limiters import SECOND, FixedWindow, InFlight, Limiter, SlidingLog, TokenBucket, TwoCounters

History = list[tuple[int, int]]
"""What was let in: (time, cost)."""
CALLS = st.lists(
    # steps that fall on edges of a window of 60, between them, and far beyond
    st.tuples(st.sampled_from((0, 1, 5, 30, 59, 60, 61, 120)) | st.integers(0, 200), st.integers(1, 6)),
    max_size=60,
)
AMOUNT = st.integers(1, 12)
WINDOW = 60


def compare(limiter: Limiter, allowed: Callable[[History, int, int], bool], calls: History) -> None:
    """Every answer of the limiter is the definition's, asked about what was let in before."""
    now = 0
    history: History = []
    for step, cost in calls:
        now += step
        fits = limiter.fits(now, cost)
        assert fits == allowed(history, now, cost), (now, cost, history)
        assert limiter.fits(now, cost) == fits, "asking changed it"
        if fits:
            limiter.take(now, cost)
            history.append((now, cost))


@given(calls=CALLS, amount=AMOUNT, phase=st.integers(0, WINDOW - 1))
def test_a_fixed_window_counts_what_came_since_its_edge(calls: History, amount: int, phase: int) -> None:
    """Let in: what together with all that came since the last multiple of W after the phase is at most N."""

    def allowed(history: History, now: int, cost: int) -> bool:
        edge = max(at for at in range(phase - WINDOW, now + 1, WINDOW) if at <= now)
        return sum(c for at, c in history if at >= edge) + cost <= amount

    compare(FixedWindow(amount=amount, window=WINDOW, phase=phase), allowed, calls)


@given(calls=CALLS, amount=AMOUNT)
def test_a_sliding_log_holds_any_window_to_the_amount(calls: History, amount: int) -> None:
    """Let in: what together with all that came in the last W is at most N; what is exactly W old is gone."""

    def allowed(history: History, now: int, cost: int) -> bool:
        return sum(c for at, c in history if now - at < WINDOW) + cost <= amount

    compare(SlidingLog(amount=amount, window=WINDOW), allowed, calls)


@given(calls=CALLS, amount=AMOUNT, phase=st.integers(0, WINDOW - 1))
def test_two_counters_weigh_the_window_before_by_what_is_left_of_this_one(
    calls: History, amount: int, phase: int
) -> None:
    """Let in: prev(1 - f) + cur <= N, where prev and cur are counted anew from the history for each call."""

    def allowed(history: History, now: int, cost: int) -> bool:
        start = now - (now - phase) % WINDOW
        fraction = Fraction(now - start, WINDOW)
        current = sum(c for at, c in history if start <= at)
        previous = sum(c for at, c in history if start - WINDOW <= at < start)
        return previous * (1 - fraction) + current + cost <= amount

    compare(TwoCounters(amount=amount, window=WINDOW, phase=phase), allowed, calls)


@given(calls=CALLS, capacity=AMOUNT, rate=st.fractions(Fraction(1, 50), Fraction(1, 5), max_denominator=50))
@example(calls=[(0, 1), (999, 1), (1, 1)], capacity=1, rate=Fraction(1, 1000))
def test_a_token_bucket_lets_in_what_every_stretch_allows(calls: History, capacity: int, rate: Fraction) -> None:
    """Let in: for each earlier call, all that came since it (itself included) is at most C + rate x time."""

    def allowed(history: History, now: int, cost: int) -> bool:
        def since(start: int, first: int) -> bool:
            return sum(c for _, c in history[first:]) + cost <= capacity + rate * (now - start)

        return cost <= capacity and all(since(at, first) for first, (at, _) in enumerate(history))

    compare(TokenBucket(capacity=capacity, rate=rate * SECOND), allowed, calls)


@given(
    calls=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 200)), max_size=60),
    amount=st.integers(1, 6),
)
def test_in_flight_counts_who_came_and_has_not_left(calls: list[tuple[int, int]], amount: int) -> None:
    """Let in: while fewer than N of those let in before are still there, by their times of arrival and departure."""
    limiter, now = InFlight(amount=amount), 0
    stays: list[tuple[int, int]] = []
    gone: set[int] = set()
    for step, stay in calls:
        now += step
        for number, (_, until) in enumerate(stays):
            if until <= now and number not in gone:
                gone.add(number)
                limiter.leave(1)
        fits = limiter.fits(now, 1)
        assert fits == (len([1 for came, until in stays if came <= now < until]) < amount)
        if fits:
            limiter.take(now, 1)
            stays.append((now, now + stay))


def test_two_counters_refuse_what_a_sliding_log_lets_in() -> None:
    """N at the end of one window and N right after W pass a log; two counters have not forgotten the first N."""
    log, two = SlidingLog(amount=100, window=WINDOW), TwoCounters(amount=100, window=WINDOW)
    for limiter in (log, two):
        limiter.take(59, 100)
    assert log.fits(119, 100)
    assert not two.fits(119, 100)
    assert two.fits(119, 98)
    assert not two.fits(119, 99)


def test_a_fixed_window_lets_in_twice_the_amount_around_an_edge() -> None:
    """Why one that is told nothing of the phase must keep to any window, not to its own."""
    fixed = FixedWindow(amount=100, window=WINDOW)
    fixed.take(59, 100)
    assert not fixed.fits(59, 1)
    assert fixed.fits(60, 100)
