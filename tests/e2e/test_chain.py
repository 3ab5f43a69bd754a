"""The whole story through the command line: look, pre-train, fine-tune, evaluate, compare, predict, report, list."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_calls import QUICK, TINY, call, done
from told_story import GOOD, Story, tell_once, write_rows

from clocks import HANG_SECONDS
from pretune.files import read_json, read_json_lines
from pretune.runfolder import RunFolder


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, news_rows: list[dict[str, str]]) -> Story:
    return tell_once(tmp_path_factory, news_rows)


def test_inspect_tells_a_script_what_it_needs(story: Story) -> None:
    facts = story.facts("inspect")
    assert facts["rows"] == 200
    assert facts["exit_code"] == 0
    assert sum(split["rows"] for split in facts["splits"].values()) == 200
    assert set(facts["splits"]["train"]["labels"]["counts"]) == {"sport", "money", "science"}
    file = facts["facts"]["read"]["files"][0]
    assert (file["format"], file["encoding"], file["columns"]) == (
        "text table", "utf-8", {"text": "text", "label": "label", "id": "id"}
    )  # fmt: skip
    assert all({"severity", "code", "message", "count", "rows"} <= set(one) for one in facts["findings"])
    assert [Path(page).name for page in facts["pages"]] == ["data.json", "passport.html"]
    assert all(Path(page).is_file() for page in facts["pages"])


def test_inspect_for_people_names_format_columns_and_the_next_command(story: Story) -> None:
    said = done("inspect", story.data)
    assert "200 rows" in said.out
    assert "text = text" in said.out
    assert "label = label" in said.out
    assert "Next: pretune finetune linear:tfidf --data " in said.out, (
        "few rows: a linear model is the sensible first run"
    )


def test_pretrain_json(story: Story) -> None:
    facts = story.facts("pretrain")
    assert {"run", "status", "scores", "model", "exit_code"} <= set(facts)
    assert facts["status"] == "finished"
    score = facts["scores"]["masked_accuracy"]
    assert score["low"] <= score["value"] <= score["high"]
    assert 4 <= score["n"] <= 16, "about one row in twenty is held out"
    assert facts["scores"]["pseudo_perplexity"]["value"] > 1
    assert (Path(facts["model"]) / "model.safetensors").is_file()
    counted = read_json(story.base / "run.json")["backbone"]["counted"]
    assert re.fullmatch(r"\d+ of \d+ token embeddings, by which tokens stand together", counted)
    done("report", story.base, "--out", story.folder / "base.html")
    page = (story.folder / "base.html").read_text()
    assert re.search(rf"Counted in the rows</dt><dd[^>]*>{counted}<", page)
    assert re.search(r"Newly initialised</dt><dd[^>]*>all other weights<", page)


def test_finetune_json_and_lineage(story: Story) -> None:
    facts = story.facts("finetune")
    assert facts["status"] == "finished"
    assert facts["result"]["metric"] == "accuracy"
    assert facts["result"]["value"] > 0.8
    assert facts["result"]["step"] <= 60
    record = read_json(story.news / "run.json")
    assert record["parents"] == [str(story.base)]
    assert record["model"]["labels"] == ["money", "science", "sport"]
    assert any("classifier" in name for name in record["model"]["initialised"])
    assert not any("encoder" in name for name in record["model"]["initialised"])
    assert record["training"]["steps"] == 60
    assert not (story.news / "checkpoints").exists()
    assert not list(story.news.glob("**/*.bin"))


def test_the_model_folder_loads_in_plain_transformers(story: Story) -> None:
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(story.news / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(story.news / "model")
    record = next(read_json_lines(story.news / "predictions" / "test.jsonl"))
    with torch.no_grad():
        logits = model(**tokenizer(story.rows[record["id"]]["text"], return_tensors="pt")).logits[0]
    theirs = {model.config.id2label[i]: float(p) for i, p in enumerate(logits.softmax(-1))}
    assert theirs == pytest.approx(record["probabilities"], abs=1e-4)


def test_evaluate_json_and_predictions(story: Story) -> None:
    facts = story.facts("evaluate")
    assert {"run", "split", "n", "primary", "scores", "baselines", "leaks", "looks", "notes"} <= set(facts)
    assert (facts["split"], facts["primary"], facts["looks"]) == ("test", "accuracy", 1)
    assert set(facts["baselines"]) == {"majority", "tfidf-logistic"}
    for score in facts["scores"].values():
        assert score["low"] <= score["value"] <= score["high"]
        assert score["n"] == facts["n"]
    records = list(read_json_lines(story.news / "predictions" / "test.jsonl"))
    assert len(records) == facts["n"] == len({record["id"] for record in records})
    assert all(record["truth"] == story.rows[record["id"]]["label"] for record in records), "ids are kept"
    right = sum(record["label"] == record["truth"] for record in records)
    assert facts["scores"]["accuracy"]["value"] == pytest.approx(right / len(records))
    assert facts["scores"]["accuracy"]["value"] > 0.8
    assert facts["leaks"] is None or facts["leaks"]["n"] == 0
    assert read_json(story.news / "metrics.json")["test"]["scores"] == facts["scores"]


def test_compare_json(story: Story) -> None:
    facts = story.facts("compare")
    assert {"a", "b", "split", "n", "better", "verdict", "mcnemar", "primary", "scores", "n_needed"} <= set(facts)
    assert facts["better"] == "a"
    assert facts["verdict"].startswith("news is better: +")
    counts = facts["mcnemar"]
    assert sum(counts[key] for key in ("both_right", "only_a", "only_b", "both_wrong")) == facts["n"]
    assert facts["primary"]["low"] <= facts["primary"]["difference"] <= facts["primary"]["high"] < 0, "B minus A"
    for run in (story.news, story.weak):
        assert read_json(run / "comparisons.json")[0]["verdict"] == facts["verdict"]
    other_way = done("compare", story.weak, story.news).out
    assert other_way.startswith("news is better: +")


def test_predict_keeps_ids_and_order(story: Story) -> None:
    assert story.facts("predict") == {"rows": 200, "out": str(story.folder / "labels.jsonl"), "exit_code": 0}
    records = list(read_json_lines(story.folder / "labels.jsonl"))
    assert [record["id"] for record in records] == list(story.rows)
    for record in records:
        assert record["label"] == max(record["probabilities"], key=record["probabilities"].__getitem__)
        assert sum(record["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    assert sum(record["label"] == story.rows[record["id"]]["label"] for record in records) > 160


def test_predict_does_not_depend_on_how_rows_come(story: Story, tmp_path: Path) -> None:
    rows = list(story.rows.values())[:7]
    expected = {one["id"]: one for one in read_json_lines(story.folder / "labels.jsonl")}
    as_json = "".join(json.dumps({"id": row["id"], "text": row["text"]}) + "\n" for row in rows)
    from_json = done("predict", story.news, "-", stdin=as_json).rows
    assert [one["id"] for one in from_json] == [row["id"] for row in rows]
    from_text = done("predict", story.news, stdin="".join(row["text"] + "\n" for row in rows)).rows
    assert [one["id"] for one in from_text] == [f"standard input:{n}" for n in range(1, 8)]
    folder = tmp_path / "inbox"
    folder.mkdir()
    for row in rows:
        (folder / f"{row['id']}.txt").write_text(row["text"] + "\n", encoding="utf-8")
    from_folder = done("predict", story.news, folder).rows
    small_window = done("predict", story.news, "-", "--window-rows", "2", stdin=as_json).rows
    by_name = {re.search(r"row-\d+", one["id"])[0]: one for one in from_folder}  # type: ignore[index]
    for number, row in enumerate(rows):
        for one in (from_json[number], from_text[number], by_name[row["id"]], small_window[number]):
            assert one["probabilities"] == pytest.approx(expected[row["id"]]["probabilities"], abs=1e-5)


def test_report_and_list(story: Story) -> None:
    page = Path(story.facts("report")["report"])
    assert page == story.news / "report.html"
    html = page.read_text(encoding="utf-8")
    assert "pretune finetune" in html
    assert story.base.name in html
    assert str(story.base) not in html
    assert not re.search(r'(?:src|href)="https?:', html), "nothing is fetched"
    runs = {Path(run["run"]).name: run for run in story.facts("list")["runs"]}
    assert set(runs) == {"base", "news", "weak"}
    assert (runs["news"]["verb"], runs["news"]["status"]) == ("finetune", "finished")
    assert runs["news"]["scores"]["test"]["score"] == "accuracy"
    text = done("list", story.folder).out
    assert len(text.splitlines()) == 3
    assert "test accuracy" in text
    other = story.folder / "page.html"
    assert str(other) in done("report", story.base, "--out", other).out


def test_every_result_for_people_ends_with_where_to_go_next(story: Story) -> None:
    again = done("pretrain", *TINY, "--data", story.data, "--out", story.base, "--max-steps", "6")
    assert f"Next: pretune finetune {story.base} --data" in again.out
    before = (story.news / "model" / "model.safetensors").stat().st_mtime_ns
    again = done("finetune", story.base, "--data", story.data, "--out", story.news, *GOOD)
    assert "was finished before; nothing was computed" in again.out
    assert f"Next: pretune evaluate {story.news}" in again.out
    assert (story.news / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert len(again.out.splitlines()) == 1


def test_the_command_in_the_record_is_the_run_again(story: Story) -> None:
    import shlex

    words = shlex.split(read_json(story.news / "run.json")["command"])
    assert words[0] == "pretune"
    assert "was finished before" in done(*words[1:]).out


def test_a_changed_setting_is_refused_with_the_difference(story: Story) -> None:
    said = call("finetune", story.base, "--data", story.data, "--out", story.news, *GOOD, "--seed", "5")
    assert said.code == 2
    assert "--seed was 0, is 5" in said.err
    assert "--overwrite" in said.err
    assert read_json(story.news / "run.json")["status"] == "finished"
    other = call("finetune", "scratch:bert-tiny", "--data", story.data, "--out", story.news, *GOOD)
    assert f"BACKBONE was '{story.base}', is 'scratch:bert-tiny'" in other.err


def test_looks_are_counted_and_training_rows_refused(story: Story, tmp_path: Path) -> None:
    run = shutil.copytree(story.weak, tmp_path / "weak")
    words = ("evaluate", run, "--threads", "1", "--no-baselines")
    before = len((run / "looks.jsonl").read_text().splitlines())
    assert before >= 2, "one evaluation and one comparison came before"
    assert done(*words, "--json").facts["looks"] == before + 1
    said = call(*words, "--data", story.data)
    assert said.code == 2
    assert re.search(r"error: \d+ of the 200 rows of .* are training rows", said.err)
    assert "--drop-leaks" not in said.err, "evaluate has no such option"
    assert "training rows" in done(*words, "--split", "train").out
    assert set(RunFolder(run).metrics) == {"test", "train"}
    assert done(*words, "--split", "validation", "--json").facts["split"] == "validation"


def test_other_data_is_scored_apart(story: Story, tmp_path: Path) -> None:
    from conftest import make_rows

    run = shutil.copytree(story.news, tmp_path / "news")
    known = {row["text"] for row in story.rows.values()}
    fresh = [row for row in make_rows(260, seed=9) if row["text"] not in known]
    other = [{"headline": row["text"], "topic": row["label"]} for row in fresh]
    place = write_rows(tmp_path / "other.csv", other)
    words = ("evaluate", run, "--data", place, "--column", "text=headline", "--column", "label=topic", "--threads", "1")
    facts = done(*words, "--json").facts
    assert facts["n"] == len(other)
    assert facts["scores"]["accuracy"]["value"] > 0.8
    assert set(RunFolder(run).metrics) == {"test", "test-other"}, "the run's own test stays"
    assert RunFolder(run).metrics["test"]["n"] != len(other)
    few = write_rows(tmp_path / "few.csv", other[:40])
    assert done(*words[:3], few, *words[4:], "--json").facts["split"] == "test-other-2"
    assert done(*words, "--json").facts["split"] == "test-other", "the same place has its name again"
    metrics = RunFolder(run).metrics
    assert (metrics["test-other"]["n"], metrics["test-other-2"]["n"]) == (len(other), 40), "neither is lost"
    done("report", run)
    assert "On few.csv (test-other-2)" in (run / "report.html").read_text(encoding="utf-8")


def test_test_rows_that_leak_are_scored_apart(news_rows: list[dict[str, str]], tmp_path: Path) -> None:
    folder = tmp_path / "leaky"
    folder.mkdir()
    copies = [{**row, "id": f"copy-{row['id']}", "text": row["text"].upper()} for row in news_rows[:5]]
    write_rows(folder / "train.csv", news_rows[:120])
    write_rows(folder / "validation.csv", news_rows[120:140])
    write_rows(folder / "test.csv", [*news_rows[140:], *copies])
    said = call("inspect", folder, "--strict")
    assert said.code == 1
    assert re.search(r"(warning|ERROR) +5 rows of test .*stand in train", said.out)
    done("finetune", *TINY, "--data", folder, "--out", tmp_path / "run", "--max-steps", "2")
    said = done("evaluate", tmp_path / "run", "--threads", "1")
    assert "5 of 65" in said.out
    leaks = RunFolder(tmp_path / "run").metrics["test"]["leaks"]
    assert leaks["n"] == 5
    assert leaks["without"]["accuracy"]["n"] == 60
    done("finetune", *TINY, "--data", folder, "--drop-leaks", "--out", tmp_path / "clean", "--max-steps", "2")
    assert done("evaluate", tmp_path / "clean", "--threads", "1", "--json").facts["leaks"] is None


@pytest.mark.slow
def test_a_real_pretrained_encoder(minilm_dir: Path, story: Story, tmp_path: Path) -> None:
    done("finetune", minilm_dir, "--data", story.data, "--out", tmp_path / "run", "--max-steps", "12", *QUICK)
    record = RunFolder(tmp_path / "run").record
    assert not any("encoder" in name for name in record["model"]["initialised"])
    assert done("evaluate", tmp_path / "run", "--threads", "1", "--json").facts["scores"]["accuracy"]["value"] > 0.8
    done("pretrain", minilm_dir, "--data", story.data, "--out", tmp_path / "on", "--max-steps", "2", *QUICK)


@pytest.mark.slow
def test_the_story_in_processes_of_their_own(tmp_path: Path, news_csv: Path) -> None:
    def shell(*words: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pretune", *map(str, words)],
            input=stdin, capture_output=True, text=True, cwd=tmp_path, timeout=HANG_SECONDS, check=True,
        )  # fmt: skip

    shell("finetune", *TINY, "--data", news_csv, "--out", "runs/a", "--max-steps", "2")
    piped = shell("predict", "runs/a", "-", stdin='{"id": "x", "text": "the coach"}\n')
    assert json.loads(piped.stdout)["id"] == "x"
    assert "runs/a" in shell("list").stdout
    assert shell("report", "runs/a").stderr == ""
