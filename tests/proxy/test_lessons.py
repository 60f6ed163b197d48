"""proxy/lessons.py: keys that are of no use leave the pool, come back by a call that tries them, and nobody sees it."""

from __future__ import annotations

import json

import pytest

from tests.raw_server import RawServer, raw_server

from .corridor import KEYS, TWO_GROUPS, corridor, service
from .test_exchange import DEAD, DONE, NO_QUOTA, ROOMY, SLOW_DOWN, keys_of, per_key, refusal

MINUTE = 60_000


def asked(upstream: RawServer, name: str) -> int:
    """How often a key came to the upstream."""
    return sum(KEYS[name] in key for key in keys_of(upstream))


class Clock:
    """Milliseconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("refused", [DEAD, NO_QUOTA], ids=["401", "insufficient_quota"])
async def test_a_key_that_was_reinstated_is_found_by_one_call_a_minute(refused: bytes) -> None:
    """No client sees a failed try; after the first that succeeds the key takes its turns."""
    answers = {KEYS["KEY_A"]: refused, KEYS["KEY_B"]: DONE}
    clock = Clock()
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS), now_ms=clock) as front,
    ):

        async def statuses() -> list[int]:
            return [(await front.ask()).status for _ in range(4)]

        assert await statuses() == [200] * 4
        clock.now += MINUTE - 1
        assert await statuses() == [200] * 4
        assert asked(upstream, "KEY_A") == 1
        clock.now += 1
        assert await statuses() == [200] * 4
        assert asked(upstream, "KEY_A") == 2
        answers[KEYS["KEY_A"]] = DONE
        clock.now += MINUTE
        assert await statuses() == [200] * 4
        assert asked(upstream, "KEY_A") > 3
        assert {status.state for _, status in front.keyring.look()} == {"active"}


async def test_the_state_of_a_key_is_seen_with_its_reason_and_each_change_is_counted() -> None:
    """In the keyring, and in a counter by the new state."""
    answers = {KEYS["KEY_A"]: DEAD, KEYS["KEY_B"]: DONE}
    clock = Clock()
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS), now_ms=clock) as front,
    ):
        for _ in range(2):
            await front.ask()
        await front.gate.look_at_rests("openai")
        dead, sound = (status for _, status in front.keyring.look())
        assert (dead.state, dead.reason, sound.state) == (
            "error",
            "the upstream answered 401: the key is refused",
            "active",
        )
        assert (dead.for_ms, dead.tries) == (MINUTE, True)
        changes = "headgate_key_state_changes_total"
        assert front.sample(changes, service="openai", key=dead.key, state="error") == 1
        answers[KEYS["KEY_A"]] = DONE
        clock.now += MINUTE
        for _ in range(2):
            await front.ask()
        await front.gate.look_at_rests("openai")
        assert front.sample(changes, service="openai", key=dead.key, state="active") == 1


async def test_a_call_that_cannot_be_sent_again_is_told_to_come_again_and_not_that_our_key_is_dead() -> None:
    """503 no_key with a time; a 401 would tell the client that its own token is wrong."""
    answers = {KEYS["KEY_A"]: DEAD, KEYS["KEY_B"]: DONE}
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS)) as front,
    ):
        upload = b"x" * 100_000
        replies = [await front.ask("/openai/v1/files", upload) for _ in range(3)]
        assert sorted(reply.status for reply in replies) == [200, 200, 503]
        (told,) = [reply for reply in replies if reply.status == 503]
        assert (told.reason, told.headers["Retry-After"]) == ("no_key", "1")
        assert json.loads(told.body)["error"]["code"] == "no_key"
        assert asked(upstream, "KEY_A") == 1


async def test_more_dead_keys_than_a_call_is_sent_times_give_no_key_and_no_401() -> None:
    """What the client may do is ask again, and then other keys are asked."""
    names = [f"KEY_{n}" for n in range(10)]
    files = {f"/keys/{name}": f"sk-canary-{name}" for name in names}
    pool = "[" + ", ".join(f"{{name: {name.lower()}, file: /keys/{name}}}" for name in names) + "]"
    answers = {f"sk-canary-{name}": DEAD for name in names} | {"sk-canary-KEY_9": DONE}
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, ROOMY, keys=pool), files=files) as front,
    ):
        assert [(await front.ask()).reason for _ in range(2)] == ["no_key", None]


async def test_what_a_status_does_to_a_key_is_the_operators_to_say() -> None:
    """A 403 takes the key out, and a 401 is passed on, where he says so."""
    forbidden = refusal(403, "forbidden")
    answers = {KEYS["KEY_A"]: forbidden, KEYS["KEY_B"]: DONE}
    more = f"{ROOMY}, key_upkeep: {{on_status: {{403: error, 401: none}}}}"
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, more, keys=TWO_GROUPS)) as front,
    ):
        assert [(await front.ask()).status for _ in range(4)] == [200] * 4
        assert asked(upstream, "KEY_A") == 1
        answers[KEYS["KEY_B"]] = DEAD
        assert (await front.ask()).status == 401


async def test_a_try_that_meets_a_429_knows_the_key_again() -> None:
    """Who is told to slow down is known; the key rests for that long and no longer."""
    answers = {KEYS["KEY_A"]: DEAD, KEYS["KEY_B"]: DONE}
    clock = Clock()
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(service(upstream, ROOMY, keys=TWO_GROUPS), now_ms=clock) as front,
    ):
        for _ in range(2):
            await front.ask()
        answers[KEYS["KEY_A"]] = SLOW_DOWN
        clock.now += MINUTE
        assert (await front.ask()).status == 200
        await front.gate.look_at_rests("openai")
        assert [status.state for _, status in front.keyring.look()] == ["rate_limited", "active"]
        answers[KEYS["KEY_A"]] = DONE
        clock.now += 1000
        before = asked(upstream, "KEY_A")
        for _ in range(2):
            await front.ask()
        assert asked(upstream, "KEY_A") == before + 1


async def test_a_key_whose_secret_is_replaced_serves_at_once_without_a_restart() -> None:
    """The new secret is another key, of which nothing bad is known."""
    answers = {KEYS["KEY_A"]: DEAD, "sk-canary-new": DONE}
    files = {"/keys/a": KEYS["KEY_A"]}
    async with (
        raw_server(lambda peer: per_key(peer, answers)) as upstream,
        corridor(config := service(upstream, ROOMY, keys="{dir: /keys}"), files=files) as front,
    ):
        assert (await front.ask()).reason == "no_key"
        files["/keys/a"] = "sk-canary-new"
        front.reload(config)
        assert (await front.ask()).status == 200
        assert [status.state for _, status in front.keyring.look()] == ["active"]
