"""proxy/counting.py: what is counted at once, what in a thread, and what usage teaches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson
import pytest

from proxy import counting
from proxy.counting import COUNT_INLINE, Counting, count_of
from proxy.head import Head, read_head
from proxy.metrics import Metrics
from rules.meters import Estimate, estimate, load
from rules.policy import Endpoint, Service
from tests.rules.given import parsed


@dataclass(frozen=True)
class Typed:
    """A request head."""

    path: str = "/openai/v1/chat/completions"
    raw_headers: tuple[tuple[bytes, bytes], ...] = ((b"Host", b"localhost"), (b"Content-Type", b"application/json"))
    method: str = "POST"
    version: tuple[int, int] = (1, 1)
    upgrade: bool = False


@dataclass
class Room:
    """What a call brings, and in which thread each body was counted."""

    counting: Counting
    service: Service
    endpoint: Endpoint
    head: Head = field(default_factory=lambda: read_head(Typed()))
    off_the_loop: list[bool] = field(default_factory=list)

    async def count(self, body: bytes) -> Estimate:
        """Count a body."""
        return await self.counting.count(body, self.head, self.service, self.endpoint)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """A room of its own."""
    load()
    service = parsed("services: {openai: {keys: {env: K}}}", environ={"K": "k"}).policy.services["openai"]
    (endpoint,) = (one for one in service.endpoints if one.name == "chat.completions")
    with ThreadPoolExecutor(1) as counters:
        made = Room(Counting(metrics=Metrics(), counters=counters), service, endpoint)
        here = threading.get_ident()

        def noting(body: bytes, head: Head, *args: object, **how: object) -> Estimate:
            found = count_of(body, head, *args, **how)  # type: ignore[arg-type]
            made.off_the_loop.append(threading.get_ident() != here)
            return found

        monkeypatch.setattr(counting, "count_of", noting)
        yield made


def chat(*texts: str, model: str = "gpt-4o") -> bytes:
    """A chat of those texts."""
    return orjson.dumps({"model": model, "messages": [{"role": "user", "content": text} for text in texts]})


def tokens(text: str) -> float:
    """Of the text alone."""
    return estimate("embeddings", orjson.dumps({"model": "gpt-4o", "input": text})).costs["input_tokens"]


def words(number: int, size: int) -> str:
    """A text that no other number gives."""
    return f"{number} of the words that were said " * (size // 30)


async def test_what_is_long_is_counted_in_a_thread(room: Room) -> None:
    """A short chat at once; one above 64 KiB, one of many texts, and one of many values in a thread."""
    many = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}] * 1800})
    bodies = [chat("hello"), chat(words(1, COUNT_INLINE + 1000)), chat(*(words(n, 3000) for n in range(2, 9))), many]
    assert len(bodies[2]) < COUNT_INLINE > len(many)
    for body in bodies:
        assert await room.count(body) == estimate("chat_completions", body)
    assert room.off_the_loop == [False, True, True, True]


async def test_a_conversation_that_grows_is_counted_at_once(room: Room) -> None:
    """Each turn is counted when it comes; those before it are remembered, however long they are together."""
    said = [words(number, 5000) for number in range(100, 112)]
    for turn in range(1, len(said) + 1):
        body = chat(*said[:turn])
        found = await room.count(body)
        assert found.costs["input_tokens"] == 3 + sum(4 + tokens(one) for one in said[:turn])
    assert room.off_the_loop == [False] * len(said)


async def test_usage_moves_the_estimates_of_its_model_and_service(room: Room) -> None:
    """And of no other."""
    body, other = chat(words(200, 3000), model="zebra-9"), chat(words(200, 3000), model="zebra-8")
    before = await room.count(body)
    for _ in range(30):
        room.counting.teach(room.service, before, {"input_tokens": before.text_tokens * 1.5 + before.fixed})
    after = await room.count(body)
    assert after.costs["input_tokens"] == pytest.approx(before.text_tokens * 1.5, rel=0.02)
    assert (await room.count(other)).costs == before.costs


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com"}}]}
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}]},
        {"messages": []},
        {"messages": 3},
    ],
)
async def test_usage_of_what_was_not_all_text_teaches_nothing(room: Room, more: dict[str, object]) -> None:
    """Of tools and images, of what a cache holds, of a body without texts."""
    body = orjson.dumps({"model": "zebra-9", "messages": [{"role": "user", "content": "hello"}], **more})
    before = await room.count(body)
    room.counting.teach(room.service, before, {"input_tokens": 10_000.0})
    room.counting.teach(room.service, None, {"input_tokens": 10_000.0})
    room.counting.teach(room.service, before, {})
    assert await room.count(body) == before


async def test_a_margin_of_the_configuration_is_where_it_starts(room: Room) -> None:
    """Whatever is known of the model."""
    text = "services: {openai: {keys: {env: K}, token_margin: 2.0}}"
    room.service = parsed(text, environ={"K": "k"}).policy.services["openai"]
    body = chat("hello world, hello gate")
    assert (await room.count(body)).costs["input_tokens"] == 2 * tokens("hello world, hello gate") + 7
    assert room.counting.margin(room.service)("gpt-4o") == 2.0


async def test_models_without_end_take_no_memory_without_end(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that was taught least recently goes."""
    monkeypatch.setattr(counting, "_MOST_MODELS", 3)
    for name in ("a", "b", "c", "a", "d"):
        count = await room.count(chat("hello", model=name))
        room.counting.teach(room.service, count, {"input_tokens": 50.0})
    kept = [model for model in "abcd" if room.counting.margin(room.service)(model) != 1.2]
    assert kept == ["a", "c", "d"]


AZURE = parsed("services: {azure-openai: {deployments: {old: gpt-4}}}").policy.services["azure-openai"]


def deployed(name: str) -> Head:
    """The head of a call to a deployment."""
    return read_head(Typed(path=f"/azure-openai/openai/deployments/{name}/chat/completions?api-version=1"))


async def test_a_deployment_is_counted_as_the_model_behind_it(room: Room) -> None:
    """As configured; where it is not, with a margin until a reply has named the model."""
    (endpoint,) = (one for one in AZURE.endpoints if one.name == "chat.completions")
    body = orjson.dumps({"messages": [{"role": "user", "content": words(9, 3000)}]})

    async def counted(name: str) -> Estimate:
        return await room.counting.count(body, deployed(name), AZURE, endpoint)

    known = {model: estimate("chat_completions", body, path=f"/models/{model}") for model in ("gpt-4", "gpt-4o")}
    old, new = await counted("old"), await counted("new")
    assert (old.model, old.costs, old.known_model) == ("old", known["gpt-4"].costs, True)
    assert new.costs["input_tokens"] > known["gpt-4o"].costs["input_tokens"] * 1.19
    assert not new.known_model
    room.counting.teach(AZURE, new, {}, "gpt-4o-2024-08-06")
    again = await counted("new")
    assert (again.costs, again.known_model) == (known["gpt-4o"].costs, True)
    room.counting.teach(AZURE, old, {}, "gpt-4o-2024-08-06")
    assert (await counted("old")).costs == known["gpt-4"].costs


async def test_elsewhere_a_reply_s_model_changes_nothing(room: Room) -> None:
    """A name that OpenAI knows says what it is."""
    before = await room.count(chat(words(8, 3000), model="gpt-4"))
    room.counting.teach(room.service, before, {}, "gpt-4o")
    assert (await room.count(chat(words(8, 3000), model="gpt-4"))).costs == before.costs


async def test_a_model_whose_tokenizer_is_not_known_is_named_once(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """Every call is counted, with a margin; the log does not fill with names that clients invent."""
    with caplog.at_level(logging.INFO, "headgate"):
        for model in ("gpt-6-mini", "gpt-6-mini", "gpt-4o"):
            found = await room.count(chat(words(7, 3000), model=model))
            assert found.known_model is (model == "gpt-4o")
        said = [record.getMessage() for record in caplog.records]
        for number in range(2 * counting.MOST_NAMED):
            await room.count(chat("hi", model=f"invented-{number}"))
    assert len(said) == 1
    assert said[0].startswith("openai: the tokenizer of gpt-6-mini is not known: its texts count 1.20 times")
    assert len(caplog.records) == counting.MOST_NAMED
