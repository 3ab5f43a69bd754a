"""Splits by content: stable, stratified, group-aware, duplicates on one side."""

from __future__ import annotations

from collections import Counter
from typing import Any

import datasets
import numpy as np
import pytest

from pretune.config import DataSettings
from pretune.data.split import complete_splits, content_keys, held_out
from pretune.data.splits import Splits
from pretune.errors import DataError


def table(
    texts: list[str], labels: list[str] | None = None, groups: list[str | None] | None = None
) -> datasets.Dataset:
    columns: dict[str, Any] = {"id": [f"f:{i}" for i in range(1, len(texts) + 1)], "text": texts}
    if labels is not None:
        columns["label"] = labels
    if groups is not None:
        columns["group"] = groups
    return datasets.Dataset.from_dict(columns)


def made(rows: datasets.Dataset, **flags: Any) -> Splits:
    return complete_splits(Splits({"train": rows}), DataSettings(data="x", **flags))


def sides(splits: Splits) -> dict[str, str]:
    return {text: name for name, rows in splits.items() for text in rows[:]["text"]}


def numbered(count: int, classes: int = 2) -> datasets.Dataset:
    return table([f"text number {i}" for i in range(count)], [f"class {i % classes}" for i in range(count)])


def test_content_keys_ignore_case_width_and_spaces() -> None:
    keys = content_keys(table(["Ａ  Word", "a word ", "a wörd", "another"]))
    assert keys.dtype == np.uint64
    assert keys[0] == keys[1]
    assert len(set(keys.tolist())) == 3


def test_content_keys_are_the_same_for_ever() -> None:
    assert content_keys(table(["a word"])).tolist() == [11147652660375720235]


def test_a_pair_is_not_its_first_text() -> None:
    single = datasets.Dataset.from_dict({"text": ["a", "a b"]})
    pair = datasets.Dataset.from_dict({"text": ["a", "a"], "text_pair": ["", "b"]})
    assert len({*content_keys(single).tolist(), *content_keys(pair).tolist()}) == 4


def test_fractions_classes_and_every_row_once() -> None:
    splits = made(numbered(1000, 4))
    assert sum(map(len, splits.values())) == 1000
    assert len(sides(splits)) == 1000
    for name, share in (("validation", 25), ("test", 25)):
        counts = Counter(splits[name][:]["label"])
        assert all(abs(count - share) <= 3 for count in counts.values()), counts
    facts = splits.facts["split"]
    assert facts["made"] == ["validation", "test"]
    assert facts["rows"] == {name: len(rows) for name, rows in splits.items()}
    assert facts["labels"]["test"] == dict(sorted(Counter(splits["test"][:]["label"]).items()))


def test_order_does_not_matter_and_the_seed_does() -> None:
    rows = numbered(300)
    before = sides(made(rows))
    assert sides(made(rows.select(list(reversed(range(300)))))) == before
    assert sides(made(rows, split_seed=1)) != before
    assert sides(made(rows, split_seed=1)) == sides(made(rows, split_seed=1))


def test_added_rows_move_hardly_any_other() -> None:
    before, after = sides(made(numbered(2000))), sides(made(numbered(2600)))
    changed = sum(after[text] != side for text, side in before.items())
    assert changed <= 0.02 * len(before)


def test_duplicates_stay_on_one_side_whatever_their_label() -> None:
    texts = [f"Text number {i % 50}" if i % 2 else f"text  NUMBER {i % 50}" for i in range(500)]
    splits = made(table(texts, ["ab"[i % 7 % 2] for i in range(500)]))
    keys = {name: set(content_keys(rows).tolist()) for name, rows in splits.items()}
    assert not keys["train"] & keys["test"]
    assert not keys["train"] & keys["validation"]
    assert not keys["validation"] & keys["test"]


def test_groups_stay_on_one_side_also_through_shared_content() -> None:
    texts = [f"text number {i}" for i in range(300)]
    groups: list[str | None] = [f"patient {i // 5}" for i in range(300)]
    texts[0] = texts[5] = "the same words"  # joins patients 0 and 1
    groups[299] = None
    splits = made(table(texts, ["ab"[i % 2] for i in range(300)], groups))
    side_of: dict[str, set[str]] = {}
    for name, rows in splits.items():
        for group in rows[:]["group"]:
            side_of.setdefault(str(group), set()).add(name)
    assert all(len(found) == 1 for found in side_of.values())
    assert side_of["patient 0"] == side_of["patient 1"]
    assert len(splits["test"]) > 10


@pytest.mark.parametrize("seed", range(10))
def test_small_classes_are_in_every_split(seed: int) -> None:
    labels = ["big"] * 40 + ["three"] * 3 + ["two"] * 2 + ["one"]
    splits = made(table([f"text {i}" for i in range(len(labels))], labels), split_seed=seed)
    counts = splits.facts["split"]["labels"]
    assert {"big", "three"} <= set(counts["test"])
    assert {"big", "three"} <= set(counts["validation"])
    assert {"big", "three", "two", "one"} == set(counts["train"])


def test_only_the_missing_split_is_made_and_fraction_zero_makes_none() -> None:
    test = table(["a given test row", "another one"], ["class 0", "class 1"])
    splits = complete_splits(Splits({"train": numbered(100), "test": test}), DataSettings(data="x"))
    assert splits["test"] is test
    assert len(splits["train"]) + len(splits["validation"]) == 100
    assert splits.facts["split"]["made"] == ["validation"]
    assert list(made(numbered(100), validation_fraction=0, test_fraction=0)) == ["train"]
    assert list(made(numbered(100), validation_fraction=0)) == ["train", "test"]


def test_sixteen_rows() -> None:
    splits = made(numbered(16))
    assert {name: len(rows) >= 2 for name, rows in splits.items()} == dict.fromkeys(
        ("train", "validation", "test"), True
    )


def test_one_row_stays_in_train() -> None:
    splits = made(table(["only one"], ["a"]))
    assert list(splits) == ["train"]
    assert len(splits.facts["split"]["notes"]) == 2


def test_unlabelled_data_is_left_as_it_is() -> None:
    splits = complete_splits(Splits({"unlabelled": table(["a", "b"])}), DataSettings(data="x"))
    assert {name: len(rows) for name, rows in splits.items()} == {"unlabelled": 2}


def test_a_label_only_in_validation_is_refused() -> None:
    splits = Splits({"train": numbered(20), "validation": table(["odd"], ["class 9"])})
    with pytest.raises(DataError, match="'class 9' \\(1 row\\)"):
        complete_splits(splits, DataSettings(data="x"))


def test_held_out_rows_share_no_content_with_the_rest() -> None:
    rows = table([f"line {i % 400}" for i in range(1000)])
    rest, out = held_out(rows, 0.1, 0)
    assert len(rest) + len(out) == 1000
    assert 50 < len(out) < 160
    assert not set(rest[:]["text"]) & set(out[:]["text"])
    assert held_out(rows, 0.1, 0)[1][:]["id"] == out[:]["id"]
    assert len(held_out(table(["a", "b"]), 0.001, 0)[1]) == 1
    with pytest.raises(DataError):
        held_out(table(["a", "A"]), 0.1, 0)


def test_rows_held_out_of_a_made_train_split_are_as_many_as_asked() -> None:
    """With one hash for both purposes the train split would have hardly a row under the fraction left."""
    train = made(numbered(2000))["train"]
    assert 0.03 < len(held_out(train, 0.05, 0)[1]) / len(train) < 0.07
