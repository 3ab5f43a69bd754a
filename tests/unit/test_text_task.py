"""What a task of texts shows and says beside scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pretune.tasks import TextClassification
from pretune.types import Example, Prediction
from tiny import LABELS, dataset_of, tiny_backbone, tiny_encoder, uneven_rows


def task_of(**options: Any) -> TextClassification:
    return TextClassification(LABELS, tiny_encoder(tiny_backbone()), **options)


def records_of(task: TextClassification, given: list[str], truths: list[str]) -> list[dict[str, Any]]:
    chances = tuple(1.0 / len(LABELS) for _ in LABELS)
    return [
        task.record(Prediction(str(number), label, chances), truth)
        for number, (label, truth) in enumerate(zip(given, truths, strict=True))
    ]


def test_a_model_that_gives_one_class_to_all_is_named() -> None:
    task, truths = task_of(), [LABELS[number % 2] for number in range(12)]
    (said,) = task.warnings(records_of(task, [LABELS[0]] * 12, truths))
    assert f'All 12 rows are given the class "{LABELS[0]}"' in said
    assert not task.warnings(records_of(task, truths, truths))
    assert not task.warnings(records_of(task, [LABELS[0]] * 12, [LABELS[0]] * 12)), "all of one class"
    assert not task.warnings(records_of(task, [LABELS[0]] * 3, truths[:3])), "three rows show nothing"


@pytest.mark.parametrize("level", ["light", "strong"])
def test_a_page_shows_how_texts_were_varied(level: str) -> None:
    task, rows = task_of(augment=level), dataset_of(uneven_rows(12))
    (block,) = task.explained(tiny_backbone().build("AutoModel", seed=0)[0], [], rows)
    assert f"--augment {level}" in block["note"]
    assert len(block["rows"]) == 4
    for number, (whole, *varied) in enumerate(block["rows"]):
        letters = rows[number]["text"].lower().replace(" ", "")
        assert whole.replace(" ", "").startswith(f"[CLS]{letters[:20]}")
        assert len(varied) == 2
    assert any(one != row[0] for row in block["rows"] for one in row[1:])
    assert task_of().explained(tiny_backbone().build("AutoModel", seed=0)[0], [], rows) == []


def test_rows_are_varied_as_the_task_was_told_and_stay_so_when_it_is_read_again() -> None:
    task, backbone = task_of(augment="strong"), tiny_backbone()
    kept = TextClassification.restore(task.to_dict(), backbone)
    assert kept.varies_rows
    assert not TextClassification.restore({**task.to_dict(), "augment": "none"}, backbone).varies_rows
    older = {key: value for key, value in task.to_dict().items() if key != "augment"}
    assert not TextClassification.restore(older, backbone).varies_rows, "folders of older versions"
    rows = task.encode_rows(dataset_of(uneven_rows(12)), fingerprint="told")
    same = [task.augment(rows[3], np.random.default_rng(1)) for _ in range(2)]
    assert (same[0].arrays["input_ids"] == same[1].arrays["input_ids"]).all()
    assert same[0].cost == len(same[0].arrays["input_ids"])
    assert same[0].target == rows[3].target


def test_texts_and_pairs_are_encoded_together_as_one_by_one() -> None:
    task = task_of()
    inputs = [
        {"text": "one"},
        {"text": "two", "text_pair": "three"},
        {"text": "four", "text_pair": "five"},
        {"text": ""},
    ]
    examples = [Example(str(number), one) for number, one in enumerate(inputs * 200)]
    for example, items in zip(examples, task.encode_each(examples), strict=True):
        assert isinstance(items, list)
        for item, alone in zip(items, task.encode(example), strict=True):
            assert (item.id, item.cost, item.target, item.weight) == (example.id, alone.cost, None, 1.0)
            assert {name: array.tolist() for name, array in item.arrays.items()} == {
                name: array.tolist() for name, array in alone.arrays.items()
            }
    assert task.encode_each([]) == []
