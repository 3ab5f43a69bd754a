"""What the settings of learning do, through the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import QUICK, TINY, call, done, refused
from told_story import Story, tell_once, weights, write_rows

from pretune.runfolder import RunFolder
from pretune.tasks.classes.classification import Classification


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, news_rows: list[dict[str, str]]) -> Story:
    return tell_once(tmp_path_factory, news_rows)


@pytest.mark.slow
def test_overwrite_starts_again(story: Story, tmp_path: Path) -> None:
    words = ("finetune", *TINY, "--data", story.data, "--out", tmp_path / "run", "--max-steps")
    done(*words, "1")
    done("evaluate", tmp_path / "run", "--threads", "1", "--no-baselines")
    assert call(*words, "2").code == 2
    done(*words, "2", "--overwrite")
    assert RunFolder(tmp_path / "run").record["training"]["steps"] == 2
    assert not (tmp_path / "run" / "metrics.json").exists(), "figures of the old model are gone"


def test_dry_run_writes_nothing(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--data", story.data, "--max-steps", "500", "--dry-run")
    for verb in ("pretrain", "finetune"):
        said = done(verb, *TINY, *words, "--out", tmp_path / "run", "--json")
        assert {"updates", "seconds_per_update", "forecast_seconds", "peak_memory_bytes", "parameters"} <= set(
            said.facts
        )
        assert said.facts["updates"] == 500
        assert "Nothing was written" in done(verb, *TINY, *words).out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_out_the_folder_is_named_after_verb_and_data(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        said = done("finetune", *TINY, "--data", story.data, "--max-steps", "1")
        assert f"runs/finetune-news-{number} is finished" in said.out
    assert len(done("list").out.splitlines()) == 2


@pytest.mark.slow
def test_several_seeds(story: Story, tmp_path: Path) -> None:
    facts = done(
        "finetune", *TINY, "--data", story.data, "--out", tmp_path / "run", "--max-steps", "2", "--seeds", "2", "--json"
    ).facts
    assert len(facts["result"]["values"]) == 2
    assert facts["result"]["seed"] in (0, 1)
    one, two = (weights(tmp_path / "run" / "seeds" / f"seed-{seed}") for seed in (0, 1))
    assert any(not np.array_equal(one[name], two[name]) for name in one)
    facts = done("evaluate", tmp_path / "run", "--threads", "1", "--no-baselines", "--json").facts
    assert len(facts["seed_scores"]["accuracy"]["values"]) == 2
    assert "2 seeds: mean" in done("evaluate", tmp_path / "run", "--threads", "1", "--no-baselines").out
    assert len(done("list", tmp_path, "--json").facts["runs"]) == 1, "the runs of single seeds belong to it"
    done("report", tmp_path / "run")


def test_out_may_not_be_the_backbone(story: Story) -> None:
    said = call("finetune", story.base, "--data", story.data, "--out", story.base, "--overwrite", *QUICK)
    assert said.code == 2
    assert "which it begins from" in said.err
    assert (story.base / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "reader"), [(("--llrd-decay", "0.8"), "llrd"), (("--no-cache-trunk", "--adapt", "llrd"), "head")]
)
def test_settings_of_another_adaptation_are_refused(
    words: tuple[str, ...], reader: str, story: Story, tmp_path: Path
) -> None:
    said = call("finetune", story.base, "--data", story.data, "--out", tmp_path / "run", *words, *QUICK)
    refused(said, f"does nothing for --adapt .*: it is for --adapt {reader}")
    assert not (tmp_path / "run" / "run.json").exists()


LAYER = "bert.encoder.layer.{}.attention.self.query.weight"
WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("adapt", "changed"),
    [
        ("head", {"words": False, "layer 0": False, "layer 1": False}),
        ("top:1", {"words": False, "layer 0": False, "layer 1": True}),
        pytest.param("llrd", {"words": True, "layer 0": True, "layer 1": True}, marks=pytest.mark.slow),
        pytest.param("gradual", {"words": True, "layer 0": True, "layer 1": True}, marks=pytest.mark.slow),
    ],
)
def test_adapt(adapt: str, changed: dict[str, bool], story: Story, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done(
        "finetune", story.base, "--data", story.data, "--out", out, "--adapt", adapt, "--max-steps", "8", *QUICK,
        "--eval-every", "8", "--schedule", "constant",
    )  # fmt: skip
    before, after = weights(story.base), weights(out)
    names = {"words": WORDS, "layer 0": LAYER.format(0), "layer 1": LAYER.format(1)}
    assert {key: not np.array_equal(before[name], after[name]) for key, name in names.items()} == changed


@pytest.mark.slow
def test_few_training_samples(story: Story, tmp_path: Path) -> None:
    said = done(
        "finetune",
        *TINY,
        "--data",
        story.data,
        "--out",
        tmp_path / "run",
        "--max-train-samples",
        "12",
        "--max-steps",
        "2",
    )
    assert "learning from 12 of 161 training rows" in said.err
    assert len(np.load(tmp_path / "run" / "train_keys.npy")) == 12
    facts = done("evaluate", tmp_path / "run", "--threads", "1", "--json").facts
    full = story.facts("evaluate")["baselines"]["tfidf-logistic"]["accuracy"]["value"]
    assert facts["baselines"]["tfidf-logistic"]["accuracy"]["value"] < full, "the baseline learns from the same 12 rows"


def test_sentence_pairs(tmp_path: Path, news_rows: list[dict[str, str]]) -> None:
    pairs = [
        {
            "premise": one["text"],
            "hypothesis": two["text"],
            "label": "same" if one["label"] == two["label"] else "other",
        }
        for one, two in zip(news_rows[:90], [*news_rows[100:160], *news_rows[3:33]], strict=True)
    ]
    place = write_rows(tmp_path / "pairs.csv", pairs)
    done("finetune", *TINY, "--data", place, "--out", tmp_path / "run", "--max-steps", "8", "--learning-rate", "0.001")
    columns = RunFolder(tmp_path / "run").passport["facts"]["read"]["files"][0]["columns"]
    assert columns == {"text": "premise", "text_pair": "hypothesis", "label": "label"}
    done("evaluate", tmp_path / "run", "--threads", "1")
    one = done("predict", tmp_path / "run", stdin='{"text": "a b", "text_pair": "the coach"}\n').rows[0]
    two = done("predict", tmp_path / "run", stdin='{"text": "a b", "text_pair": "a bank"}\n').rows[0]
    assert one["probabilities"] != two["probabilities"], "the second text is read"
    assert len(done("predict", tmp_path / "run", place).rows) == 90
    said = call("predict", tmp_path / "run", stdin='{"text": "a text alone"}\n')
    assert said.code == 2
    assert "text_pair" in said.err


def test_a_model_of_single_texts_refuses_pairs(story: Story) -> None:
    said = call("predict", story.news, stdin='{"text": "a b", "text_pair": "the coach"}\n')
    assert said.code == 2
    assert "learned from single texts" in said.err


@pytest.mark.slow
def test_long_rows_are_told_or_cut_into_windows(tmp_path: Path, news_rows: list[dict[str, str]]) -> None:
    long = [{**row, "text": f"{row['text']} " * (12 if n % 10 == 0 else 1)} for n, row in enumerate(news_rows)]
    place = write_rows(tmp_path / "long.csv", long)
    words = ("finetune", *TINY, "--data", place, "--max-steps", "2", "--max-length", "24")
    said = done(*words, "--out", tmp_path / "cut")
    told = next(line for line in said.err.splitlines() if "longer than the limit" in line)
    assert told.startswith("warning: ")
    assert re.search(r"worst: row-\d+1 \(-\d+ tokens\)", told)
    assert "--long-text windows" in told
    ledger = RunFolder(tmp_path / "cut").passport["tokens"]["train"]
    assert ledger["truncated_rows"] >= 10
    said = done(*words, "--out", tmp_path / "windows", "--long-text", "windows")
    assert "longer than the limit" not in said.err
    assert RunFolder(tmp_path / "windows").passport["tokens"]["train"]["truncated_rows"] == 0
    done("evaluate", tmp_path / "windows", "--threads", "1", "--no-baselines")
    ends = [f"{long[0]['text']} {end}" for end in ("the striker scored", "the bank borrowed")]
    for name, differ in (("cut", False), ("windows", True)):
        one, two = done("predict", tmp_path / name, stdin="\n".join(ends)).rows
        assert (one["probabilities"] != two["probabilities"]) is differ


@pytest.mark.slow
def test_class_weights(tmp_path: Path, news_rows: list[dict[str, str]]) -> None:
    rare = [row for n, row in enumerate(news_rows) if row["label"] == "sport" or n % 5 == 0]
    place = write_rows(tmp_path / "rare.csv", rare)
    words = ("finetune", *TINY, "--data", place, "--max-steps", "4", "--metric", "f1_macro")
    done(*words, "--out", tmp_path / "plain")
    done(*words, "--out", tmp_path / "weighed", "--class-weights", "auto")
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(*(weights(tmp_path / n).values() for n in ("plain", "weighed")), strict=True)
    )
    assert RunFolder(tmp_path / "weighed").record["result"]["metric"] == "f1_macro"


def test_sixteen_rows(tmp_path: Path, news_rows: list[dict[str, str]]) -> None:
    place = write_rows(tmp_path / "few.csv", [row for row in news_rows if row["label"] != "sport"][:16])
    done("finetune", *TINY, "--data", place, "--out", tmp_path / "run", "--max-steps", "3")
    said = done("evaluate", tmp_path / "run", "--threads", "1")
    assert "n = 2" in said.out
    done("report", tmp_path / "run")


def test_python_gives_what_the_command_line_gives(story: Story, tmp_path: Path) -> None:
    import pretune

    words = ("--data", story.data, "--max-steps", "3", "--seed", "7")
    line = done("finetune", *TINY, *words, "--out", tmp_path / "line", "--json").facts
    outcome = pretune.finetune(
        "scratch:bert-tiny", vocab_size=300, threads=1, precision="fp32", data=story.data, max_steps=3, seed=7,
        out=tmp_path / "python",
    )  # fmt: skip
    assert outcome.facts["result"] == line["result"]
    one, two = (weights(tmp_path / name) for name in ("line", "python"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    records = list(pretune.predict(tmp_path / "python", story.data).rows or ())
    assert [record["id"] for record in records] == list(story.rows)


def test_quiet_says_only_the_result(story: Story, tmp_path: Path) -> None:
    said = done("finetune", *TINY, "--data", story.data, "--max-steps", "1", "--out", tmp_path / "run", "--quiet")
    assert len(said.out.splitlines()) == 1
    assert all(line.startswith("warning:") for line in said.err.splitlines())


@pytest.mark.slow
@pytest.mark.usefixtures("short_timings")
@pytest.mark.parametrize("verb", ["prune", "quantize"])
def test_what_learns_again_weighs_classes_as_its_run_did(
    verb: str, tmp_path: Path, news_rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [row for number, row in enumerate(news_rows) if row["label"] != "money" or number % 4 == 0]
    data, run = write_rows(tmp_path / "news.csv", few), tmp_path / "run"
    learn = ("--class-weights", "auto", "--label-smoothing", "0.1", "--max-steps", "2")
    done("finetune", *TINY, "--data", data, *learn, "--out", run)
    seen: list[tuple[float, float]] = []
    plain = Classification.losses

    def watched(task: Classification, *given: Any) -> Any:
        weights = task.class_weights_C
        seen.append((task.label_smoothing, 0.0 if weights is None else float(weights[task.index["money"]])))
        return plain(task, *given)

    monkeypatch.setattr(Classification, "losses", watched)
    more = ("--ratio", "0.5", "--rounds", "1") if verb == "prune" else ("--method", "qat")
    done(verb, run, *more, "--max-steps", "2", "--threads", "1", "--out", tmp_path / "small")
    assert seen
    assert all(smoothing == 0.1 and weight > 1.2 for smoothing, weight in seen)
