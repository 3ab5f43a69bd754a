"""Four pictures with their boxes as one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pretune.modalities.image.mosaic import mosaic
from pretune.tasks.rows.boxed import BoxTarget
from pretune.types import Encoded
from tiny import tiny_boxed_task

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))


def _block(colour: tuple[int, int, int], box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.full((60, 80, 3), 128, dtype=np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = colour
    return pixels, np.array([box], dtype=np.float32)


def test_each_box_of_a_mosaic_lies_over_what_it_held() -> None:
    made = [_block(colour, (20, 15, 50, 45)) for colour in COLOURS]
    kept = 0
    for seed in range(30):
        whole, boxes_M4, lost_M = mosaic(*zip(*made, strict=True), np.random.default_rng(seed))  # type: ignore[arg-type]
        assert whole.shape == (60, 80, 3)
        assert len(boxes_M4) == 4
        for (left, top, right, bottom), lost, colour in zip(boxes_M4, lost_M, COLOURS, strict=True):
            y, x = np.nonzero(np.abs(whole.astype(int) - colour).sum(axis=2) < 150)
            if lost:
                continue
            kept += 1
            assert (x.min(), y.min()) == pytest.approx((left, top), abs=2.0)
            assert (x.max() + 1, y.max() + 1) == pytest.approx((right, bottom), abs=2.0)
    assert kept > 60


def test_a_strong_detector_learns_mosaics_of_labelled_pictures() -> None:
    made = [
        Encoded(
            str(n),
            {"pixels": _block((255, 0, 0), (20, 15, 50, 45))[0]},
            1,
            BoxTarget(((20, 15, 50, 45),), (0,), (False,)),
        )
        for n in range(4)
    ]
    task, _ = tiny_boxed_task(augment="strong")
    assert (task.mixes, task.mixed_with) == (0.5, 3)
    assert tiny_boxed_task(augment="light")[0].mixes == 0.0
    mixed = task.mixed(made[0], made[1:], np.random.default_rng(0))
    assert (mixed.id, len(mixed.target.places)) == ("0", 4)
    bare = dataclasses.replace(made[2], target=None)
    assert task.mixed(made[0], [made[1], bare, made[3]], np.random.default_rng(0)) is made[0]
