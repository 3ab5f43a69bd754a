"""Several labels a row: every way in which tables say them, the splits they are put into, and the passport of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.labels.lists import parts_of
from pretune.data.read import read
from pretune.data.split import complete_splits
from pretune.data.splits import Splits
from pretune.errors import DataError
from pretune.runs.rows import fewer_rows

TEXTS = ("some words of a first row", "and of a second one", "a third row has others", "the fourth ends it")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def lists(splits: Splits) -> list[list[str]]:
    return splits["train"][:]["labels"]


def write_csv(path: Path, header: str, cells: list[str]) -> Path:
    lines = [f"{text},{cell}" for text, cell in zip(TEXTS, cells, strict=False)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("a;b", ["a", "b"]),
        ("a|b c", ["a", "b c"]),
        ("a, b;c", ["a, b", "c"]),
        ("4,27", ["4", "27"]),
        ("甲、乙；丙", ["甲、乙", "丙"]),
        ("甲、乙", ["甲", "乙"]),
        ("a;;b;", ["a", "b"]),
        ("", []),
        ("[]", []),
        ("[27]", [27]),
        ("['joy', 'fear, of dogs']", ["joy", "fear, of dogs"]),
        ('["joy", null]', ["joy", None]),
        ("[0 14]", ["0", "14"]),
        ("[joy, fear]", ["joy", " fear"]),
        (["a", "b"], ["a", "b"]),
        (("a",), ["a"]),
        (3, [3]),
        (None, None),
        (float("nan"), None),
        ("nan", None),
        (" NULL ", None),
    ],
)
def test_the_parts_of_a_cell(cell: Any, parts: list[Any] | None) -> None:
    assert parts_of(cell) == parts


def test_words_are_cut_where_asked(tmp_path: Path) -> None:
    splits = get(write_csv(tmp_path / "a.csv", "text,tags", ["x;y", "y", "", "nan"]), column=("labels=tags",))
    assert lists(splits) == [["x", "y"], ["y"], []]
    assert len(splits["unlabelled"]) == 1
    notes = " ".join(splits.facts["read"]["notes"])
    assert "1 rows have none of the labels" in notes
    assert "'nan' (1 rows)" in notes
    assert splits.facts["read"]["labels"] == {"y": 2, "x": 1}


@pytest.mark.parametrize("column", ["labels", "label"])
def test_lists_need_no_flag(tmp_path: Path, column: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [["x", "y"], ["y"], [], None]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, column: c}) for t, c in zip(TEXTS, cells, strict=True)) + "\n")
    pq.write_table(pa.table({"text": TEXTS, column: cells}), tmp_path / "a.parquet")
    write_csv(tmp_path / "a.csv", f"text,{column}", ["\"['x', 'y']\"", "['y']", "[]", ""])
    for name in ("a.jsonl", "a.parquet"):
        assert lists(get(tmp_path / name)) == cells[:3]
    assert lists(get(tmp_path / "a.csv")) == [["x", "y"], ["y"], [], []]


def test_a_column_called_labels_is_cut_when_its_parts_recur(tmp_path: Path) -> None:
    splits = get(write_csv(tmp_path / "a.csv", "text,labels", ["x;y", "y", "x", "y;x"]))
    assert lists(splits) == [["x", "y"], ["y"], ["x"], ["y", "x"]]
    assert "--column label=labels makes each combination one label" in " ".join(splits.facts["read"]["notes"])
    whole = get(tmp_path / "a.csv", column=("label=labels",))
    assert whole["train"][:]["label"] == ["x;y", "y", "x", "y;x"]


@pytest.mark.parametrize("cells", [["Yes; please", "No; thanks", "Maybe", "No; thanks"], ["3", "4", "3", "4"]])
def test_words_that_are_one_label_stay_whole(tmp_path: Path, cells: list[str]) -> None:
    assert get(write_csv(tmp_path / "a.csv", "text,labels", cells))["train"][:]["label"] == cells


def test_numbers_are_several_labels_where_a_file_names_the_classes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    cells = ["0,2", "1", "2", "0"] * 6
    rows = [f"{TEXTS[i % 4]} number {i}\t{cell}\trow{i}" for i, cell in enumerate(cells)]
    (folder / "train.tsv").write_text("\n".join(rows) + "\n")
    assert get(folder / "train.tsv")["train"][:]["label"][:2] == ["0,2", "1"], "no file says that these are classes"
    (folder / "labels.txt").write_text("joy\nfear\nlove\n")
    assert lists(get(folder))[:2] == [["joy", "love"], ["fear"]]
    assert get(folder, column=("label=1",))["train"][:]["label"][:2] == ["0,2", "1"]


def test_columns_of_marks_are_joined(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,rude,loud,source", ["1,0,web", "1,1,web", "0,0,mail", "-1,1,mail"])
    splits = get(path, column=("labels=rude,loud",))
    assert lists(splits) == [["rude"], ["rude", "loud"], []]
    assert len(splits["unlabelled"]) == 1, "a mark that is not known leaves the row unlabelled"
    assert splits.facts["read"]["files"][0]["columns"]["labels"] == "rude,loud"
    assert "columns left out: source" in " ".join(splits.facts["read"]["notes"])


def test_marks_may_be_numbers_or_words_for_yes(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": TEXTS[:3], "x": [1.0, 0.0, None], "y": [True, False, True]}), path)
    assert lists(get(path, column=("labels=x,y",))) == [["x", "y"], []]


def test_a_column_whose_name_has_a_comma_is_one_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "a,b": ["x", "y"]}) for t in TEXTS) + "\n")
    assert lists(get(path, column=("labels=a,b",)))[0] == ["x", "y"]


def made_rows(seed: int, count: int) -> Any:
    import datasets

    random = np.random.default_rng(seed)
    names = [f"label {c}" for c in range(8)]
    chosen = random.random((count, 8)) < random.choice([0.03, 0.1, 0.4], 8)
    labels = [[name for name, has in zip(names, row, strict=True) if has] for row in chosen.tolist()]
    rows = {"id": [str(i) for i in range(count)], "text": [f"text {seed} {i}" for i in range(count)], "labels": labels}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(
        {"id": datasets.Value("string"), "text": datasets.Value("string"), "labels": datasets.List(datasets.Value("string"))}
    ))  # fmt: skip


def known(rows: Any) -> set[str]:
    return {name for labels in rows[:]["labels"] for name in labels}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(4, 60))
def test_train_has_every_label_and_no_row_is_lost(seed: int, count: int) -> None:
    rows = made_rows(seed, count)
    splits = complete_splits(
        Splits({"train": rows}), DataSettings(data="x", test_fraction=0.3, validation_fraction=0.3)
    )
    assert known(splits["train"]) == known(rows)
    assert sum(map(len, splits.values())) == count
    turned = complete_splits(
        Splits({"train": rows.select(range(count)[::-1])}),
        DataSettings(data="x", test_fraction=0.3, validation_fraction=0.3),
    )
    assert {n: set(part["id"]) for n, part in turned.items()} == {n: set(part["id"]) for n, part in splits.items()}


@pytest.mark.parametrize("seed", range(5))
def test_fewer_rows_have_every_label(seed: int) -> None:
    rows = made_rows(seed, 200)
    fewer = fewer_rows(rows, 20, seed=seed)
    assert len(fewer) == 20
    assert known(fewer) == known(rows)
    with pytest.raises(DataError, match="one of every label"):
        fewer_rows(rows, 2, seed=seed)


def test_the_passport_counts_labels_and_finds_rows_that_disagree(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    cells = [["x", "y"], ["y", "x"], ["x"], []]
    texts = ("the same words", "the same words", "other words", "other words")
    path.write_text("\n".join(json.dumps({"text": t, "labels": c}) for t, c in zip(texts, cells, strict=True)) + "\n")
    found = passport(get(path))
    balance = found["splits"]["train"]["labels"]
    assert balance["counts"] == {"x": 3, "y": 2}
    assert (balance["labels_per_row"], balance["bare_rows"]) == (1.25, 1)
    assert found["conflicting_labels"]["texts"] == 1, "the order of labels is no conflict"
    assert any("with different labels" in finding["message"] for finding in found["findings"])


def test_a_real_set_of_emotions_reads_unaided(shared_data: Path) -> None:
    splits = get(shared_data / "text" / "goemotions")
    assert len(splits.facts["read"]["labels"]) == 28
    assert splits["validation"][1]["labels"] == ["approval", "neutral"]
    assert sum(map(len, splits["train"][:]["labels"])) > len(splits["train"])
