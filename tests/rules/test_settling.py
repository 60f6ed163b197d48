"""rules/settling.py: what a finished call is charged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules.meters.usage import Usage
from rules.policy import Endpoint, Service
from rules.settling import Ending, Settlement, settlement

from .given import parsed

POLICY = parsed("").policy
OPENAI = POLICY.services["openai"]  # keeps what it reserved
ANTHROPIC = POLICY.services["anthropic"]  # counts what was produced
CHAT = next(endpoint for endpoint in OPENAI.endpoints if endpoint.name == "chat.completions")
ESTIMATE = {"requests": 1.0, "input_tokens": 100.0, "output_tokens": 1000.0, "tokens": 1100.0, "usd": 0.01025}
TOLD = Usage(input_tokens=90, limited_input=90, output_tokens=200, tokens=290)


def settled(service: Service, ending: Ending, model: str = "gpt-4o", endpoint: Endpoint = CHAT) -> Settlement:
    """The settlement of a call that was expected to cost ESTIMATE."""
    return settlement(service, endpoint, service.prices.of(model), ESTIMATE, ending)


def test_the_upstream_s_word_is_the_charge() -> None:
    """To the token, and in money at the model's price."""
    found = settled(replace(OPENAI, settle="exact"), Ending(usage=TOLD))
    assert found.told
    assert found.charged == found.actual
    assert found.actual == {"input_tokens": 90, "output_tokens": 200, "tokens": 290, "usd": pytest.approx(0.002225)}


def test_what_stays_reserved_is_not_given_back_but_money_is() -> None:
    """`settle: up` is about the limits of the upstream, not about its bill."""
    found = settled(OPENAI, Ending(usage=TOLD))
    assert found.charged == {
        "input_tokens": 100,
        "output_tokens": 1000,
        "tokens": 1100,
        "usd": pytest.approx(0.002225),
    }
    assert found.actual["tokens"] == 290


def test_a_stream_that_broke_off_is_charged_what_was_produced() -> None:
    """The output seen, and the input as it was told or else as it was estimated."""
    service = replace(OPENAI, settle="exact")
    cut = settled(service, Ending(produced=7, whole=False))
    assert cut.charged == {"input_tokens": 100, "output_tokens": 7, "tokens": 107, "usd": pytest.approx(0.00032)}
    assert not cut.told
    begun = Usage(input_tokens=2679, limited_input=2679)
    cut = settled(ANTHROPIC, Ending(usage=begun, produced=7, whole=False), "claude-opus-4-8")
    assert cut.charged["tokens"] == 2686
    assert cut.charged["usd"] == pytest.approx((2679 * 5 + 7 * 25) / 1e6)


def test_a_stream_that_broke_off_keeps_what_was_reserved_where_that_is_kept() -> None:
    """No charge on the upstream's limits falls; more than expected is charged."""
    cut = settled(OPENAI, Ending(produced=7, whole=False))
    assert (cut.charged["tokens"], cut.charged["output_tokens"]) == (1100, 1000)
    assert cut.charged["usd"] == pytest.approx(0.00032)
    assert settled(OPENAI, Ending(produced=5000, whole=False)).charged["tokens"] == 5100


def test_a_whole_stream_without_a_word_is_charged_no_less_than_expected() -> None:
    """Its reasoning was not seen."""
    service = replace(OPENAI, settle="exact")
    assert settled(service, Ending(produced=7)).charged == {
        meter: amount for meter, amount in ESTIMATE.items() if meter != "requests"
    }
    assert settled(service, Ending(produced=5000)).charged["output_tokens"] == 5000


def test_nothing_known_changes_nothing() -> None:
    """The estimate stays, whole or not."""
    for whole in (True, False):
        assert settled(OPENAI, Ending(whole=whole)) == Settlement()


def test_an_error_costs_no_money() -> None:
    """What it used of other limits is not known, and stays."""
    assert settled(OPENAI, Ending(failed=True)).charged == {"usd": 0.0}
    assert settlement(OPENAI, CHAT, OPENAI.prices.of("gpt-4o"), {"requests": 1.0}, Ending(failed=True)).charged == {}


def test_a_model_without_a_price_costs_nothing() -> None:
    """Its tokens are settled all the same."""
    found = settled(OPENAI, Ending(usage=TOLD), "gpt-9")
    assert "usd" not in found.charged
    assert found.actual["tokens"] == 290


def test_a_reply_that_tells_its_cost_is_believed_where_that_is_its_service_s_way() -> None:
    """Before any price; elsewhere a number of that name is somebody's, in whatever unit."""
    told = replace(TOLD, usd=0.95)
    router = replace(OPENAI, reply_tells="cost")
    assert settled(router, Ending(usage=told)).charged["usd"] == 0.95
    assert settled(router, Ending(usage=told), "made-tomorrow").charged["usd"] == 0.95
    assert settled(router, Ending(usage=TOLD)).charged["usd"] == pytest.approx(0.002225)
    assert settled(OPENAI, Ending(usage=told)).charged["usd"] == pytest.approx(0.002225)


def test_what_an_endpoint_costs_by_itself_is_added() -> None:
    """A fee per call stands beside the price of its tokens."""
    endpoint = replace(CHAT, costs={"requests": 1.0, "usd": 0.5})
    assert settled(OPENAI, Ending(usage=TOLD), endpoint=endpoint).charged["usd"] == pytest.approx(0.502225)
