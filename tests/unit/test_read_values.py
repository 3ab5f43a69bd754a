"""Rows whose answer is a number: asked for, found by a usual name, missing, bad; what was a label stays one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.media_files import picture

from pretune.config import DataSettings
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError

DATA = Path(__file__).parents[3] / "shared" / "data" / "text"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def table(folder: Path, name: str, cells: list[Any], also: str = "") -> Path:
    path = folder / "a.csv"
    begin = f"text,{also + ',' if also else ''}{name}\n"
    path.write_text(
        begin + "".join(f"some words number {i},{'yes,' if also else ''}{cell}\n" for i, cell in enumerate(cells))
    )
    return path


FRACTIONS = [round(0.37 * i, 2) for i in range(60)]


def test_numbers_that_are_asked_for(tmp_path: Path) -> None:
    splits = get(table(tmp_path, "stars", [1, 2, 3, "4.5", " 5 "]), column=("value=stars",))
    assert splits["train"]["value"][:] == [1.0, 2.0, 3.0, 4.5, 5.0]
    assert splits["train"].features.arrow_schema.field("value").type == pa.float64()
    assert splits["train"].column_names == ["id", "text", "value"]


@pytest.mark.parametrize("name", ["value", "score", "grade"])
def test_numbers_found_by_name(tmp_path: Path, name: str) -> None:
    splits = get(table(tmp_path, name, FRACTIONS))
    assert splits["train"]["value"][:] == FRACTIONS
    assert splits.facts["read"]["files"][0]["columns_found_by"]["value"] == "its name and what it holds"


@pytest.mark.parametrize(
    ("name", "cells", "also"),
    [
        ("value", [0, 1] * 30, ""),  # few whole numbers
        ("score", [1, 2, 3, 4, 5] * 12, ""),
        ("score", [0.5, 1.5] * 30, ""),  # few fractions
        ("score", FRACTIONS, "label"),  # beside a label
        ("price", FRACTIONS, ""),  # no usual name
    ],
)
def test_what_was_no_number_before_is_none_now(tmp_path: Path, name: str, cells: list[Any], also: str) -> None:
    splits = get(table(tmp_path, name, cells, also))
    assert not any("value" in rows.column_names for rows in splits.values())


@pytest.mark.parametrize("name", ["label", "rating", "target"])
def test_a_label_that_is_a_score_is_refused_with_what_to_type(tmp_path: Path, name: str) -> None:
    path = table(tmp_path, name, FRACTIONS)
    with pytest.raises(DataError, match=f"--column value={name} reads them as numbers") as caught:
        get(path)
    assert "no task here" not in str(caught.value)
    assert get(path, column=(f"value={name}",))["train"]["value"][:] == FRACTIONS


def test_missing_numbers_are_counted_and_have_no_answer(tmp_path: Path) -> None:
    splits = get(table(tmp_path, "price", [1.5, "", "nan", "NULL", 2]), column=("value=price",))
    assert splits["train"]["value"][:] == [1.5, 2.0]
    assert splits["unlabelled"].column_names == ["id", "text"]
    notes = " ".join(splits.facts["read"]["notes"])
    assert "3 rows of train have no number" in notes
    assert "Counted as no number: 'NULL' (1 rows), 'nan' (1 rows)" in notes


@pytest.mark.parametrize("cell", ["cheap", "inf", "'3,5'", "1.2.3", "-1e999"])
def test_a_bad_number_is_named(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": "one", "price": 1.5}, {"text": "two", "price": cell.strip("'")}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"a\.jsonl:2 \(column price\) has '.*' where a number is needed") as caught:
        get(path, column=("value=price",))
    assert "write numbers with a point (3.5)" in caught.value.fix


def test_a_column_of_no_numbers_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--column value=price: every number in .* is missing"):
        get(table(tmp_path, "price", ["", "nan", ""]), column=("value=price",))


def test_every_split_spans_the_numbers(tmp_path: Path) -> None:
    cells = [float(i) + 0.5 for i in range(400)]
    splits = load_splits(DataSettings(data=str(table(tmp_path, "value", cells))))
    for name in ("train", "validation", "test"):
        mean = sum(splits[name]["value"][:]) / len(splits[name])
        assert mean == pytest.approx(200, abs=20), name
    assert splits.facts["split"]["labels"] == {"train": {}, "validation": {}, "test": {}}


def test_numbers_of_pictures(tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
        rows.append({"image": f"{number}.png", "age": number + 0.5})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    splits = get(tmp_path / "a.jsonl", column=("value=age",))
    assert splits["train"]["value"][:] == [number + 0.5 for number in range(6)]


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_real_grades() -> None:
    splits = load_splits(DataSettings(data=str(DATA / "sick2014"), column=("value=relatedness_score",)))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 4060, "validation": 440, "test": 4927}
    assert min(splits["test"]["value"][:]) == 1.0
    assert max(splits["test"]["value"][:]) == 5.0
