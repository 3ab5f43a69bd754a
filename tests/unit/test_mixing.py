"""Pictures that are learned mixed with another: shares of pixels are shares of the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.errors import DataError
from pretune.modalities.image.augment import AUGMENTS
from pretune.modalities.image.transform import image_transform_of
from pretune.objectives.supervised import Supervised
from pretune.tasks import ImageClassification
from pretune.types import Encoded
from tiny import LABELS, dataset_of, tiny_image_backbone, tiny_pictures

DARK, LIGHT = (np.full((24, 24, 3), value, dtype=np.uint8) for value in (0, 200))


def test_the_share_told_is_the_share_seen() -> None:
    kinds = set()
    for seed in range(40):
        mixed, share = AUGMENTS["strong"].mixed(DARK, LIGHT, np.random.default_rng(seed))
        assert 0.0 <= share <= 1.0
        assert mixed.mean() == pytest.approx(200 * (1 - share), abs=1.0)
        values = set(np.unique(mixed).tolist())
        kinds.add("cut" if values == {0, 200} else "blend" if len(values) == 1 and 0 < share < 1 else "whole")
        again, same = AUGMENTS["strong"].mixed(DARK, LIGHT, np.random.default_rng(seed))
        assert same == share
        assert np.array_equal(again, mixed)
    assert {"cut", "blend"} <= kinds


def task_of(**options: object) -> ImageClassification:
    geometry = image_transform_of(tiny_image_backbone("resnet-10").processor)
    return ImageClassification(LABELS, geometry, augment="strong", **options)


def row(name: str, target: int | None) -> Encoded:
    pixels = np.random.default_rng(len(name)).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    return Encoded(name, {"pixels": pixels}, 4, target)


def test_the_loss_of_a_mixed_row_is_shared_between_its_classes() -> None:
    weights = [0.5, 2.0, 1.0]
    task = task_of(class_weights=weights[: len(LABELS)], label_smoothing=0.1)
    model, _ = task.build(tiny_image_backbone("resnet-10"), seed=0)
    model.eval()
    mixed = task.mixed(row("a", 0), [row("bb", 1)], np.random.default_rng(3))
    share = float(mixed.target[0])
    assert mixed.id == "a"
    assert mixed.target.sum() == pytest.approx(1.0)
    assert 0.0 < share < 1.0
    batch = task.collate([mixed, row("ccc", 1)])
    assert batch.num_items == pytest.approx(share * weights[0] + (1 - share) * weights[1] + weights[1])
    with torch.no_grad():
        logits_BC = model(**batch.inputs).logits
        found = float(task.loss(model, batch).total)

    def entropy(number: int, target: int) -> float:
        wanted = torch.tensor([target])
        return float(torch.nn.functional.cross_entropy(logits_BC[number : number + 1], wanted, label_smoothing=0.1))

    shared = share * entropy(0, 0) + (1 - share) * entropy(0, 1)
    mean_weight = share * weights[0] + (1 - share) * weights[1]
    assert found == pytest.approx(mean_weight * shared + weights[1] * entropy(1, 1), rel=1e-5)


def test_unlabelled_rows_are_not_mixed_and_still_refused() -> None:
    task = task_of()
    unlabelled = row("x", None)
    assert task.mixed(unlabelled, [row("bb", 1)], np.random.default_rng(0)) is unlabelled
    mixed = task.mixed(row("a", 0), [row("bb", 1)], np.random.default_rng(3))
    model, _ = task.build(tiny_image_backbone("resnet-10"), seed=0)
    with pytest.raises(DataError, match="unlabelled rows: x"):
        task.loss(model, task.collate([mixed, unlabelled]))


def test_half_of_the_rows_are_mixed_alike_in_any_batch_and_none_at_level_light() -> None:
    data = dataset_of(tiny_pictures(40))
    task = task_of()
    rows = task.encode_rows(data, fingerprint="mixing")
    model, _ = task.build(tiny_image_backbone("resnet-10"), seed=0)
    stream = Supervised(task, plan_adaptation(model, "full", weight_decay=0.0)).streams(
        rows, batch_size=40, group_by_length=False
    )["labelled"]
    keys = np.arange(1000, 1040, dtype=np.uint64)
    whole = stream.collate(np.arange(40), keys)["labelled"]
    assert whole.targets is not None
    is_mixed = ((whole.targets > 0) & (whole.targets < 1)).any(dim=1)
    assert 8 < int(is_mixed.sum()) < 32
    for number in (0, 7, 21):
        one = stream.collate(np.array([number]), keys[number : number + 1])["labelled"]
        assert torch.equal(one.inputs["pixel_values"][0], whole.inputs["pixel_values"][number])
    light = ImageClassification(LABELS, task.geometry, augment="light")
    assert light.mixes == 0.0
