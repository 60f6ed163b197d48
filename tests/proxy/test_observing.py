"""mode: observe, through the whole corridor: what an operator sees while trying limits out."""

from __future__ import annotations

import asyncio

import pytest

from rules.plan import key_scope
from rules.verdict import Block
from tests.raw_server import answering, ok, raw_server

from .corridor import KEYS, corridor, service, used
from .test_exchange import DONE, until

LIMIT = ", limits: [{requests: 1, window: 60}]"
PER_KEY = ", limits: [{requests: 1, window: 60, per: [key]}]"
NAME = "1 requests per 60s per group"


async def test_what_enforcing_would_have_said_is_in_the_log_the_answer_and_the_metrics() -> None:
    """The first call fits; of the others one has no patience, one would have been held, one has two seconds."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, LIMIT + ", mode: observe, hold: {max_wait: 120s}")) as front,
    ):
        answers = [await front.ask(), await front.ask(x_headgate_max_wait="0"), await front.ask()]
        answers.append(await front.ask(x_headgate_max_wait="2s"))
        lines = front.lines()
        counted = {
            code: front.sample("headgate_observed_total", service="openai", code=code)
            for code in ("held", "wait_too_long", "never_fits")
        }
        checks = front.sample("rate_limit_checks_total", service="openai", result="granted")
        refused = front.sample("headgate_refused_total", service="openai", code="wait_too_long")
    codes = [None, "wait_too_long", "held", "wait_too_long"]
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.headers.get("X-Headgate-Observed") for answer in answers] == codes
    assert [line.get("observed") for line in lines] == codes
    assert [line.get("observed_limit") for line in lines] == [None, NAME, NAME, NAME]
    assert "observed_wait_ms" not in lines[0]
    assert all(58_000 < line["observed_wait_ms"] <= 61_000 for line in lines[1:])
    assert counted == {"held": 1, "wait_too_long": 2, "never_fits": 0}
    assert (checks, refused) == (4, 0)
    for answer, line in zip(answers, lines, strict=True):
        # it was the upstream's answer, nothing was held, nothing was refused
        assert answer.reason is None
        assert (line["waited_ms"], line["origin"], line["status"]) == (0, "upstream", 200)
        assert answer.headers["X-Headgate-Waited"] == "0.000"


async def test_a_call_that_never_fits_goes_and_is_said_to() -> None:
    """Five tokens are no limit for it here; what it really used is what counts."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, ", mode: observe, limits: [{tokens: 5, window: 60}]")) as front,
    ):
        answer = await front.ask()
        (line,) = front.lines()
        assert used(front.gate, "5 tokens") > 5
    assert (answer.status, answer.headers["X-Headgate-Observed"]) == (200, "never_fits")
    assert (line["observed"], line["observed_limit"], "observed_wait_ms" in line) == (
        "never_fits",
        "5 tokens per 60s per group",
        False,
    )


@pytest.mark.parametrize("mode", ["enforce", "off"])
async def test_other_modes_say_nothing_of_it(mode: str) -> None:
    """What is enforced happens, and what is off is not judged, though its keys rest."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, f"{LIMIT}, mode: {mode}")) as front,
    ):
        answers = [await front.ask(x_headgate_max_wait="0")]
        rests = [Block(key_scope(key.id), 60_000, "slow_down") for key in front.policy.services["openai"].keys]
        front.gate.rest("openai", rests)
        answers.append(await front.ask(x_headgate_max_wait="0"))
        lines = front.lines()
        metrics = [family.name for family in front.metrics.registry.collect() if family.samples]
    assert [answer.status for answer in answers] == [200, 503 if mode == "enforce" else 200]
    assert not any("X-Headgate-Observed" in answer.headers for answer in answers)
    assert not any("observed" in line for line in lines)
    assert "headgate_observed" not in metrics


async def test_what_an_upstream_says_of_observing_is_not_passed_on() -> None:
    """The field is ours: a caller can believe it."""
    async with (
        raw_server(answering(ok(fields=b"X-Headgate-Observed: held\r\n"))) as upstream,
        corridor(service(upstream, LIMIT + ", mode: observe")) as front,
    ):
        answer = await front.ask()
    assert (answer.status, answer.headers.get("X-Headgate-Observed")) == (200, None)


async def test_observed_calls_leave_no_line_and_take_turns_with_the_keys() -> None:
    """A hundred at once on a limit of one a key: all go, nobody waits, both keys serve."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, ", mode: observe, hold: {max_wait: 120s}" + PER_KEY)) as front,
    ):
        answers = await asyncio.gather(*[front.ask() for _ in range(100)])
        assert front.gate.held == 0
        assert front.sample("headgate_observed_total", service="openai", code="held") == 98
        assert front.gate.waiting("openai") == 0
        sent = list(upstream.requests)
    assert {answer.status for answer in answers} == {200}
    for secret in KEYS.values():
        assert any(secret.encode() in request for request in sent)


async def test_what_is_held_when_observing_begins_goes() -> None:
    """A service that is switched from enforce to observe holds nobody any more."""
    async with (
        raw_server(answering(DONE)) as upstream,
        corridor(service(upstream, LIMIT + ", hold: {max_wait: 120s}")) as front,
    ):
        await front.ask()
        held = asyncio.ensure_future(front.ask())
        await until(lambda: front.gate.held == 1)
        front.reload(service(upstream, LIMIT + ", hold: {max_wait: 120s}, mode: observe"))
        answer = await held
        assert front.gate.waiting("openai") == 0
        (line,) = front.lines()[1:]
    assert (answer.status, line["origin"]) == (200, "upstream")
