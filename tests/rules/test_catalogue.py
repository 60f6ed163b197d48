"""The shipped catalogue: what its calls are matched to and counted by, against the documented numbers."""

from __future__ import annotations

import pytest

from rules.match import Matcher

from .given import CATALOGUE, parsed

POLICY = parsed("").policy
MATCHER = Matcher(POLICY)


PACIFIC, UTC = "day America/Los_Angeles", "day UTC"


def _counted(service: str, method: str, path: str, model: str | None) -> list[tuple[str, float, int | str]]:
    """(meter, natural amount, window in seconds or calendar period), of all limits that count the call."""
    found = POLICY.services[service]
    common, of_key = MATCHER.limits_for(found, MATCHER.endpoint(found, method, path), model)
    return sorted(
        (
            limit.meter,
            limit.amount / limit.scale,
            f"{limit.period} {limit.timezone}" if limit.period else limit.window_ms // 1000,
        )
        for limit in (*common, *of_key)
    )


CLAUDE = [("input_tokens", 2e6, 60), ("output_tokens", 4e5, 60), ("requests", 1000, 60)]


@pytest.mark.parametrize(
    ("service", "method", "path", "model", "limits"),
    [
        ("openai", "POST", "/v1/chat/completions", "gpt-4o", [("requests", 500, 60), ("tokens", 30000, 60)]),
        ("openai", "POST", "/v1/chat/completions", "gpt-4o-2024-08-06", [("requests", 500, 60), ("tokens", 30000, 60)]),
        (
            "openai",
            "POST",
            "/v1/chat/completions",
            "gpt-4o-mini-2024-07-18",
            [("requests", 500, 60), ("requests", 10000, 86400), ("tokens", 200000, 60)],
        ),
        ("openai", "POST", "/v1/responses", "gpt-6.1-sol", [("requests", 5000, 60), ("tokens", 1e6, 60)]),
        ("openai", "POST", "/v1/responses", "gpt-9", [("requests", 500, 60), ("tokens", 30000, 60)]),
        ("openai", "POST", "/v1/embeddings", "text-embedding-3-large", [("requests", 3000, 60), ("tokens", 1e6, 60)]),
        (
            "openai",
            "POST",
            "/v1/audio/transcriptions",
            "whisper-1",
            [("concurrent", 5, 0), ("requests", 500, 60), ("tokens", 30000, 60)],
        ),
        ("openai", "GET", "/v1/models", None, [("requests", 500, 60), ("tokens", 30000, 60)]),
        ("anthropic", "POST", "/v1/messages", "claude-opus-4-8", CLAUDE),
        ("anthropic", "POST", "/v1/messages", "claude-sonnet-4-5-20250929", CLAUDE),
        ("anthropic", "POST", "/v1/messages", "claude-opus-5", CLAUDE),
        (
            "anthropic",
            "POST",
            "/v1/messages",
            "claude-opus-5-5",
            [("input_tokens", 5e5, 60), ("output_tokens", 1e5, 60), ("requests", 1000, 60)],
        ),
        ("anthropic", "POST", "/v1/messages/count_tokens", "claude-opus-5", [("requests", 100, 60)]),
        ("reddit", "GET", "/r/python/new", None, [("requests", 1000, 600)]),
        ("x", "GET", "/2/tweets/search/recent?query=a", None, [("requests", 450, 900)]),
        ("x", "GET", "/2/tweets/search/all", None, [("requests", 1, 1), ("requests", 300, 900)]),
        ("x", "POST", "/2/tweets", None, [("requests", 100, 900), ("requests", 10000, 86400)]),
        ("x", "GET", "/2/tweets/123", None, [("requests", 3500, 900)]),
        ("x", "GET", "/2/users/by/username/a", None, [("requests", 300, 900)]),
        ("x", "GET", "/2/anything", None, [("requests", 300, 900)]),
        ("youtube", "GET", "/youtube/v3/search?q=a", None, [("requests", 100, PACIFIC)]),
        ("youtube", "POST", "/upload/youtube/v3/videos", None, [("requests", 100, PACIFIC)]),
        ("youtube", "GET", "/youtube/v3/videos", None, [("units", 10000, PACIFIC)]),
        ("tiktok", "GET", "/v2/user/info/", None, [("requests", 600, 60)]),
        ("tiktok", "POST", "/v2/research/video/query/", None, [("requests", 1000, UTC)]),
        ("tiktok", "POST", "/v2/other/", None, [("requests", 1_000_000, 60)]),  # the most that is ever tried
    ],
)
def test_a_call_is_counted_by_the_documented_limits(
    service: str, method: str, path: str, model: str | None, limits: list[tuple[str, float, int | str]]
) -> None:
    """Each call of the catalogue meets the limits its provider documents, and no others."""
    assert _counted(service, method, path, model) == limits


def test_models_of_one_class_share_a_bucket() -> None:
    """Opus 4.5 and 4.8 are counted by the same limits of the group, which name no model in their scope."""
    service = POLICY.services["anthropic"]
    endpoint = MATCHER.endpoint(service, "POST", "/v1/messages")
    first = MATCHER.limits_for(service, endpoint, "claude-opus-4-5")
    assert first == MATCHER.limits_for(service, endpoint, "claude-opus-4-8")
    assert all(limit.per == ("group",) for limit in first[1])


@pytest.mark.parametrize(
    ("method", "path", "units"),
    [
        ("GET", "/youtube/v3/channels", 1.0),
        ("POST", "/youtube/v3/comments", 50.0),
        ("POST", "/youtube/v3/captions", 400.0),
        ("PUT", "/upload/youtube/v3/videos", 1.0),
        ("GET", "/nothing", 1.0),
    ],
)
def test_youtube_calls_cost_their_units(method: str, path: str, units: float) -> None:
    """Lists cost 1, writes 50, captions.insert 400 (provider-facts 1.3)."""
    assert MATCHER.endpoint(POLICY.services["youtube"], method, path).costs["units"] == units


@pytest.mark.parametrize("name", sorted(POLICY.services))
def test_every_service_is_whole(name: str) -> None:
    """Every service has a host, a variable for its key, a place for it, and counts a request for whatever call."""
    service = POLICY.services[name]
    assert service.hosts
    assert service.key_env
    assert service.credential.write in service.credential.read
    assert (service.endpoints[-1].path, service.endpoints[-1].methods) == ("/**", ())
    assert all(endpoint.costs.get("requests") == 1 for endpoint in service.endpoints)
    ids = [limit.id for limit in service.limits]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("filename", sorted(CATALOGUE))
def test_every_limit_of_the_catalogue_names_its_source(filename: str) -> None:
    """Beside each number, or above its row of numbers, stands where it comes from, or that it has no source."""
    above = ""
    for line in CATALOGUE[filename].splitlines():
        if line.lstrip().startswith("#"):
            above += line
        elif line.lstrip().startswith("- {") and ("window:" in line or "concurrent:" in line):
            told = above + line.partition("#")[2]
            assert any(word in told for word in ("provider-facts", "no source", " as ")), line
        else:
            above = ""


def test_openai_sdks_are_pointed_at_the_reverse_entrance() -> None:
    """The catalogue knows what `headgate env` prints."""
    openai, anthropic = POLICY.services["openai"], POLICY.services["anthropic"]
    assert (openai.base_url_env, openai.base_path) == (("OPENAI_BASE_URL",), "/v1")
    assert (anthropic.base_url_env, anthropic.base_path) == (("ANTHROPIC_BASE_URL",), "")


def test_a_catalogue_file_without_hosts_is_a_mistake() -> None:
    """A service nobody can reach is refused with its file's name."""
    with pytest.raises(Exception, match=r"services/a\.yaml:1:1: needs hosts"):
        parsed("", catalogue={"services/a.yaml": "shape: plain\n"})


def test_a_catalogue_file_whose_name_is_no_name_is_a_mistake() -> None:
    """The file's name is the service's, so it must be one."""
    with pytest.raises(Exception, match="the file's name is no service name"):
        parsed("", catalogue={"services/a b.yaml": "hosts: [a.example]\n"})


def test_unreadable_catalogue_text_is_a_mistake_of_that_file_alone() -> None:
    """One broken file is told with its place, and what it breaks in the operator's file beside it."""
    with pytest.raises(Exception, match=r"services/a\.yaml:1:8: is not YAML"):
        parsed("", catalogue={"services/a.yaml": "hosts: ]\n"})
