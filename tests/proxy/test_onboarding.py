"""The variables a worker sets, and how shells write them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.onboarding import (
    REPLACING,
    Trust,
    base_url_variables,
    parse_entrance,
    proxy_variables,
    render,
    variables,
)
from rules.policy import PLACEHOLDER, Backoff, Credential, CredentialPlace, Hold, Service

HERE = parse_entrance("http://127.0.0.1:8080")
TRUST = Trust(ca=Path("/s/ca.pem"), bundle=Path("/s/b.pem"), truststore=Path("/s/b.p12"), password="changeit")
PLACE = CredentialPlace(place="header", name="authorization", prefix="Bearer ")


def service(name: str, *, key: tuple[str, ...], base: tuple[str, ...] = (), path: str = "") -> Service:
    """A service of the catalogue, as far as workers see it."""
    return Service(
        name=name,
        hosts=(f"api.{name}.com",),
        credential=Credential(write=PLACE, read=(PLACE,)),
        endpoints=(),
        limits=(),
        keys=(),
        hold=Hold(max_wait_ms=1, max_queue=1),
        backoff=Backoff(type="linear", initial_delay_ms=1, max_delay_ms=1),
        key_env=key,
        base_url_env=base,
        base_path=path,
    )


SERVICES = [
    service("openai", key=("OPENAI_API_KEY",), base=("OPENAI_BASE_URL",), path="/v1"),
    service("anthropic", key=("ANTHROPIC_API_KEY",), base=("ANTHROPIC_BASE_URL",)),
    service("reddit", key=("REDDIT_TOKEN",)),
]


def test_base_urls_name_the_service_and_what_the_sdk_expects_behind_it() -> None:
    """OpenAI's base URL ends in /v1, Anthropic's does not, and each SDK has a key to start with."""
    assert base_url_variables(SERVICES, HERE, {}) == {
        "OPENAI_BASE_URL": "http://127.0.0.1:8080/openai/v1",
        "OPENAI_API_KEY": PLACEHOLDER,
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080/anthropic",
        "ANTHROPIC_API_KEY": PLACEHOLDER,
    }


def test_the_workers_own_key_stays() -> None:
    """A key the worker has set is not replaced by the placeholder; an empty one is."""
    found = base_url_variables(SERVICES, HERE, {"OPENAI_API_KEY": "sk-own", "ANTHROPIC_API_KEY": ""})
    assert "OPENAI_API_KEY" not in found
    assert found["ANTHROPIC_API_KEY"] == PLACEHOLDER


def test_a_client_token_is_the_key_the_sdk_sends() -> None:
    """With a token in the URL the SDK's key is that token, whatever was set, and no base URL holds it."""
    entrance = parse_entrance("http://ada:to%40ken@proxy.internal:8080")
    found = base_url_variables(SERVICES, entrance, {"OPENAI_API_KEY": "sk-own"})
    assert found["OPENAI_API_KEY"] == "to@ken"
    assert found["OPENAI_BASE_URL"] == "http://proxy.internal:8080/openai/v1"
    assert "ken" not in repr(entrance)


def test_proxy_mode_sets_both_cases_and_every_trust_variable() -> None:
    """Proxy variables come in both cases; variables that replace the roots name the bundle, Node's names our CA."""
    found = proxy_variables(SERVICES, HERE, {}, TRUST)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        assert found[name] == "http://127.0.0.1:8080"
    assert {found[name] for name in REPLACING} == {"/s/b.pem"}
    assert found["NODE_EXTRA_CA_CERTS"] == "/s/ca.pem"
    assert found["NODE_USE_ENV_PROXY"] == "1"
    assert found["OPENAI_API_KEY"] == PLACEHOLDER
    assert "OPENAI_BASE_URL" not in found


def test_proxy_variables_carry_the_credentials() -> None:
    """The client token travels in HTTPS_PROXY, percent-encoded as it was given."""
    found = proxy_variables([], parse_entrance("http://ada:to%40ken@[::1]:8080/"), {}, TRUST)
    assert found["HTTPS_PROXY"] == "http://ada:to%40ken@[::1]:8080"


def test_no_proxy_keeps_the_workers_own_names_once() -> None:
    """This machine, cluster names and the proxy itself go direct, and so does what the worker had listed."""
    found = proxy_variables([], parse_entrance("http://hg.internal:1"), {"NO_PROXY": "db.internal, localhost,,"}, TRUST)
    assert found["NO_PROXY"] == "localhost,127.0.0.1,::1,.svc,.cluster.local,hg.internal,db.internal"
    assert found["no_proxy"] == found["NO_PROXY"]


@pytest.mark.parametrize(
    ("own", "set_to"),
    [("/company.pem", "/s/b.pem"), ("/s/ca.pem", "/s/ca.pem"), ("/s/b.pem", "/s/ca.pem"), ("", "/s/ca.pem")],
)
def test_node_keeps_a_foreign_extra_ca(own: str, set_to: str) -> None:
    """Where the worker had an extra CA of its own, Node is given the bundle, which holds both."""
    assert proxy_variables([], HERE, {"NODE_EXTRA_CA_CERTS": own}, TRUST)["NODE_EXTRA_CA_CERTS"] == set_to


def test_java_options_are_added_once_to_the_workers_own() -> None:
    """Java gets the trust store and the proxy as properties; its own options stay, and a second round adds nothing."""
    once = proxy_variables([], HERE, {"JAVA_TOOL_OPTIONS": "-Xmx1g -Da='b c'"}, TRUST)["JAVA_TOOL_OPTIONS"]
    assert once.startswith("-Xmx1g '-Da=b c' -Djavax.net.ssl.trustStore=/s/b.p12 ")
    assert "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8080" in once
    assert proxy_variables([], HERE, {"JAVA_TOOL_OPTIONS": once}, TRUST)["JAVA_TOOL_OPTIONS"] == once
    broken = proxy_variables([], HERE, {"JAVA_TOOL_OPTIONS": "-Da='b"}, TRUST)["JAVA_TOOL_OPTIONS"]
    assert "-Da=" in broken


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8080", "https://a:1", "http://", "http://a/openai", "http://a?b", "http://a#b", "http://a:x"),
        *("http://[::1", "ftp://a", "http://u:CANARY@a/b"),
    ],
)
def test_what_is_no_entrance_is_refused_without_quoting(url: str) -> None:
    """A URL with another scheme, a path, a bad port or no host is refused, and a token in it is not repeated."""
    with pytest.raises(ValueError, match=r"looks like http://127\.0\.0\.1:8080") as refused:
        parse_entrance(url)
    assert "CANARY" not in str(refused.value)


def test_proxy_mode_without_the_certificate_is_a_mistake_of_the_caller() -> None:
    """Proxy mode cannot be had without trust files."""
    assert variables("base-url", SERVICES, HERE, {}, None) == base_url_variables(SERVICES, HERE, {})
    assert variables("proxy", SERVICES, HERE, {}, TRUST) == proxy_variables(SERVICES, HERE, {}, TRUST)
    with pytest.raises(ValueError):
        variables("proxy", SERVICES, HERE, {}, None)


AWKWARD = {
    "PLAIN": "http://127.0.0.1:8080/openai/v1",
    "QUOTE": "it's",
    "BOTH": 'it\'s "so" $HOME `id` \\ end\\',
    "SPACE": "a b",
    "EMPTY": "",
    "HASH": "a#b",
    "BACKSLASH": "a\\b\\",
    "UNICODE": "Bäckerei",
}


def test_a_real_sh_reads_back_every_value() -> None:
    """What is printed for sh, evaluated by sh, sets each variable to exactly its value."""
    assert printed_by("sh", ["sh", "-c", 'eval "$(cat)"; exec env -0'], render(AWKWARD, "sh")) == AWKWARD


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not on the PATH")
def test_a_real_fish_reads_back_every_value() -> None:
    """What is printed for fish, sourced by fish, sets each variable to exactly its value."""
    assert printed_by("fish", ["fish", "-c", "source -; env -0"], render(AWKWARD, "fish")) == AWKWARD


def printed_by(shell: str, command: list[str], lines: str) -> Mapping[str, str]:
    """The variables of AWKWARD after `command` has read `lines`."""
    ended = subprocess.run(
        command, input=lines.encode(), capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    pairs = (entry.split("=", 1) for entry in ended.stdout.decode().split("\0") if "=" in entry)
    return {name: value for name, value in pairs if name in AWKWARD}


def test_fish_quotes_only_what_single_quotes_do_not_hold() -> None:
    """In fish's single quotes a quote and a backslash are escaped, nothing else is special."""
    assert render({"A": "it's a \\ $HOME"}, "fish") == "set -gx A 'it\\'s a \\\\ $HOME'\n"


def test_json_is_an_object() -> None:
    """The JSON form holds each name and value as it is."""
    assert json.loads(render(AWKWARD, "json")) == AWKWARD


def test_dotenv_quotes_only_where_it_must() -> None:
    """A plain value stands unquoted, because docker keeps quotes; others are quoted so that nothing is expanded."""
    lines = render({"A": "http://a:1/b", "B": "a b", "C": 'it\'s "$X"'}, "dotenv").splitlines()
    assert lines == ["A=http://a:1/b", "B='a b'", 'C="it\'s \\"\\$X\\""']


def test_node_reads_back_the_dotenv_form(tmp_path: Path) -> None:
    """A reader of .env files that we did not write gets plain and single-quoted values unchanged."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on the PATH")
    told = {name: AWKWARD[name] for name in ("PLAIN", "SPACE", "HASH", "BACKSLASH", "UNICODE", "EMPTY", "QUOTE")}
    (tmp_path / ".env").write_text(render(told, "dotenv"))
    script = "console.log(JSON.stringify(process.env))"
    ended = subprocess.run(
        [node, f"--env-file={tmp_path / '.env'}", "-e", script], capture_output=True, check=True, env={}
    )
    read = json.loads(ended.stdout)
    assert {name: read[name] for name in told} == told


def test_a_value_that_no_file_can_carry_is_refused() -> None:
    """A line break in a value, which would start a line of its own, is refused by the variable's name."""
    with pytest.raises(ValueError, match="SSL_CERT_FILE"):
        render({"SSL_CERT_FILE": "/a\nexport B=c"}, "sh")
