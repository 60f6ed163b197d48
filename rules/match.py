"""Host, method and path -> service and endpoint; service, endpoint and model -> the limits that count the call.

On the path of every call: dictionaries first, patterns as one linear regular expression each, results kept in bounded
tables. Paths are matched as they were sent (design 5); one that only the last endpoint takes is looked at once more in
the plain spelling that a server may read in it, so that no spelling of an endpoint is charged less (threats B8).
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from .policy import Endpoint, Limit, Policy, Service

# Clients choose models and paths, so what is remembered of them is bounded; a table that is full starts anew.
MAX_KEPT = 4096
MAX_KEPT_LENGTH = 256

Limits = tuple[tuple[Limit, ...], tuple[Limit, ...]]


class Matcher:
    """Built once for a policy; answers are values of that policy."""

    def __init__(self, policy: Policy) -> None:
        self._by_name: dict[str, Service] = {}
        self._by_host: dict[str, Service] = {}
        self._by_suffix: dict[str, Service] = {}
        self._paths: dict[str, _Paths] = {}
        self._limits: dict[tuple[str, str, str | None], Limits] = {}
        for service in policy.services.values():
            for alias in service.aliases:
                self._by_name.setdefault(alias, service)
            for host in service.hosts:
                table = self._by_suffix if host.startswith("*.") else self._by_host
                table.setdefault(host.removeprefix("*."), service)
            self._paths[service.name] = _Paths(service.endpoints)
        self._by_name.update(policy.services)

    def by_host(self, host: str) -> Service | None:
        """The service of a host name (ASCII, without a trailing dot), whatever its case. An exact name wins over
        `*.suffix`, a longer suffix over a shorter one; `*.suffix` does not match the suffix itself."""
        found = self._by_host.get(host)
        if found is not None or not host.isascii():  # a name beyond ASCII may fold into one of ours (Kelvin sign)
            return found
        name = host.lower()
        found = self._by_host.get(name)
        if found is None and self._by_suffix and len(name) <= 253 and not name.startswith("."):
            _, _, rest = name.partition(".")
            while rest and found is None:
                found = self._by_suffix.get(rest)
                _, _, rest = rest.partition(".")
        return found

    def by_name(self, segment: str) -> Service | None:
        """The service a reverse call names in its first path segment, by its name or another one of it."""
        return self._by_name.get(segment)

    def endpoint(self, service: Service, method: str, raw_path: str) -> Endpoint:
        """The first endpoint that takes the method and the path as it was sent; a query is left out."""
        return self._paths[service.name].find(method, raw_path.partition("?")[0])

    def limits_for(self, service: Service, endpoint: Endpoint, model: str | None) -> Limits:
        """The limits that count a call: common ones, and those of the key or its group (`Limit.of_key`)."""
        asked = (service.name, endpoint.name, model)
        found = self._limits.get(asked)
        if found is None:
            every = (*endpoint.limits, *service.limits) if endpoint.service_limits else endpoint.limits
            mine = [limit for limit in every if applies(limit, model)]
            found = (
                tuple(limit for limit in mine if not limit.of_key),
                tuple(limit for limit in mine if limit.of_key),
            )
            if model is None or len(model) <= MAX_KEPT_LENGTH:
                if len(self._limits) >= MAX_KEPT:
                    self._limits.clear()
                self._limits[asked] = found
        return found


def applies(limit: Limit, model: str | None) -> bool:
    """Whether a limit counts calls of a model. A call without a model is counted by limits that name none, and by
    those that only exclude."""
    if not limit.models:
        return True
    excluded = [pattern[1:] for pattern in limit.models if pattern.startswith("!")]
    named = [pattern for pattern in limit.models if not pattern.startswith("!")]
    if model is None:
        return not named
    if any(fnmatch.fnmatchcase(model, pattern) for pattern in excluded):
        return False
    return not named or any(fnmatch.fnmatchcase(model, pattern) for pattern in named)


class _Table:
    """Whole paths in a table, patterns one by one, with their places in the list."""

    __slots__ = ("exact", "patterns")

    def __init__(self, paths: list[str]) -> None:
        self.exact: dict[str, list[int]] = {}
        self.patterns: list[tuple[int, re.Pattern[str]]] = []
        for index, path in enumerate(paths):
            if "*" in path:
                self.patterns.append((index, _pattern(path)))
            else:
                self.exact.setdefault(path, []).append(index)


@dataclass(slots=True)
class _Paths:
    """The endpoints of one service; the lower place in the list wins."""

    endpoints: tuple[Endpoint, ...]
    raw: _Table = field(init=False)
    plain: _Table = field(init=False)
    """By plain spellings of the paths."""

    def __post_init__(self) -> None:
        self.raw = _Table([endpoint.path for endpoint in self.endpoints])
        self.plain = _Table([_plain(endpoint.path) for endpoint in self.endpoints])

    def find(self, method: str, path: str) -> Endpoint:
        last = len(self.endpoints) - 1  # it matches everything
        found = self._first(method, path, self.raw)
        if found == last and (plain := _plain(path)) != path:
            found = self._first(method, plain, self.plain)
        return self.endpoints[found]

    def _first(self, method: str, path: str, table: _Table) -> int:
        best = len(self.endpoints) - 1
        for index in table.exact.get(path, ()):
            if self._takes(index, method):
                best = index
                break
        for index, pattern in table.patterns:
            if index >= best:
                break
            if self._takes(index, method) and pattern.match(path):
                return index
        return best

    def _takes(self, index: int, method: str) -> bool:
        methods = self.endpoints[index].methods
        return not methods or method in methods


def _pattern(path: str) -> re.Pattern[str]:
    """`*`: one segment that is not empty; a last `**`: whatever follows its slash. No part can match in two ways, so
    the time is linear in the path."""
    parts = []
    for segment in path.split("/")[1:]:
        parts.append("/" + {"*": "[^/]+", "**": ".*"}.get(segment, re.escape(segment)))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)


def _plain(path: str) -> str:
    """What the laxest server reads: percent codes decoded, parameters of segments dropped, cut at a NUL, slashes merged
    and none at the end, small letters."""
    path = unquote(path, "latin-1").partition("\0")[0]
    if ";" in path:
        path = "/".join([segment.partition(";")[0] for segment in path.split("/")])
    return "/" + "/".join([segment for segment in path.lower().split("/") if segment])
