"""Labels as people and programs write them: words for none, one class in two spellings, brackets, numbers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.labels.words import alike, plain_label
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def table(folder: Path, labels: list[str], name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text("text,label\n" + "".join(f"some words number {i},{label}\n" for i, label in enumerate(labels)))
    return path


def lines(folder: Path, labels: list[Any]) -> Path:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"some words {i}", "label": x}) + "\n" for i, x in enumerate(labels)))
    return path


def counts(splits: Splits) -> dict[str, int]:
    return dict(Counter(splits["train"][:]["label"]))


def notes(splits: Splits) -> str:
    return " ".join(splits.facts["read"]["notes"])


@pytest.mark.parametrize("make", [table, lines])
@pytest.mark.parametrize("word", ["None", "null", "NULL", "NaN", "nan"])
def test_a_class_called_as_a_missing_value_is_written_stays_a_class(make: Any, word: str, tmp_path: Path) -> None:
    splits = get(make(tmp_path, [word, "dog", "cat"] * 5))
    assert counts(splits) == {word: 5, "dog": 5, "cat": 5}
    assert f"Read as classes: {word!r} (5 rows)" in notes(splits)


@pytest.mark.parametrize("make", [table, lines])
def test_among_numbers_such_a_word_means_that_there_is_none(make: Any, tmp_path: Path) -> None:
    splits = get(make(tmp_path, ["1", "nan", "0", "NULL", "1"]))
    assert counts(splits) == {"1": 2, "0": 1}
    assert "'NULL' (1 rows), 'nan' (1 rows)" in notes(splits)
    assert len(splits["unlabelled"]) == 2


def test_a_typed_null_is_no_label_beside_the_word(tmp_path: Path) -> None:
    splits = get(lines(tmp_path, ["None", None, "dog", float("nan"), "None"]))
    assert counts(splits) == {"None": 2, "dog": 1}
    assert len(splits["unlabelled"]) == 2


@pytest.mark.parametrize(
    ("written", "label", "change"),
    [
        ("b'pos'", "pos", "labels_from_bytes"),
        ('b"it\'s"', "it's", "labels_from_bytes"),
        (" pos ", "pos", "labels_trimmed"),
        ("3.0", "3", "labels_from_whole_floats"),
        ("cafe\u0301", "caf\u00e9", "labels_with_unseen_or_decomposed_characters"),
        ("\u200btea", "tea", "labels_with_unseen_or_decomposed_characters"),
        ("\ufeffpos", "pos", "labels_with_unseen_or_decomposed_characters"),
        ("1", "1", ""),
        ("01", "01", ""),
        ("1.50", "1.50", ""),
        ("b'broken", "b'broken", ""),
        ("v1.0", "v1.0", ""),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680", ""),
    ],
)
def test_what_a_cell_writes(written: str, label: str, change: str) -> None:
    assert plain_label(written) == (label, change)


def test_labels_of_other_programs_are_one_class_each_and_told(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    table(tmp_path / "place", ["b'pos'", "neg", "cafe\u0301"] * 4, "train.csv")
    table(tmp_path / "place", ["pos", "b'neg'", "caf\u00e9"], "test.csv")
    splits = get(tmp_path / "place")
    assert counts(splits) == {"pos": 4, "neg": 4, "caf\u00e9": 4}
    assert splits["test"][:]["label"] == ["pos", "neg", "caf\u00e9"]
    assert "5 labels were written as bytes" in notes(splits)
    assert "4 labels were changed where nothing is seen" in notes(splits)


def test_bytes_of_a_parquet_file_are_words(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"text": [f"some words {i}" for i in range(4)], "label": [b"pos", b"neg", b"pos", b"neg"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert counts(get(tmp_path / "a.parquet")) == {"pos": 2, "neg": 2}


def test_true_and_false_have_one_spelling_in_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    table(tmp_path / "place", ["True", "False"] * 4, "train.csv")
    table(tmp_path / "place", ["true", "false"], "test.csv")
    splits = get(tmp_path / "place")
    assert counts(splits) == {"True": 4, "False": 4}
    assert splits["test"][:]["label"] == ["True", "False"]
    assert counts(get(tmp_path / "place" / "test.csv")) == {"true": 1, "false": 1}, (
        "one spelling stays as it is written"
    )


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (["Pos", "pos", "POS", "neg"], [["Pos", "pos", "POS"]]),
        (["pos", "p\u043es"], [["pos", "p\u043es"]]),
        (["a b", "a_b", "a-b"], [["a b", "a_b", "a-b"]]),
        (["\uff11", "1"], [["\uff11", "1"]]),
        (["1.5", "1.50", "2"], [["1.5", "1.50"]]),
        (["1", "01", "café", "cafe", "win", "vin"], []),
        (["\u30ad", "\u304d", "\u0434\u043e\u043c", "dom"], []),
    ],
)
def test_labels_that_look_alike(labels: list[str], pairs: list[list[str]]) -> None:
    assert alike(labels) == pairs


def test_labels_that_look_alike_are_a_warning(tmp_path: Path) -> None:
    splits = get(table(tmp_path, ["Pos", "pos", "neg", "n\u0435g"] * 3))
    found = passport(splits)["findings"]
    message = next(one["message"] for one in found if one["code"] == "alike-labels")
    assert "'Pos' (3 rows), 'pos' (3 rows)" in message
    assert "'n\\u0435g' (3 rows)" in message, "what the eye cannot tell is written out"
    assert len(counts(splits)) == 4, "told, not merged"


def test_a_word_in_brackets_is_a_label_not_a_list(tmp_path: Path) -> None:
    for flags in ({}, {"column": ("label=label",)}):
        assert counts(get(table(tmp_path, ["[POS]", "[NEG]"] * 3), **flags)) == {"[POS]": 3, "[NEG]": 3}


def test_lists_stay_words_where_one_label_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,tag\n" + "".join(f"some words {i},\"['a', 'b']\"\nmore words {i},['a']\n" for i in range(3)))
    splits = get(path, column=("label=tag",))
    assert counts(splits) == {"['a', 'b']": 3, "['a']": 3}
    assert "each is one label" in notes(splits)
    assert get(path, column=("labels=tag",))["train"][0]["labels"] == ["a", "b"]


def scores(count: int, step: float) -> list[str]:
    return [f"{(i * step) % 5:g}" for i in range(count)]


def test_scores_are_refused_as_classes(tmp_path: Path) -> None:
    path = table(tmp_path, scores(400, 0.05))
    with pytest.raises(DataError, match=r"100 different ones from 0 to 4\.95.*regression") as caught:
        get(path)
    assert "--label-type class" in caught.value.fix
    assert len(counts(get(path, label_type="class"))) == 100
    with pytest.raises(DataError, match="regression"):
        get(path)  # the second time too, when the rows are at hand already


def test_prices_of_which_each_row_has_its_own_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="80 different ones from 100 to 889"):
        get(table(tmp_path, [str(100 + 10 * i - i % 2) for i in range(80)]), column=("text=text", "label=label"))


def test_a_few_numbers_are_classes_and_many_class_indices_too(tmp_path: Path) -> None:
    splits = get(table(tmp_path, ["0.5", "1.5", "2.0", "3.0"] * 3))
    assert set(counts(splits)) == {"0.5", "1.5", "2", "3"}
    assert "Labels are 4 numbers from 0.5 to 3; each is a class of its own" in notes(splits)
    assert len(counts(get(table(tmp_path, [str(i % 150) for i in range(600)])))) == 150


def test_class_numbers_without_a_name_are_counted(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = datasets.Dataset.from_dict({"text": ["x y", "y z", "z x"], "label": [0, 1, 0]}, features=features)
    rows.to_parquet(str(tmp_path / "a.parquet"))
    import pyarrow.parquet as pq

    whole = pq.read_table(tmp_path / "a.parquet")
    broken = whole.set_column(1, whole.schema.field(1), [[0, 7, -1]])
    pq.write_table(broken, tmp_path / "a.parquet")
    splits = get(tmp_path / "a.parquet")
    assert counts(splits) == {"a": 1}
    assert "1 label is a number for which the file has no class name" in notes(splits)
