"""Detectors that predict a set: each family learns by its own losses, boxes are matched at the least cost, pictures do not touch each other."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torchvision.ops import generalized_box_iou

from pretune.answers import Boxes
from pretune.backbones.detection.queries import PRIOR, num_queries
from pretune.backbones.load import load_backbone, save_model
from pretune.errors import ModelError, UsageError
from pretune.export.onnx_graph import export_graph
from pretune.export.onnx_model import OnnxModel
from pretune.export.standalone import boxed as standalone
from pretune.tasks import ObjectDetection
from pretune.tasks.places.detection.kinds import head_for
from pretune.tasks.places.detection.matching import Criterion, corners, generous_overlap, matched
from pretune.tasks.places.detection.queries import Queries
from pretune.tasks.rows.boxed import BoxTarget
from pretune.types import TERM, Encoded, Example
from tiny import LABELS, tiny_boxed_task, tiny_boxes, tiny_image_backbone
from tiny_detectors import FAMILIES, save_tiny_detector, tiny_query_backbone


def learned(family: str, *, count: int = 3) -> tuple[ObjectDetection, torch.nn.Module, list[Encoded]]:
    """The tiny task, its model with weights that say different things of different places, and the items of some pictures."""
    task, backbone = tiny_boxed_task(head="queries", backbone=tiny_query_backbone(family))
    model, _ = task.build(backbone, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return task, model.eval(), items_of(task, count)


def items_of(task: ObjectDetection, count: int) -> list[Encoded]:
    rows = tiny_boxes(count)
    return [task.encode(Example(row["id"], {"image": row["image"]}, Boxes.from_json(row["boxes"])))[0] for row in rows]


def head_of(task: ObjectDetection) -> Queries:
    assert isinstance(task.learner, Queries)
    return task.learner


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pictures_loss_is_the_librarys_own(family: str) -> None:
    """Of every layer, also without a box; the library weighs the classes of two families by 1, whatever their configs say, and
    D-FINE's distributions of edges are left out. A batch's loss is the sum of its pictures'.
    """
    task, model, items = learned(family)
    model.config.cls_loss_coefficient = 1  # type: ignore[union-attr]
    head = dataclasses.replace(
        head_of(task), criterion=Criterion.of(model.config, softmax=head_of(task).criterion.unsure is not None)
    )
    losses = []
    for item in items:
        batch = task.collate([item])
        is_real_M = batch.targets["classes"][0] >= 0
        labels = [
            {"boxes": batch.targets["boxes"][0, is_real_M], "class_labels": batch.targets["classes"][0, is_real_M]}
        ]
        with torch.no_grad():
            expected = float(model(**batch.inputs, labels=labels).loss)
            losses.append(float(head.losses(head.learned_logits_of(model, batch), batch)))
        assert batch.counts[TERM] == max(1, len(item.target.places))
        assert losses[-1] / batch.counts[TERM] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    whole = task.collate(items)
    with torch.no_grad():
        together = head.losses(head.learned_logits_of(model, whole), whole)
    assert together.tolist() == pytest.approx(losses, rel=1e-3, abs=1e-5)
    assert whole.counts[TERM] == sum(max(1, len(item.target.places)) for item in items)


@pytest.mark.parametrize("family", ["rt_detr", "d_fine", "detr"])
def test_learning_draws_nothing_and_reaches_every_layer(family: str) -> None:
    task, model, items = learned(family)
    before = torch.random.get_rng_state()
    model.train()
    losses = [task.loss(model, task.collate(items)).total for _ in range(2)]
    assert torch.equal(before, torch.random.get_rng_state())
    losses[0].backward()
    assert float(losses[0].detach()) == pytest.approx(float(losses[1].detach()), rel=1e-3)
    silent = {name for name, weight in model.named_parameters() if weight.grad is None and ".backbone." not in name}
    assert silent <= {"model.denoising_class_embed.weight"}
    if family == "d_fine":
        assert "model.decoder.reg_scale" in dict(model.named_buffers())


@pytest.mark.parametrize("criterion", [Criterion(), Criterion(unsure=0.1)])
@pytest.mark.parametrize("seed", range(4))
def test_boxes_are_matched_at_the_least_cost(criterion: Criterion, seed: int) -> None:
    """Beside all ways there are, of a cost written out anew."""
    generator = torch.Generator().manual_seed(seed)
    said = torch.randn(5, 4 + 3 + (criterion.unsure is not None), generator=generator)
    said[:, :4] = said[:, :4].sigmoid()
    boxes, classes = torch.rand(3, 4, generator=generator) * 0.5 + 0.2, torch.tensor([2, 0, 2])
    sure = said[:, 4:].softmax(dim=1) if criterion.unsure is not None else said[:, 4:].sigmoid()
    named = -sure
    if criterion.unsure is None:
        named = 0.25 * (1 - sure) ** 2 * -sure.log() - 0.75 * sure**2 * -(1 - sure).log()
    apart = torch.cdist(said[:, :4], boxes, p=1)
    costs = named[:, classes] + 5 * apart - 2 * generalized_box_iou(corners(said[:, :4]), corners(boxes))
    best = min(
        itertools.permutations(range(5), 3),
        key=lambda ways: sum(float(costs[query, box]) for box, query in enumerate(ways)),
    )
    queries, numbers = matched(said, boxes, classes, criterion)
    assert {(int(box), int(query)) for query, box in zip(queries, numbers, strict=True)} == {*enumerate(best)}
    few, _ = matched(said[:2], boxes, classes, criterion)
    assert sorted(few.tolist()) == [0, 1]


def test_overlaps_are_torchvisions() -> None:
    one, other = torch.rand(2, 20, 4, generator=torch.Generator().manual_seed(0)) + 0.01
    expected = generalized_box_iou(corners(one), corners(other)).diagonal()
    assert torch.allclose(generous_overlap(one, other)[1], expected, atol=1e-5)


def test_what_lies_on_a_box_that_is_set_aside_is_neither_right_nor_wrong() -> None:
    task, _, _ = learned("rt_detr", count=1)
    head = head_of(task)
    places = ((8.0, 8.0, 24.0, 24.0), (32.0, 32.0, 56.0, 56.0))
    item = items_of(task, 1)[0]

    def loss(sure: float, *, aside: bool) -> float:
        said = torch.full((1, head.num_queries, 7), -9.0)
        said[..., :4] = torch.tensor([0.9, 0.1, 0.05, 0.05])
        said[0, 0, :5] = torch.tensor([0.25, 0.25, 0.25, 0.25, 4.0])
        said[0, 1, :4], said[0, 1, 5] = torch.tensor([0.6875, 0.6875, 0.375, 0.375]), sure
        target = BoxTarget(places, (0, 1), (False, aside))
        batch = task.collate([dataclasses.replace(item, target=target)])
        assert batch.counts[TERM] == (1 if aside else 2)
        return float(head.losses(said, batch))

    assert loss(-6.0, aside=True) == pytest.approx(loss(6.0, aside=True))
    assert loss(6.0, aside=False) < loss(-6.0, aside=False)


@pytest.mark.parametrize("family", ["rt_detr", "detr"])
def test_places_lie_on_the_canvas_and_the_program_beside_an_export_makes_the_same(family: str) -> None:
    task, model, items = learned(family)
    head = head_of(task)
    batch = task.collate(items[1:2])
    with torch.no_grad():
        said = head.answers_of(model, batch)
        output = model(**batch.inputs)
    boxes, scores = head.places_of(said)
    middle_x, middle_y, width, height = output.pred_boxes[0, 0].tolist()
    tall, wide = task.canvas.sides
    expected = [
        (middle_x - width / 2) * wide,
        (middle_y - height / 2) * tall,
        (middle_x + width / 2) * wide,
        (middle_y + height / 2) * tall,
    ]
    assert boxes[0, 0].tolist() == pytest.approx(expected, abs=1e-3)
    logits = output.logits[0].double()
    named = logits.softmax(dim=1)[:, :-1] if family == "detr" else logits.sigmoid()
    assert torch.allclose(scores[0], named)
    assert scores.shape == (1, 12, len(LABELS))
    told = task.portable()
    assert {"strides", "shapes", "proposals"}.isdisjoint(told)
    ours = standalone.by_queries(said[0].double().numpy(), told)
    assert np.allclose(ours[0], boxes[0].numpy(), atol=1e-3)
    assert np.allclose(ours[1], scores[0].numpy())


@pytest.mark.parametrize("family", ["rt_detr", "detr"])
def test_a_student_that_says_what_its_teacher_says_is_near_it(family: str) -> None:
    task, model, items = learned(family)
    other, _ = task.build(tiny_query_backbone(family, num_queries=9), seed=3)
    batch = task.collate(items)
    with torch.no_grad():
        said, others = (task.logits_of(one.eval(), batch) for one in (model, other))
        near, far = (task.soft_losses(said, logits, batch, 2.0) for logits in (said, others))
    assert (near < 1e-3).all()
    assert (far > near).all()
    task.check_teacher(task)
    with pytest.raises(ModelError, match="numbers"):
        task.check_teacher(learned("detr" if family == "rt_detr" else "rt_detr", count=1)[0])


@pytest.mark.parametrize("family", ["rt_detr", "d_fine", "detr", "deformable_detr"])
def test_a_folder_of_transformers_gets_a_head_for_other_classes_and_stays_one(tmp_path: Path, family: str) -> None:
    backbone = load_backbone(str(save_tiny_detector(tmp_path / "own", family)))
    task, _ = tiny_boxed_task(head="queries", backbone=backbone)
    model, report = task.build(backbone, seed=0)
    assert "person, car" in report.classes
    assert report.initialised
    assert not report.unexpected
    assert all("class" in name or "score" in name for name in report.initialised)
    if head_of(task).criterion.unsure is None:
        biases = {
            name: weight for name, weight in model.named_parameters() if name in report.initialised and weight.ndim == 1
        }
        assert biases
        assert all(torch.allclose(bias, torch.tensor(math.log(PRIOR / (1 - PRIOR)))) for bias in biases.values())
    save_model(model, task.processor_to_save(backbone), tmp_path / "saved")
    again: Any = transformers.AutoModelForObjectDetection.from_pretrained(tmp_path / "saved").eval()
    assert tuple(again.config.id2label.values()) == LABELS
    batch = task.collate(items_of(task, 2))
    with torch.no_grad():
        assert torch.allclose(again(**batch.inputs).logits, model.eval()(**batch.inputs).logits, atol=1e-5)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "saved")
    assert type(processor) is type(backbone.processor)
    restored = ObjectDetection.restore(task.to_dict(), load_backbone(str(tmp_path / "saved")))
    assert restored.to_dict() == task.to_dict()
    assert restored.learner == task.learner


@pytest.mark.slow
@pytest.mark.parametrize("family", ["d_fine", "rt_detr_v2"])
def test_a_graph_of_a_model_that_checks_its_own_sizes_says_the_same(tmp_path: Path, family: str) -> None:
    task, model, items = learned(family, count=5)
    export_graph(task, model, task.collate(items[:2]), tmp_path / "model.onnx")
    batch, graph = task.collate(items), OnnxModel(tmp_path / "model.onnx", threads=1)
    assert graph.width == task.num_outputs
    with torch.no_grad():
        assert task.difference(task.outputs(model, batch), task.outputs(graph, batch)) < 1e-4


def test_classes_are_joined_by_name_with_nothing_behind_them(tmp_path: Path) -> None:
    folder = save_tiny_detector(tmp_path / "own", "detr", labels=LABELS[::-1])
    backbone = load_backbone(str(folder))
    task, _ = tiny_boxed_task(head="queries", backbone=backbone)
    model, report = task.build(backbone, seed=0)
    assert not report.initialised
    own: Any = transformers.AutoModelForObjectDetection.from_pretrained(folder)
    before, after = own.class_labels_classifier.weight, model.class_labels_classifier.weight  # type: ignore[union-attr]
    assert torch.equal(after, before[[2, 1, 0, 3]])


def test_heads_stand_on_what_they_need() -> None:
    assert head_for("auto", tiny_query_backbone("d_fine")) == "queries"
    assert head_for("auto", tiny_image_backbone("resnet-10")) == "ssd"
    with pytest.raises(UsageError, match="--head ssd needs a trunk"):
        head_for("ssd", tiny_query_backbone())
    with pytest.raises(UsageError, match="--head queries needs a detector") as error:
        head_for("queries", tiny_image_backbone("resnet-10"))
    assert "ssd" in error.value.fix
    with pytest.raises(UsageError, match="--head is 'sdd'"):
        head_for("sdd", tiny_image_backbone("resnet-10"))
    two_stages = tiny_query_backbone("deformable_detr", two_stage=True, with_box_refine=True)
    assert num_queries(two_stages.config) == 0
    with pytest.raises(UsageError, match="stages"):
        head_for("auto", two_stages)


def test_the_convolutions_learn_slower_than_the_rest() -> None:
    from pretune.backbones.adaptation.adapt import plan_adaptation

    task, model, _ = learned("rt_detr", count=1)
    pace = task.parts_pace(model, tiny_query_backbone())
    plan = plan_adaptation(model, "full", weight_decay=0.1, trunk_scale=pace.trunk_scale, trunk=pace.trunk)
    scales = {name: group.lr_scale for group in plan.groups for name in group.names}
    assert len(scales) == len([*model.named_parameters()])
    assert all(scale == (pace.trunk_scale if ".backbone." in name else 1.0) for name, scale in scales.items())
