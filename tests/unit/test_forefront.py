"""AGENTS.md, SECURITY.md, CITATION.cff, CHANGELOG.md: what they say is what the code does."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import pretune
from conftest import ROOT, make_rows, write_csv
from pretune import cli, errors
from pretune.interface import VERBS, load_verb
from pretune.interface.flags import parse_flags
from pretune.tasks.listing import TASKS

AGENTS = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
PAGES = ("AGENTS.md", "SECURITY.md", "CHANGELOG.md")


def test_the_commands_for_agents_can_be_typed_and_answer_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = make_rows(60)
    write_csv(Path("news.csv"), rows)
    write_csv(Path("new.csv"), [{"text": row["text"]} for row in rows[:5]])
    block = AGENTS.split("```")[1]
    lines = [line for line in block.splitlines() if line.startswith("pretune ")]
    assert len(lines) == 5
    for line in lines:
        code = cli.main(shlex.split(line)[1:])
        out = capsys.readouterr().out
        assert out.count("\n") == 1, line
        assert (code, json.loads(out)["exit_code"]) == (0, 0), line
    assert {"scores", "baselines", "against"} <= json.loads(Path("runs/news/metrics.json").read_text())["test"].keys()
    score = json.loads(Path("runs/news/metrics.json").read_text())["test"]["scores"]["accuracy"]
    assert {"value", "low", "high", "n"} <= score.keys()


def test_the_error_for_agents_is_the_one_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    told = next(line for line in AGENTS.splitlines() if line.startswith('{"error"'))
    assert cli.main(["finetune", "x", "--data", "d", "--epochs", "many", "--json"]) == 2
    assert capsys.readouterr().out.rstrip("\n") == told
    named = re.findall(r"`(\w+)`", AGENTS.split("`error` is one of")[1].split(". A traceback")[0])
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PretuneError)]
    assert {*named} == {kind.__name__ for kind in kinds} - {"PretuneError"}
    codes = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", AGENTS, re.MULTILINE) for code in row.split(",")}
    assert codes == {0, 141, 129, 130, 143} | {kind.exit_code for kind in kinds}


@pytest.mark.parametrize("page", PAGES)
def test_verbs_options_and_files_that_are_named_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    flags = {f"--{name}" for name in ("json", "quiet", "help")}
    for entry in VERBS:
        flags |= {f"--{name.replace('_', '-')}" for name in load_verb(entry.name).settings_class.__dataclass_fields__}
    assert {*re.findall(r"--[a-z][a-z-]+", text)} <= flags
    for line in re.findall(r"`(pretune [a-z]+ [^`]*)`", text):
        name, *words = shlex.split(line)[1:]
        if not {"-h", "--help"} & {*words}:
            assert parse_flags(load_verb(name), words)[0].verb == name
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / link).exists(), link
    for name in re.findall(r"`pretune\.(\w+)", text):
        assert hasattr(pretune, name), name


def test_terms_in_chinese_stand_beside_tasks_scores_and_options_that_are_there() -> None:
    text = (ROOT / "docs" / "glossary-zh.md").read_text(encoding="utf-8")
    flags = {
        f"--{name.replace('_', '-')}"
        for entry in VERBS
        for name in load_verb(entry.name).settings_class.__dataclass_fields__
    }
    assert {*re.findall(r"--[a-z][a-z-]+", text)} <= flags
    assert {*re.findall(r"`pretune (\w+)", text)} <= {entry.name for entry in VERBS}
    for task in TASKS:
        assert f"`{task.name}`" in text, "a task without its Chinese name"
        assert f"`{task.metric_type.primary}`" in text, "a score that decides, without its Chinese name"


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cited["version"] == project["version"] == pretune.__version__
    assert cited["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert f"## {pretune.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_classifiers_say_what_was_run_and_no_address_is_made_up() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "Operating System :: POSIX :: Linux" in project["classifiers"]
    assert not [one for one in project["classifiers"] if one.startswith("License ::")], (
        "the licence is the SPDX expression"
    )
    assert "urls" not in project


def _commands(page: str) -> list[str]:
    blocks = (ROOT / "docs" / page).read_text(encoding="utf-8").split("```")[1::2]
    return [line for block in blocks for line in block.strip().splitlines()]


def test_the_first_hour_can_be_typed_and_is_the_same_in_both_languages() -> None:
    lines = _commands("tutorial.md")
    assert lines == _commands("tutorial-zh.md")
    typed = [shlex.split(line)[1:] for line in lines if line.startswith("pretune ")]
    assert {words[0] for words in typed} >= {
        "inspect",
        "pretrain",
        "finetune",
        "evaluate",
        "compare",
        "study",
        "export",
    }
    for name, *words in typed:
        assert parse_flags(load_verb(name), words)[0].verb == name
