"""A recipe: checked whole before it computes, each step done once, gone on with after a kill, one page of it all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_calls import call, done, refused

from conftest import write_csv
from pretune.files import read_json
from pretune.runfolder import RunFolder

RECIPE = """
out: {out}
defaults:
  data: {data}
  seed: 3
  threads: 1
  precision: fp32
steps:
  pretrain: {{backbone: scratch:bert-tiny, vocab-size: 300, max-steps: 4}}
  news: {{verb: finetune, backbone: $pretrain, max-steps: 6, eval-every: 50%, learning-rate: 2e-4}}
  scores: {{verb: evaluate, run: $news}}
  again: {{verb: finetune, backbone: "${{pretrain}}", max_steps: 3}}
"""


@pytest.fixture
def recipe(tmp_path: Path, news_rows: list[dict[str, str]]) -> Path:
    data = write_csv(tmp_path / "news.csv", news_rows)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(out=tmp_path / "out", data=data))
    return path


def changed(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.slow
def test_steps_are_done_once_and_again_when_they_or_what_they_need_change(recipe: Path) -> None:
    out = recipe.parent / "out"
    first = done("run", recipe, "--json").facts
    assert set(first["steps"]) == {"pretrain", "news", "scores", "again"}
    assert RunFolder(out / "news").record["parents"] == [str(out / "pretrain")]
    assert RunFolder(out / "news").record["settings"]["seed"] == 3
    assert "test" in RunFolder(out / "news").metrics
    page = (out / "report.html").read_text()
    assert all(word in page for word in ("pretrain", "news", "again"))
    before = RunFolder(out).record

    assert "nothing was computed" in done("run", recipe).out
    assert RunFolder(out).record == before

    changed(recipe, "max_steps: 3", "max_steps: 2")
    said = done("run", recipe)
    assert "pretrain was done before" in said.err
    assert "scores was done before" in said.err
    assert RunFolder(out / "again").record["training"]["steps"] == 2

    plan = done("run", recipe, "--dry-run", "--set", "seed=4", "--json").facts
    assert {step["state"] for step in plan["steps"]} == {"changed, again"}
    changed(recipe, "max-steps: 4", "max-steps: 5")
    plan = {step["name"]: step["state"] for step in done("run", recipe, "--dry-run", "--json").facts["steps"]}
    assert plan == dict.fromkeys(("pretrain", "news", "scores", "again"), "changed, again")


@pytest.mark.slow
def test_a_step_that_failed_keeps_the_others_and_is_gone_on_with(recipe: Path) -> None:
    out = recipe.parent / "out"
    data = recipe.parent / "news.csv"
    changed(
        recipe,
        "  again:",
        f"  third: {{verb: finetune, backbone: $pretrain, data: {recipe.parent / 'gone.csv'}}}\n  again:",
    )
    said = call("run", recipe)
    refused(said, "step third: .*gone.csv")
    assert RunFolder(out).record["status"] == "failed"
    assert "third" in RunFolder(out).record["problem"]
    stamp = (out / "news" / "run.json").stat().st_mtime_ns
    (recipe.parent / "gone.csv").write_bytes(data.read_bytes())
    changed(recipe, "backbone: $pretrain, data", "backbone: $pretrain, max-steps: 2, data")
    done("run", recipe)
    assert (out / "news" / "run.json").stat().st_mtime_ns == stamp
    assert RunFolder(out).record["status"] == "finished"
    assert RunFolder(out).record["problem"] is None


@pytest.mark.slow
def test_data_that_changed_is_learned_again(recipe: Path) -> None:
    done("run", recipe)
    data = recipe.parent / "news.csv"
    lines = data.read_text().splitlines()
    data.write_text("\n".join(lines[:-3]) + "\n")
    plan = done("run", recipe, "--dry-run", "--json").facts["steps"]
    assert [step["state"] for step in plan] == ["changed, again"] * 4
    done("run", recipe)
    rows = read_json(recipe.parent / "out" / "news" / "data.json")["splits"]
    assert sum(split["rows"] for split in rows.values()) == len(lines) - 4


def test_a_dry_run_says_the_commands_and_writes_nothing(recipe: Path) -> None:
    plan = done("run", recipe, "--dry-run", "--json").facts
    assert [step["state"] for step in plan["steps"]] == ["to do"] * 4
    assert plan["steps"][1]["command"].startswith("pretune finetune ")
    assert "--learning-rate 0.0002" in plan["steps"][1]["command"]
    assert not (recipe.parent / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("$pretrain", "$pretrian", "step news: .pretrian.*\n.*pretrain"),
        ("$news", "$again", "step scores: .again is no earlier step"),
        ("{pretrain}", "{scores}", "step again: step scores .evaluate. makes no run"),
        ("eval-every", "eval-evry", "step news: .*eval_evry"),
        ("max-steps: 6", "max-steps: many", "step news: --max-steps"),
        ("max-steps: 6", "max-steps: 0", "step news: --max-steps is 0"),
        ("max-steps: 6", "out: here", "step news: out is given"),
        ("max-steps: 6", "overwrite: true", "step news: overwrite is given.*\n.*--overwrite"),
        ("verb: evaluate", "verb: evalute", "step scores: there is no verb .evalute"),
        ("verb: evaluate", "verb: serve", "step scores: there is no verb .serve"),
        ("run: $news", "run: [a, b]", "step scores: --run was given 2 values"),
        ("  again:", "  scores:", "line 12: scores stands there twice"),
        ("  seed: 3", "  sed: 3", "no step takes the default .sed"),
        ("defaults:", "defalts:", "has the key .defalts"),
        ("steps:", "steps: [", "no YAML"),
        ("  again:", "  ../again:", "step ../again: this is no name"),
        ("  seed: 3", "  seed: !!python/object/apply:os.system [id]", "no YAML"),
    ],
)
def test_mistakes_are_found_before_anything_is_computed(recipe: Path, old: str, new: str, names: str) -> None:
    refused(call("run", changed(recipe, old, new)), names)
    assert not (recipe.parent / "out").exists()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "no recipe"),
        ("- a\n- b\n", "no recipe"),
        ("out: x\n", "no steps"),
        ("steps: {}\n", "no steps"),
        ("a: \xff", "key .a"),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    refused(call("run", path), names)
    refused(call("run", tmp_path), "no recipe")


def test_set_takes_names_and_values(recipe: Path) -> None:
    refused(call("run", recipe, "--set", "seed"), "NAME=VALUE")
    refused(call("run", recipe, "--set", "sed=3"), "no step takes the default .sed")
    plan = done("run", recipe, "--dry-run", "--set", "seed=9", "--out", recipe.parent / "nine", "--json").facts
    assert all("--seed 9" in step["command"] for step in plan["steps"] if step["verb"] == "finetune")
    assert plan["out"].endswith("nine")


def test_a_recipe_folder_of_others_is_left_alone(recipe: Path) -> None:
    out = recipe.parent / "out"
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    refused(call("run", recipe), "not a run folder")
    assert [path.name for path in out.iterdir()] == ["letter.txt"]
    (out / "letter.txt").unlink()
    (out / "run.json").write_text(json.dumps({"verb": "finetune", "settings": {}, "status": "finished"}))
    refused(call("run", recipe), "is a run of `finetune`")
