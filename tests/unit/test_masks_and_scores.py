"""Masks as answers, COCO's run lengths, and the scores of segmentation against a plain computation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from metric_promises import holds_its_promises
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from pretune.answers import Mask
from pretune.answers.mask import NONE
from pretune.answers.rle import area_of_rle, decode_rle, encode_rle
from pretune.errors import DataError
from pretune.metrics.base import values_of
from pretune.metrics.places.segmentation import SegmentationMetric, by_class, confusions, overlap_of_rows

NAMES = ("sky", "road", "car", "tree")


def coco_letters(runs: list[int]) -> str:
    """The loop of COCO's ``rleToString`` (maskApi.c), letter for letter."""
    text = ""
    for place, run in enumerate(runs):
        number = run - (runs[place - 2] if place > 2 else 0)
        more = True
        while more:
            low = number & 0x1F
            number >>= 5
            more = number != -1 if low & 0x10 else number != 0
            text += chr((low | 0x20 if more else low) + 48)
    return text


def runs_of(region: np.ndarray) -> list[int]:
    runs, value, length = [], False, 0
    for pixel in region.ravel(order="F"):
        if bool(pixel) != value:
            runs.append(length)
            value, length = bool(pixel), 0
        length += 1
    return [*runs, length]


def test_run_lengths_are_cocos_letter_for_letter() -> None:
    rng = np.random.default_rng(0)
    for share in (0.0, 0.02, 0.3, 0.5, 1.0):
        for height, width in ((1, 1), (3, 7), (40, 9)):
            region = rng.random((height, width)) < share
            region = np.kron(region, np.ones((rng.integers(1, 20), rng.integers(1, 20)))) > 0
            text = encode_rle(region)
            assert text == coco_letters(runs_of(region))
            assert np.array_equal(decode_rle(text, *region.shape), region)
            assert area_of_rle(text) == region.sum()


@pytest.mark.parametrize("text", ["", "0", "é~", "o", "PPPPPPPPPPPP0", "0" * 9, "J1O"])
def test_damaged_run_lengths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"runs|letters"):
        decode_rle(text, 4, 4)


def random_mask(rng: np.random.Generator, size: tuple[int, int] = (9, 12), void: float = 0.1) -> np.ndarray:
    pixels = rng.integers(0, len(NAMES), size).astype(np.uint8)
    pixels[rng.random(size) < void] = NONE
    return pixels


def test_a_mask_keeps_its_pixels_and_says_its_classes() -> None:
    pixels = random_mask(np.random.default_rng(1))
    mask = Mask.of(pixels, NAMES)
    again = Mask.from_json(json.loads(json.dumps(mask.to_json())))
    assert again == mask
    assert np.array_equal(again.pixels(NAMES), pixels)
    assert mask.names() == tuple(name for number, name in enumerate(NAMES) if (pixels == number).any())
    assert sum(mask.areas().values()) == (pixels != NONE).sum()
    merged = mask.renamed({"road": "ground", "tree": "ground", "sky": None})
    assert np.array_equal(merged.pixels(("ground", "car")) == 0, np.isin(pixels, (1, 3)))
    assert np.array_equal(merged.pixels(("ground", "car")) == NONE, np.isin(pixels, (0, NONE)))
    other = pixels.copy()
    other[0, 0] = (other[0, 0] + 1) % 4 if other[0, 0] != NONE else 0
    assert mask.same(Mask.of(other, NAMES), 1 / pixels.size)
    assert not mask.same(Mask.of(other, NAMES), 0.5 / pixels.size)


def test_what_is_no_mask_is_refused_with_the_row() -> None:
    with pytest.raises(DataError, match="row 3"):
        Mask.read({"size": [4, 4], "classes": ["a"], "counts": ["01"]}, "row 3")
    assert Mask.read(None, "row 3") is None


def records_of(truths: list[np.ndarray], answers: list[np.ndarray]) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "mask": Mask.of(said, NAMES).to_json(), "truth": Mask.of(truth, NAMES).to_json()}
        for i, (truth, said) in enumerate(zip(truths, answers, strict=True))
    ]


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [random_mask(rng, tuple(rng.integers(4, 15, 2))) for _ in range(6)]  # type: ignore[arg-type]
    answers = [np.where(rng.random(t.shape) < 0.6, t, rng.integers(0, 3, t.shape)).astype(np.uint8) for t in truths]
    answers = [np.where(a == NONE, 0, a).astype(np.uint8) for a in answers]
    records = records_of(truths, answers)
    true, said = np.concatenate([t.ravel() for t in truths]), np.concatenate([a.ravel() for a in answers])
    scored = true != NONE
    true, said = true[scored], said[scored]
    present = sorted({*true.tolist(), *said.tolist()})
    values = values_of(SegmentationMetric().measure(records))
    assert values["mean_iou"] == pytest.approx(jaccard_score(true, said, labels=present, average="macro"))
    assert values["dice"] == pytest.approx(f1_score(true, said, labels=present, average="macro"))
    assert values["pixel_accuracy"] == pytest.approx((true == said).mean())
    names, counts = confusions(records)
    assert list(names) == sorted(NAMES[number] for number in present)
    order = [NAMES.index(name) for name in names]
    assert np.array_equal(counts.sum(0)[:, :-1], confusion_matrix(true, said, labels=order))
    per_class = jaccard_score(true, said, labels=order, average=None)
    assert [values_of(one)["iou"] for one in by_class(names, counts).values()] == pytest.approx(list(per_class))


def test_classes_that_nobody_has_are_left_out_and_invented_ones_count() -> None:
    truth = np.zeros((4, 4), dtype=np.uint8)
    assert values_of(SegmentationMetric().measure(records_of([truth], [truth])))["mean_iou"] == 1.0
    said = truth.copy()
    said[0] = 2
    values = values_of(SegmentationMetric().measure(records_of([truth], [said])))
    assert values["mean_iou"] == pytest.approx((12 / 16 + 0) / 2)
    void = np.full((4, 4), NONE, dtype=np.uint8)
    assert np.isnan(values_of(SegmentationMetric().measure(records_of([void], [truth])))["mean_iou"])


def test_the_metric_holds_what_every_metric_promises() -> None:
    rng = np.random.default_rng(3)
    truths = [random_mask(rng) for _ in range(20)]
    answers = [np.where(rng.random(t.shape) < 0.7, t, 1).astype(np.uint8) for t in truths]
    records = records_of(truths, answers)
    holds_its_promises(SegmentationMetric(), records)
    alone = [values_of(SegmentationMetric().measure([record]))["mean_iou"] for record in records]
    assert overlap_of_rows(confusions(records)[1]) == pytest.approx(alone)


def test_masks_of_other_sizes_are_not_scored() -> None:
    records = records_of([np.zeros((4, 4), np.uint8)], [np.zeros((4, 5), np.uint8)])
    with pytest.raises(DataError, match="4 x 4 pixels and is answered by one of 4 x 5"):
        SegmentationMetric().measure(records)
