"""What is tried in a process of its own: it ends in time, within its memory, and is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretune import trial
from pretune.trial import TrialFailed, tried

HEAD = "import sys\nfrom pretune.trial import limit_this_process, refuse\nlimit_this_process(float(sys.argv[1]), float(sys.argv[2]))\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that a trial runs, as the module ``tried_here``."""
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "tried_here.py"


def run(name: str = "a") -> None:
    tried("tried_here", [], name=name, seconds=1, megabytes=100)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("while True: pass", "takes longer than 1 seconds"),
        ("held = bytearray(10**9)", "too much memory"),
        ("sys.exit(refuse('it makes 9 tokens of one letter'))", "it makes 9 tokens of one letter"),
        ("raise RuntimeError('no such library')", "RuntimeError: no such library"),
        ("sys.exit(3)", "ended with 3"),
    ],
)
def test_what_fails_is_refused_each_time(module: Path, body: str, why: str):
    module.write_text(HEAD + body)
    for _ in range(2):
        with pytest.raises(TrialFailed, match=why):
            run()
        if "while" in body:
            break


def test_what_passes_is_remembered_by_its_name(module: Path):
    count = module.with_name("count")
    module.write_text(f"{HEAD}open({str(count)!r}, 'a').write('x')")
    for name in ("a", "a", "b", "a"):
        run(name)
    assert count.read_text() == "xx"


def test_a_cache_that_cannot_be_written_is_no_obstacle(module: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PRETUNE_CACHE", "/dev/null/cache")
    module.write_text(HEAD)
    run()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("while True: pass", "takes longer than 1 seconds"),
        ("held = bytearray(10**9)\nimport time\ntime.sleep(60)", "too much memory"),
        ("sys.exit(refuse('it makes 9 tokens of one letter'))", "it makes 9 tokens of one letter"),
    ],
)
def test_where_the_system_holds_no_process_to_limits_it_is_looked_at_from_here(
    module: Path, monkeypatch: pytest.MonkeyPatch, body: str, why: str
):
    """Windows has no ``resource``: neither here nor in the process that tries."""
    monkeypatch.setattr(trial, "resource", None)
    monkeypatch.setattr(trial, "_IMPORT_SECONDS", 1.0)
    module.write_text(f"import sys\nsys.modules['resource'] = None\n{HEAD}{body}")
    with pytest.raises(TrialFailed, match=why):
        run()


def test_what_passes_where_there_are_no_limits_is_remembered(module: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial, "resource", None)
    count = module.with_name("count")
    module.write_text(f"import sys\nsys.modules['resource'] = None\n{HEAD}open({str(count)!r}, 'a').write('x')")
    for _ in range(2):
        run()
    assert count.read_text() == "x"
