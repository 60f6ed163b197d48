"""A configuration as an attack: whatever stands in a file, it is read or refused with its place, and what is in force
stays in force (threats J3, J4).

`HEADGATE_HISTORIES=10000` tries so many generated files instead of the few of every day.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.configfile import FileSources, load
from rules.mistakes import ConfigInvalid
from rules.parse import parse
from rules.policy import Policy
from rules.sources import SourceUnreadable
from tests.headgate_process import ROOT, Headgate, finished, serving
from tests.upstreams import openai as provider
from tests.upstreams.standin import StandIn

COUNT = int(os.environ.get("HEADGATE_HISTORIES", "200"))
GOOD = """
services:
  openai:
    keys: [{name: a, env: KEY}]
    upstream: <upstream>
    limits: [{requests: 1000000, window: 60}]
"""


def _bomb(levels: int, width: int) -> str:
    """Lists of lists of aliases: `width` to the power of `levels` values."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels + 1)]
    return "\n".join(lines)


# name -> the file, what its mistake says, and the line it names
BAD: dict[str, tuple[str, str, int]] = {
    "a Python object": ("services: !!python/object/apply:os.system ['true']\n", "tags are not allowed", 1),
    "a Python name": ("store: !!python/name:os.system\n", "tags are not allowed", 1),
    "a tag of its own": ("\nstore: !include /etc/passwd\n", "tags are not allowed", 2),
    "binary": ("store: !!binary aGk=\n", "tags are not allowed", 1),
    "a set": ("services: !!set {a, b}\n", "tags are not allowed", 1),
    "a bomb of aliases": (_bomb(9, 10), "holds more than", 6),
    "a wide bomb": (_bomb(2, 300), "holds more than", 3),
    "a bomb of merges": ("a: &a {b: &b {c: 1}}\n" + "<<: [*a, *a]\n" * 30_000, "holds more than", 6251),
    "an alias in itself": ("services: &a {x: *a}\n", "holds itself", 1),
    "an alias of nothing": ("store: *nothing\n", "stands for nothing", 1),
    "nested too deep": ("a: " + "[" * 5000, "is nested deeper", 1),
    "nested too deep in blocks": ("".join(" " * n + "a:\n" for n in range(100)), "is nested deeper", 33),
    "a key twice": ("store: memory\nservices: {}\nstore: memory\n", "stands here twice", 3),
    "two documents": ("store: memory\n---\nstore: memory\n", "more than one document", 2),
    "an unknown key": ("servces: {}\n", "did you mean 'services'", 1),
    "a wrong type": ("services: 5\n", "must be", 1),
    "a list for a mapping": ("services: [a, b]\n", "must be", 1),
    "a huge number": (GOOD.replace("1000000", "9" * 400), "must be", 6),
    "a number beyond a float": (GOOD.replace("1000000", "1e999"), "must be", 6),
    "not a number": (GOOD.replace("1000000", ".nan"), "must be", 6),
    "infinity": (GOOD.replace("1000000", ".inf"), "must be", 6),
    "less than nothing": (GOOD.replace("1000000", "-1"), "must be", 6),
    "a number in base 60": (GOOD.replace("window: 60", "window: 1:00"), "must be", 6),
    "hexadecimal": (GOOD.replace("1000000", "0x10"), "must be", 6),
    "a window of 0": (GOOD.replace("window: 60", "window: 0"), "must be", 6),
    "a control character": ("store: 'a\x01'\n", "does not allow", 1),
    "half a pair": ('store: "\\ud800"\n', "surrogate", 1),
    "an escape beyond Unicode": ('store: "\\UFFFFFFFF"\n', "out of range", 1),
    "a directive beyond numbers": ("%YAML 99999999999999999999.1\n---\n{}\n", "", 1),
    "a key that is a list": ("? [a, b]\n: c\n", "a key must be text", 1),
    "a file that is none": ("store: ${file:/proc/self/fd}\n", "cannot read", 1),
    "a device": ("store: ${file:/dev/zero}\n", "is not a file", 1),
    "a file without end": ("store: ${file:/proc/self/mem}\n", "cannot", 1),
    "variables that grow": ("store: '" + "${A}" * 5000 + "'\n", "larger than 64 KiB", 1),
    "a megabyte": ("# " + "x" * (1 << 20) + "\n", "larger than 1 MiB", 1),
    "100 MiB": ("", "larger than 1 MiB", 1),
}


def _write(path: Path, name: str) -> None:
    """The file of that name; the largest without its bytes on the disk."""
    path.write_text(BAD[name][0].replace("<upstream>", "http://127.0.0.1:9"))
    if name == "100 MiB":
        os.truncate(path, 100 << 20)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    """Whatever it was meant to do, the mistake says what is wrong and where."""
    path = tmp_path / "rate-limits.yaml"
    _write(path, name)
    _, words, line = BAD[name]
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {"KEY": "x" * 20, "A": "y" * 50})
    assert any(words in mistake.message for mistake in caught.value.errors), caught.value.errors
    assert line in {mistake.line for mistake in caught.value.errors}, caught.value.errors
    assert len(str(caught.value)) < 100_000


def test_the_command_says_it_too(tmp_path: Path) -> None:
    """`headgate check` and a start: exit 3, the place, no traceback."""
    path = tmp_path / "rate-limits.yaml"
    _write(path, "a Python object")
    for arguments in (("check", str(path)), ("serve", "--config", str(path), "--state-dir", str(tmp_path))):
        done = finished(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{path}:1:" in done.stderr
        assert "Traceback" not in done.stderr


# generated files

_TEXTS = tuple(path.read_text() for path in sorted((ROOT / "tests/config/good").glob("*.yaml")))
_PIECES = st.sampled_from(
    ["&a ", "*a", "<<: *a", "!!str ", "!x ", "{", "}", "[", "]", ": ", "- ", "\n", "\n  ", "\t", "|", ">", "'", '"',
     "#", "? ", "%", "@", "`", "\0", "\x85", "\u2028", "\ufeff", "\ud800", "---\n", "...\n", "1e999", "-0", "0x", "~",
     "9" * 30, ".nan", "${", "${A}", "${A:-", "${file:", "$${", "null", "[]", "{}", "services", "*", "**"]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A good file with pieces taken out, doubled, and put in."""
    text = draw(st.sampled_from(_TEXTS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        middle = draw(_PIECES | st.just("") | st.just(text[start:end] * 2) | st.text(max_size=3))
        text = text[:start] + middle + text[end:]
    return text


class _Nothing:
    """No file, and a few variables."""

    environ = {"A": "1", "KEY": "sk-canary-0001"}  # noqa: RUF012

    def read(self, path: object) -> str:
        raise SourceUnreadable("is not there")

    def names(self, path: object) -> list[str]:
        raise SourceUnreadable("is not there")


def _parse(text: str) -> Policy:
    return parse(text, filename="f.yaml", sources=_Nothing(), catalogue={}).policy


@given(damaged() | st.text(max_size=100))
@settings(max_examples=COUNT, deadline=None)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(text: str) -> None:
    """A policy, or mistakes with a place, none of which quotes a secret."""
    refused = None
    try:
        policy = _parse(text)
    except ConfigInvalid as error:
        refused = error
    if refused is None:
        assert isinstance(policy, Policy)
        return
    assert refused.errors
    assert all(mistake.line >= 1 and mistake.column >= 1 and mistake.message for mistake in refused.errors)
    assert "canary" not in str(refused)


@given(st.binary(max_size=200), st.integers(0, 3))
@settings(max_examples=COUNT, deadline=None)
def test_any_bytes_of_a_file_are_text_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, bom: int
) -> None:
    """Nothing but SourceUnreadable comes of reading one."""
    path = tmp_path_factory.getbasetemp() / "any.bytes"
    path.write_bytes((b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")[bom] + raw)
    try:
        text = FileSources(path.parent, {}).read(path.name)
    except SourceUnreadable:
        return
    assert isinstance(text, str)


# reloads while calls go on


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """OpenAI without TLS."""
    with StandIn(provider.answer) as server:
        yield server


class Caller(threading.Thread):
    """Calls without a pause until it is told to stop; keeps every status but 200."""

    def __init__(self, headgate: Headgate) -> None:
        super().__init__()
        self.url = f"{headgate.proxy}/openai/v1/chat/completions"
        self.stop = threading.Event()
        self.calls = 0
        self.odd: list[object] = []

    def run(self) -> None:
        session = requests.Session()
        while not self.stop.is_set():
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Good day?"}]}
            try:
                status: object = session.post(self.url, json=body, timeout=30).status_code
            except requests.RequestException as error:
                status = type(error).__name__
            self.calls += 1
            if status != 200:
                self.odd.append(status)
        session.close()


# Quick on a machine of its own, but the calls leave the reloads little of a busy one.
UNDER_LOAD = ("a Python object", "a bomb of aliases", "an unknown key", "a huge number", "a device", "100 MiB")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("names", [UNDER_LOAD, pytest.param(tuple(BAD), marks=pytest.mark.slow)], ids=["some", "all"])
def test_bad_files_under_load_change_nothing(names: tuple[str, ...], tmp_path: Path, upstream: StandIn) -> None:
    """Each is refused and counted, no call is lost, the version stays; the good file after them is in force (J4)."""
    good = GOOD.replace("<upstream>", upstream.url)
    failures = "headgate_config_reload_failures_total"
    with serving(tmp_path, good, more={"KEY": "sk-canary-0002", "A": "y" * 50}) as headgate:
        version = next(
            line for line in requests.get(f"{headgate.admin}/metrics", timeout=30).text.splitlines()
            if line.startswith("headgate_config_info{")
        )  # fmt: skip
        callers = [Caller(headgate) for _ in range(2)]
        for caller in callers:
            caller.start()
        try:
            for name in names:
                before = headgate.metric(failures)
                part = tmp_path / "new.yaml"
                _write(part, name)
                part.replace(headgate.config)
                headgate.until(lambda before=before: headgate.metric(failures) > before)  # type: ignore[misc]
                assert headgate.metric("headgate_config_last_reload_successful") == 0
                assert version in requests.get(f"{headgate.admin}/metrics", timeout=30).text
            headgate.config.write_text(good.replace("1000000", "999999"))
            headgate.until(lambda: headgate.metric("headgate_config_last_reload_successful") == 1)
            assert version not in requests.get(f"{headgate.admin}/metrics", timeout=30).text
        finally:
            for caller in callers:
                caller.stop.set()
            for caller in callers:
                caller.join()
        assert [caller.odd for caller in callers] == [[], []]
        assert all(caller.calls > len(names) / 4 for caller in callers)
