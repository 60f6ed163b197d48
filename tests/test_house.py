"""What holds for the repository as a whole: the layout, the lists, the packages, and what must never be tracked.

Patterns of what is forbidden are put together from pieces, so that this file does not break its own rules.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.metadata
import inspect
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import settings
from proxy.cli.serve import command as serve
from proxy.metrics import Metrics

ROOT = Path(__file__).parents[1]
PACKAGES = ("proxy", "rules", "certs")

# Module -> the test that proves it, where that is not its mirror, and why.
ELSEWHERE = {
    "certs/problem.py": ("tests/certs/test_authority.py", "an exception without behaviour"),
    "proxy/cli/__main__.py": ("tests/headgate_process.py", "two lines; every test of a process starts by it"),
    "proxy/cli/mistakes.py": ("tests/proxy/cli/test_serve.py", "exit codes are seen where a verb ends"),
    "proxy/cli/worker.py": ("tests/proxy/cli/test_env.py", "what env and run share, seen through both"),
    "proxy/errand.py": ("tests/proxy/test_exchange.py", "values that the corridor carries"),
    "rules/gate/hearsay.py": ("tests/rules/gate/test_others.py", "operations, seen by what they bring about"),
    "rules/meters/containers/duration.py": ("tests/rules/meters/test_audio.py", "two numbers that every reader uses"),
    "rules/meters/containers/flac.py": (
        "tests/rules/meters/test_audio.py",
        "read as ffmpeg writes it, and as no one should",
    ),
    "rules/meters/containers/mp4.py": ("tests/rules/meters/test_audio.py", "the same"),
    "rules/meters/containers/mpegaudio.py": ("tests/rules/meters/test_audio.py", "the same"),
    "rules/meters/containers/ogg.py": ("tests/rules/meters/test_audio.py", "the same"),
    "rules/meters/containers/opus.py": ("tests/rules/meters/test_audio.py", "seen through ogg and webm"),
    "rules/meters/containers/program.py": ("tests/rules/meters/test_audio.py", "read as ffmpeg writes it"),
    "rules/meters/containers/riff.py": ("tests/rules/meters/test_audio.py", "the same"),
    "rules/meters/containers/vorbis.py": ("tests/rules/meters/test_audio.py", "seen through ogg and webm"),
    "rules/meters/containers/webm.py": ("tests/rules/meters/test_audio.py", "read as ffmpeg writes it"),
    "rules/policy.py": ("tests/rules/test_parse.py", "nouns that the parser makes"),
    "rules/verdict.py": ("tests/rules/test_plan.py", "values that plan and gate make"),
    "rules/gate/bucket.lua": ("tests/rules/gate/test_window.py", "arithmetic of windows, seen through them"),
    "rules/gate/call.lua": ("tests/rules/gate/test_dispatch.py", "what a waiting call is, seen where it is granted"),
    "proxy/session.py": ("tests/proxy/test_line.py", "what a line keeps for a host, seen in its ticks"),
    "rules/gate/decision.lua": ("tests/rules/gate/test_dispatch.py", "what dispatch decides by, seen where it does"),
    "rules/gate/answer.lua": ("tests/rules/gate/test_dispatch.py", "what a tick says of what was decided"),
    "rules/gate/ranked.lua": ("tests/rules/gate/test_line.py", "sorted sets within a tick, longer than its steps"),
    "rules/gate/order.lua": ("tests/rules/gate/test_pool.py", "the order of keys and heads"),
    "rules/gate/store_redis.lua": ("tests/rules/gate/test_store.py", "one test for both stores"),
    "rules/gate/store_tables.lua": ("tests/rules/gate/test_store.py", "one test for both stores"),
    "rules/gate/entry_redis.lua": ("tests/rules/gate/test_histories.py", "the first line of a host's script"),
    "rules/gate/entry_tables.lua": ("tests/rules/gate/test_histories.py", "the first line of a host's script"),
    "rules/gate/this.lua": ("tests/rules/gate/test_histories.py", "a table that the parts share"),
}
# File -> why it may be longer than 400 lines.
LONG = {
    "tests/proxy/test_exchange.py": "the whole corridor, a case a test",
}
GENERATED = (".txt", ".json", ".gz", ".sum")
MOST_LINES = 400
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "base", "misc"}
MOST_OF_A_WHEEL = 8 << 20


def pieces(*parts: str) -> str:
    """A text that does not stand in this file."""
    return "".join(parts)


REGISTRIES = (
    pieces("pypi", ".org"),
    pieces("files.python", "hosted.org"),
    pieces("registry.npm", "js.org"),
    pieces("registry.yarnpkg", ".com"),
    pieces("proxy.golang", ".org"),
    pieces("repo.maven.apache", ".org"),
    pieces("repo1.maven", ".org"),
    pieces("crates", ".io"),
    pieces("rubygems", ".org"),
)
MACHINE = re.compile(pieces(r"(?<![\w.])/", r"(?:work/(?:main|shared)|root/|tmp/v/)"))
SECRET = re.compile(
    pieces("-----BEGIN ", r"[A-Z ]*(?:PRIVATE KEY|CERTIFICATE)-----\s+[A-Za-z0-9+/]{40}")
    + pieces(
        "|sk",
        r"-(?:proj-|ant-api03-)?[A-Za-z0-9]{40}|AKI",
        r"A[0-9A-Z]{16}|AIz",
        r"a[0-9A-Za-z_-]{35}|gh",
        "p_[A-Za-z0-9]{36}",
    )
)
UNDONE = re.compile(pieces(r"\b(?:TO", "DO|FIX", "ME|XX", "X)\\b|NotImplemented", "Error"))


@functools.cache
def tracked() -> tuple[str, ...]:
    """Paths of the repository, those that were removed and not committed yet left out."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(path for path in listed.split("\0") if path and (ROOT / path).exists())


def texts() -> Iterator[tuple[str, str]]:
    """Path and text of every tracked file that is text."""
    for path in tracked():
        try:
            yield path, (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            assert path.endswith(".gz"), f"{path} is neither text nor known data"


def modules() -> list[str]:
    """Python and Lua modules of the packages, package files left out."""
    return [
        path
        for path in tracked()
        if path.partition("/")[0] in PACKAGES and path.endswith((".py", ".lua")) and not path.endswith("__init__.py")
    ]


# layout


def test_every_module_has_a_test_that_mirrors_it() -> None:
    """Or stands in the list above with the test that proves it; nothing stands there in vain."""
    for module in modules():
        path = Path(module)
        mirror = Path("tests", *path.parts[:-1], f"test_{path.stem}.py")
        if module in ELSEWHERE:
            assert (ROOT / ELSEWHERE[module][0]).exists(), f"{module}: its test went away"
            assert path.suffix == ".lua" or not (ROOT / mirror).exists(), (
                f"{module} has its mirror: strike it from the list"
            )
        else:
            assert (ROOT / mirror).exists(), f"{module} has no {mirror}"
    assert set(ELSEWHERE) <= set(modules())


def test_every_module_stands_on_the_map_of_its_package() -> None:
    """A reader finds each room from its package's first lines."""
    for module in modules():
        path = Path(module)
        package = ast.get_docstring(ast.parse((ROOT / path.parent / "__init__.py").read_text())) or ""
        if path.parts[:2] == ("proxy", "cli"):
            continue  # its table of verbs is the map
        assert re.search(rf"\b{path.stem}\b", package), f"{module} is not named in {path.parent}/__init__.py"


def test_no_file_is_longer_than_it_may_be() -> None:
    """400 lines, or a reason; a reason that is no longer needed goes."""
    for path, text in texts():
        if path.endswith(GENERATED) or path == "LICENSE":
            continue
        lines = text.count("\n")
        assert lines <= MOST_LINES or path in LONG, f"{path} has {lines} lines"
        assert lines > MOST_LINES or path not in LONG, f"{path} has {lines} lines: strike it from the list"


def test_names_say_what_a_file_is_for() -> None:
    """No file is called by a word that fits everything."""
    for path in tracked():
        assert Path(path).stem.lower() not in EMPTY_NAMES, path


def test_every_test_says_what_it_proves() -> None:
    """Each test function has a docstring."""
    for path, text in texts():
        if path.startswith("tests/") and path.endswith(".py"):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    assert ast.get_docstring(node), f"{path}: {node.name}"


def test_nothing_is_left_undone() -> None:
    """No marker of unfinished work."""
    for path, text in texts():
        if path.endswith((".py", ".lua", ".sh", ".yaml", ".md")):
            assert not UNDONE.search(text), path


# imports


def imported(path: str) -> set[str]:
    """First names of what a Python file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("redis", "proxy/redis_host.py"),
        ("cryptography", "certs/"),
        ("lupa", "rules/gate/engine.py"),
        ("tiktoken", "rules/meters/"),
        ("pydantic", "rules/"),
        ("yaml", "rules/yamlmarks.py"),
        ("watchfiles", "proxy/reload.py"),
        ("click", "proxy/cli/"),
        ("prometheus_client", "proxy/"),
    ],
)
def test_a_library_has_one_home(library: str, home: str) -> None:
    """What may be exchanged is known in one place."""
    users = [module for module in modules() if module.endswith(".py") and library in imported(module)]
    assert users
    assert all(user.startswith(home) for user in users), users


def test_settings_alone_reads_the_environment() -> None:
    """Everything else gets a mapping."""
    pattern = re.compile(r"\bos\.(?:environ|getenv)\b")
    users = [path for path, text in texts() if path in modules() and pattern.search(text)]
    assert users == ["proxy/settings.py"]


def test_the_import_contracts_hold() -> None:
    """Those of pyproject.toml: proxy over rules and certs, rules without I/O, redis in one place."""
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


# requirements


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_exact_hashed_and_name_no_index(name: str) -> None:
    """An install gives the same files behind any mirror."""
    text = (ROOT / name).read_text()
    assert "://" not in text
    logical = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    lines = [line.strip() for line in logical.splitlines() if line.strip()]
    assert len(lines) > 10
    for line in lines:
        assert re.fullmatch(r"[a-z0-9._-]+==[^\s;]+(?: ; [^\\]+?)?(?:\s+--hash=sha256:[0-9a-f]{64})+", line), line[:80]


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_what_was_asked_for_is_what_is_locked(name: str) -> None:
    """Every line of the .in file is exact, and stands with the same version in the .txt file."""
    locked = set(re.findall(r"^([a-z0-9._-]+==\S+)", (ROOT / f"{name}.txt").read_text(), re.MULTILINE))
    asked = [line.partition("#")[0].strip() for line in (ROOT / f"{name}.in").read_text().splitlines()]
    for line in filter(None, asked):
        if not line.startswith("-r "):
            assert line.lower() in locked, line


# what must not be tracked


def test_no_key_and_no_certificate_is_tracked() -> None:
    """Tests make theirs when they run."""
    assert not [path for path in tracked() if path.endswith((".pem", ".key", ".p12", ".pfx", ".jks", ".crt", ".der"))]
    for path, text in texts():
        assert not SECRET.search(text), path


def test_no_registry_and_no_path_of_one_machine_is_named() -> None:
    """The repository works wherever it is cloned, behind any mirror."""
    for path, text in texts():
        for host in REGISTRIES:
            assert host not in text, f"{path} names {host}"
        found = MACHINE.search(text)
        assert found is None, f"{path} names {found[0] if found else ''}"


# the package


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel built from what is tracked."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked():
        if path.partition("/")[0] in (*PACKAGES, "config") or "/" not in path:
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", out, source], check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def test_a_wheel_holds_the_packages_their_data_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Every module, the gate's Lua, the vocabularies, the catalogue; no test."""
    names = {name for name in wheel.namelist() if not name.endswith("/")}
    inside = {name for name in names if ".dist-info/" not in name and ".data/" not in name}
    source = {path for path in tracked() if path.partition("/")[0] in PACKAGES}
    assert inside == source
    shared = {name.partition("/data/share/headgate/")[2] for name in names if ".data/" in name}
    assert shared == {path for path in tracked() if path.startswith("config/")}
    assert sum(info.compress_size for info in wheel.infolist()) < MOST_OF_A_WHEEL


def test_a_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    """An application that must not be published as a library, with its licence and one console script."""
    (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert "Classifier: Private :: Do Not Upload" in metadata
    assert "License" in metadata
    (entries,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "headgate = proxy.cli:main" in entries


def test_no_pinned_distribution_brings_a_package_of_our_names() -> None:
    """The names are plain: two packages of one name in an environment would hide each other."""
    provided = importlib.metadata.packages_distributions()
    for name in PACKAGES:
        assert set(provided.get(name, ())) <= {"headgate"}


# what people read


def section(heading: str) -> str:
    """The text below a heading of README."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"README has no section {heading}"
    return found[1]


def quoted(text: str) -> set[str]:
    """What stands in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_setting_stands_in_readme() -> None:
    """Flags of serve and variables, and none that does not exist."""
    told = quoted(section("Settings"))
    flags = {name for option in serve.params for name in option.opts}
    code = "".join(text for path, text in texts() if path.startswith("proxy/") and path.endswith(".py"))
    # Kubernetes writes these two; settings says why they are none of ours
    variables = set(re.findall(r"\bHEADGATE_[A-Z][A-Z_]+\b", code)) - {"HEADGATE_PORT", "HEADGATE_SERVICE_HOST"}
    variables |= {f"HEADGATE_{name.upper()}" for name in inspect.signature(settings.read).parameters} - {
        "HEADGATE_ENVIRON"
    }
    variables |= {f"HEADGATE_TIMEOUT_{one.name.upper()}" for one in dataclasses.fields(settings.Timeouts)}
    variables |= {f"HEADGATE_MAX_{one.name.upper()}" for one in dataclasses.fields(settings.Ceilings)}
    variables -= {"HEADGATE_TIMEOUT_", "HEADGATE_MAX_"}
    assert flags <= told
    assert variables <= told
    assert {name for name in told if re.fullmatch(r"--[a-z-]+", name)} <= flags
    assert {name for name in told if re.fullmatch(r"HEADGATE_[A-Z_]+", name)} <= variables


def test_every_metric_stands_in_readme() -> None:
    """By the name that a query uses, and none that does not exist."""
    metrics = Metrics()
    metrics.watch_gate(dict, lambda: False, dict)
    metrics.watch_keys(list, ())
    metrics.watch_found(list)
    exposed = {family.name + ("_total" if family.type == "counter" else "") for family in metrics.registry.collect()}
    told = {name for name in quoted(section("Metrics")) if re.fullmatch(r"[a-z]+(?:_[a-z]+)+", name)}
    assert told == exposed
