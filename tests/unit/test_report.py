"""The report page of a run: complete, escaped, self-contained and always the same bytes."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest
from report_samples import HOSTILE, Tree, assert_self_contained, evaluation, make_run, page_of, passport, record

from pretune.errors import CorruptFile
from pretune.files import write_json
from pretune.report import layout
from pretune.report.lineage import nodes_of
from pretune.report.page import write_report
from pretune.report.parts.sections import changed_settings
from pretune.runfolder import RunFolder


@pytest.fixture
def full(tmp_path: Path) -> Tree:
    return Tree(page_of(make_run(tmp_path / "news")))


def test_the_outcome_is_said_first_in_plain_words(full: Tree) -> None:
    assert "On 200 rows of the test split, accuracy is 91.2 % [90.2, 92.2]." in full.text
    assert (
        "It was worth it: the best simple way, TF-IDF with logistic regression, reaches 84.0 % [83.0, 85.0]"
        in full.text
    )
    assert "scratch and b, on the same rows: b is better: +5.5 points of accuracy" in full.text


def test_every_part_is_there_in_order(full: Tree) -> None:
    anchors = [attrs["id"] for attrs in full.all("section")]
    assert anchors == ["scores", "compared", "curves", "data", "limits", "done", "repeat"]
    for words in (
        "Loss in training",
        "Accuracy on b",
        "Learning rate",
        "Token ledger",
        "Rows of each label in train",
        "Length of the texts in train",
        "Writing systems",
        "Rows that stand in two splits",
        "Most often confused",
        "Calibration",
        "Mistakes",
        "Versions",
    ):
        assert words in full.text
    assert "1.1 GB memory at most" in full.text
    assert "21 min 40 s from 2025-11-20 09:00:00 UTC" in full.text


def test_the_page_is_accessible(full: Tree) -> None:
    assert [tag for tag, _ in full.tags].count("h1") == 1
    levels = [int(tag[1]) for tag, _ in full.tags if re.fullmatch("h[1-6]", tag)]
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert full.all("html")[0]["lang"] == "en"
    assert all(attrs.get("scope") in ("col", "row") for attrs in full.all("th"))
    assert all(attrs.get("aria-label") and attrs.get("role") == "img" for attrs in full.all("svg"))
    assert all(attrs.get("aria-label") for attrs in full.all("div") if "scroll" in (attrs.get("class") or ""))
    ids = [attrs["id"] for _, attrs in full.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"][1:] for attrs in full.all("a") if attrs.get("href")]
    assert set(targets) <= set(ids)


def test_hostile_strings_stay_text_everywhere(tmp_path: Path) -> None:
    run = make_run(tmp_path / "news", HOSTILE)
    html = page_of(run)
    assert_self_contained(html)
    assert "<script" not in html
    assert HOSTILE in Tree(html).text


@pytest.mark.parametrize(
    "word", ["经济新闻：房价上涨", "عربي", "half \ud83d a pair", "nul \x00 and \u202e turned", "{{ 7 * 7 }} {% raw %}"]
)
def test_any_text_can_be_written(tmp_path: Path, word: str) -> None:
    run = make_run(tmp_path / "news", "b")
    for name, value in (("metrics.json", {"test": evaluation(word)}), ("data.json", passport(word))):
        (run.path / name).write_text(json.dumps(value), encoding="utf-8")
        run.sums.include(name)
    html = page_of(run)
    assert_self_contained(html)
    assert "\x00" not in html
    if word.isprintable() and "{" not in word:
        assert word in html
    assert "49" not in re.findall(r"<b dir=\"auto\">(.*?)</b>", html)


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "news")
    first = write_report(run).read_bytes()
    layout._environment.cache_clear()
    assert write_report(run, tmp_path / "elsewhere" / "page.html").read_bytes() == first
    assert write_report(run).read_bytes() == first


def test_an_empty_run_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "bare"
    path.mkdir()
    write_json(path / "run.json", {})
    html = page_of(RunFolder(path))
    assert_self_contained(html)
    assert "Not evaluated yet: pretune evaluate bare" in Tree(html).text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("running", "This run has not ended."),
        ("failed", "This run failed. update 7 has NaN."),
        ("interrupted", "This run was interrupted."),
        ("finished", None),
    ],
)
def test_a_run_that_did_not_end_well_says_so_at_the_top(tmp_path: Path, status: str, words: str | None) -> None:
    tree = Tree(
        page_of(make_run(tmp_path / "news", status=status, error="update 7 has NaN" if status == "failed" else ""))
    )
    if words is None:
        assert not [attrs for attrs in tree.all("p") if "banner" in (attrs.get("class") or "")]
    else:
        assert words in tree.text
        assert tree.text.index(words) < tree.text.index("What was done")


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ("model", "It was worth it: the best simple way"),
        (None, "Not shown to be worth it: the best simple way"),
        ("baseline", "It was not worth it: the best simple way"),
        ("older", "was not compared row by row: evaluate it again"),
    ],
)
def test_the_verdict_follows_the_paired_comparison(tmp_path: Path, better: str | None, words: str) -> None:
    """Not whether two intervals overlap: model and baseline answered the same rows."""
    run = make_run(tmp_path / "news")
    against = {"tfidf-logistic": {"better": better, "n": 200, "difference": 0.02, "low": 0.005, "high": 0.035}}
    run.write_metrics("test", {**evaluation(), "against": {} if better == "older" else against})
    text = Tree(page_of(run)).text
    assert words in text
    assert ("the model differs from it by +2.0 points [0.5, 3.5]" in text) == (better != "older")


def test_a_score_on_validation_says_what_the_rows_were_used_for(tmp_path: Path) -> None:
    run = make_run(tmp_path / "news")
    sentence = "Validation rows chose which state of the model was kept"
    assert sentence not in Tree(page_of(run)).text
    run.write_metrics("validation", {**evaluation(), "split": "validation"})
    assert sentence in Tree(page_of(run)).text


def test_test_comes_before_validation_and_both_have_a_heading(tmp_path: Path) -> None:
    run = make_run(tmp_path / "news")
    run.write_metrics("validation", {**evaluation(), "split": "validation"})
    text = Tree(page_of(run)).text
    assert text.index("On the test split ") < text.index("On the validation split ")


def test_several_seeds_are_shown_as_lines_and_as_a_table(tmp_path: Path) -> None:
    run = make_run(tmp_path / "news")
    several = {"seeds": [0, 1], "seed_scores": {"accuracy": {"mean": 0.9, "sd": 0.01, "values": [0.89, 0.91]}}}
    run.write_metrics("test", {**evaluation(), **several})
    run.log_path.unlink()
    for seed in (0, 1):
        for step in (1, 2):
            run.log({"kind": "step", "seed": seed, "step": step, "loss": 1.0 / step + seed, "learning_rate": 0.1})
    text = Tree(page_of(run)).text
    assert "Over 2 seeds the mean is 90.0 % with a standard deviation of 1.0 %." in text
    assert "89.0 %, 91.0 %" in text
    assert "seed 0" in text
    assert "seed 1" in text
    assert "There is one seed" not in text


def test_limits_name_leaks_looks_and_small_tests(full: Tree) -> None:
    assert (
        "4 rows of the test split also stand in the training data. Without them, accuracy is 91.0 % [90.0, 92.0]."
        in full.text
    )
    assert "The test split was looked at 3 times." in full.text
    assert "has only 200 rows" in full.text
    assert "There is one seed." in full.text
    assert "The check of the data found 1 error" in full.text


def test_findings_stand_worst_first_with_words_and_fixes(full: Tree) -> None:
    assert full.text.index("Error 5 rows") < full.text.index("Note HTML was left in (7 rows)")
    assert "What to do: --drop-leaks b" in full.text
    assert "1 error and 1 note" in full.text


def test_a_broken_file_of_the_run_itself_is_an_error_that_names_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "news")
    (run.path / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(CorruptFile, match=r"metrics\.json"):
        write_report(run)


def test_settings_that_differ_are_those_of_the_command(full: Tree) -> None:
    assert changed_settings(record()) == {"data": "b", "epochs": 3.0, "drop_leaks": True}
    assert changed_settings({"command": "pretune x --no-header", "settings": {"header": False, "seed": 0}}) == {
        "header": False
    }
    assert changed_settings({"command": "an open ' quote", "settings": {"seed": 0}}) == {}
    assert "pretune finetune base \\ --data b \\ --epochs 3.0 \\ --drop-leaks" in full.text


def test_lineage_finds_parents_from_any_folder_and_survives_a_circle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs" / "base", parents=["runs/news"])
    make_run(tmp_path / "runs" / "middle", parents=["runs/base"])
    run = make_run(tmp_path / "runs" / "news", parents=["runs/middle", "runs/base", "gone/away"])
    found = {node.name: node for node in nodes_of(run)}
    assert {name: node.depth for name, node in found.items()} == {"news": 0, "middle": 1, "base": 2, "away": 1}
    assert found["away"].lines == ("not found here",)
    assert found["middle"].lines[1] == "accuracy 91.2\u00a0% [90.2, 92.2]"
    here = page_of(run)
    monkeypatch.chdir(tmp_path)
    assert page_of(RunFolder(Path("runs/news"))) == here
    assert "Where this run comes from" in here


def test_a_parent_with_a_broken_record_is_named(tmp_path: Path) -> None:
    base = make_run(tmp_path / "base")
    (base.path / "run.json").write_text("{", encoding="utf-8")
    run = make_run(tmp_path / "news", parents=[str(base.path)])
    assert "its run.json cannot be read" in page_of(run)


def test_a_word_after_the_flags_stands_on_its_own_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "news", command="pretune pretrain --out r1 --max-steps 60 scratch:bert-tiny")
    assert "pretune pretrain \\ --out r1 \\ --max-steps 60 \\ scratch:bert-tiny" in Tree(page_of(run)).text
