"""Faster R-CNN's parts: regions are sorted out as one after the other, read as torchvision reads them, sampled by the row's own luck."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import nms, roi_align

from pretune.answers import Boxes
from pretune.backbones.detection.anchors import BACKGROUND, IGNORED
from pretune.backbones.detection.sampling import (
    ANCHORS,
    POSITIVE_ANCHORS,
    POSITIVE_REGIONS,
    REGIONS,
    Truth,
    drawn_anchors,
    match_places,
    sampled_places,
)
from pretune.backbones.detection.two_stages import CELLS, MOST_OVERLAP, SAMPLES, pooled, stays
from pretune.tasks import ObjectDetection
from pretune.tasks.places.detection.two_stages import LUCK
from pretune.types import Encoded, Example
from tiny import tiny_boxed_task, tiny_boxes


def some_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = 40 * torch.rand(count, 2, generator=generator)
    return torch.cat([corners, corners + 3 + 30 * torch.rand(count, 2, generator=generator)], dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_regions_stay_as_if_sorted_out_one_after_the_other(seed: int) -> None:
    boxes = some_boxes(200, seed)
    expected = nms(boxes, torch.linspace(1, 0, 200), MOST_OVERLAP)
    assert stays(boxes[None])[0].nonzero()[:, 0].tolist() == expected.sort().values.tolist()


def test_regions_are_read_as_torchvision_reads_them() -> None:
    """Each from the map on which it is nearest to seven cells long, to the very edge of that map."""
    generator = torch.Generator().manual_seed(0)
    strides, sides = (8, 16, 32), (256, 320)
    maps = [torch.rand(2, 3, *(side // stride for side in sides), generator=generator) for stride in strides]
    places = torch.tensor(
        [
            [[200.0, 200.0, 320.0, 256.0], [0.0, 0.0, 320.0, 256.0]],
            [[9.0, 9.0, 20.0, 30.0], [300.0, 240.0, 320.0, 256.0]],
        ]
    )
    read = pooled(maps, places, strides).reshape(2, 2, 3, CELLS, CELLS)
    for picture, region, level in ((0, 0, 1), (0, 1, 2), (1, 0, 0), (1, 1, 0)):
        row = [torch.cat([torch.zeros(1), places[picture, region]])[None]]
        own = roi_align(maps[level][picture, None], row[0], CELLS, 1 / strides[level], SAMPLES, aligned=True)
        assert torch.allclose(read[picture, region], own[0], atol=1e-5)


def truth_of(boxes: torch.Tensor, classes: list[int], *, most: int, num_regions: int) -> Truth:
    """One picture's, filled up to ``most`` boxes."""
    generator = torch.Generator().manual_seed(1)
    whole = torch.zeros(1, most, 4)
    whole[0, : len(boxes)] = boxes
    named = torch.full((1, most), -1)
    named[0, : len(boxes)] = torch.tensor(classes)
    luck_BP, luck = torch.rand(1, num_regions, generator=generator), torch.ones(1, most)
    luck[0, : len(boxes)] = torch.rand(len(boxes), generator=generator)
    return Truth(whole, named, luck_BP, luck)


def test_a_sample_has_true_boxes_and_background_and_does_not_depend_on_other_pictures() -> None:
    truths = some_boxes(4, 0)
    regions = torch.cat([truths.repeat(10, 1) + 0.5, some_boxes(88, 2)])[None]
    few = truth_of(truths, [1, 2, 0, 3], most=4, num_regions=128)
    many = truth_of(truths, [1, 2, 0, 3], most=9, num_regions=128)
    sample = sampled_places(regions, few)
    assert sample.shape == (1, REGIONS, 4)
    assert torch.equal(sample, sampled_places(regions, many))
    classes, number = match_places(sample, few)
    assert (classes > BACKGROUND).sum() == POSITIVE_REGIONS
    assert (classes == BACKGROUND).sum() == REGIONS - POSITIVE_REGIONS
    assert torch.equal(classes[classes > 0], few.classes_BM[0][number[classes > 0]])
    assert match_places(truths[None, 2:3], few)[0].item() == IGNORED  # a box that is set aside
    nothing = truth_of(torch.zeros(0, 4), [], most=1, num_regions=128)
    assert (match_places(sampled_places(regions, nothing), nothing)[0] == BACKGROUND).all()


def test_anchors_are_drawn_by_luck() -> None:
    classes = torch.zeros(1000, dtype=torch.long)
    classes[:300], classes[300:400] = 2, IGNORED
    luck = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    drawn = drawn_anchors(classes, luck)
    assert (drawn == 2).sum() == POSITIVE_ANCHORS
    assert (drawn == BACKGROUND).sum() == ANCHORS - POSITIVE_ANCHORS
    assert luck[drawn == 2].max() <= luck[:300][drawn[:300] != 2].min()


def items_of(task: ObjectDetection) -> list[Encoded]:
    return [
        task.encode(Example(row["id"], {"image": row["image"]}, Boxes.from_json(row["boxes"])))[0]
        for row in tiny_boxes(4)
    ]


def test_what_is_sampled_comes_from_the_rows_key_alone() -> None:
    task, _ = tiny_boxed_task(head="faster-rcnn", augment="none")
    item = items_of(task)[1]

    def drawn(key: int) -> torch.Tensor:
        return task.collate([task.augment(item, np.random.default_rng(key))]).targets["luck_BP"]

    assert LUCK in task.augment(item, np.random.default_rng(0)).arrays
    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))
    one, other = (task.collate([item]).targets["luck_BP"] for _ in range(2))
    assert torch.equal(one, other)


def test_a_student_that_says_what_its_teacher_says_is_near_it() -> None:
    task, backbone = tiny_boxed_task(head="faster-rcnn")
    model, _ = task.build(backbone, seed=0)
    other, _ = task.build(backbone, seed=1)
    batch = task.collate(items_of(task))
    with torch.no_grad():
        said, others = (task.logits_of(one.eval(), batch) for one in (model, other))
        near, far = (task.soft_losses(said, logits, batch, 1.0) for logits in (said, others))
    assert said.shape == (4, len(task.learner.anchors) + task.learner.proposals, task.num_outputs)  # type: ignore[union-attr]
    assert (near < far).all()
    assert torch.equal(task.is_labelled(batch), torch.ones(4, dtype=torch.bool))


def test_a_difference_is_one_of_regions_that_both_models_look_at() -> None:
    """Their order and the least of them hang on rounding; what is said of a region does not."""
    task, _ = tiny_boxed_task(head="faster-rcnn")
    head = task.learner
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(2, 20, 6, generator=generator, dtype=torch.float64)
    shuffled = one[:, torch.randperm(20, generator=generator)]
    shuffled[:, 3, :4] += 0.5
    assert head.difference(one, shuffled) == 0.0
    changed = shuffled.clone()
    changed[1, 7, 4] += 0.02
    assert head.difference(one, changed) == pytest.approx(0.02)
    changed[0, 0, 0] = float("nan")
    assert np.isnan(head.difference(one, changed))
