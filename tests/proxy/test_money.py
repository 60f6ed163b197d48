"""Money through the whole corridor: what calls cost, and what a budget does."""

from __future__ import annotations

import json
import logging
from typing import Any

import aiohttp
import pytest

from rules.meters import load
from tests.raw_server import Peer, answering, ok, raw_server

from .corridor import CHAT, PATH, Corridor, corridor, service, used

MICROCENT = 100_000_000
ESTIMATE = (10 * 2.5 + 20 * 10) / 1e6
"""USD of the CHAT body before it goes: ten tokens in, at most twenty out, at gpt-4o's price."""
UNKNOWN = CHAT.replace(b"gpt-4o", b"gpt-99")


@pytest.fixture(autouse=True, scope="module")
def _vocabulary() -> None:
    load()


def answer(**usage: Any) -> bytes:
    """A reply with this usage."""
    return ok(json.dumps({"choices": [], "usage": usage}).encode(), fields=b"Content-Type: application/json\r\n")


SMALL = answer(prompt_tokens=8, completion_tokens=4, total_tokens=12)
SMALL_USD = (8 * 2.5 + 4 * 10) / 1e6


def budget(usd: float, more: str = "window: day, per: []", rest: str = "") -> str:
    """A service whose one limit is of money, for calls that do not wait."""
    return f", backoff: {{type: exponential}}, hold: {{max_wait: 0s}}, limits: [{{usd: {usd!r}, {more}}}]{rest}"


async def spent(front: Corridor) -> float:
    """What the metric says."""
    await front.quiet()
    return front.sample("headgate_spent_usd_total", service="openai")


async def test_a_call_is_charged_the_estimate_and_settled_to_its_bill() -> None:
    """The next call finds the true amount in the budget, although limits of tokens would keep what they reserved."""
    async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, budget(1))) as front:
        await front.ask()
        await front.quiet()
        await front.ask()
        assert used(front.gate, "1 usd") == pytest.approx((SMALL_USD + ESTIMATE) * MICROCENT, abs=2)
        assert await spent(front) == pytest.approx(2 * SMALL_USD)
        line = front.lines()[0]
    assert line["estimate"]["usd"] == pytest.approx(ESTIMATE)
    assert line["actual"]["usd"] == pytest.approx(SMALL_USD)


async def test_cached_input_is_cheaper_and_long_answers_dearer_than_expected() -> None:
    """The true cost follows the parts of the usage."""
    cached = answer(
        prompt_tokens=1000, completion_tokens=100, total_tokens=1100, prompt_tokens_details={"cached_tokens": 800}
    )
    async with raw_server(answering(cached)) as upstream, corridor(service(upstream, budget(1))) as front:
        await front.ask()
        assert await spent(front) == pytest.approx((200 * 2.5 + 800 * 1.25 + 100 * 10) / 1e6)


@pytest.mark.parametrize("window", ["window: day, per: []", "window: month, per: [group]", "window: 1d, per: []"])
async def test_a_budget_that_is_spent_refuses(window: str) -> None:
    """With the limit's name and the time at which there is money again."""
    more = budget(ESTIMATE + SMALL_USD, window)
    async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, more)) as front:
        for _ in range(2):
            assert (await front.ask()).status == 200
            await front.quiet()
        refused = await front.ask()
        assert len(upstream.requests) == 2
    assert (refused.status, refused.reason) == (429, "wait_too_long")
    assert b"usd per" in refused.body
    assert int(refused.headers["Retry-After"]) > 0


async def test_a_budget_may_be_a_user_s_own() -> None:
    """One user's money is not another's."""
    more = budget(ESTIMATE * 1.1, "window: day, per: [user]")
    async with raw_server(answering(answer())) as upstream, corridor(service(upstream, more)) as front:
        assert (await front.ask(X_Headgate_User="ann")).status == 200
        assert (await front.ask(X_Headgate_User="ann")).status == 429
        assert (await front.ask(X_Headgate_User="bob")).status == 200


async def test_an_error_costs_nothing() -> None:
    """A provider does not bill what it refused."""
    bad = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"
    async with raw_server(answering(bad)) as upstream, corridor(service(upstream, budget(ESTIMATE * 1.5))) as front:
        for _ in range(3):
            assert (await front.ask()).status == 400
            await front.quiet()
        assert await spent(front) == 0


async def test_a_call_whose_price_is_not_known_passes_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """It costs nothing; the metric counts every one, the log names each model once, and none without a budget."""
    with caplog.at_level(logging.WARNING, "headgate"):
        async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, budget(0.000001))) as front:
            for _ in range(3):
                assert (await front.ask(body=UNKNOWN)).status == 200
            assert front.sample("headgate_unpriced_total", service="openai") == 3
            assert await spent(front) == 0
            assert "usd" not in front.lines()[0]["actual"]
        said = [record.getMessage() for record in caplog.records if "price" in record.getMessage()]
        assert said == ["openai: gpt-99 has no price: its calls cost 0 usd"]
        caplog.clear()
        async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream)) as front:
            await front.ask(body=UNKNOWN)
            assert front.sample("headgate_unpriced_total", service="openai") == 1
        more = budget(1, rest=", mode: 'off'")
        async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, more)) as front:
            await front.ask(body=UNKNOWN)
            assert front.sample("headgate_unpriced_total", service="openai") == 0
        assert "price" not in caplog.text


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (UNKNOWN, PATH),
        (b"not json", PATH),
        (CHAT, "/openai/v1/audio/transcriptions"),
        (CHAT, "/openai/v1/images/generations"),
    ],
)
async def test_a_hard_budget_refuses_what_it_cannot_count(body: bytes, path: str) -> None:
    """`unpriced: refuse`: a model without a price, a body that names none, an endpoint that is sold by other things."""
    more = budget(100, rest=", unpriced: refuse")
    async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, more)) as front:
        refused = await front.ask(path, body)
        assert (await front.ask()).status == 200
        assert (await front.ask("/openai/v1/models", None)).status == 200
    assert (refused.status, refused.reason) == (403, "no_price")
    assert b"price" in refused.body
    assert len(upstream.requests) == 2


async def test_a_hard_budget_takes_what_the_operator_gave_a_price() -> None:
    """By model, or by endpoint; where no limit counts money nothing is refused for it."""
    rest = (
        ", unpriced: refuse, prices: {'gpt-9*': {input: 1000, output: 0}}"
        ", endpoints: {images: {costs: {requests: 1, images: 1, usd: 0.25}}}"
    )
    async with raw_server(answering(SMALL)) as upstream:
        async with corridor(service(upstream, budget(100, rest=rest))) as front:
            assert (await front.ask(body=UNKNOWN)).status == 200
            assert (await front.ask("/openai/v1/images/generations", b"{}")).status == 200
            assert await spent(front) == pytest.approx(8 * 1000 / 1e6 + 0.25)
            assert front.sample("headgate_unpriced_total", service="openai") == 0
        async with corridor(service(upstream, ", unpriced: refuse")) as front:
            assert (await front.ask(body=UNKNOWN)).status == 200
        async with corridor(service(upstream, budget(100, rest=", unpriced: refuse, mode: observe"))) as front:
            assert (await front.ask(body=UNKNOWN)).status == 200


async def test_what_is_expected_to_cost_nothing_is_settled_all_the_same() -> None:
    """A model whose input is free and whose output has no bound: its bill is counted when it comes."""
    more = budget(1, rest=", prices: {gpt-99: {input: 0, output: 1000}}")
    body = UNKNOWN.replace(b'"max_tokens": 20, ', b"")
    async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, more)) as front:
        await front.ask(body=body)
        await front.quiet()
        await front.ask(body=body)
        assert used(front.gate, "1 usd") == pytest.approx(4 * 1000 / 1e6 * MICROCENT, abs=2)


async def test_a_free_model_takes_nothing_of_a_budget() -> None:
    """Not even of one of nothing."""
    more = budget(0, rest=", unpriced: refuse, prices: {gpt-99: {input: 0}}")
    async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, more)) as front:
        assert (await front.ask(body=UNKNOWN)).status == 200
        assert (await front.ask()).status == 413


async def test_a_limit_of_output_counts_calls_without_a_bound() -> None:
    """What they did produce is counted when it is known."""
    more = ", settle: exact, limits: [{output_tokens: 1000, window: 60}]"
    body = CHAT.replace(b'"max_tokens": 20, ', b"")
    async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, more)) as front:
        await front.ask(body=body)
        await front.quiet()
        await front.ask(body=body)
        assert used(front.gate, "1000 output_tokens") == 4 + 1


async def test_a_call_that_costs_more_than_the_whole_budget_never_fits() -> None:
    """No wait helps."""
    async with raw_server(answering(SMALL)) as upstream, corridor(service(upstream, budget(ESTIMATE / 2))) as front:
        refused = await front.ask()
    assert (refused.status, refused.reason) == (413, "never_fits")


# prices that only a reply knows

CHAT_ROUTER = "/openrouter/api/v1/chat/completions"
CHAT_AZURE = "/azure-openai/openai/deployments/%s/chat/completions?api-version=2024-10-21"
ROUTED = {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12, "cost": 0.25}


def chunked(*events: Any) -> bytes:
    """A stream of those events."""
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
    return ok(body, fields=b"Content-Type: text/event-stream\r\n")


async def test_openrouter_s_own_word_is_what_a_call_cost() -> None:
    """In replies and at the end of streams: a budget counts it, of models that no table has."""
    said = {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}
    answers = answer(**ROUTED), chunked(said, {"choices": [], "usage": ROUTED})
    config = budget(2, rest=", unpriced: refuse")
    async with (
        raw_server(answering(*answers)) as upstream,
        corridor(service(upstream, config, name="openrouter")) as front,
    ):
        body = UNKNOWN.replace(b"gpt-99", b"maker/made-tomorrow")
        for wanted in (body, body.replace(b"{", b'{"stream": true, ', 1)):
            assert (await front.ask(CHAT_ROUTER, wanted)).status == 200
            await front.quiet()
            assert front.lines()[-1]["actual"]["usd"] == 0.25
        await front.ask(CHAT_ROUTER, body)
        # what twelve tokens did cost is what each of the next call's is expected to
        expected = front.lines()[-1]["estimate"]
        assert expected["usd"] == pytest.approx(expected["tokens"] * 0.25 / 12)
        assert used(front.gate, "2 usd", "openrouter") == pytest.approx((0.5 + expected["usd"]) * MICROCENT, abs=2)
        assert front.sample("headgate_unpriced_total", service="openrouter") == 0
        assert front.lines()[0]["estimate"]["usd"] == 0


async def test_a_stream_of_openrouter_s_that_breaks_off_costs_what_it_had_produced() -> None:
    """By what a token did cost before: its bill never comes."""
    said = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "Hi"}}]}).encode() + b"\n\n"
    cut = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n" + said * 6
    config = service(0, budget(1), name="openrouter")

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer(**ROUTED))
        await peer.request()
        await peer.send(cut)

    async with raw_server(script) as upstream, corridor(config.replace(":0'", f":{upstream.port}'")) as front:
        await front.ask(CHAT_ROUTER)
        with pytest.raises(aiohttp.ClientPayloadError):
            await front.ask(CHAT_ROUTER, CHAT.replace(b"{", b'{"stream": true, ', 1))
        await front.quiet()
        told = front.lines()[-1]["actual"]
    assert told["output_tokens"] >= 6
    assert told["usd"] == pytest.approx((told["input_tokens"] + told["output_tokens"]) * 0.25 / 12)


@pytest.mark.parametrize("cost", [-1, "0.25", None, 1e9, float("nan"), True, [0.25]])
async def test_a_cost_that_cannot_be_believed_is_none(cost: Any) -> None:
    """The charge neither falls nor fills the budget."""
    lie = answer(**{**ROUTED, "cost": cost})
    async with (
        raw_server(answering(lie)) as upstream,
        corridor(service(upstream, budget(1), name="openrouter")) as front,
    ):
        await front.ask(CHAT_ROUTER)
        await front.quiet()
        await front.ask(CHAT_ROUTER)
        assert used(front.gate, "1 usd", "openrouter") <= 2


def deployed(model: str, **usage: int) -> bytes:
    """A reply of a deployment."""
    said = {"model": model, "choices": [], "usage": {**usage, "total_tokens": sum(usage.values())}}
    return ok(json.dumps(said).encode(), fields=b"Content-Type: application/json\r\n")


async def test_a_deployment_costs_what_its_model_does() -> None:
    """As configured, from the first call on; else by the model that the reply names, which the next call knows."""
    reply = deployed("gpt-4o-2024-08-06", prompt_tokens=8, completion_tokens=4)
    more = budget(1, rest=", deployments: {known: gpt-4o}")
    async with (
        raw_server(answering(reply)) as upstream,
        corridor(service(upstream, more, name="azure-openai")) as front,
    ):
        for name, expected in (("known", ESTIMATE), ("new", 0.0), ("new", ESTIMATE)):
            assert (await front.ask(CHAT_AZURE % name)).status == 200
            await front.quiet()
            line = front.lines()[-1]
            assert line["estimate"]["usd"] == pytest.approx(expected)
            assert line["actual"]["usd"] == pytest.approx(SMALL_USD)
            assert line["model"] == name
        assert front.sample("headgate_unpriced_total", service="azure-openai") == 1


async def test_a_hard_budget_refuses_a_deployment_until_it_is_known() -> None:
    """Nothing says what the call would cost; `deployments` does."""
    reply = deployed("gpt-4o-2024-08-06", prompt_tokens=8, completion_tokens=4)
    more = budget(1, rest=", unpriced: refuse, deployments: {known: gpt-4o}")
    async with (
        raw_server(answering(reply)) as upstream,
        corridor(service(upstream, more, name="azure-openai")) as front,
    ):
        assert (await front.ask(CHAT_AZURE % "new")).reason == "no_price"
        assert (await front.ask(CHAT_AZURE % "known")).status == 200


async def test_a_region_s_host_costs_a_tenth_more() -> None:
    """By the host that the call goes to."""
    reply = answer(prompt_tokens=1000, completion_tokens=100, total_tokens=1100)
    newer = CHAT.replace(b"gpt-4o", b"gpt-5.4")
    whole = (1000 * 2.5 + 100 * 15) / 1e6
    text = "services:\n  openai: {keys: [{name: a, env: KEY_A}], connect_to: '127.0.0.1:%d', upstream: 'http://%s'}\n"
    async with raw_server(answering(reply)) as upstream:
        for host, times in (("eu.api.openai.com", 1.1), ("api.openai.com", 1)):
            async with corridor(text % (upstream.port, host)) as front:
                await front.ask(body=newer)
                assert await spent(front) == pytest.approx(whole * times)
