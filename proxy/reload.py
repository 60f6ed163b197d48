"""Watches configuration, catalogue, keys, tokens and certificates; swaps the policy whole, or not at all.

Law: a file that is wrong changes nothing but the log and a counter. Directories are watched, not files, because a
mounted ConfigMap swaps a symlink (operators 5.4), and paths are compared every two seconds besides, for file systems
that report nothing (operators 4.1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from watchfiles import awatch

from rules.mistakes import ConfigInvalid, Mistake
from rules.policy import Policy

from .configfile import Stamp, find, load, stamp

_log = logging.getLogger("headgate.config")

POLL_MS = 2000  # operators 4.1
SETTLE_MS = 50  # a directory that has been still for so long is read
SETTLE_MAX_MS = 500
READS = 3  # how often files that change under our eyes are read before what was read is believed


class Reloader:
    """Holds the policy in force.

    `explicit` is the file that flag or environment name, None: looked for (design 4.3). `now` gives the wall clock in
    seconds. `on_policy` is called in the event loop with each policy that replaces the one before, `on_outcome` after
    each reload with whether the newest configuration is in force. `veto` says why a policy may not come into force
    here, or None. All three may be set later.
    """

    def __init__(
        self,
        explicit: Path | None,
        environ: Mapping[str, str],
        *,
        now: Callable[[], float],
        on_policy: Callable[[Policy], None] | None = None,
        on_outcome: Callable[[bool], None] | None = None,
        veto: Callable[[Policy], str | None] | None = None,
    ) -> None:
        self.path = find(explicit)
        self.failures = 0
        """Configurations refused since the start."""
        self.loads = 0
        """Policies put in force since the start."""
        self.last_error: ConfigInvalid | None = None
        """Why the newest configuration is not in force; None while it is."""
        self.loaded_at: float | None = None
        self.advice: tuple[Mistake, ...] = ()
        self._environ = environ
        self._now = now
        self.on_policy = on_policy
        self.on_outcome = on_outcome
        self.veto = veto
        self._policy: Policy | None = None
        self._stamps: dict[Path, Stamp] = {}
        self._busy = asyncio.Lock()

    @property
    def policy(self) -> Policy:
        """The policy in force. Only after `load`."""
        if self._policy is None:
            raise RuntimeError("no configuration has been loaded")
        return self._policy

    @property
    def version(self) -> str:
        """Hash of what is in force; the same on every replica with the same configuration."""
        return self._policy.version if self._policy is not None else ""

    def load(self) -> Policy:
        """The first load, at start. Raises ConfigInvalid; `on_policy` is not called."""
        policy, self.advice = self._read()
        self._put_in_force(policy)
        return policy

    async def reload(self) -> bool:
        """Read everything again, off the event loop; True when the newest configuration is in force afterwards."""
        async with self._busy:
            in_force = await self._reload()
        if self.on_outcome is not None:
            self.on_outcome(in_force)
        return in_force

    async def _reload(self) -> bool:
        try:
            policy, advice = await asyncio.to_thread(self._read)
            if self.veto is not None and (reason := self.veto(policy)) is not None:
                raise ConfigInvalid([Mistake(str(self.path or "the environment"), 1, 1, "", reason)])
        except ConfigInvalid as error:
            self.failures += 1
            self.last_error = error
            for mistake in error.errors:
                _log.error("%s", mistake)
            _log.error("configuration refused; %s stays in force", self.version)
            return False
        before = self.version
        self.advice = advice
        self._put_in_force(policy)
        if policy.version != before:
            _log.info("configuration %s in force, before it %s", policy.version, before)
            if self.on_policy is not None:
                self.on_policy(policy)
        return True

    async def watch(self, stop: asyncio.Event) -> None:
        """Reload whenever something that was read has changed, until `stop` is set."""
        while not stop.is_set():
            if _changed(self._stamps):  # since it was read, before anything watched
                await self.reload()
            directories = self._directories()
            if not directories:
                await stop.wait()
                return
            try:
                async for _ in awatch(
                    *directories,
                    watch_filter=None,
                    debounce=SETTLE_MAX_MS,
                    step=SETTLE_MS,
                    stop_event=stop,
                    rust_timeout=POLL_MS,
                    yield_on_timeout=True,
                    recursive=False,
                ):
                    if _changed(self._stamps):
                        await self.reload()
                    if self._directories() != directories:
                        break
            except (OSError, RuntimeError) as error:
                # a directory went away meanwhile, or the kernel's watches are used up: look at the paths ourselves
                _log.warning("cannot watch the configuration (%s); it is compared every 2 s", type(error).__name__)
                await self._compare_once_later(stop)

    async def _compare_once_later(self, stop: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(POLL_MS / 1000):
                await stop.wait()
        except TimeoutError:
            if _changed(self._stamps):
                await self.reload()

    def _read(self) -> tuple[Policy, tuple[Mistake, ...]]:
        """In a thread of its own when reloading: what the loop looks at is replaced, never changed."""
        for attempt in range(READS):
            stamps: dict[Path, Stamp] = {}
            try:
                parsed = load(self.path, self._environ, stamps)
            except ConfigInvalid:
                if attempt == READS - 1 or not _changed(stamps):
                    raise
            else:
                if not _changed(stamps):
                    break
            finally:
                self._stamps = stamps
        return parsed.policy, parsed.advice

    def _put_in_force(self, policy: Policy) -> None:
        self._policy = policy
        self.loads += 1
        self.last_error = None
        self.loaded_at = self._now()

    def _directories(self) -> list[Path]:
        """What to watch: each directory that was listed, and that of each file, as far as they exist."""
        found = {path if path.is_dir() else path.parent for path in self._stamps}
        found |= {path.resolve().parent for path in self._stamps if path.is_symlink()}
        return sorted(place for place in found if place.is_dir())


def _changed(stamps: Mapping[Path, Stamp]) -> bool:
    return any(stamp(path) != then for path, then in stamps.items())
