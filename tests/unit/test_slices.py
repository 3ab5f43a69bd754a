"""Scores by slice: which rows make one, what is called worse, how often wrongly, and the way from a column to the page."""

from __future__ import annotations

import csv
from pathlib import Path

import datasets
import numpy as np
import pytest

import pretune
from pretune.evaluation.slices import scores_by_slice, slice_blocks, slice_notes, slices_of
from pretune.evaluation.weak_words import weak_words
from pretune.metrics.classification import ClassificationMetric
from pretune.runfolder import open_run

METRIC = ClassificationMetric(("a", "b"))


def measured_of(right_N: np.ndarray):
    records = [
        {"id": str(place), "label": "a" if right else "b", "truth": "a", "probabilities": {"a": 0.9 if right else 0.1, "b": 0.1 if right else 0.9}}
        for place, right in enumerate(right_N)
    ]  # fmt: skip
    return METRIC.measure(records)


def test_a_slice_that_is_worse_is_found_with_the_plain_figures() -> None:
    rng = np.random.default_rng(0)
    sites = np.array(["north"] * 300 + ["south"] * 100 + ["tiny"] * 10)
    right_N = np.where(sites == "south", rng.random(410) < 0.6, rng.random(410) < 0.9)
    found = scores_by_slice(measured_of(right_N), METRIC, {"column": sites.tolist()}, resamples=500)
    by_name = {one.name: one for one in found}
    assert set(by_name) == {"north", "south"}, "ten rows say too little"
    south = by_name["south"]
    assert (south.n, south.value) == (100, pytest.approx(right_N[sites == "south"].mean()))
    assert south.low < south.value < south.high
    assert south.difference == pytest.approx(right_N[sites == "south"].mean() - right_N[sites != "south"].mean())
    assert (south.worse, by_name["north"].worse) == (True, False)
    assert south.p < 0.001
    assert slice_notes(found) == [
        "2 slices were held against the other rows (Holm's correction): worse is south (column)."
    ]
    rows = slice_blocks(found, METRIC)[0]["rows"]
    assert [row[1] for row in rows] == ["south", "north"], "the worst first"
    assert rows[0][4].startswith("-")
    assert rows[0][4].endswith("points")


def test_slices_that_differ_by_chance_are_seldom_called_worse() -> None:
    """Of 40 draws with six slices each at most about one in twenty names any."""
    rng = np.random.default_rng(1)
    alarms = 0
    for draw in range(40):
        names = [f"s{number}" for number in rng.integers(0, 6, 240)]
        found = scores_by_slice(measured_of(rng.random(240) < 0.8), METRIC, {"column": names}, resamples=100, seed=draw)
        assert len(found) == 6
        alarms += any(one.worse for one in found)
    assert alarms <= 6, "a binomial of 40 and 5 % is above it once in 100"


def test_a_word_that_the_model_is_weak_at_is_found_and_tried_on_other_rows() -> None:
    rng = np.random.default_rng(2)
    has_N = rng.random(1200) < 0.15
    texts = [f"a film number {number} {'hardly' if has else 'quite'} good" for number, has in enumerate(has_N)]
    right_N = np.where(has_N, rng.random(1200) < 0.5, rng.random(1200) < 0.9)
    words = weak_words(right_N, texts, least=20)
    assert words[0].word == "hardly"
    assert len({one.word for one in words} & {"a", "film", "number", "good"}) == 0, (
        "what all rows have tells none apart"
    )
    tried = words[0]
    assert (tried.rows_N == (has_N & tried.among_N)).all()
    assert 450 < tried.among_N.sum() < 750
    found = scores_by_slice(measured_of(right_N), METRIC, {}, words=words, resamples=300)
    assert (found[0].by, found[0].name, found[0].worse) == ("word", "hardly", True)
    assert found[0].value == pytest.approx(right_N[tried.rows_N].mean())
    assert found[0].difference == pytest.approx(
        right_N[tried.rows_N].mean() - right_N[tried.among_N & ~tried.rows_N].mean()
    )
    assert "on the other half: worse is hardly (word)" in slice_notes(found)[0]


def test_words_without_meaning_are_seldom_called_worse() -> None:
    """Picked as the worst of sixty words, they are tried on rows that had no part in it."""
    rng = np.random.default_rng(3)
    alarms = 0
    for draw in range(40):
        texts = [" ".join(f"w{word}" for word in rng.choice(60, 8, replace=False)) + f" {row}" for row in range(400)]
        right_N = rng.random(400) < 0.8
        words = weak_words(right_N, texts, least=20)
        assert 2 <= len(words) <= 5
        found = scores_by_slice(measured_of(right_N), METRIC, {}, words=words, resamples=100, seed=draw)
        alarms += any(one.worse for one in found)
    assert alarms <= 6


def test_words_of_scripts_without_spaces_are_two_signs() -> None:
    rng = np.random.default_rng(4)
    has_N = rng.random(800) < 0.3
    texts = [("股市" if has else "足球") + "，新闻" + chr(0x4E00 + number) for number, has in enumerate(has_N)]
    right_N = np.where(has_N, rng.random(800) < 0.4, rng.random(800) < 0.95)
    assert weak_words(right_N, texts, least=20)[0].word == "股市"
    assert weak_words(np.ones(800, dtype=bool), texts, least=20) == [], "nothing is wrong"


def test_rows_of_a_group_are_on_one_side() -> None:
    groups_N = np.repeat(np.arange(100), 6)
    texts = [f"{'odd' if number % 3 else 'even'} text {number}" for number in range(600)]
    words = weak_words(np.arange(600) % 3 == 0, texts, least=20, groups_N=groups_N)
    assert words[0].word == "odd"
    assert all(len({*words[0].among_N[groups_N == group]}) == 1 for group in range(100))


def test_rows_are_told_apart_by_length_script_and_column() -> None:
    texts = [*("word " * (1 + number % 40) for number in range(80)), *["猫坐在垫子上"] * 40]
    rows = datasets.Dataset.from_dict({"id": [str(n) for n in range(120)], "text": texts, "slice": ["x", None] * 60})
    found = slices_of(rows, found=True)
    assert found["column"][:3] == ["x", None, "x"]
    assert set(found["script"]) == {"Latin", "Han"}
    assert len({*found["length"]}) <= 4
    assert found["length"][80] == found["length"][119], "rows of one length are of one slice"
    assert set(slices_of(rows, found=False)) == {"column"}
    alike = datasets.Dataset.from_dict({"id": ["1", "2"], "text": ["one", "two"]})
    assert slices_of(alike, found=True) == {}, "what is alike everywhere is no slice"


def test_clips_by_seconds_and_pictures_by_size() -> None:
    clips = datasets.Dataset.from_dict({"id": [str(n) for n in range(8)], "seconds": [float(n) for n in range(8)]})
    assert slices_of(clips, found=True)["length"][0] == "0.0 to 1.0 s"
    sizes = [1000, 1000, 2000, 2000]
    pictures = datasets.Dataset.from_dict({"id": ["1", "2", "3", "4"], "width": sizes, "height": sizes})
    assert slices_of(pictures, found=True)["size"] == ["1.00 to 1.00 megapixels"] * 2 + ["4.00 to 4.00 megapixels"] * 2


@pytest.mark.slow
def test_a_column_of_the_data_comes_to_the_page(tmp_path: Path) -> None:
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "site"])
        for number in range(400):
            site = ("north", "south")[number % 2]
            word = ("good", "bad")[number // 2 % 2]
            label = word if site == "north" else ("good", "bad")[number % 7 % 2]
            writer.writerow([f"{word} day number {number} there", label, site])
    run = tmp_path / "run"
    pretune.finetune(
        "linear:tfidf", data=str(tmp_path / "rows.csv"), column=["slice=site"], test_fraction=0.4, validation_fraction=0.1,
        out=str(run),
    )  # fmt: skip
    said = pretune.evaluate(str(run), slices=True, resamples=200)
    by_name = {one["name"]: one for one in said.facts["slices"]}
    assert [by_name[site]["worse"] for site in ("south", "north")] == [True, False]
    assert by_name["north"]["value"] > 0.9 > by_name["south"]["value"]
    assert {"column", "length"} <= {one["by"] for one in said.facts["slices"]} <= {"column", "length", "word"}
    assert "south (column)" in said.text
    pretune.report(str(run))
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Scores by slice" in page
    assert open_run(run).record["settings"]["column"] == ["slice=site"]
