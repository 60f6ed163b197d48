"""The promise itself: under three times its quota no upstream of any type answers 429, and its quota is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.upstreams.kinds import short

from .saturation import Run, run

WINDOW = 6.0
JITTER = 0.1
WINDOWS = 3


@pytest.mark.alone
@pytest.mark.timeout(180)
async def test_four_processes_on_one_redis_use_six_types_of_quota_and_meet_no_429(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the calls pushed in 30 s none is lost or sent twice, no upstream refuses one, and each gives what it must.

    The table and, where something failed, what the processes said are printed.
    """
    result = await run(short(), tmp_path, window=WINDOW, jitter=JITTER, windows=WINDOWS)
    with capsys.disabled():
        print("\n" + result.table())
    assert _faults(result) == [], result.explain()


def _faults(result: Run) -> list[str]:
    faults = []
    for one in result.results:
        name, outcome, ledger = one.kind.name, one.outcome, one.ledger
        if one.refused:
            faults.append(f"{name}: {one.refused} answers were 429")
        if outcome.lost or outcome.answered + outcome.in_hand != outcome.pushed:
            faults.append(f"{name}: calls were lost")
        if sorted(entry.call for entry in ledger if entry.status == 200) != sorted(outcome.granted):
            faults.append(f"{name}: a call was sent twice, or its answer was made up")
        if {entry.key for entry in ledger} != {f"Bearer {one.key}"}:
            faults.append(f"{name}: a call came without the pooled key")
        if one.share < one.kind.aim:
            faults.append(f"{name}: {one.share:.1%} of the quota was used, {one.kind.aim:.1%} is the aim")
    return faults
