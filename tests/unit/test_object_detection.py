"""Detection's parts: boxes move with the picture, anchors find what they should, losses are sums, heads fit any trunk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from pretune.answers import Boxes
from pretune.answers.boxes import Box, overlap
from pretune.backbones.adaptation.adapt import plan_adaptation
from pretune.backbones.detection.anchors import (
    BACKGROUND,
    IGNORED,
    anchors_on,
    chosen_boxes,
    decoded,
    match_anchors,
    shapes_for,
)
from pretune.backbones.load import load_backbone
from pretune.backbones.places.stages import resting_part
from pretune.export.standalone import boxed as standalone
from pretune.modalities.image.augment_boxes import LEAST_LEFT, varied_boxes
from pretune.modalities.image.letterbox import Canvas, canvas_for, collate_canvas, fitted
from pretune.modalities.image.transform import ImageTransform
from pretune.tasks import ObjectDetection
from pretune.tasks.blocks.detection import pairs_told
from pretune.tasks.rows.trunk import on_trunk
from pretune.training import setup
from pretune.types import TERM, Encoded, Example
from tiny import CPU, dataset_of, tiny_boxed_task, tiny_boxes


def learned(head: str = "ssd") -> tuple[ObjectDetection, torch.nn.Module, list[Encoded]]:
    """The tiny task, its model and the items of twelve pictures."""
    task, backbone = tiny_boxed_task(head=head)
    model, _ = task.build(backbone, seed=0)
    rows = tiny_boxes(12)
    items = [task.encode(Example(row["id"], {"image": row["image"]}, Boxes.from_json(row["boxes"])))[0] for row in rows]
    return task, model.eval(), items


def block(box: tuple[int, int, int, int], size: tuple[int, int] = (96, 128)) -> np.ndarray:
    pixels = np.full((*size, 3), 20, dtype=np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2, 0] = 240
    return pixels


def seen(pixels: np.ndarray) -> tuple[float, float, float, float] | None:
    """The red block's edges."""
    rows, columns = np.nonzero(pixels[..., 0].astype(int) - pixels[..., 1] > 40)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


@pytest.mark.parametrize("level", ["light", "strong"])
@pytest.mark.parametrize("seed", range(12))
def test_boxes_move_with_the_picture(level: str, seed: int) -> None:
    """A red block: wherever it is after the variation, its box lies on it."""
    pixels = block((40, 30, 80, 60))
    found = varied_boxes(pixels, np.array([[40, 30, 80, 60]], np.float32), level, np.random.default_rng(seed))
    assert found.pixels.shape == pixels.shape
    where = seen(found.pixels)
    if where is None:
        assert found.lost_M[0]
        return
    assert overlap(Box("a", *where), Box("a", *map(float, found.boxes_M4[0]))) > 0.85


def test_a_variation_is_a_function_of_its_generator_and_none_changes_nothing() -> None:
    pixels, boxes = block((40, 30, 80, 60)), np.array([[40, 30, 80, 60]], np.float32)
    one, other = (varied_boxes(pixels, boxes, "strong", np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.boxes_M4, other.boxes_M4)
    same = varied_boxes(pixels, boxes, "none", np.random.default_rng(3))
    assert same.pixels is pixels
    assert not same.lost_M.any()


def test_a_box_that_leaves_the_picture_is_set_aside() -> None:
    pixels, boxes = block((0, 0, 12, 12)), np.array([[0, 0, 12, 12]], np.float32)
    results = [varied_boxes(pixels, boxes, "strong", np.random.default_rng(seed)) for seed in range(60)]
    assert any(one.lost_M[0] for one in results)
    assert any(not one.lost_M[0] for one in results)
    assert 0 < LEAST_LEFT < 1


def test_a_canvas_has_the_usual_shape_of_the_pictures_and_places_go_back() -> None:
    from PIL import Image

    geometry = ImageTransform(crop=(224, 224), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert canvas_for(np.array([640, 640, 480]), np.array([480, 480, 640]), 320, geometry).sides == (256, 320)
    canvas = Canvas(64, 96, geometry)
    for size in ((200, 50), (50, 200), (96, 64), (3, 1000)):
        pixels = fitted(Image.new("RGB", size, "white"), canvas)
        assert pixels.shape[0] <= 64
        assert pixels.shape[1] <= 96
        assert pixels.shape[0] == 64 or pixels.shape[1] == 96
    values = collate_canvas([fitted(Image.new("RGB", (50, 50), "white"), canvas)], canvas)
    assert values.shape == (1, 3, 64, 96)
    assert values[0, 0, 0, 0] == pytest.approx(1.0)
    assert values[0, 0, 0, 90] == pytest.approx(0.0, abs=0.01)


def test_anchors_have_the_sizes_of_the_data_whatever_class_is_common() -> None:
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.full(500, 50.0), np.full(20, 20.0), np.full(20, 100.0)])
    classes = np.concatenate([np.zeros(500, int), np.ones(20, int), np.full(20, 2)])
    sides = sizes[:, None] * rng.uniform(0.95, 1.05, (540, 2))
    boxes = np.concatenate([np.zeros((540, 2)), sides], axis=1).astype(np.float32)
    shapes = shapes_for(boxes, classes, (8, 16, 32))
    assert [round(own[0][0], -1) for own in shapes] == [20, 50, 100]
    assert anchors_on((64, 96), (8, 16, 32), shapes).shape == (4 * (8 * 12 + 4 * 6 + 2 * 3), 4)


def test_every_box_finds_an_anchor_and_what_is_set_aside_teaches_nothing() -> None:
    anchors = anchors_on((64, 64), (8, 16), [[[10.0, 10.0]], [[24.0, 24.0]]])
    boxes = torch.tensor([[3.0, 3.0, 6.0, 6.0], [20.0, 20.0, 44.0, 44.0], [48.0, 0.0, 58.0, 10.0]])
    classes, number = match_anchors(anchors, boxes, torch.tensor([0, 1, 2]), torch.tensor([False, False, True]))
    assert set(classes.tolist()) == {IGNORED, BACKGROUND, 1, 2}
    assert set(number[classes == 1].tolist()) == {0}
    assert set(number[classes == 2].tolist()) == {1}
    assert (classes == IGNORED).sum() >= 1
    none, _ = match_anchors(
        anchors, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool)
    )
    assert (none == BACKGROUND).all()


def test_the_program_beside_an_export_makes_the_same_boxes() -> None:
    """Anchors, decoding and sorting out in numpy, beside torchvision's."""
    generator = torch.Generator().manual_seed(0)
    shapes = [[[10.0, 10.0], [12.0, 20.0]], [[24.0, 24.0], [30.0, 20.0]]]
    anchors = anchors_on((64, 96), (8, 16), shapes)
    ours = standalone.anchors_on([64, 96], [8, 16], shapes)
    assert np.allclose(anchors.numpy(), ours)
    offsets = 3 * torch.randn(len(anchors), 4, generator=generator)
    boxes = decoded(offsets, anchors)
    assert torch.allclose(boxes, BoxCoder((10.0, 10.0, 5.0, 5.0)).decode_single(offsets, anchors), atol=1e-3)
    assert np.allclose(boxes.numpy(), standalone.decoded(offsets.double().numpy(), ours), atol=1e-3)
    scores = torch.softmax(2 * torch.randn(len(anchors), 4, generator=generator), dim=-1)[:, 1:].double()
    found = chosen_boxes(boxes.double()[:, None], scores, (64, 96))
    clipped = np.clip(boxes.double().numpy(), 0, [96, 64, 96, 64])
    theirs = standalone.chosen(clipped, scores.numpy())
    assert found.classes_M.tolist() == [label for _, label, _ in theirs]
    assert found.scores_M.tolist() == pytest.approx([score for score, _, _ in theirs])


@pytest.mark.parametrize("head", ["ssd", "faster-rcnn"])
def test_a_batchs_loss_is_the_sum_of_its_pictures_and_empty_ones_teach(head: str) -> None:
    task, model, items = learned(head)
    with torch.no_grad():
        whole = task.loss(model, task.collate(items))
        parts = [task.loss(model, task.collate([item])).total for item in items]
    assert float(whole.total) == pytest.approx(float(sum(parts)), rel=1e-4)
    counts = [task.collate([item]).counts[TERM] for item in items]
    assert task.collate(items).counts[TERM] == pytest.approx(sum(counts))
    empty = next(item for item in items if not item.target.places)
    assert float(task.loss(model, task.collate([empty])).total.detach()) > 0


def test_a_trained_trunk_keeps_its_first_layers() -> None:
    _, model, _ = learned()
    trunk: torch.nn.Module = model.trunk  # type: ignore[assignment]
    resting = resting_part(trunk, stride=4)
    plan = plan_adaptation(model, "full", weight_decay=0.0, trunk_scale=0.3, resting=resting)
    plan.train(model, 0.5)
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    first = {id(parameter) for module in resting for parameter in module.parameters()}
    assert still == {f"trunk.{name}" for name, parameter in trunk.named_parameters() if id(parameter) in first}
    assert all(not module.training for module in resting)
    assert {group.lr_scale for group in plan.groups} == {1.0, 0.3}
    assert sum(len(group.parameters) for group in plan.groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("head", "adapt", "asked", "rate"),
    [
        ("ssd", "head", None, 1e-2), ("ssd", "full", None, 2e-3), ("ssd", "head", 5e-4, 5e-4), ("faster-rcnn", "head", None, 2e-3),
    ],
)  # fmt: skip
def test_a_head_that_learns_alone_has_a_rate_of_its_own(
    head: str, adapt: str, asked: float | None, rate: float
) -> None:
    task, backbone = tiny_boxed_task(head=head)
    model, _ = task.build(backbone, seed=0)
    settings = SimpleNamespace(learning_rate=asked, verb="finetune", dp_epsilon=None)
    pace = task.parts_pace(model, backbone)
    assert setup._rate(settings, backbone, plan_adaptation(model, adapt, weight_decay=0.0), pace) == rate


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("scratch:mobilenet-v2", "ssd"),
        ("scratch:vgg-11", "ssd"),
        ("scratch:resnet-10", "ssd"),
        ("scratch:mobilenet-v2", "faster-rcnn"),
    ],
)
def test_heads_fit_any_trunk(name: str, head: str) -> None:
    task, _, items = learned(head)
    backbone = load_backbone(name, image_size=64)
    model, report = task.build(backbone, seed=0)
    assert report.fresh
    assert task.loss(model.eval(), task.collate(items[:2])).total.isfinite()


def test_answers_of_two_engines_are_the_same_up_to_the_tolerance() -> None:
    one = Boxes((Box("a", 0, 0, 10, 10, 0.9), Box("a", 50, 50, 60, 60, 0.05)))
    assert one.same(Boxes((Box("a", 0, 0, 10, 10.01, 0.905),)), 0.01)
    for other in (Box("b", 0, 0, 10, 10, 0.9), Box("a", 0, 0, 10, 12, 0.9), Box("a", 0, 0, 10, 10, 0.8)):
        assert not one.same(Boxes((other,)), 0.01)
    assert not one.same(Boxes(()), 0.01)


def test_told_boxes_are_paired_with_true_ones() -> None:
    truth = [Box("a", 0, 0, 10, 10), Box("b", 50, 50, 70, 70), Box("a", 80, 0, 95, 15, aside="difficult")]
    told = [
        Box("b", 0, 0, 10, 11, 0.9),
        Box("a", 0, 0, 10, 10, 0.8),
        Box("a", 30, 30, 40, 40, 0.7),
        Box("a", 80, 0, 95, 15, 0.6),
    ]
    pairs = [(true and true.label, said and said.label) for true, said in pairs_told(truth, told)]
    assert sorted(pairs, key=str) == sorted([("a", "b"), (None, "a"), (None, "a"), ("b", None)], key=str)


@pytest.mark.parametrize("head", ["ssd", "ssd-fpn", "faster-rcnn"])
def test_a_frozen_trunk_of_maps_is_run_once(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path))
    task, backbone = tiny_boxed_task(head=head)
    model, _ = task.build(backbone, seed=0)
    data = dataset_of(tiny_boxes(6))
    rows = task.encode_rows(data, fingerprint="once")
    adaptation = plan_adaptation(model, "head", weight_decay=0.0)
    found = on_trunk(task, model, adaptation, {"train": rows}, CPU, fingerprint="once")
    assert found is not None, "maps are kept"
    learned, kept = found
    plain, replayed = (
        one.collate([some[number] for number in range(6)]) for one, some in ((task, rows), (learned, kept["train"]))
    )
    model.eval()
    with torch.no_grad():
        before = float(task.loss(model, plain).total)
        model.trunk.__dict__["forward"] = None  # nothing may call it
        assert float(learned.loss(model, replayed).total) == pytest.approx(before, rel=1e-5)
