"""The pages of ``pretune VERB --help`` as a person reads them: what must be given comes first, and each example can be typed."""

from __future__ import annotations

import dataclasses
import re
import shlex
import textwrap
from pathlib import Path

import pytest

from conftest import ROOT
from pretune.interface import VERBS
from pretune.interface.declare import load_verb
from pretune.interface.flags import parse_flags, verb_parser
from pretune.study.recipe import read_recipe

NAMES = [entry.name for entry in VERBS]


@pytest.mark.parametrize("name", NAMES)
def test_what_must_be_given_comes_first(name: str) -> None:
    function = load_verb(name)
    page = verb_parser(function).format_help()
    places = [spec for spec in dataclasses.fields(function.settings_class) if spec.metadata.get("positional")]
    below = page.split(f"\n{name}:\n")[1].splitlines()
    shown = [line.split()[0] for line in below if re.match(r"  \S", line)]
    assert shown[: len(places)] == [spec.metadata.get("metavar") or spec.name.upper() for spec in places]


@pytest.mark.parametrize("name", NAMES)
def test_groups_are_named_for_people(name: str) -> None:
    page = verb_parser(load_verb(name)).format_help()
    assert "Settings of" not in page, "how the code is arranged is nobody's business here"
    assert not re.search(r"^(derived|labelledtrain):$", page, flags=re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_each_example_can_be_typed(name: str) -> None:
    function = load_verb(name)
    examples = re.findall(r"^    (?:.*\| )?(pretune .*)$", function.story, flags=re.MULTILINE)
    assert examples, "a page without an example"
    for line in examples:
        words = shlex.split(line)
        assert words[1] == name, line
        settings, _ = parse_flags(function, words[2:])
        assert settings.verb == name


def test_the_recipe_on_the_page_is_one(tmp_path: Path) -> None:
    told = load_verb("run").story.split("A recipe:\n")[1].split("Examples::")[0]
    path = tmp_path / "recipe.yaml"
    path.write_text(textwrap.dedent(told))
    assert [step.name for step in read_recipe(path).steps] == ["base", "big", "small", "int8", "table"]


@pytest.mark.parametrize("page", ["README.md", "README.zh.md", "docs/recipes.md", "docs/recipes-zh.md"])
def test_each_command_of_a_page_can_be_typed(page: str) -> None:
    blocks = (ROOT / page).read_text(encoding="utf-8").split("```")[1::2]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("pretune ")]
    assert lines
    for line in lines:
        _, name, *words = shlex.split(line, comments=True)
        settings, _ = parse_flags(load_verb(name), words)
        assert settings.verb == name


def test_the_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    told = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    path = tmp_path / "films.yaml"
    path.write_text(told)
    steps = read_recipe(path).steps
    assert steps[-1].needs == ("teacher", "small", "slim", "int8")
