"""Tokens are kept under the data's fingerprint: whatever changes them must change it."""

from __future__ import annotations

from typing import Any

import pytest

from clocks import steps_of
from pretune.data.splits import Splits
from pretune.runs.rows import data_fingerprint
from tiny import dataset_of

ROW = {"id": "1", "text": "The Cat sat", "label": "x"}


def fingerprint(*rows: dict[str, Any], split: str = "train") -> str:
    return data_fingerprint(Splits({split: dataset_of(rows)}, {}))


@pytest.mark.parametrize(
    "change",
    [
        {"text": "the cat sat"},
        {"text": "The Cat  sat"},
        {"text": "\uff34he Cat sat"},
        {"id": "2"},
        {"label": "y"},
        {"label": None},
    ],
)
def test_any_change_of_a_value_shows(change: dict[str, Any]) -> None:
    assert fingerprint({**ROW, **change}) != fingerprint(ROW)


def test_order_number_and_split_show_and_nothing_else_does() -> None:
    other = {**ROW, "id": "2", "text": "A dog"}
    assert fingerprint(ROW, other) == fingerprint(ROW, other)
    assert (
        len({fingerprint(ROW, other), fingerprint(other, ROW), fingerprint(ROW), fingerprint(ROW, split="test")}) == 4
    )
    both = dataset_of([ROW, other, ROW])
    assert data_fingerprint(Splits({"train": both.select([0, 1])}, {})) == fingerprint(ROW, other)


def test_rows_are_taken_by_the_thousand() -> None:
    from datasets import Dataset

    rows = Dataset.from_dict({"id": [str(i) for i in range(100_000)], "text": ["some words of a headline"] * 100_000})
    assert steps_of(lambda: data_fingerprint(Splits({"train": rows}, {}))) < len(rows) / 10
