"""A command that computes nothing starts at once: the heavy libraries stay out until they are needed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pretune.interface import VERBS, load_verb

HEAVY = ("torch", "transformers", "datasets", "sklearn", "pandas", "scipy", "accelerate", "pyarrow", "jinja2")
MOST_MODULES = 310 + 26 * version("numpy").startswith("1.")  # numpy 1.26 has so many more than 2.4
"""Of Python's own too: what a start takes time for. `--help` loads 130, with numpy 245; torch alone would be a thousand."""
PROBE = """
import json, sys, io
sys.stdout = io.StringIO()
code = 0
try:
    {action}
except SystemExit as left:
    code = left.code
assert code == 0, code
sys.__stdout__.write(json.dumps(sorted(sys.modules)))
"""


def starts_lightly(action: str, folder: Path) -> None:
    """What ``action`` loads is little, and no heavy library."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(action=action)], cwd=folder, capture_output=True, text=True, check=True
    )
    modules = json.loads(done.stdout)
    assert [name for name in HEAVY if name in modules] == []
    assert len(modules) <= MOST_MODULES, modules


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "--json"]], ids=" ".join)
def test_commands_that_compute_nothing(tmp_path: Path, words: list[str]):
    starts_lightly(f"from pretune.cli import main; code = main({words!r})", tmp_path)


def test_import_of_the_package(tmp_path: Path):
    starts_lightly("import pretune; dir(pretune)", tmp_path)


@pytest.mark.parametrize("name", [entry.name for entry in VERBS])
def test_help_of_every_verb(tmp_path: Path, name: str):
    starts_lightly(f"from pretune.cli import main; code = main([{name!r}, '--help'])", tmp_path)


@pytest.mark.parametrize("name", [entry.name for entry in VERBS])
def test_every_verb_is_what_its_entry_says(name: str):
    function = load_verb(name)
    assert function.settings_class.verb == name
    assert "pretune " + name in function.story, "the docstring ends with examples"
    assert getattr(__import__("pretune"), name) is function


def test_a_room_of_a_verbs_name_does_not_hide_the_verb():
    code = "import pretune, pretune.report; from types import ModuleType; assert not isinstance(pretune.report, ModuleType)"
    subprocess.run([sys.executable, "-c", code], check=True)
