"""Strict upstreams of several types behind four Headgate processes on one Redis, each at three times its quota: the run
behind the overload test and the table of `tests.bench.use`.

Whole windows are measured, after one of warm-up unless more are asked for, in the mean over all their phases
(quota.py). When a run disappoints, `explain` says what can be known: how late the upstreams counted after the grant,
what each process granted and how long its upstream took, whether it had lost the store, and how long it waited for a
core.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.headgate_process import Headgate, serving
from tests.redis_server import RedisServer, redis_server
from tests.upstreams import strict
from tests.upstreams.kinds import MEAN_TOKENS, Kind

from .overload import Outcome, push
from .quota import share

PROCESSES = 4
TIMES = 3
"""How many quotas are pushed (issue 3, Shown by)."""
WORKERS = 64
"""Users of each service."""
HELD_WINDOWS = 2
"""A call is held so many windows at most: a full window of calls always waits."""
SERVICE = """
  {name}:
    hosts: [{name}.example]
    upstream: {upstream}
    credential: {{write: {{header: authorization, prefix: "Bearer "}}}}
    keys: [{{name: a, env: KEY_{upper}}}]
    shape: openai
    dialect: openai
    endpoints: {{chat: {{path: /chat/completions, methods: POST, body: chat_completions}}}}
    jitter: {jitter_ms}ms
    limits: {limits}
"""


@dataclass(kw_only=True)
class Result:
    """What became of one type."""

    kind: Kind
    window: float
    warm_up: int
    windows: int
    key: str
    outcome: Outcome
    ledger: list[strict.Entry]

    @property
    def refused(self) -> int:
        """429s of the upstream."""
        return sum(1 for entry in self.ledger if entry.status != 200)

    @property
    def share(self) -> float:
        """Of the quota, what was used in the windows that are measured."""
        first = min(entry.at for entry in self.ledger)
        return share(
            [self._amount(entry) for entry in self.ledger if entry.status == 200],
            quota=self.kind.quota,
            window=self.window,
            start=first + self.warm_up * self.window,
            windows=self.windows,
        )

    def _amount(self, entry: strict.Entry) -> tuple[float, float]:
        if self.kind.meter == "in_flight":
            # the middle stands for the whole stay
            return (entry.at + entry.left) / 2, entry.left - entry.at
        return entry.at, float(entry.tokens) if self.kind.meter == "tokens" else 1.0

    def lateness(self) -> list[float]:
        """Seconds from the grant, as the client knows it, to the upstream's count; sorted."""
        known = self.outcome.granted
        return sorted(entry.at - known[entry.call] for entry in self.ledger if entry.call in known)


@dataclass(kw_only=True)
class Run:
    """All results, and what the processes said."""

    jitter: float
    results: list[Result]
    notes: list[str]
    fell_back: int
    """How often a process left its store, for its share of the limits."""
    late: int
    """Grants that came too late to leave, and were asked for anew."""

    def table(self) -> str:
        """One line a type."""
        heads = f"  {'upstream':<14}{'W':>5}{'J':>7}{'calls':>8}{'429s':>6}{'used':>8}{'optimum':>9}{'aim':>7}  limits"
        lines = [heads]
        for one in self.results:
            kind = one.kind
            lines.append(
                f"  {kind.name:<14}{one.window:>3.0f} s{self.jitter * 1000:>4.0f} ms{len(one.ledger):>8}"
                f"{one.refused:>6}{one.share:>8.1%}{kind.optimum:>9.1%}{kind.aim:>7.1%}  {kind.limits}"
            )
        lines.append(f"  late grants asked for anew: {self.late}; processes that left the store: {self.fell_back}")
        return "\n".join(lines)

    def faults(self) -> list[str]:
        """What no run may show, however disturbed: a 429, a call lost or sent twice, another key."""
        faults = []
        for one in self.results:
            name, outcome, ledger = one.kind.name, one.outcome, one.ledger
            if one.refused:
                faults.append(f"{name}: {one.refused} answers were 429")
            if outcome.lost or outcome.answered + outcome.in_hand != outcome.pushed:
                faults.append(f"{name}: calls were lost")
            if sorted(entry.call for entry in ledger if entry.status == 200) != sorted(outcome.granted):
                faults.append(f"{name}: a call was sent twice, or its answer was made up")
            if {entry.key for entry in ledger} != {f"Bearer {one.key}"}:
                faults.append(f"{name}: a call came without the pooled key")
        return faults

    def wasted(self) -> list[str]:
        """The types whose quota was used less than it must be."""
        return [
            f"{one.kind.name}: {one.share:.1%} of the quota was used, {one.kind.aim:.1%} is the aim"
            for one in self.results
            if one.share < one.kind.aim
        ]

    def explain(self) -> str:
        """What may explain a 429 or a quota left unused."""
        lines = ["from grant to count, milliseconds (up to three tenths of J are the upstream's own delay):"]
        for one in self.results:
            late = one.lateness()
            if late:
                points = [late[0], late[len(late) // 2], late[len(late) * 99 // 100], late[-1]]
                words = ", ".join(
                    f"{name} {at * 1000:.0f}" for name, at in zip(("least", "p50", "p99", "most"), points, strict=True)
                )
                lines.append(f"  {one.kind.name:<14}{words}")
            for entry in [entry for entry in one.ledger if entry.status != 200][:5]:
                lines.append(f"    429 at {entry.at:.3f}, arrived {entry.arrived:.3f}, call {entry.call}")
            outcome = one.outcome
            lines.append(
                f"    {outcome.pushed} pushed, {outcome.answered} answered, {outcome.in_hand} in workers' hands, lost:"
                f" {dict(outcome.lost)}; refusals met: {dict(outcome.refused)}"
            )
        return "\n".join([*lines, *self.notes])


async def run(
    kinds: Sequence[Kind],
    directory: Path,
    *,
    window: float,
    jitter: float,
    windows: int,
    warm_up: int = 1,
    disturb: Callable[[RedisServer, Sequence[Headgate]], None] = lambda redis, gates: None,
) -> Run:
    """Push three quotas through all of them at once, long enough to measure so many windows after `warm_up` others.

    `disturb`: what happens meanwhile; called when the load begins.
    """
    seconds = (warm_up + windows + 1) * window
    keys = {f"KEY_{kind.name.upper()}": f"sk-pool-canary-{kind.name}-4f1d" for kind in kinds}
    with contextlib.ExitStack() as stack:
        upstreams = stack.enter_context(strict.running([kind.provider for kind in kinds]))
        redis = stack.enter_context(redis_server())
        config = "services:" + "".join(
            SERVICE.format(
                name=kind.name,
                upper=kind.name.upper(),
                upstream=upstream,
                jitter_ms=round(jitter * 1000),
                limits=kind.limits,
            )
            for kind, upstream in zip(kinds, upstreams, strict=True)
        )
        gates = [
            stack.enter_context(
                serving(
                    directory / f"headgate-{number}",
                    config,
                    *("--store", redis.url, "--log-format", "json"),
                    more=keys,
                    canaries=tuple(keys.values()),
                )
            )
            for number in range(PROCESSES)
        ]
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
            disturb(redis, gates)
            outcomes = await asyncio.gather(
                *[
                    push(
                        [f"{gate.proxy}/{kind.name}" for gate in gates],
                        _bodies(round(TIMES * kind.calls * seconds / window)),
                        workers=WORKERS,
                        seconds=seconds,
                        max_wait=HELD_WINDOWS * window,
                        session=session,
                    )
                    for kind in kinds
                ]
            )
            ledgers = []
            for upstream in upstreams:
                async with session.get(f"{upstream}/ledger") as reply:
                    ledgers.append([strict.Entry(**entry) for entry in json.loads(await reply.read())])
        fell_back = sum(_losses(gate) for gate in gates)
        late = sum(
            gate.metric(f'headgate_late_grants_total{{service="{kind.name}"}}') for gate in gates for kind in kinds
        )
        notes = [f"the workers:{_core(os.getpid())}", *[line for gate in gates for line in _notes(gate)]]
    results = [
        Result(kind=kind, window=window, warm_up=warm_up, windows=windows, key=key, outcome=outcome, ledger=ledger)
        for kind, key, outcome, ledger in zip(kinds, keys.values(), outcomes, ledgers, strict=True)
    ]
    return Run(jitter=jitter, results=results, notes=notes, fell_back=fell_back, late=round(late))


def _bodies(count: int) -> list[dict[str, object]]:
    draw = random.Random(2)
    return [strict.chat_body(draw.randint(MEAN_TOKENS // 2, MEAN_TOKENS * 3 // 2)) for _ in range(count)]


def _core(pid: int) -> str:
    """What the kernel says of a process's turns, where it says so: with J = 100 ms a machine that others use too makes
    calls late."""
    told = Path(f"/proc/{pid}/schedstat")
    if not told.exists():
        return ""
    ran, waited, _ = told.read_text().split()
    return f" ran {int(ran) / 1e9:.1f} s, waited {int(waited) / 1e9:.1f} s for a core"


def _losses(gate: Headgate) -> int:
    return sum("limits are shared out among" in line for line in gate.log.splitlines())


def _notes(gate: Headgate) -> list[str]:
    """What a process said, and how long its upstreams took."""
    calls: dict[str, list[float]] = {}
    said: dict[str, list[str]] = {}
    for text in gate.log.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            line = {"event": "no log line"}
        if line["event"] != "call":
            said.setdefault(line["event"], []).append(text)
        elif "upstream_ms" in line:
            calls.setdefault(line["service"], []).append(line["upstream_ms"])
    now = "is" if gate.metric("headgate_store_degraded") else "is not"
    lines = [f"{gate.proxy}: lost its store {_losses(gate)} times, {now} without it now;{_core(gate.process.pid)}"]
    for service, took in sorted(calls.items()):
        took.sort()
        lines.append(
            f"  {service:<14}{len(took)} sent; from sending to the answer's head, ms: p50 {took[len(took) // 2]:.0f},"
            f" p99 {took[len(took) * 99 // 100]:.0f}, most {took[-1]:.0f}"
        )
    for event, texts in sorted(said.items()):
        lines += [f"  {event} said {len(texts)} times, at last:", *[f"    {text}" for text in texts[-4:]]]
    return lines
