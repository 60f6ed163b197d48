"""The tick that only asks: what the gate would say to a call now (limiter.md 11).

Law: the same script decides as for a call that arrives, among the same waiting calls; it writes nothing (tick.lua), so
asking moves nothing, and anybody may ask as often as he likes.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..verdict import Explained, Plan, Room
from . import wire


def question(replica: bytes, share: int, arrival: Sequence[bytes | int]) -> list[bytes | int]:
    """Arguments of the tick. `share`: per mille of each limit that the host may use; `arrival`: of wire.arrive."""
    return [replica, 0, 0, share, 0, *arrival]


def explained(answer: bytes, n: int, plan: Plan) -> Explained:
    """What the answer says of call `n`, whose plan was asked about; it may name other calls too."""
    reply = wire.reply(answer)
    stood = next((seen for seen in reply.seen if seen.n == n), None)
    granted = next((granted for granted in reply.granted if granted.n == n), None)
    refused = next((refused for refused in reply.refused if refused.n == n), None)
    held = next((position for who, position in reply.held if who == n), None)
    at = granted.candidate if granted else stood.candidate if stood else None
    candidate = plan.candidates[at] if at is not None else None
    key, group = (candidate.key, candidate.group) if candidate else (None, None)
    rooms = _rooms(stood, plan) if stood else ()
    rests_ms = stood.rests_ms if stood else 0
    # a waiting call that would be served in the same tick waits no more; one that would be held would
    waiting = reply.waiting - (held is not None)
    if granted:
        return Explained(verdict="go", key=key, group=group, wait_ms=0, rooms=rooms, waiting=waiting)
    if refused:
        verdict, code, position, wait_ms = "refuse", refused.code, refused.position, refused.wait_ms
    else:
        verdict, code, position, wait_ms = "wait", None, held or 0, stood.wait_ms if stood else None
    return Explained(
        verdict=verdict,
        code=code,
        key=key,
        group=group,
        rests_ms=rests_ms,
        wait_ms=wait_ms,
        binds=wire.charge_at(plan, position),
        rooms=rooms,
        waiting=waiting,
    )


def _rooms(stood: wire.Seen, plan: Plan) -> tuple[Room, ...]:
    charges = (*plan.charges, *plan.candidates[stood.candidate].charges)
    return tuple(
        [
            Room(charge=charge, used=used, amount=amount, ahead=ahead, fits_ms=fits, paced=paced)
            for charge, (used, amount, ahead, fits, paced) in zip(charges, stood.rooms, strict=True)
        ]
    )
