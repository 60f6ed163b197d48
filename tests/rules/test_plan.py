"""rules/plan.py: which buckets a call draws on, which keys may serve it, and what a reply teaches."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.plan import (
    MAX_WAIT_MS,
    Facts,
    costs_of,
    digest,
    group_scope,
    key_scope,
    model_scope,
    plan,
)
from rules.policy import (
    Backoff,
    Credential,
    CredentialPlace,
    Endpoint,
    Hold,
    Key,
    Limit,
    Mode,
    Service,
)
from rules.verdict import Plan, Refuse

from .given import parsed

ENDPOINT = Endpoint(name="chat", path="/chat")
A = Key(id="a-1", secret="sk-canary-a", group="one")
B = Key(id="b-2", secret="sk-canary-b", group="one")
C = Key(id="c-3", secret="sk-canary-c", group="two")
GOLD = Key(id="g-4", secret="sk-canary-g", group="two", reserve_for=("gold",))
HOSTILE = (
    "",
    ":",
    "a:b",
    "a\nb",
    "{tag}",
    "a}b{c",
    "\0",
    "1:a",
    "a" * (1 << 20),
    "a" * (1 << 20) + "b",
    "é",
    "e\u0301",
)


def limit(*per: str, meter: str = "requests", amount: int = 100, scale: int = 1, name: str = "l") -> Limit:
    """A window limit with a scope; `meter` concurrent: in flight."""
    kind = "concurrent" if meter == "concurrent" else "window"
    return Limit(
        id=f"{name}-{meter}-{'.'.join(per)}",
        name=name,
        kind="concurrent" if kind == "concurrent" else "window",
        meter=meter,
        amount=amount,
        scale=scale,
        window_ms=60_000,
        per=per,
    )


def service(keys: Sequence[Key] = (A, B, C), *, pooled: bool = True, mode: Mode = "enforce") -> Service:
    """A service with a pool."""
    place = CredentialPlace(place="header", name="authorization", prefix="Bearer ")
    return Service(
        name="s",
        hosts=("h.test",),
        credential=Credential(write=place, read=(place,)),
        endpoints=(ENDPOINT,),
        limits=(),
        keys=tuple(keys),
        hold=Hold(max_wait_ms=30_000, max_queue=7),
        backoff=Backoff(type="exponential", initial_delay_ms=100, max_delay_ms=1000),
        mode=mode,
        pooled=pooled,
        cost_mapping={"dear": 20.0},
    )


def facts(
    *limits: Limit,
    of: Service | None = None,
    user: str = "u",
    client: str = "c",
    tier: str | None = None,
    model: str | None = "m",
    costs: Mapping[str, float] | None = None,
    caller: str | None = None,
    max_wait_ms: int | None = None,
    weight: float = 1.0,
    priority: int = 0,
) -> Facts:
    """A call on these limits."""
    return Facts(
        service=of or service(),
        endpoint=ENDPOINT,
        common=[one for one in limits if not one.of_key],
        of_key=[one for one in limits if one.of_key],
        model=model,
        user=user,
        client=client,
        tier=tier,
        costs=costs if costs is not None else {"requests": 1.0},
        caller=caller,
        weight=weight,
        priority=priority,
        max_wait_ms=max_wait_ms,
    )


def planned(what: Facts) -> Plan:
    """The plan of a call that may go."""
    made = plan(what)
    assert isinstance(made, Plan)
    return made


def buckets(what: Facts) -> list[str]:
    """Names of the common buckets."""
    return [charge.bucket for charge in planned(what).charges]


@pytest.mark.parametrize("amount", [1e300, 1.8e308 * 10, 2.0**53])
@pytest.mark.parametrize("scale", [1, 1_000_000])
def test_a_cost_beyond_what_a_double_counts_is_the_largest_that_it_does(amount: float, scale: int) -> None:
    """The gate then says that it never fits; it is no error of ours."""
    costs = {"tokens": amount}
    made = planned(facts(limit(meter="tokens", scale=scale), costs=costs))
    assert [charge.cost for charge in made.charges] == [2**53 - 1]


# scopes


@pytest.mark.parametrize(
    ("per", "other"),
    [("user", {"user": "v"}), ("client", {"client": "d"}), ("model", {"model": "n"})],
)
def test_a_scope_separates_and_nothing_else_does(per: str, other: Mapping[str, str]) -> None:
    """A bucket per user is one bucket for all clients and models of the user; the same for each scope."""
    everything = {"user": "v", "client": "d", "model": "n"}
    rest = {name: value for name, value in everything.items() if name != per}
    base = buckets(facts(limit(per)))
    assert buckets(facts(limit(per), **other)) != base  # type: ignore[arg-type]
    assert buckets(facts(limit(per), **rest)) == base  # type: ignore[arg-type]


def test_limits_of_the_same_scope_have_buckets_of_their_own() -> None:
    """The limit's id is part of the name."""
    found = buckets(facts(limit("user", name="x"), limit("user", name="y", meter="concurrent")))
    assert len(set(found)) == 2


def test_keys_of_a_group_share_its_bucket_and_other_groups_do_not() -> None:
    """Two keys of one organisation drain one limit (provider-facts 1.1)."""
    a, b, c = (candidate.charges[0].bucket for candidate in planned(facts(limit("group"))).candidates)
    assert a == b
    assert a != c


def test_a_limit_per_key_is_each_key_s_own() -> None:
    """Even inside a group."""
    found = [candidate.charges[0].bucket for candidate in planned(facts(limit("key"))).candidates]
    assert len(set(found)) == 3


def test_a_limit_per_group_and_user_separates_both() -> None:
    """Scopes combine."""

    def first(user: str) -> list[str]:
        candidates = planned(facts(limit("group", "user"), user=user)).candidates
        return [candidate.charges[0].bucket for candidate in candidates]

    one, two = first("u"), first("v")
    assert one[0] == one[1] != one[2]
    assert not set(one) & set(two)


@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text()), min_size=2, max_size=2, unique=True))
def test_no_two_users_share_a_bucket_or_a_place_in_the_line(users: list[str]) -> None:
    """Whatever their names hold, and however long they are (threats I13)."""
    one, two = (planned(facts(limit("user"), user=user)) for user in users)
    assert one.charges[0].bucket != two.charges[0].bucket
    assert one.flow != two.flow


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:6]))
def test_what_clients_type_stands_in_no_name(text: str) -> None:
    """Names of buckets, flows and scopes are ids and hexadecimal digits: no slot steering, no line to break."""
    made = planned(facts(limit("user", "client", "model"), limit("group", "user"), user=text, client=text, model=text))
    names = [charge.bucket for charge in made.charges] + [made.flow]
    for candidate in made.candidates:
        names += [charge.bucket for charge in candidate.charges] + list(candidate.blocks)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9.:-]{1,64}", name)


@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_a_digest_tells_where_one_value_ends(one: list[str], two: list[str]) -> None:
    """`("ab", "c")` and `("a", "bc")` differ, and so do none and an empty one."""
    assert (digest(*one) == digest(*two)) == (one == two)


def test_long_names_are_not_remembered() -> None:
    """A client that never repeats itself does not fill the memory."""
    tracemalloc.start()
    try:
        for number in range(50):
            digest(f"{number}" + "x" * (1 << 20))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5 << 20


def test_a_tier_has_a_line_of_its_own() -> None:
    """The same user in another tier is another flow."""
    assert planned(facts(tier="gold")).flow != planned(facts()).flow


def test_a_plan_carries_the_tier_s_weight_and_the_call_s_priority() -> None:
    """As the gate needs them; a tier's name goes in as a hash."""
    made = planned(facts(tier="gold", weight=4.0, priority=7))
    assert (made.weight, made.priority) == (4.0, 7)
    assert made.tier not in ("", "gold")
    assert planned(facts(tier="gold", weight=2.0)).weight == 2.0


# keys


def test_reserved_keys_serve_their_tier_first_and_nobody_else() -> None:
    """Others never see them; the tier has the common ones besides (limiter 8)."""
    pool = service([A, GOLD])
    assert [one.key for one in planned(facts(of=pool)).candidates] == ["a-1"]
    assert [one.key for one in planned(facts(of=pool, tier="silver")).candidates] == ["a-1"]
    assert [one.key for one in planned(facts(of=pool, tier="gold")).candidates] == ["g-4", "a-1"]


@pytest.mark.parametrize("keys", [(), (GOLD,)], ids=["empty", "reserved"])
def test_a_pool_without_a_key_for_the_call_refuses(keys: tuple[Key, ...]) -> None:
    """no_key, and never the caller's own."""
    assert plan(facts(of=service(keys), caller="abc")) == Refuse(code="no_key")


def test_without_a_pool_the_caller_s_credential_is_key_and_group() -> None:
    """Two callers never share a limit of the group; a caller without a credential has one too."""
    own = service((), pooled=False)
    made = {name: planned(facts(limit("group"), of=own, caller=name)).candidates for name in ("x", "y", None)}
    assert [len(candidates) for candidates in made.values()] == [1, 1, 1]
    assert made["x"][0].key == made["x"][0].group == "caller-x"
    assert len({candidates[0].charges[0].bucket for candidates in made.values()}) == 3


def test_no_secret_enters_a_plan() -> None:
    """What goes to the gate names keys by their ids."""
    assert "canary" not in repr(planned(facts(limit("key"), limit("user"))))


def test_a_key_rests_with_itself_its_group_or_its_group_s_model() -> None:
    """The three scopes a lesson may name are those of the candidate."""
    (candidate, *_) = planned(facts()).candidates
    assert candidate.blocks == (key_scope("a-1"), group_scope("one"), model_scope("one", "m"))
    assert planned(facts(model=None)).candidates[0].blocks[2] == model_scope("one", None)


# costs


def test_amounts_are_rounded_up_in_the_limit_s_own_units() -> None:
    """A part of a unit is a unit; a limit counts its own meter only."""
    costs = {"requests": 1.0, "tokens": 10.2, "usd": 0.0015}
    made = planned(facts(limit(meter="tokens"), limit(meter="usd", scale=1000), limit(meter="images"), costs=costs))
    assert [(charge.limit.meter, charge.cost) for charge in made.charges] == [("tokens", 11), ("usd", 2)]


def test_a_call_is_one_in_flight_whatever_it_costs() -> None:
    """Concurrency has no cost by meter."""
    made = planned(facts(limit(meter="concurrent"), costs={}))
    assert [charge.cost for charge in made.charges] == [1]


@pytest.mark.parametrize(("model", "requests"), [("dear", 20.0), ("other", 1.0), (None, 1.0)])
def test_a_model_may_count_as_several_requests(model: str | None, requests: float) -> None:
    """`costMapping` multiplies requests, and nothing else."""
    assert costs_of(service(), ENDPOINT, model, {"tokens": 5.0}) == {"requests": requests, "tokens": 5.0}


def test_the_endpoint_s_cost_is_the_least_of_what_was_counted() -> None:
    """Some services bill a minute at least; a longer sound costs what it lasts."""
    audio = Endpoint(name="audio", path="/a", costs={"requests": 1.0, "audio_seconds": 60.0})
    assert costs_of(service(), audio, None, {"audio_seconds": 7.0}) == {"requests": 1.0, "audio_seconds": 60.0}
    assert costs_of(service(), audio, None, {"audio_seconds": 61.5}) == {"requests": 1.0, "audio_seconds": 61.5}
    assert audio.costs["audio_seconds"] == 60.0


# modes and time


@pytest.mark.parametrize(
    ("mode", "observe", "charged"), [("enforce", False, True), ("observe", True, True), ("off", True, False)]
)
def test_modes(mode: Mode, observe: bool, charged: bool) -> None:
    """enforce keeps limits, observe counts them, off does neither; the pool is there in each."""
    made = planned(facts(limit("user"), limit("group"), of=service(mode=mode)))
    assert (made.observe, bool(made.charges), bool(made.candidates[0].charges)) == (observe, charged, charged)
    assert len(made.candidates) == 3


@pytest.mark.parametrize(
    ("asked", "waits"), [(None, 30_000), (0, 0), (500, 500), (60_000, 60_000), (10**12, MAX_WAIT_MS)]
)
def test_the_client_s_patience_replaces_the_policy_s_up_to_the_cap(asked: int | None, waits: int) -> None:
    """threats 4.3: no hold is longer than ten minutes."""
    made = planned(facts(max_wait_ms=asked))
    assert (made.max_wait_ms, made.max_queue) == (waits, 7)


def test_a_tier_s_reserved_keys_go_before_those_it_shares() -> None:
    """Their rank is less; for a tier without such keys all are alike."""
    ranks = {one.key: one.rank for one in planned(facts(of=service((A, GOLD)), tier="gold")).candidates}
    assert ranks["g-4"] < ranks["a-1"]
    assert {one.rank for one in planned(facts(of=service((A, B, GOLD)), tier="silver")).candidates} == {1}


def test_what_an_endpoint_costs_by_itself_is_added_to_the_price_of_its_tokens() -> None:
    """In USD; a model without a price costs the endpoint's part alone."""
    config = "services: {openai: {endpoints: {chat.completions: {costs: {requests: 1, usd: 0.5}}}}}"
    openai = parsed(config).policy.services["openai"]
    counted = {"input_tokens": 1000.0, "output_tokens": 100.0}
    costs = {
        model: costs_of(openai, openai.endpoints[0], model, counted, openai.prices.of(model))["usd"]
        for model in ("gpt-4o", "gpt-99")
    }
    assert costs == {"gpt-4o": pytest.approx(0.5035), "gpt-99": 0.5}
