import gzip
import importlib
import subprocess
import sys
from importlib import resources

import pytest

from rules.meters import VocabularyDamaged, load, vocabulary

OLD = "cl100k_base"
OFFLINE = """
import socket, sys
def refuse(*_args, **_kwargs):
    raise AssertionError("the network was touched")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from rules.meters import estimate, load
load()
body = b'{"model": "%s", "input": "hello world"}'
for name in (b"gpt-4o", b"text-embedding-3-small", b"?"):
    print(estimate("embeddings", body % name).costs["input_tokens"])
print("requests" in sys.modules)
"""


def test_offline() -> None:
    """Both encodings load and count while every way to the network raises, and no HTTP library is even imported."""
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2.0", "2.0", "3.0", "False"]


def test_ids() -> None:
    """The encodings give the token ids that tiktoken's own give."""
    load()
    assert vocabulary.encoding("o200k_base").encode_ordinary("hello world") == [24912, 2375]
    assert vocabulary.encoding("cl100k_base").encode_ordinary("hello world") == [15339, 1917]
    assert vocabulary.encoding("o200k_base").n_vocab == 200_019
    assert vocabulary.encoding("cl100k_base").n_vocab == 100_277


@pytest.mark.parametrize("name", vocabulary.NAMES)
def test_as_published(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pattern and special tokens are those of the installed tiktoken, so an update that changes them is noticed."""
    published = importlib.import_module("tiktoken_ext.openai_public")
    monkeypatch.setattr(published, "load_tiktoken_bpe", lambda *_args, **_kwargs: {})
    theirs = getattr(published, name)()
    ours = vocabulary.encoding(name)
    assert ours._pat_str == theirs["pat_str"]
    assert ours._special_tokens == theirs["special_tokens"]


@pytest.mark.parametrize("damage", ["cut", "changed", "not gzip", "empty"])
def test_damaged(damage: str) -> None:
    """A vocabulary that is not the shipped one is refused with the name of its file."""
    good = resources.files("rules.encodings").joinpath("cl100k_base.tiktoken.gz").read_bytes()
    packed = {
        "cut": good[:-1000],
        "changed": gzip.compress(gzip.decompress(good)[:-1], 1),
        "not gzip": b"<html>not found</html>",
        "empty": b"",
    }[damage]
    with pytest.raises(VocabularyDamaged, match=r"rules/encodings/cl100k_base\.tiktoken\.gz"):
        vocabulary.ranks("cl100k_base", packed)


FRESH = """
import threading
from rules.meters import NotAtOnce, estimate, load, vocabulary
load()
print([name for name in vocabulary.NAMES if vocabulary.is_built(name)])
old = b'{"model": "text-embedding-3-small", "input": "hello world"}'
try:
    estimate("embeddings", old, at_once=True)
except NotAtOnce:
    print("not built")
print(estimate("embeddings", old.replace(b"text-embedding-3-small", b"gpt-4o"), at_once=True).costs["input_tokens"])
found = []
threads = [threading.Thread(target=lambda: found.append(vocabulary.encoding("cl100k_base"))) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len({id(one) for one in found}), estimate("embeddings", old, at_once=True).costs["input_tokens"])
"""


def test_built_when_needed() -> None:
    """Only the vocabulary of the models on sale is built at start; another is built once, by whichever thread asks
    first, and a caller who cannot wait for that is told."""
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['o200k_base']", "not built", "2.0", "1 2.0"]


def test_all_are_checked_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file fails the start, though its vocabulary would be built later."""
    monkeypatch.setattr(vocabulary, "_built", {name: built for name, built in vocabulary._built.items() if name != OLD})
    good = vocabulary._packed
    monkeypatch.setattr(vocabulary, "_packed", lambda name: good(name)[:-1000] if name == OLD else good(name))
    with pytest.raises(VocabularyDamaged, match=r"rules/encodings/cl100k_base\.tiktoken\.gz"):
        load()


def test_ranks_are_not_kept() -> None:
    """The ranks are in the core, and not a second time as Python objects."""
    assert vocabulary.encoding(OLD)._mergeable_ranks == {}
