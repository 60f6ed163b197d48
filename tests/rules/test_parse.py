"""The whole configuration: bad files and their complaints, good files and what they mean, arbitrary text."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.mistakes import ConfigInvalid, Mistake
from rules.parse import parse
from rules.policy import Limit, Policy

from .given import CATALOGUE, Given, parsed

CONFIG = Path(__file__).parents[1] / "config"
WORLD = Given(
    environ={
        "KEY_A": "sk-secret-a",
        "KEY_B": "sk-secret-b",
        "TOKEN_A": "token-secret-a",
        "TOKEN_B": "token-secret-b",
        "SPACED": "sk secret",
        "EMPTY": "",
    },
    files={
        "blank": "\n",
        "hollow/": "",
        "doubled/a": "sk-secret-c\nsk-secret-d\n",
        "clients/crawler": "token: token-secret-c\nteir: free\n",
    },
)


def _policy(text: str, **environ: str) -> Policy:
    return parsed(text, environ=environ).policy


def _ids(limits: tuple[Limit, ...]) -> list[str]:
    return [limit.id for limit in limits]


@pytest.mark.parametrize("path", sorted((CONFIG / "bad").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_bad_file_gets_exactly_the_complaint_of_its_first_line(path: Path) -> None:
    """Each bad file has one mistake, and is told its file, line, column, path and cure, without a value."""
    text = path.read_text()
    with pytest.raises(ConfigInvalid) as refused:
        parse(text, filename="limits.yaml", sources=WORLD, catalogue=CATALOGUE)
    told = [str(error) for error in refused.value.errors]
    name = "clients/crawler" if path.stem == "client-file-with-unknown-key" else "limits.yaml"
    assert told == [f"{name}:{text.splitlines()[0].removeprefix('# ')}"]
    assert "secret" not in told[0]  # as every value of the world, and what some files hold in the wrong place
    assert "sk-" not in told[0]


def test_there_are_bad_files() -> None:
    """The table of bad files is not empty by accident."""
    assert len(list((CONFIG / "bad").glob("*.yaml"))) >= 90


@pytest.mark.parametrize("path", sorted((CONFIG / "good").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_good_file_loads(path: Path) -> None:
    """Each good file gives a policy with the whole catalogue in it."""
    policy = parse(path.read_text(), filename=path.name, sources=WORLD, catalogue=CATALOGUE).policy
    assert {"openai", "anthropic", "reddit", "x", "youtube", "tiktok"} <= set(policy.services)


def test_every_mistake_is_told_at_once_in_order() -> None:
    """Mistakes of shape, of meaning and of variables are listed together, by line."""
    with pytest.raises(ConfigInvalid) as refused:
        _policy(
            "store: ${STORE_UNSET}\n"
            "services:\n"
            "  openai:\n"
            "    mode: obsrve\n"
            "    limits: [{requests: 5}]\n"
            "  redit: {}\n"
            "  reddit:\n"
            "    keys: {env: KEY_UNSET}\n"
            "  openai: {}\n"
        )
    assert [(error.line, error.path) for error in refused.value.errors] == [
        (1, "store"),
        (4, "services.openai.mode"),
        (5, "services.openai.limits[0]"),
        (6, "services.redit"),
        (8, "services.reddit.keys.env"),
        (9, "services.openai"),
    ]


def test_a_mistake_brings_no_others_in_its_train() -> None:
    """What refers to a faulty tier, or stands beside a faulty value, is not complained about as well."""
    with pytest.raises(ConfigInvalid) as refused:
        _policy(
            "tiers: {free: {weight: -1}}\n"
            "clients: {tokens: [{name: a, env: T, tier: free}]}\n"
            "services: {openai: {hold: {max_wait: 5}, keys: {env: UNSET}}}\n",
            T="t",
        )
    assert [error.path for error in refused.value.errors] == ["tiers.free.weight", "services.openai.hold.max_wait"]


def test_without_a_file_the_catalogue_is_on_and_usual_variables_make_pools() -> None:
    """An empty text gives every service; the one whose variable is set has its keys in one group."""
    policy = _policy("", OPENAI_API_KEY="sk-a, sk-b,")
    openai, anthropic = policy.services["openai"], policy.services["anthropic"]
    assert [(key.id.rpartition("-")[0], key.secret, key.group) for key in openai.keys] == [
        ("env-1", "sk-a", "default"),
        ("env-2", "sk-b", "default"),
    ]
    assert openai.pooled
    assert not anthropic.pooled
    assert policy.store == "memory"
    assert (openai.hold.max_wait_ms, openai.hold.max_queue) == (60_000, 10_000)


def test_the_tutorial_means_what_no_file_means() -> None:
    """The shipped rate-limits.yaml is valid as it stands and changes nothing."""
    tutorial = (Path(__file__).parents[2] / "config/rate-limits.yaml").read_text()
    assert _policy(tutorial).version == _policy("").version


def test_every_commented_line_of_the_tutorial_is_valid_too() -> None:
    """What the tutorial shows as comments can be uncommented, one example at a time."""
    world = Given(
        environ={"OPENAI_API_KEY": "k1", "OPENAI_KEY_A": "k2", "WEATHER_KEY": "k4", "CRAWLER_TOKEN": "t1"},
        files={
            "/run/secrets/openai/a": "k5",
            "/run/secrets/openai-b": "k3",
            "/run/secrets/clients/crawler": "t2",
            "/etc/ssl/private-root.pem": "-----BEGIN CERTIFICATE-----\n",
        },
    )
    tutorial = (Path(__file__).parents[2] / "config/rate-limits.yaml").read_text().splitlines()
    examples = 0
    for first, line in enumerate(tutorial):
        bare = line.lstrip()
        if not bare.startswith("# ") or ":" not in bare or not _begins_example(bare[2:]):
            continue
        indent = len(line) - len(bare)
        lines = list(tutorial)
        last = first
        while last + 1 < len(lines) and lines[last + 1].lstrip().startswith("#   "):
            last += 1
        for index in range(first, last + 1):
            lines[index] = " " * indent + lines[index].lstrip().removeprefix("# ")
        if "tiers" not in bare and "premium" in "".join(lines[first : last + 1]):
            lines.append("tiers: {premium: {weight: 4}}")
        if "tier: free" in "".join(lines[first : last + 1]):
            lines.append("tiers: {free: {weight: 1}}")
        parse("\n".join(lines), filename="limits.yaml", sources=world, catalogue=CATALOGUE)
        examples += 1
    assert examples >= 17


def _begins_example(text: str) -> bool:
    word = text.partition(":")[0]
    return bool(word) and all(character in string.ascii_lowercase + "_" for character in word)


def test_the_earlier_file_is_read_as_meters_of_today() -> None:
    """openai_tokens and whisper_minutes become limits of openai and of its audio endpoints, with advice."""
    result = parsed((CONFIG / "good/earlier-rate-limits.yaml").read_text())
    openai = result.policy.services["openai"]
    requests, tokens = openai.limits
    # token_bucket: B = C - rate x 500 ms (limiter 14); fractions of a request count
    assert (requests.kind, requests.meter, requests.scale) == ("token_bucket", "requests", 1000)
    assert (requests.amount, requests.refill) == (500_000 - 4165, (833, 100))
    assert (tokens.kind, tokens.meter, tokens.per) == ("token_bucket", "tokens", ("group",))
    assert (tokens.amount, tokens.refill) == (150_000 - 1250, (5, 2))
    assert openai.cost_mapping["gpt-4o-mini"] == 0.5
    audio = {endpoint.name: endpoint.limits for endpoint in openai.endpoints if endpoint.name.startswith("audio.")}
    assert audio["audio.transcriptions"] == audio["audio.translations"]
    seconds = next(limit for limit in audio["audio.translations"] if limit.meter == "audio_seconds")
    assert (seconds.amount, seconds.scale, seconds.refill) == (3_000_000 - 24_900, 1000, (249, 5))
    assert any(limit.meter == "concurrent" for limit in audio["audio.translations"])
    advice = [str(one) for one in result.advice]
    assert advice == [
        "limits.yaml:19:3: services.openai_tokens: is the earlier form; "
        "write it under openai: limits: [{capacity: 150000, refillRate: 2500, meter: tokens}]",
        "limits.yaml:24:3: services.whisper_minutes: is the earlier form; "
        "write it under whisper: limits: [{capacity: 3000, refillRate: 49.8, meter: audio_seconds}]",
    ]
    assert openai.backoff.type == "adaptive"
    assert result.policy.services["tiktok"].limits[0].amount == 100


def test_the_earlier_file_with_windows_is_read_unchanged() -> None:
    """Several windows in one list, twitter for x, and burst."""
    result = parsed((CONFIG / "good/earlier-rate-limits-windows.yaml").read_text())
    services = result.policy.services
    assert _ids(services["openai"].limits) == ["requests-60s-group", "tokens-60s-group"]
    assert services["x"].limits[0].window_ms == 900_000
    assert services["x"].backoff.type == "linear"
    assert [one.path for one in result.advice] == ["services.twitter"]


@pytest.mark.parametrize(
    ("environ", "store"),
    [
        ({}, "memory"),
        ({"REDIS_URL": "redis://r:1/0", "CACHE_HOST": "c"}, "redis://r:1/0"),
        ({"CACHE_HOST": "c"}, "redis://c:6379"),
        ({"CACHE_HOST": "c", "CACHE_PORT": "7000"}, "redis://c:7000"),
        ({"CACHE_PORT": "7000"}, "memory"),
    ],
)
def test_the_store_is_found_in_the_earlier_systems_variables(environ: dict[str, str], store: str) -> None:
    """REDIS_URL, else CACHE_HOST and CACHE_PORT, else the embedded gate."""
    assert _policy("", **environ).store == store


def test_the_file_wins_over_the_variables_for_the_store() -> None:
    """`store` in the file is what counts, REDIS_URL or not."""
    assert _policy("store: memory", REDIS_URL="redis://r").store == "memory"


def test_a_store_variable_that_is_no_url_is_named_and_not_quoted() -> None:
    """The complaint says which variable, and nothing of what it holds."""
    with pytest.raises(ConfigInvalid) as refused:
        _policy("", REDIS_URL="pass:word@host")
    assert "REDIS_URL must be memory, or a URL" in str(refused.value)
    assert "word@" not in str(refused.value)


@pytest.mark.parametrize(("value", "mode"), [("false", "off"), ("0", "off"), ("true", "enforce"), ("", "enforce")])
def test_the_earlier_switch_turns_language_models_off(value: str, mode: str) -> None:
    """ENABLE_LLM_RATE_LIMITING=false puts openai and anthropic into mode off, and reddit not."""
    services = _policy("", ENABLE_LLM_RATE_LIMITING=value).services
    assert [services[name].mode for name in ("openai", "anthropic", "reddit")] == [mode, mode, "enforce"]


def test_the_earlier_key_variable_comes_first() -> None:
    """ML_OPENAI_API_KEY, else OPENAI_API_KEY; SDKs are told of the latter."""
    service = _policy("", ML_OPENAI_API_KEY="a", OPENAI_API_KEY="b").services["openai"]
    assert [key.secret for key in service.keys] == ["a"]
    assert service.key_env == ("OPENAI_API_KEY",)
    assert [key.secret for key in _policy("", ML_OPENAI_API_KEY=" ", OPENAI_API_KEY="b").services["openai"].keys] == [
        "b"
    ]


def test_off_is_a_word_and_not_a_boolean() -> None:
    """`mode: off` needs no quotes."""
    assert _policy("services: {reddit: {mode: off}}").services["reddit"].mode == "off"


def test_version_follows_meaning_and_not_letters() -> None:
    """Comments and order of keys change nothing; an amount, a key and a token do; a password of the store does not."""
    plain = _policy("services: {reddit: {mode: observe, jitter: 1s}}")
    assert _policy("# hello\nservices: {reddit: {jitter: 1000ms, mode: observe}}").version == plain.version
    assert _policy("services: {reddit: {mode: observe, jitter: 2s}}").version != plain.version
    assert _policy("", OPENAI_API_KEY="a").version != _policy("", OPENAI_API_KEY="b").version
    by_password = {_policy("", REDIS_URL=f"redis://me:{word}@r/0").version for word in ("a", "b@c")}
    assert len(by_password) == 1
    token = "clients: {tokens: [{name: a, env: T}]}"
    assert _policy(token, T="a").version != _policy(token, T="b").version


def test_a_new_service_is_a_section_with_hosts() -> None:
    """What the catalogue does not know is defined whole in the operator's file, and lasts to the last endpoint."""
    policy = _policy(
        "services:\n"
        "  weather:\n"
        "    hosts: [api.weather.example, '*.Weather.example']\n"
        "    credential: {write: {query: appid}}\n"
        "    keys: {env: WEATHER_KEY}\n"
        "    endpoints: {forecast: {path: /v1/forecast, costs: {requests: 1, units: 5}}}\n"
        "    limits: [{units: 100, window: 1d}]\n",
        WEATHER_KEY="w",
    )
    service = policy.services["weather"]
    assert service.hosts == ("api.weather.example", "*.weather.example")
    assert (service.credential.write.place, service.credential.write.name) == ("query", "appid")
    assert [(endpoint.name, endpoint.path) for endpoint in service.endpoints] == [
        ("forecast", "/v1/forecast"),
        ("other", "/**"),
    ]
    assert (service.keys[0].group, service.pooled, service.shape, service.dialect) == (
        "default",
        True,
        "plain",
        "generic",
    )


def test_a_catalogue_file_beside_is_a_new_service_and_replaces_one_of_its_name() -> None:
    """Later files win whole: a dropped openai.yaml is all there is of openai."""
    catalogue = {
        **CATALOGUE,
        "etc/services/openai.yaml": "hosts: [openai.internal.example]\n",
        "etc/services/mine.yaml": "hosts: [mine.example]\nlimits: [{requests: 5, window: 1}]\n",
    }
    services = parsed("services: {mine: {mode: observe}}", catalogue=catalogue).policy.services
    assert services["openai"].hosts == ("openai.internal.example",)
    assert services["openai"].limits == ()
    assert (services["mine"].mode, services["mine"].limits[0].amount) == ("observe", 5)


def test_a_mistake_in_a_catalogue_file_names_that_file() -> None:
    """Files dropped beside the configuration are complained about at their own lines."""
    with pytest.raises(ConfigInvalid) as refused:
        parsed("", catalogue={"etc/services/mine.yaml": "hosts: [mine.example]\nlimits: [{requests: 5}]\n"})
    assert [str(error) for error in refused.value.errors] == [
        "etc/services/mine.yaml:2:10: limits[0]: needs a window (seconds, a duration such as 60s, day or month)"
    ]


def test_a_limit_no_endpoint_counts_is_advised_about() -> None:
    """A limit on tokens of a service whose bodies are not read never binds, and check says so."""
    advice = parsed("services: {reddit: {limits: [{tokens: 5, window: 60}]}}").advice
    assert [one.message for one in advice] == ["no endpoint of reddit counts tokens: this limit never binds"]


def test_egress_is_read() -> None:
    """Hosts, ports and inside addresses beside the catalogue."""
    egress = _policy(
        "egress: {allow: ['*.Example.com', '*'], ports: [443], addresses: [{range: fd00::/8, port: 8443}]}"
    ).egress
    assert egress.allow == ("*.example.com", "*")
    assert (egress.ports, egress.addresses) == ((443,), (("fd00::/8", 8443),))
    assert _policy("").egress.allow is None


def _errors(text: str, catalogue: Mapping[str, str]) -> list[Mistake] | None:
    """What is wrong with the text, or None when it is a policy."""
    try:
        parse(text, filename="limits.yaml", sources=WORLD, catalogue=catalogue)
    except ConfigInvalid as refused:
        return refused.errors
    return None


_WORDS = st.sampled_from(
    [
        *("services", "openai", "whisper", "openai_tokens", "x", "limits", "requests", "tokens", "window", "per"),
        *("keys", "env", "hold", "clients", "tokens", "dir", "store", "tiers", "egress", "models", "others", "off"),
        *("capacity", "refillRate", "backoff", "type", "endpoints", "path", "/**", "${KEY_A}", "${file:x}", "*a", "&a"),
        *("<<", "{", "}", "[", "]", ":", "-", ",", "\n", "\n  ", "\n    ", "'", '"', "#", "!!int", "? ", "| ", "~"),
        *("5", "-1", "1e999", "60s", "group", "\\U99999999", "\x00", "\ud800", "é", "%YAML 99999.1", "---"),
    ]
)


@given(st.lists(_WORDS | st.text(max_size=5), max_size=60).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_arbitrary_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    """Whatever stands in the file, the answer is a policy or ConfigInvalid with a place for each mistake."""
    errors = _errors(text, {})
    assert all(error.line >= 1 and error.column >= 1 and error.message for error in errors or ())
    assert errors is None or errors


_SMALL = {
    "openai.yaml": "hosts: [api.openai.com]\nendpoints: {audio: {path: /audio}}\n"
    "parts: {whisper: {endpoints: audio}}\n",
    "x.yaml": "hosts: [api.x.com]\naliases: [twitter]\nlimits: [{requests: 5, window: 1}]\n",
}
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["60s", "others", "group", "sk-secret"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("requests", "window", "per", "models", "limits", "keys", "env", "dir", "capacity", "refillRate"),
                    *("hosts", "endpoints", "path", "costs", "parts", "credential", "write", "header", "hold", "name"),
                    *("upstream", "list", "mapping", "text"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["services", "clients", "tiers", "egress", "log", "store"]),
        st.dictionaries(
            st.sampled_from(["openai", "whisper", "x", "openai_tokens", "new", "tokens", "allow", "ports"]), _VALUES
        )
        | _VALUES,
    )
)
@settings(max_examples=300, deadline=None)
def test_well_formed_nonsense_is_read_or_refused_and_never_quoted(tree: dict[str, object]) -> None:
    """Any tree of the right words with the wrong values is refused without its values in the complaint."""
    text = json.dumps(tree)  # YAML holds JSON
    assert not any("secret" in str(error) for error in _errors(text, _SMALL) or ())
