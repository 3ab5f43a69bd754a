"""Semantic segmentation: pictures fitted and brought back, losses by hand, variations that move the mask with the picture, heads."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.transforms import v2

from pretune.answers import Mask
from pretune.answers.mask import NONE
from pretune.backbones.load import save_model
from pretune.backbones.places.augment_masks import LEVELS, vary_with_mask
from pretune.backbones.places.dense import build_dense
from pretune.backbones.places.fitted import (
    common_size,
    fit_mask,
    fit_picture,
    fitted_size,
    fitted_transform,
    largest_of,
)
from pretune.config import TaskSettings
from pretune.data.splits import Splits
from pretune.errors import ModelError, UsageError
from pretune.metrics.base import values_of
from pretune.modalities.image.transform import image_transform_of
from pretune.tasks import SemanticSegmentation
from pretune.tasks.places.semantic_segmentation import class_weights
from tiny import LABELS, dataset_of, tiny_image_backbone, tiny_masks

SIZE = (32, 64)


def task_of(
    preset: str = "resnet-10", head: str = "unet", **options: Any
) -> tuple[SemanticSegmentation, torch.nn.Module]:
    backbone = tiny_image_backbone(preset)
    task = SemanticSegmentation(
        LABELS, fitted_transform(image_transform_of(backbone.processor), SIZE), head=head, **options
    )
    return task, task.build(backbone, seed=0)[0].eval()


@pytest.mark.parametrize(
    ("sides", "shortest", "expected"),
    [([(480, 360)] * 3, None, (256, 352)), ([(480, 360)] * 3, 224, (224, 288)), ([(100, 300)], None, (256, 96)),
     ([(40, 40)], None, (32, 32)), ([(5000, 100)], 64, (64, 160))],
)  # fmt: skip
def test_pictures_are_fitted_into_their_usual_shape(
    sides: list[tuple[int, int]], shortest: int | None, expected: tuple[int, int]
) -> None:
    widths, heights = zip(*sides, strict=True)
    assert common_size(widths, heights, shortest) == expected


@pytest.mark.parametrize("own", [(40, 56), (100, 30), (32, 64), (7, 90), (200, 400)])
def test_a_mask_that_was_fitted_comes_back_where_it_was(own: tuple[int, int]) -> None:
    """Halves of a picture, one class each: fitted, told as planes, and brought back, they meet in the same place."""
    mask = np.zeros(own, dtype=np.uint8)
    mask[:, own[1] // 2 :] = 1
    fitted = fit_mask(mask, SIZE)
    height, width = fitted_size(own[1], own[0], SIZE)
    assert (fitted[:height, :width] != NONE).all()
    assert (fitted[height:] == NONE).all()
    assert (fitted[:, width:] == NONE).all()
    planes = np.stack([(fitted == number).astype(np.float32) for number in range(2)])
    back = largest_of(planes, own, SIZE)
    wrong = np.abs((back == 1).argmax(axis=1) - own[1] // 2)
    assert wrong.max() <= np.ceil(own[1] / width)
    small = planes.reshape(2, SIZE[0] // 4, 4, SIZE[1] // 4, 4).mean(axis=(2, 4))
    assert (largest_of(small, own, SIZE) != mask).mean() < 0.2


def test_a_picture_is_filled_with_what_the_model_sees_as_nothing() -> None:
    task, _ = task_of()
    pixels = fit_picture(Image.new("RGB", (30, 60), (255, 0, 0)), task.geometry)
    assert pixels.shape == (*SIZE, 3)
    assert (pixels[:, :16] == (255, 0, 0)).all()
    assert np.abs(pixels[:, 17:].astype(int) - 128).max() <= 1


def test_the_loss_is_cross_entropy_over_labelled_pixels_alone() -> None:
    task, model = task_of()
    rows = tiny_masks(4)
    stored = task.encode_rows(dataset_of(rows), fingerprint="loss")
    batch = task.collate([stored[i] for i in range(4)])
    with torch.no_grad():
        logits = model(**batch.inputs).logits
        large = functional.interpolate(logits, size=SIZE, mode="bilinear", align_corners=False)
        expected = functional.cross_entropy(large, batch.targets.long(), ignore_index=NONE, reduction="sum")
        assert float(task.loss(model, batch).total) == pytest.approx(float(expected), rel=1e-5)
        assert batch.num_items == int((batch.targets != NONE).sum())
        single = sum(float(task.loss(model, task.collate([stored[i]])).total) for i in range(4))
        assert single == pytest.approx(float(expected), rel=1e-5)
        task.weights_C = torch.tensor([1.0, 0.0, 2.0])
        weighted = task.collate([stored[i] for i in range(4)])
        by_hand = functional.cross_entropy(
            large, batch.targets.long(), weight=torch.tensor([1.0, 0.0, 2.0]), ignore_index=NONE, reduction="sum"
        )
        assert float(task.loss(model, weighted).total) == pytest.approx(float(by_hand), rel=1e-5)
        counts = [int((batch.targets == number).sum()) for number in range(3)]
        assert weighted.num_items == counts[0] + 2 * counts[2]


def test_rare_classes_weigh_more_and_a_pixel_one_on_average() -> None:
    pixels = np.array([900.0, 90.0, 10.0])
    weights = class_weights(pixels)
    assert weights[0] < weights[1] < weights[2]
    assert (weights * pixels).sum() / pixels.sum() == pytest.approx(1.0)


def marked(height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose red says the class of each pixel, and its mask."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[8:30, 10:40] = 1
    mask[30:44, 36:60] = 2
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = 100 * mask
    return pixels, mask


GEOMETRY = (v2.ScaleJitter, v2.RandomCrop, v2.RandomHorizontalFlip, v2.RandomRotation)


@pytest.mark.parametrize("level", [name for name, recipe in LEVELS.items() if recipe])
def test_each_variation_moves_the_mask_with_the_picture_and_invents_no_class(level: str) -> None:
    recipe = LEVELS[level]
    assert recipe is not None
    fill = {tv_tensors.Image: [0, 0, 0], tv_tensors.Mask: NONE}
    for transform in recipe((48, 64), fill):
        pixels, mask = marked()
        picture = tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))
        regions = tv_tensors.Mask(torch.from_numpy(mask))
        for seed in range(8):
            torch.manual_seed(seed)
            moved, found = transform(picture, regions)
            assert set(np.unique(found.numpy()).tolist()) <= {0, 1, 2, NONE}, transform
            if isinstance(transform, GEOMETRY):
                by_colour = torch.round(moved[0].float() / 100).numpy()
                known = found.numpy() != NONE
                assert (by_colour[known] != found.numpy()[known]).mean() < 0.1, transform
            else:
                assert torch.equal(found, regions), transform


def test_variations_are_drawn_from_the_generator_alone() -> None:
    pixels, mask = marked()
    first = vary_with_mask("strong", pixels, mask, (0, 0, 0), np.random.default_rng(3))
    torch.manual_seed(99)
    again = vary_with_mask("strong", pixels, mask, (0, 0, 0), np.random.default_rng(3))
    other = vary_with_mask("strong", pixels, mask, (0, 0, 0), np.random.default_rng(4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    assert first[0].shape == pixels.shape
    assert vary_with_mask("none", pixels, mask, (0, 0, 0), np.random.default_rng(0))[1] is mask


@pytest.mark.parametrize("head", ["unet", "deeplabv3plus"])
@pytest.mark.parametrize("preset", ["resnet-10", "vit-micro"])
def test_every_head_stands_on_every_trunk_and_takes_one_picture_while_learning(head: str, preset: str) -> None:
    task, model = task_of(preset, head)
    stored = task.encode_rows(dataset_of(tiny_masks(2)), fingerprint=f"heads-{head}-{preset}")
    model.train()
    task.loss(model, task.collate([stored[0]])).total.backward()
    lacking = [name for name, one in model.named_parameters() if one.grad is None and not name.startswith("trunk.")]
    assert not lacking


def test_a_head_that_there_is_not_is_refused() -> None:
    backbone = tiny_image_backbone("resnet-10")
    with pytest.raises(UsageError, match="--head is 'unett'"):
        SemanticSegmentation.head_for(backbone, "unett")
    with pytest.raises(ModelError, match="asks for the head 'spider'"):
        build_dense(backbone, "spider", seed=0, num_labels=2)


def test_a_trunk_learns_slower_than_its_fresh_decoder() -> None:
    from pretune.backbones.adaptation.adapt import plan_adaptation

    task, model = task_of()
    fresh = tiny_image_backbone("resnet-10")
    assert task.parts_pace(model, fresh).trunk_scale == 1.0
    pace = task.parts_pace(model, dataclasses.replace(fresh, kind="folder"))
    plan = plan_adaptation(model, "full", weight_decay=0.01, trunk_scale=pace.trunk_scale)
    scales = {name: group.lr_scale for group in plan.groups for name in group.names}
    assert {scale for name, scale in scales.items() if name.startswith("trunk.")} == {0.3}
    assert {scale for name, scale in scales.items() if not name.startswith("trunk.")} == {1.0}


def test_classes_are_those_of_training_masks_in_the_order_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tiny_masks(3)
    data = Splits({"train": dataset_of(rows)}, {"read": {"masks": {"classes": ["sport", "never", "money", "science"]}}})
    settings = TaskSettings(head="deeplabv3plus", class_weights="auto")
    task = SemanticSegmentation.start(data, tiny_image_backbone("resnet-10"), settings)
    assert task.labels == ("sport", "money", "science")
    assert task.head == "deeplabv3plus"
    assert task.weights_C is not None
    assert task.geometry.crop == (32, 64)


def test_baselines_are_the_commonest_class_and_that_of_each_place() -> None:
    task, _ = task_of()
    rows = tiny_masks(6)
    left = np.zeros((40, 56), dtype=np.uint8)
    left[:, 28:] = 1
    rows = [{**row, "mask": Mask.of(left, LABELS).to_json()} for row in rows]
    measured, _ = task.baselines(dataset_of(rows), dataset_of(rows))
    assert values_of(measured["majority-by-place"])["mean_iou"] > 0.95
    assert values_of(measured["majority"])["pixel_accuracy"] == pytest.approx(0.5, abs=0.01)


def test_a_report_shows_pictures_beside_their_masks() -> None:
    task, _ = task_of()
    rows = tiny_masks(5)
    records = [{"id": row["id"], "mask": row["mask"], "truth": row["mask"]} for row in rows]
    records[3]["mask"] = Mask.of(np.zeros((48, 56), dtype=np.uint8), LABELS).to_json()
    table, matrix, worst, *_ = task.blocks(records, rows)
    assert [row[0] for row in table["rows"]] == list(LABELS)
    assert len(matrix["values"]) == len(LABELS)
    assert worst["rows"][0]["caption"].startswith("3: mean IoU")
    assert all(one["image"].startswith("data:image/jpeg") for one in worst["rows"])
    assert [one["name"] for one in worst["legend"]] == list(LABELS)


@pytest.mark.parametrize("kind", ["plain", "timm"])
def test_a_folder_says_the_size_and_colours_of_its_inputs_whatever_the_trunk(kind: str, tmp_path: Path) -> None:
    """timm's own processor writes no file: a folder without one was taken for a model of texts."""
    from transformers import AutoImageProcessor, TimmWrapperImageProcessor

    from pretune.backbones.loading.processors import modality_of_folder

    backbone = tiny_image_backbone("resnet-10")
    if kind == "timm":
        colours = {
            "mean": (0.1, 0.2, 0.3),
            "std": (0.4, 0.5, 0.6),
            "input_size": (3, 64, 64),
            "interpolation": "bicubic",
        }
        backbone.processor = TimmWrapperImageProcessor(colours)
    task = SemanticSegmentation(LABELS, fitted_transform(image_transform_of(backbone.processor), SIZE), head="unet")
    model, _ = task.build(backbone, seed=0)
    save_model(model, task.processor_to_save(backbone), tmp_path)
    assert modality_of_folder(model.config, tmp_path) == "image"  # type: ignore[arg-type]
    found = image_transform_of(AutoImageProcessor.from_pretrained(tmp_path))
    assert fitted_transform(found, SIZE) == task.geometry
