"""Made pictures with boxes and the trunk that both sides of the detector kinds start from: ``python -m benchmarks.pictures FOLDER PLAN``.

Each is a JPEG of 640 x 480 with two to eight discs, squares and bars on a mottled ground, in COCO's form.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.plan import Plan

__all__ = ["CLASSES", "Boxed", "count_found", "prepare", "read_boxed"]

CLASSES = ("bar", "disc", "square")
WIDTH, HEIGHT = 640, 480
_OVERLAP = 0.5


class Boxed(NamedTuple):
    """A picture's file, its boxes (left, top, right, bottom) in pixels, and their numbers in :data:`CLASSES`."""

    file: Path
    boxes: list[list[float]]
    classes: list[int]


def prepare(folder: Path, plan: Plan) -> None:
    """Write ``pictures/`` and ``trunk/``: MobileNetV2 of fresh weights with its processor; tell what they are in ``boxes.json``."""
    import torch
    from transformers import AutoModel

    from pretune.backbones.loading.scratch import scratch_image

    rng = np.random.default_rng(0)
    for split, count in (("train", plan.picture_rows), ("val", plan.picture_tests), ("test", plan.picture_tests)):
        _split(folder / "pictures", split, count, rng)
    config, processor = scratch_image("scratch:mobilenet-v2", None)[:2]
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    model.save_pretrained(folder / "trunk")
    processor.save_pretrained(folder / "trunk")
    facts = {
        "model": "SSDlite on MobileNetV2 of fresh weights",
        "rows": plan.picture_rows,
        "width": WIDTH,
        "height": HEIGHT,
    }
    (folder / "boxes.json").write_text(json.dumps(facts))


def _split(root: Path, split: str, count: int, rng: np.random.Generator) -> None:
    images, marks = [], []
    (root / split).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    for number in range(count):
        picture, boxes, classes = _picture(rng)
        name = f"{split}-{number:04}.jpg"
        picture.save(root / split / name, quality=90)
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for (left, top, right, bottom), kind in zip(boxes, classes, strict=True):
            side = {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
            marks.append({"id": len(marks), "image_id": number, "category_id": kind + 1, "iscrowd": 0, **side})
    kinds = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    told = {"images": images, "annotations": marks, "categories": kinds}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(told))


def _picture(rng: np.random.Generator) -> tuple[Image.Image, list[list[int]], list[int]]:
    coarse = Image.fromarray(rng.integers(60, 196, (12, 16, 3), dtype=np.uint8))
    picture = coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    boxes, classes = [], []
    for _ in range(int(rng.integers(2, 9))):
        kind, side = int(rng.integers(len(CLASSES))), int(rng.integers(40, 160))
        across, down = (side, side) if kind else (side, max(16, side // 3))
        left, top = int(rng.integers(0, WIDTH - across)), int(rng.integers(0, HEIGHT - down))
        box = [left, top, left + across, top + down]
        shape: Any = draw.ellipse if CLASSES[kind] == "disc" else draw.rectangle
        shape(box, fill=tuple(int(one) for one in rng.integers(0, 256, 3)))
        boxes.append(box)
        classes.append(kind)
    return picture, boxes, classes


def read_boxed(folder: Path, split: str) -> list[Boxed]:
    """The pictures of a split."""
    told = json.loads((folder / "pictures" / "annotations" / f"instances_{split}.json").read_text())
    found = {one["id"]: Boxed(folder / "pictures" / split / one["file_name"], [], []) for one in told["images"]}
    for one in told["annotations"]:
        left, top, width, height = one["bbox"]
        found[one["image_id"]].boxes.append([left, top, left + width, top + height])
        found[one["image_id"]].classes.append(one["category_id"] - 1)
    return list(found.values())


def count_found(rows: list[Boxed], answers: list[list[tuple[float, int, list[float]]]]) -> tuple[int, int]:
    """Of as many boxes of a picture as it truly has, the surest ones (score, class, box), those that are right: of a true box's class and over
    it by half, each true box once; and all true boxes.
    """
    right = 0
    for row, found in zip(rows, answers, strict=True):
        left = set(range(len(row.boxes)))
        for _, kind, box in sorted(found, reverse=True)[: len(row.boxes)]:
            over = {n: _overlap(box, row.boxes[n]) for n in left if row.classes[n] == kind}
            best = max(over, key=lambda n: over[n], default=None)
            if best is not None and over[best] >= _OVERLAP:
                left.discard(best)
                right += 1
    return right, sum(len(row.boxes) for row in rows)


def _overlap(one: list[float], other: list[float]) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, across) * max(0.0, down)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Plan(**json.loads(sys.argv[2])))
