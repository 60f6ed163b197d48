"""Hot reload on real files: edits, renames, mounted volumes, and files that are wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.reload import Reloader
from proxy.tasks import spawn
from rules.mistakes import ConfigInvalid
from rules.policy import Policy

PATIENCE = 20
"""Seconds within which a change must be seen; on an idle machine it takes a tenth of one."""


def _text(amount: int, more: str = "") -> str:
    return f"services: {{reddit: {{limits: [{{requests: {amount}, window: 60}}]{more}}}}}\n"


def _amount(policy: Policy) -> int:
    return policy.services["reddit"].limits[0].amount


class _Watched:
    """A reloader at work, and the policies it has put in force since."""

    def __init__(self, config: Path, environ: dict[str, str] | None = None) -> None:
        self.policies: list[Policy] = []
        self._heard = asyncio.Event()
        self.reloader = Reloader(config, environ or {}, now=lambda: 1234.5, on_policy=self._on_policy)
        self.reloader.load()

    def _on_policy(self, policy: Policy) -> None:
        self.policies.append(policy)
        self._heard.set()

    def hear(self) -> None:
        """Something was logged."""
        self._heard.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds, looking whenever something was put in force or logged."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._heard.clear()
                await self._heard.wait()


class _Ears(logging.Handler):
    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        asyncio.get_running_loop().call_soon(self._heard)


@asynccontextmanager
async def _watching(watched: _Watched) -> AsyncIterator[list[str]]:
    """The watch runs inside; yields what it logs."""
    stop, ears = asyncio.Event(), _Ears(watched.hear)
    log = logging.getLogger("headgate.config")
    log.addHandler(ears)
    log.setLevel(logging.INFO)
    task = spawn(watched.reloader.watch(stop), name="watch")
    try:
        yield ears.lines
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await task
        log.removeHandler(ears)


async def test_an_edit_is_put_in_force(tmp_path: Path) -> None:
    """A file written in place becomes the policy, with a new version and time."""
    config = tmp_path / "limits.yaml"
    config.write_text(_text(1))
    watched = _Watched(config)
    before = watched.reloader.version
    assert (_amount(watched.reloader.policy), watched.reloader.loaded_at, watched.reloader.loads) == (1, 1234.5, 1)
    async with _watching(watched) as lines:
        config.write_text(_text(2))
        await watched.until(lambda: bool(watched.policies))
    assert _amount(watched.policies[-1]) == 2
    assert watched.reloader.policy is watched.policies[-1]
    assert watched.reloader.version != before
    assert lines[-1] == f"configuration {watched.reloader.version} in force, before it {before}"


async def test_an_editors_rename_is_put_in_force_time_after_time(tmp_path: Path) -> None:
    """A file replaced by another of its name is seen the second time too."""
    config = tmp_path / "limits.yaml"
    config.write_text(_text(1))
    watched = _Watched(config)
    async with _watching(watched):
        for amount in (2, 3):
            (tmp_path / "new").write_text(_text(amount))
            (tmp_path / "new").rename(config)
            await watched.until(lambda wanted=amount: _amount(watched.reloader.policy) == wanted)  # type: ignore[misc]


async def test_a_mounted_volume_is_followed_through_its_swaps(tmp_path: Path) -> None:
    """A ConfigMap swaps `..data` by rename and removes what it pointed at: both updates are seen (operators 5.4)."""
    config = tmp_path / "limits.yaml"

    def mount(version: str, amount: int) -> None:
        (tmp_path / version).mkdir()
        (tmp_path / version / "limits.yaml").write_text(_text(amount))
        (tmp_path / "..tmp").symlink_to(version)
        (tmp_path / "..tmp").rename(tmp_path / "..data")

    mount("..v1", 1)
    config.symlink_to("..data/limits.yaml")
    watched = _Watched(config)
    async with _watching(watched):
        for number in (2, 3):
            mount(f"..v{number}", number)
            (tmp_path / f"..v{number - 1}/limits.yaml").unlink()
            (tmp_path / f"..v{number - 1}").rmdir()
            await watched.until(lambda wanted=number: _amount(watched.reloader.policy) == wanted)  # type: ignore[misc]


async def test_a_bad_file_changes_nothing_and_is_heard_once(tmp_path: Path) -> None:
    """The old policy stays, every mistake is logged, the failure counted; the next good file ends it."""
    config = tmp_path / "limits.yaml"
    config.write_text(_text(1))
    watched = _Watched(config)
    kept = watched.reloader.policy
    async with _watching(watched) as lines:
        config.write_text(_text(2, ", modde: off, jitter: 5"))
        await watched.until(lambda: watched.reloader.failures == 1)
        assert watched.reloader.policy is kept
        assert str(watched.reloader.last_error).count("\n") == 1
        assert lines == [
            f"{config}:1:58: services.reddit.modde: unknown key (did you mean 'mode'?)",
            f"{config}:1:78: services.reddit.jitter: must be a duration such as 500ms, 60s, 5m or 1h",
            f"configuration refused; {kept.version} stays in force",
        ]
        config.unlink()
        await watched.until(lambda: watched.reloader.failures == 2)
        config.write_text(_text(3))
        await watched.until(lambda: bool(watched.policies))
    assert watched.reloader.last_error is None
    assert _amount(watched.reloader.policy) == 3


async def test_keys_tokens_and_services_are_watched_too(tmp_path: Path) -> None:
    """A key file, a client's file, a service dropped beside: each is put in force without an edit of the YAML."""
    for name in ("keys", "clients"):
        (tmp_path / name).mkdir()
    (tmp_path / "keys/a").write_text("sk-1")
    config = tmp_path / "limits.yaml"
    config.write_text("clients: {tokens: {dir: clients}}\nservices: {reddit: {keys: {dir: keys}}}\n")
    watched = _Watched(config)
    async with _watching(watched):
        (tmp_path / "keys/b").write_text("sk-2")
        await watched.until(lambda: len(watched.reloader.policy.services["reddit"].keys) == 2)
        (tmp_path / "clients/crawler").write_text("tok")
        await watched.until(lambda: len(watched.reloader.policy.clients.tokens) == 1)
        (tmp_path / "services").mkdir()
        (tmp_path / "services/mine.yaml").write_text("hosts: [mine.example]\n")
        await watched.until(lambda: "mine" in watched.reloader.policy.services)
        (tmp_path / "keys/a").unlink()
        await watched.until(lambda: [key.secret for key in watched.reloader.policy.services["reddit"].keys] == ["sk-2"])


async def test_a_reload_that_means_the_same_swaps_nothing_for_others(tmp_path: Path) -> None:
    """A comment is no new policy: the version stays and nobody is called."""
    config = tmp_path / "limits.yaml"
    config.write_text(_text(1))
    watched = _Watched(config)
    config.write_text("# a word\n" + _text(1))
    assert await watched.reloader.reload()
    assert watched.policies == []
    assert watched.reloader.loads == 2


def test_a_bad_file_at_start_is_raised(tmp_path: Path) -> None:
    """The first load has nothing to fall back on."""
    config = tmp_path / "limits.yaml"
    config.write_text("a: 1")
    reloader = Reloader(config, {}, now=lambda: 0.0)
    with pytest.raises(ConfigInvalid, match="unknown key"):
        reloader.load()
    with pytest.raises(RuntimeError, match="no configuration has been loaded"):
        _ = reloader.policy
    assert reloader.version == ""
