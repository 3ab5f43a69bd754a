"""A command that computes nothing starts at once: the heavy libraries stay out until they are needed."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pretune.verbs import VERBS, load_verb

HEAVY = ("torch", "transformers", "datasets", "sklearn", "pandas", "scipy", "accelerate")
LIMIT_SECONDS = 1.0
PROBE = f"""
import json, sys, io
sys.stdout = io.StringIO()
code = 0
try:
    {{action}}
except SystemExit as left:
    code = left.code
assert code == 0, code
sys.__stdout__.write(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def probe(action: str, folder: Path) -> tuple[list[str], float]:
    """The heavy modules that ``action`` loads, and the fewest processor seconds of three runs (the clock counts others' work)."""
    seconds, loaded = [], []
    for _ in range(3):
        begun = processor_seconds()
        done = subprocess.run(
            [sys.executable, "-c", PROBE.format(action=action)], cwd=folder, capture_output=True, text=True, check=True
        )
        seconds.append(processor_seconds() - begun)
        loaded = json.loads(done.stdout)
        if seconds[-1] < LIMIT_SECONDS:
            break
    return loaded, min(seconds)


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "--json"]], ids=" ".join)
def test_commands_that_compute_nothing(tmp_path: Path, words: list[str]):
    loaded, seconds = probe(f"from pretune.cli import main; code = main({words!r})", tmp_path)
    assert loaded == []
    assert seconds < LIMIT_SECONDS


def test_import_of_the_package(tmp_path: Path):
    loaded, seconds = probe("import pretune; dir(pretune)", tmp_path)
    assert loaded == []
    assert seconds < LIMIT_SECONDS


@pytest.mark.parametrize("name", [entry.name for entry in VERBS])
def test_help_of_every_verb(tmp_path: Path, name: str):
    loaded, seconds = probe(f"from pretune.cli import main; code = main([{name!r}, '--help'])", tmp_path)
    assert loaded == []
    assert seconds < LIMIT_SECONDS


@pytest.mark.parametrize("name", [entry.name for entry in VERBS])
def test_every_verb_is_what_its_entry_says(name: str):
    function = load_verb(name)
    assert function.settings_class.verb == name
    assert "pretune " + name in function.story, "the docstring ends with examples"
    assert getattr(__import__("pretune"), name) is function


def test_a_room_of_a_verbs_name_does_not_hide_the_verb():
    code = "import pretune, pretune.report; from types import ModuleType; assert not isinstance(pretune.report, ModuleType)"
    subprocess.run([sys.executable, "-c", code], check=True)
