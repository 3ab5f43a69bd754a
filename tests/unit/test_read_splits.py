"""Splits and folds as people name them: in names of files, in columns of a table; and what is told where a split is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.load import load_splits
from pretune.data.places.place import split_of_path, split_of_word
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def table(path: Path, rows: int = 12, header: str = "text,label", more: Any = lambda i: "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"words number {i} of {path.stem} here,{'ab'[i % 2]}{more(i)}\n" for i in range(rows))
    path.write_text(header + "\n" + lines)
    return path


def sizes(splits: Splits) -> dict[str, int]:
    return {name: len(rows) for name, rows in splits.items()}


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def notes(splits: Splits, part: str = "read") -> str:
    return " ".join(splits.facts[part]["notes"])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("news.train.csv", "train"),
        ("2015.train.tsv", "train"),
        ("TREC.test.all", "test"),
        ("stsa.fine.dev", "validation"),
        ("train-00000-of-00002.parquet", "train"),
        ("trainset.csv", "train"),
        ("Test Data/part.csv", "test"),
        ("train_images/x.csv", "train"),
        ("a.train.csv.gz", "train"),
        ("restrain.csv", None),
        ("contest.csv", None),
        ("news.csv", None),
        ("train_test.csv", None),
    ],
)
def test_a_split_stands_anywhere_in_a_name(name: str, split: str | None) -> None:
    assert split_of_path(name) == split


def test_words_around_a_split() -> None:
    assert [split_of_word(word) for word in ("Training", "test_set", "dev-data", "PublicTest", "seg_train")] == [
        "train", "test", "validation", "validation", "train",
    ]  # fmt: skip
    assert [split_of_word(word) for word in ("test_drive", "training_camp", "set", "", "trainer")] == [None] * 5


@pytest.mark.parametrize("names", [("news.train.csv", "news.test.csv"), ("2015.train.csv", "2015.test.csv")])
def test_files_named_after_splits_keep_them(names: tuple[str, str], tmp_path: Path) -> None:
    table(tmp_path / "place" / names[0])
    table(tmp_path / "place" / names[1], 4)
    assert sizes(get(tmp_path / "place")) == {"train": 12, "test": 4}


def test_a_table_called_test_drive_reviews_is_one_of_three(tmp_path: Path) -> None:
    for name in ("january", "february", "test_drive_reviews"):
        table(tmp_path / "months" / f"{name}.csv")
    splits = get(tmp_path / "months")
    assert sizes(splits) == {"train": 36}
    assert "test_drive_reviews.csv is read like the others" in notes(splits)


def test_a_test_file_without_a_train_file_is_asked_about(tmp_path: Path) -> None:
    for name in ("reviews", "test"):
        table(tmp_path / "place" / f"{name}.csv")
    with pytest.raises(DataError, match=r"no train split, but also reviews\.csv") as caught:
        get(tmp_path / "place")
    place = tmp_path / "place"
    assert f"--train {place / 'reviews.csv'} --test {place / 'test.csv'}" in caught.value.fix


def test_a_file_that_no_split_names_is_left_out_and_told(tmp_path: Path) -> None:
    for name in ("train", "test", "extra"):
        table(tmp_path / "place" / f"{name}.csv")
    splits = get(tmp_path / "place")
    assert sizes(splits) == {"train": 12, "test": 12}
    assert "Left out: extra.csv" in notes(splits)


def test_that_a_split_was_made_is_told(tmp_path: Path) -> None:
    made = load_splits(DataSettings(data=str(table(tmp_path / "a.csv", 100))))
    told = notes(made, "split")
    assert f"validation ({len(made['validation'])} rows) and test ({len(made['test'])} rows) were cut" in told
    table(tmp_path / "place" / "train.csv", 100)
    table(tmp_path / "place" / "test.csv")
    assert notes(load_splits(DataSettings(data=str(tmp_path / "place"))), "split").startswith("validation (")
    table(tmp_path / "place" / "dev.csv")
    assert load_splits(DataSettings(data=str(tmp_path / "place"))).facts["split"]["notes"] == []


def splits_of(words: tuple[str, ...]) -> Any:
    return lambda i: f",{words[i % len(words)]}"


@pytest.mark.parametrize("column", ["split", "Set", "subset", "partition", "Usage"])
def test_a_column_of_splits(column: str, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", 12, f"text,label,{column}", splits_of(("train", "Dev", "TEST", "Training")))
    splits = get(path)
    assert sizes(splits) == {"train": 6, "validation": 3, "test": 3}
    assert splits["test"][:]["id"] == ["a.csv:4", "a.csv:8", "a.csv:12"]
    assert splits.facts["read"]["files"][0]["columns"]["split"] == column
    assert "columns left out" not in notes(splits)
    plain = get(path, column=("split=",))
    assert sizes(plain) == {"train": 12}
    assert f"columns left out: {column}" in notes(plain)


def test_the_words_of_fer2013(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", 12, "text,label,Usage", splits_of(("Training", "PublicTest", "PrivateTest")))
    assert sizes(get(path)) == {"train": 4, "validation": 4, "test": 4}


def test_a_column_of_splits_in_json_and_where_ids_are_given(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [f'{{"id": {i}, "text": "words {i}", "label": "x{i % 2}", "split": "{("train", "test")[i % 3 == 2]}"}}\n' for i in range(12)]  # fmt: skip
    path.write_text("".join(rows))
    splits = get(path)
    assert sizes(splits) == {"train": 8, "test": 4}
    assert splits["test"][:]["id"] == ["2", "5", "8", "11"]


def test_rows_without_a_split_and_rows_of_an_unknown_one(tmp_path: Path) -> None:
    splits = get(table(tmp_path / "a.csv", 12, "text,label,split", splits_of(("train", "test", ""))))
    assert sizes(splits) == {"train": 8, "test": 4}
    assert "4 rows name no split" in notes(splits)
    path = table(tmp_path / "b.csv", 12, "text,label,split", splits_of(("train", "test", "north")))
    assert "columns left out: split" in notes(get(path)), "north is no split, so this is another column"
    with pytest.raises(DataError, match=r"b\.csv:4 has 'north' in the column 'split', which names no split"):
        get(path, column=("split=split",))


ESC = splits_of(("1", "2", "3", "4", "5"))


def test_folds_make_the_test_split_where_asked(tmp_path: Path) -> None:
    path = table(tmp_path / "esc.csv", 50, "text,label,fold", ESC)
    splits = load_splits(DataSettings(data=str(path), test_fold="5"))
    assert splits["test"][:]["id"] == [f"esc.csv:{line}" for line in range(6, 52, 5)]
    assert sizes(splits)["test"] == 10
    assert "validation" in splits.facts["split"]["made"]
    assert splits.facts["read"]["findings"] == []
    floats = table(tmp_path / "floats.csv", 50, "text,label,cv", splits_of(("1.0", "2.0")))
    assert sizes(get(floats, test_fold="2", column=("fold=cv",))) == {"train": 25, "test": 25}


def test_folds_that_are_not_used_are_a_warning(tmp_path: Path) -> None:
    found = passport(load_splits(DataSettings(data=str(table(tmp_path / "esc.csv", 50, "text,label,fold", ESC)))))
    warning = next(one for one in found["findings"] if one["code"] == "unused-folds")
    assert warning["severity"] == "warning"
    assert "numbers 5 folds (1, 2, 3, 4, 5), which were not used" in warning["message"]
    assert "--test-fold 5" in warning["fix"]


def test_a_fold_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--test-fold is 9: no row stands in it") as caught:
        get(table(tmp_path / "esc.csv", 50, "text,label,fold", ESC), test_fold="9")
    assert "1, 2, 3, 4, 5" in caught.value.fix
    with pytest.raises(DataError, match="no column says in which fold") as caught:
        get(table(tmp_path / "a.csv"), test_fold="1")
    assert "--column fold=NAME" in caught.value.fix
    with pytest.raises(DataError, match=r"b\.csv:4 has no fold in the column 'fold'"):
        get(table(tmp_path / "b.csv", 12, "text,label,fold", splits_of(("1", "2", ""))), test_fold="1")
