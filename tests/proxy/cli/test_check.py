"""`headgate check`, as a process of its own."""

from __future__ import annotations

from pathlib import Path

from .headgate import ROOT, headgate


def test_every_mistake_goes_to_stderr_and_the_status_is_3(tmp_path: Path) -> None:
    """One line a mistake with file, line and column, their number at the end, nothing on stdout."""
    (tmp_path / "limits.yaml").write_text("stor: memory\nservices:\n  openia: {}\n  openai: {mode: of}\n")
    ended = headgate(tmp_path, "check", "limits.yaml")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.splitlines() == [
        "limits.yaml:1:1: stor: unknown key (did you mean 'store'?)",
        "limits.yaml:3:3: services.openia: is no service of the catalogue (did you mean 'openai'?);"
        " a new one needs hosts",
        "limits.yaml:4:18: services.openai.mode: must be one of enforce, observe, off (did you mean 'off'?)",
        "3 mistakes",
    ]


def test_a_good_file_is_summed_up_without_its_secrets(tmp_path: Path) -> None:
    """Services, limits, keys by number; the status is 0 and stderr is empty."""
    (tmp_path / "limits.yaml").write_text("services: {openai: {limits: [{requests: 5, window: 60}], mode: observe}}\n")
    ended = headgate(tmp_path, "check", "limits.yaml", OPENAI_API_KEY="sk-secret-1,sk-secret-2")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("limits.yaml: ok, version ")
    assert "  openai                 observe, 2 limits (1 window, 1 concurrency cap), 2 keys in 1 group" in lines
    assert "  reddit                 enforce, 1 limit, caller's key" in lines
    assert "secret" not in ended.stdout


def test_the_earlier_form_is_good_and_the_newer_one_advised(tmp_path: Path) -> None:
    """Advice goes to stdout and changes no status."""
    ended = headgate(tmp_path, "check", ROOT / "tests/config/good/earlier-rate-limits.yaml")
    assert ended.returncode == 0
    assert "write it under openai: limits: [{capacity: 150000, refillRate: 2500, meter: tokens}]" in ended.stdout
    assert (
        "  openai                 enforce, 4 limits (3 token buckets, 1 concurrency cap), caller's key\n"
        in ended.stdout
    )
    assert "  youtube                enforce, 3 limits (3 calendar quotas), caller's key\n" in ended.stdout


def test_without_an_argument_the_usual_places_are_looked_at(tmp_path: Path) -> None:
    """HEADGATE_CONFIG, then ./config/rate-limits.yaml, then what came with the program."""
    assert "rate-limits.yaml: ok" in headgate(tmp_path, "check").stdout
    (tmp_path / "config").mkdir()
    (tmp_path / "config/rate-limits.yaml").write_text("a: 1")
    assert headgate(tmp_path, "check").stderr.startswith("config/rate-limits.yaml:1:1: a: unknown key")
    (tmp_path / "mine.yaml").write_text("b: 1")
    ended = headgate(tmp_path, "check", HEADGATE_CONFIG="mine.yaml")
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (3, "1 mistake")


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    """The name and the reason, and status 3."""
    ended = headgate(tmp_path, "check", "nowhere.yaml")
    assert ended.returncode == 3
    assert ended.stderr.startswith("nowhere.yaml:1:1: cannot be read: no such file or directory\n")
