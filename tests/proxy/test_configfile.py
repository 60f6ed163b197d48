"""Files as the configuration sees them: where they are looked for, and how each kind of trouble reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.configfile import MAX_FILE, FileSources, Stamp, catalogue_directory, find, load
from rules.mistakes import ConfigInvalid
from rules.sources import SourceUnreadable


def _sources(directory: Path) -> FileSources:
    return FileSources(directory, {})


def test_the_named_file_is_the_file() -> None:
    """What flag or variable name is not second-guessed, there or not."""
    assert find(Path("/no/such.yaml")) == Path("/no/such.yaml")


def test_the_working_directory_comes_before_the_packaged_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """./config/rate-limits.yaml, and where there is none, the file that came with the program."""
    monkeypatch.chdir(tmp_path)
    packaged = find(None)
    assert packaged is not None
    assert packaged.name == "rate-limits.yaml"
    assert packaged.parent != tmp_path / "config"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/rate-limits.yaml").write_text("")
    assert find(None) == Path("config/rate-limits.yaml")


def test_the_catalogue_is_found() -> None:
    """A checkout has it beside the packages."""
    directory = catalogue_directory()
    assert directory is not None
    assert (directory / "openai.yaml").is_file()


def test_relative_paths_are_below_the_configuration_and_absolute_ones_are_not(tmp_path: Path) -> None:
    """`file: keys/a` means beside the YAML, wherever the process was started."""
    (tmp_path / "a").write_text("1")
    assert _sources(tmp_path).read("a") == "1"
    assert _sources(Path("/")).read(str(tmp_path / "a")) == "1"


def test_each_trouble_has_its_reason(tmp_path: Path) -> None:
    """Missing, a directory, a pipe, too large, not text, no path, a loop: told without the content."""
    (tmp_path / "big").write_bytes(b"x" * (MAX_FILE + 1))
    (tmp_path / "binary").write_bytes(b"sk-\xff")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    reasons = {}
    for name in ("missing", ".", "pipe", "big", "binary", "loop", "a\0b", "big/below"):
        with pytest.raises(SourceUnreadable) as refused:
            _sources(tmp_path).read(name)
        reasons[name] = str(refused.value)
    assert reasons == {
        "missing": "no such file or directory",
        ".": "is not a file",
        "pipe": "is not a file",
        "big": "is larger than 1 MiB",
        "binary": "is not UTF-8 text",
        "loop": "too many levels of symbolic links",
        "a\0b": "is no path",
        "big/below": "not a directory",
    }


def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    """An unreadable key file is told as that (as root, who may read everything, the text is read)."""
    (tmp_path / "key").write_text("sk")
    (tmp_path / "key").chmod(0)
    if os.access(tmp_path / "key", os.R_OK):
        assert _sources(tmp_path).read("key") == "sk"
    else:
        with pytest.raises(SourceUnreadable, match="permission denied"):
            _sources(tmp_path).read("key")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """Files of editors that write one are read without it."""
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfstore: memory")
    assert _sources(tmp_path).read("a") == "store: memory"


def test_names_are_plain_files_through_symlinks_and_sorted(tmp_path: Path) -> None:
    """A mounted Secret shows its keys, not the directories Kubernetes keeps beside them."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026/b").write_text("")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "b").symlink_to("..data/b")
    (tmp_path / "a").write_text("")
    (tmp_path / "sub").mkdir()
    assert _sources(tmp_path).names(".") == ["a", "b"]
    with pytest.raises(SourceUnreadable, match="no such file or directory"):
        _sources(tmp_path).names("missing")
    with pytest.raises(SourceUnreadable, match="not a directory"):
        _sources(tmp_path).names("a")


def test_every_path_that_was_looked_at_leaves_a_stamp_also_when_it_fails(tmp_path: Path) -> None:
    """Whoever watches knows what to look at again: file, keys, directories, and what is missing."""
    config = tmp_path / "limits.yaml"
    config.write_text("services: {openai: {keys: {file: key}, upstream_ca: missing.pem}}")
    (tmp_path / "key").write_text("sk-1")
    stamps: dict[Path, Stamp] = {}
    with pytest.raises(ConfigInvalid, match=r"cannot read missing\.pem: no such file"):
        load(config, {}, stamps)
    assert stamps[tmp_path / "missing.pem"] is None
    assert stamps[tmp_path / "services"] is None
    assert stamps[tmp_path / "key"] is not None
    assert stamps[config] is not None


def test_services_beside_the_file_join_the_catalogue(tmp_path: Path) -> None:
    """A new service is one YAML file, no code."""
    (tmp_path / "limits.yaml").write_text("")
    (tmp_path / "services").mkdir()
    (tmp_path / "services/weather.yaml").write_text("hosts: [api.weather.example]\n")
    (tmp_path / "services/README.md").write_text("not a service")
    services = load(tmp_path / "limits.yaml", {}).policy.services
    assert services["weather"].hosts == ("api.weather.example",)
    assert "openai" in services
    assert "README" not in services


def test_a_missing_file_is_a_mistake_with_its_name(tmp_path: Path) -> None:
    """--config of nothing ends in the list of mistakes like anything else."""
    with pytest.raises(ConfigInvalid, match=r"nowhere\.yaml:1:1: cannot be read: no such file or directory"):
        load(tmp_path / "nowhere.yaml", {})


def test_without_any_file_the_catalogue_stands_alone() -> None:
    """No path is no mistake."""
    assert "openai" in load(None, {}).policy.services
