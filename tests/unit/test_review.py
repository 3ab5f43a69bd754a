"""Labels that look wrong: found where they were planted, written for a person, and set right on the next reading."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pretune
from conftest import make_rows, write_csv
from pretune.errors import DataError, UsageError
from pretune.evaluation.label_errors import label_errors

FLIPPED = {f"row-{number}": label for number, label in zip(range(4, 240, 24), ["science", "money"] * 5, strict=True)}


def test_a_row_counts_for_a_class_that_is_told_as_surely_as_in_its_own_rows() -> None:
    """By hand: the thresholds are 0.8 and 0.7."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6]])
    found = label_errors(probabilities, np.array([0, 0, 0, 1, 1, 1]))
    assert found.joint_CC.tolist() == [[3.0, 0.0], [0.0, 3.0]]
    labels = np.array([0, 0, 1, 1, 1, 0])
    found = label_errors(probabilities, labels)
    assert found.joint_CC.sum() == 6
    assert found.order[:2].tolist() == [2, 5]
    assert found.suggested_N[[2, 5]].tolist() == [0, 1]
    assert found.margin_N[[0, 2]] == pytest.approx([-0.8, 0.2])


def test_right_labels_are_estimated_to_be_right_and_flipped_ones_counted() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 4000)
    probabilities = np.full((4000, 4), 0.02)
    probabilities[np.arange(4000), truth] = 0.94
    labels = truth.copy()
    assert label_errors(probabilities, labels).estimated == 0
    flipped = rng.permutation(4000)[:200]
    labels[flipped] = (truth[flipped] + 1) % 4
    found = label_errors(probabilities, labels)
    assert found.estimated == pytest.approx(200)
    assert set(found.order[:200].tolist()) == set(flipped.tolist())
    assert (found.suggested_N[flipped] == truth[flipped]).all()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("review")
    rows = [{**row, "label": FLIPPED.get(row["id"], row["label"])} for row in make_rows(240)]
    (folder / "data").mkdir()
    write_csv(folder / "data" / "train.csv", rows)
    others = [{**row, "id": f"t{row['id']}"} for row in make_rows(360, seed=9)]
    write_csv(folder / "data" / "validation.csv", others[:60])
    write_csv(folder / "data" / "test.csv", others[60:120])
    return folder


@pytest.fixture(scope="module")
def reviewed(place: Path) -> dict[str, Any]:
    data, out = str(place / "data"), str(place / "news.csv")
    return pretune.review("linear:tfidf", data=data, out=out, accept=10, threads=1).to_dict()


def table_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_planted_labels_come_first_with_the_right_one_beside_them(reviewed: dict[str, Any], place: Path) -> None:
    rows = table_of(place / "news.csv")
    first = rows[:10]
    right = {row["id"]: row["label"] for row in make_rows(240)}
    assert {row["id"] for row in first} == set(FLIPPED)
    assert sum(row["suggested"] == right[row["id"]] for row in first) >= 9
    assert all(row["suggested"] == row["new_label"] for row in first)
    assert not any(row["new_label"] for row in rows[10:])
    assert reviewed["estimated_wrong"] == pytest.approx(10, abs=5)
    assert (reviewed["n"], reviewed["accepted"]) == (240, 10)
    page = (place / "news.html").read_text(encoding="utf-8")
    assert first[0]["row"][:30] in page
    assert "look wrong" in page


def test_the_check_measures_itself_on_labels_that_it_makes_wrong(place: Path, tmp_path: Path) -> None:
    clean = write_csv(tmp_path / "clean.csv", make_rows(240))
    told = {"data": str(clean), "plant": 0.05, "validation_fraction": 0.0, "test_fraction": 0.0, "threads": 1}
    found = pretune.review("linear:tfidf", out=str(tmp_path / "x.csv"), **told)  # pyright: ignore[reportArgumentType]
    planted = found.to_dict()["planted"]
    assert planted["rows"] == 12
    assert planted["precision"]["value"] >= 0.9
    assert planted["precision"]["low"] < planted["precision"]["value"]
    assert "do not learn from them" in found.text
    with pytest.raises(UsageError, match="give one of them"):
        pretune.review("linear:tfidf", out=str(tmp_path / "x.csv"), accept=3, **told)  # pyright: ignore[reportArgumentType]


def test_labels_are_set_right_and_rows_left_out_where_the_table_says_so(reviewed: dict[str, Any], place: Path) -> None:
    rows = table_of(place / "news.csv")
    rows[0]["new_label"] = "-"
    edited = write_csv(place / "edited.csv", rows)
    passport = pretune.inspect(str(place / "data"), relabel=str(edited), out=str(place / "passport.html")).to_dict()
    assert passport["splits"]["train"]["rows"] == 239
    new = {row["id"]: row["new_label"] for row in rows if row["new_label"]}
    labels = [new.get(row["id"], FLIPPED.get(row["id"], row["label"])) for row in make_rows(240)]
    assert passport["splits"]["train"]["labels"]["counts"] == dict(Counter(label for label in labels if label != "-"))
    run = pretune.finetune(
        "linear:tfidf", data=str(place / "data"), relabel=str(edited), out=str(place / "run"), threads=1
    )
    assert run.to_dict()["status"] == "finished"
    pretune.evaluate(str(place / "run"), baselines=False, resamples=100, threads=1)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("id,label\nrow-1,sport\n", "no column new_label"),
        ("id,label,new_label\nrow-1,,cooking\n", "'cooking', which is the label of no row"),
        ("id,label,new_label\nrow-1,science,money\n", "another label now, as row row-1"),
        ("id,label,new_label\nnobody,,money\n", "not in the data, as nobody"),
        ("id,label,new_label\nrow-1,,money\nrow-1,,science\n", "two labels"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(place: Path, tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "table.csv").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        pretune.inspect(str(place / "data"), relabel=str(tmp_path / "table.csv"), out=str(tmp_path / "p.html"))
    with pytest.raises(DataError, match="cannot be read"):
        pretune.inspect(str(place / "data"), relabel=str(tmp_path / "none.csv"), out=str(tmp_path / "p.html"))


def test_what_cannot_be_reviewed_is_refused(place: Path, tmp_path: Path) -> None:
    data = str(place / "data")
    with pytest.raises(UsageError, match=r"ends in \.csv"):
        pretune.review("linear:tfidf", data=data, out=str(tmp_path / "page.html"))
    few = write_csv(tmp_path / "few.csv", [{"text": "a goal", "label": "a"}, {"text": "a bank", "label": "b"}])
    with pytest.raises(DataError, match="too few"):
        pretune.review("linear:tfidf", data=str(few), validation_fraction=0.0, test_fraction=0.0, out=str(tmp_path / "x.csv"))  # fmt: skip
    numbers = write_csv(tmp_path / "numbers.csv", [{"text": f"text {n}", "price": f"{n}.5"} for n in range(40)])
    with pytest.raises(UsageError, match="one class of several"):
        pretune.review("linear:tfidf", data=str(numbers), column=("value=price",), out=str(tmp_path / "x.csv"))
