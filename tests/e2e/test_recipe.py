"""A recipe: checked whole before it computes, each step done once, gone on with after a kill, one page of it all."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_calls import call, done, refused, refuses

from clocks import HANG_SECONDS
from conftest import write_csv
from pretune.files import read_json
from pretune.runfolder import RunFolder
from pretune.study.engines import process as step_process
from typed import python_in
from unsealed import unsealed

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
        ("run: $news", "run: [a, b]", "step scores: RUN was given 2 values"),
        ("  again:", "  scores:", "line 12: scores stands there twice"),
        ("  seed: 3", "  sed: 3", "no step takes the default .sed"),
        ("defaults:", "defalts:", "has the key .defalts"),
        ("steps:", "steps: [", "no YAML"),
        ("  again:", "  ../again:", "step ../again: this is no name"),
        ("  seed: 3", "  seed: !!python/object/apply:os.system [id]", "no YAML"),
        ("  seed: 3", "  seed: !!int three", "no YAML: invalid literal"),
        ("  seed: 3", "  seed: 2020-99-99", "step pretrain: --seed is '2020-99-99'"),
        ("  seed: 3", "\tseed: 3", "no YAML.*\n.*not tabs"),
        ("  seed: 3", "  seed: 3\n  dry-run: true", "dry_run is among the defaults.*\n.*--dry-run"),
        ("  seed: 3", "  seed: 3\n  overwrite: true", "overwrite is among the defaults"),
        ("  seed: 3", "  seed: 3\n  out: here", "out is among the defaults.*\n.*beside defaults and steps"),
        ("  seed: 3", "  seed: 3\n  backbone: x", "default .backbone. changes no step"),
        ("  seed: 3", "  seed: 3\n  run: $news", "default .run. changes no step"),
        ("  seed: 3", "  seed: 3\n  1: x", "line 6: the key 1 is no word"),
        ("max-steps: 6", "max-steps: 6, max_steps: 7", "step news: max_steps stands there twice"),
        ("max-steps: 6", "metric: no", "step news: --metric is false.*\n.*quotes"),
        ("run: $news", "run: $5", "step scores: .5 is no earlier step.*\n.*written \\$\\$"),
        ("verb: evaluate, run: $news", "verb: predict, run: $news", "step scores: data is standard input"),
        (
            "verb: evaluate, run: $news",
            "verb: predict, run: $news, data: [x.csv, '-']",
            "step scores: data is standard input",
        ),
        (
            "verb: evaluate, run: $news",
            "verb: predict, run: $news, data: x.csv",
            "step scores: its answers would go nowhere",
        ),
        ("  again:", "  checkpoints:", "step checkpoints: checkpoints is the name of a folder that runs keep"),
        ("  again:", "  model:", "step model: model is the name of a folder"),
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
        ("out: 5\nsteps: {a: {}}\n", "out is 5"),
        ("out: [a]\nsteps: {a: {}}\n", "out is .'a'"),
        ("out: $x\nsteps: {a: {}}\n", "out is '.x'"),
        ('out: "a\\0b"\nsteps: {a: {}}\n', "out is 'a"),
        ("steps: {a: {}}\n---\nsteps: {}\n", "single document"),
        ("steps: {a: {verb: finetune, backbone: &a [*a]}}\n", "recursive"),
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


def test_aliases_that_unfold_into_too_much_are_refused(tmp_path: Path) -> None:
    lines = ["steps:", "  s0: {column: &a0 [x, x, x, x, x, x, x, x, x, x]}"]
    lines += [f"  s{n}: {{column: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join(lines))
    refuses("unfolds into more than", "run", path)


def test_what_yaml_has_for_repeating_and_for_words_is_read(recipe: Path) -> None:
    changed(recipe, "  again: {{verb".replace("{{", "{"), "  third:\n    <<: *news\n    max-steps: 4\n  again: {verb")
    changed(recipe, "news: {verb", "news: &news {verb")
    changed(recipe, "max-steps: 4}", "max-steps: 4, pack: no, header: yes}")
    changed(recipe, "verb: evaluate, run: $news", "verb: explain, run: $news, example: it costs $$5")
    plan = {step["name"]: step["command"] for step in done("run", recipe, "--dry-run", "--json").facts["steps"]}
    assert "--pack no" in plan["pretrain"]
    assert "--header yes" in plan["pretrain"]
    assert "--max-steps 4" in plan["third"]
    assert "--learning-rate 0.0002" in plan["third"]
    assert "it costs $5" in plan["scores"]


def test_a_set_that_changes_no_step_is_refused(recipe: Path) -> None:
    refused(call("run", recipe, "--dry-run", "--set", "max-steps=3"), "the default 'max_steps' changes no step")
    refused(call("run", recipe, "--dry-run", "--set", "seed=3", "--set", "seed=4"), "--set seed is given twice")


def test_a_dry_run_finds_a_place_that_cannot_be_used(recipe: Path) -> None:
    refused(call("run", recipe, "--dry-run", "--out", recipe), "is a file")
    refused(call("run", recipe, "--dry-run", "--out", recipe.parent), "not empty and not a run folder")


EVALUATED = """
out: {out}
steps:
  news: {{verb: finetune, backbone: scratch:bert-tiny, vocab-size: 300, data: {data}, max-steps: 2, threads: 1}}
  scores: {{verb: evaluate, run: $news, baselines: false}}
  labels: {{verb: predict, run: $news, data: {data}, out: {labels}}}
"""


@pytest.mark.slow
def test_what_lay_in_a_run_that_is_gone_is_made_again(tmp_path: Path, news_rows: list[dict[str, str]]) -> None:
    out, labels = tmp_path / "out", tmp_path / "labels.jsonl"
    data = write_csv(tmp_path / "news.csv", news_rows)
    path = tmp_path / "recipe.yaml"
    path.write_text(EVALUATED.format(out=out, data=data, labels=labels))
    done("run", path)
    assert len(labels.read_text().splitlines()) == len(news_rows)
    labels.unlink()
    said = done("run", path)
    assert "scores was done before" in said.err
    assert labels.exists()
    shutil.rmtree(out / "news")
    said = done("run", path)
    assert "test" in RunFolder(out / "news").metrics
    assert all(name not in said.err for name in ("scores was done before", "labels was done before"))
    words = {step["name"]: step["state"] for step in done("run", path, "--dry-run", "--json").facts["steps"]}
    assert words == dict.fromkeys(("news", "scores", "labels"), "done before")
    again = done("run", path, "--dry-run", "--overwrite", "--json").facts["steps"]
    assert {step["state"] for step in again} == {"to do"}

    other = path.with_name("other.yaml")
    other.write_text(path.read_text().replace("max-steps: 2", "max-steps: 3"))
    refused(call("run", other), f"holds the runs of another recipe, {path}")
    refused(call("run", other, "--dry-run"), "another recipe")
    path.unlink()  # renamed, not another
    done("run", other)
    assert RunFolder(out / "news").record["training"]["steps"] == 3

    (unsealed(out) / "recipe.json").write_text('{"steps": [1]}')
    refused(call("run", other), "recipe.json is not as pretune wrote it: steps is a list")
    (out / "recipe.json").unlink()
    assert "was finished before" in done("run", other).err


def _weights(out: Path) -> dict[str, bytes]:
    return {name: (out / name / "model" / "model.safetensors").read_bytes() for name in ("pretrain", "news", "again")}


@pytest.mark.slow
def test_steps_side_by_side_give_what_they_give_one_by_one(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = recipe.parent / "out"
    done("run", recipe)
    alone, told = _weights(out), read_json(out / "recipe.json")["steps"]
    with python_in(recipe.parent) as python:
        monkeypatch.setattr(step_process, "sys", SimpleNamespace(executable=str(python)))
        done("run", recipe, "--jobs", 2, "--overwrite")
    assert _weights(out) == alone
    beside = read_json(out / "recipe.json")["steps"]
    assert beside.keys() == told.keys()
    for name, step in beside.items():
        kept = {key: value for key, value in step.items() if key not in ("seconds", "taken", "facts")}
        assert kept == {key: told[name][key] for key in kept}, name
        assert step["facts"].keys() == told[name]["facts"].keys()
    assert "nothing was computed" in done("run", recipe, "--jobs", 3).out


@pytest.mark.slow
def test_an_error_of_one_step_ends_those_beside_it_and_what_is_done_stays(recipe: Path) -> None:
    out = recipe.parent / "out"
    changed(
        recipe,
        "  again:",
        f"  third: {{verb: finetune, backbone: $pretrain, data: {recipe.parent / 'gone.csv'}}}\n  again:",
    )
    refused(call("run", recipe, "--jobs", 2), "step third: .*gone.csv")
    assert RunFolder(out).record["status"] == "failed"
    assert RunFolder(out / "pretrain").record["status"] == "finished"
    states = {
        one["name"]: one["state"] for one in done("run", recipe, "--jobs", 2, "--dry-run", "--json").facts["steps"]
    }
    assert states["pretrain"] == "done before"


@pytest.mark.slow
def test_a_signal_ends_the_steps_beside_each_other_and_they_go_on(recipe: Path) -> None:
    out = recipe.parent / "out"
    changed(recipe, "max-steps: 6", "max-steps: 4000")
    changed(recipe, "max_steps: 3", "max_steps: 4000")
    words = [sys.executable, "-m", "pretune", "run", str(recipe), "--jobs", "2"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for _ in process.stderr:
            if all((out / name / "log.jsonl").exists() for name in ("news", "again")):
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(HANG_SECONDS) == 143, rest
    for name in ("news", "again"):
        assert RunFolder(out / name).record["status"] == "stopped", "its state was saved"
    assert "run the same command again" in rest
    assert RunFolder(out).record["status"] == "interrupted"
