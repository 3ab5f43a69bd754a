"""Cross-validation: folds that part the rows, a run that keeps its promises, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

import pretune
from pretune.config import DataSettings
from pretune.data.changes.folds import fold_apart, folds_of
from pretune.data.load import load_splits
from pretune.data.splits import Splits
from pretune.errors import DataError, UsageError
from pretune.runfolder import open_run


def rows_of(count: int, **columns: list[Any]) -> datasets.Dataset:
    labels = ["a" if number % 4 else "b" for number in range(count)]
    plain = {"id": [str(n) for n in range(count)], "text": [f"text {n}" for n in range(count)], "label": labels}
    return datasets.Dataset.from_dict({**plain, **columns})


def test_folds_part_the_rows_evenly_with_classes_in_proportion() -> None:
    rows = rows_of(203)
    fold_N = folds_of(rows, 5, seed=0)
    assert sorted(Counter(fold_N.tolist()).values()) == [40, 40, 41, 41, 41]
    for label in "ab":
        of_label = [fold for fold, own in zip(fold_N, rows["label"], strict=True) if own == label]
        sizes = Counter(of_label).values()
        assert max(sizes) - min(sizes) <= 1
    assert (folds_of(rows, 5, seed=0) == fold_N).all()
    assert (folds_of(rows, 5, seed=1) != fold_N).any()
    again = rows.select(np.arange(202, -1, -1))
    assert (folds_of(again, 5, seed=0)[::-1] == fold_N).all(), "by what a row says, not where it stands"


def test_rows_of_one_content_or_group_are_of_one_fold() -> None:
    rows = rows_of(60, text=[f"text {n % 20}" for n in range(60)])
    fold_N = folds_of(rows, 3, seed=0)
    assert all(len({fold_N[n], fold_N[n + 20], fold_N[n + 40]}) == 1 for n in range(20))
    grouped = rows_of(60, group=[f"g{n // 6}" for n in range(60)])
    assert all(len({*folds_of(grouped, 3, seed=0)[start : start + 6]}) == 1 for start in range(0, 60, 6))
    with pytest.raises(DataError, match="cannot be dealt out to 11 folds"):
        folds_of(grouped, 11, seed=0)


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "5", "a/b", "-1/5"])
def test_what_is_no_fold_is_refused(fold: str) -> None:
    with pytest.raises(UsageError, match="--fold"):
        fold_apart(Splits({"train": rows_of(20)}), fold, seed=0, place="x")


def test_a_test_split_of_the_data_is_no_fold() -> None:
    with pytest.raises(DataError, match="a test split of its own"):
        fold_apart(Splits({"train": rows_of(20), "test": rows_of(5)}), "1/2", seed=0, place="x")


def test_rows_without_labels_are_no_folds() -> None:
    """Found by the fuzzer: a traceback."""
    with pytest.raises(DataError, match="no training rows with labels") as error:
        fold_apart(Splits({"unlabelled": rows_of(20).remove_columns("label")}), "1/2", seed=0, place="x")
    assert "--column label=" in error.value.fix


@pytest.fixture
def few(tmp_path: Path) -> Path:
    lines = [f"{word} of number {n},{word}" for n in range(30) for word in ("apples", "berries")]
    (tmp_path / "few.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return tmp_path / "few.csv"


def test_the_folds_of_a_file_are_every_row_once(few: Path) -> None:
    seen = Counter(
        row["id"]
        for number in (1, 2, 3)
        for row in load_splits(DataSettings(data=str(few), fold=f"{number}/3"))["test"]  # pyright: ignore[reportCallIssue]
    )
    assert len(seen) == 60
    assert set(seen.values()) == {1}


@pytest.mark.slow
def test_every_row_is_answered_by_a_model_that_did_not_learn_from_it(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = pretune.finetune("linear:tfidf", data=str(few), folds=3, out=str(out))
    run = open_run(out)
    records = run.read_lines("predictions/cross-validation.jsonl")
    assert len(records) == 60
    assert len({record["id"] for record in records}) == 60
    pooled = run.metrics["cross-validation"]
    right = np.mean([record["label"] == record["truth"] for record in records])
    assert pooled["scores"]["accuracy"]["value"] == pytest.approx(right)
    assert pooled["n"] == 60
    assert "3 folds: accuracy" in made.text
    assert made.facts["folds"]["accuracy"]["n"] == 60
    assert "test" not in run.passport["splits"], "the model that is kept learns from all but validation"
    for number in (1, 2, 3):
        fold = open_run(out / "folds" / f"fold-{number}")
        learned = {row["id"] for row in load_splits(DataSettings(data=str(few), fold=f"{number}/3"))["train"]}  # pyright: ignore[reportCallIssue]
        assert not learned & {record["id"] for record in fold.read_lines("predictions/test.jsonl")}
    again = pretune.finetune("linear:tfidf", data=str(few), folds=3, out=str(out))
    assert "finished" in again.text
    pretune.report(str(out))
    assert "3 folds" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [{"seeds": 2}, {"fold": "1/3"}])
def test_what_folds_do_not_go_with_is_refused(options: dict[str, Any], few: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--folds"):
        pretune.finetune("linear:tfidf", data=str(few), folds=3, out=str(tmp_path / "run"), **options)
