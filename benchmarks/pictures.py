"""Made pictures with boxes and the trunks that both sides of the detector kinds start from: ``python -m benchmarks.pictures FOLDER PLAN``.

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
STRIDES, SIZE = (8, 16, 32), (HEIGHT // 2, WIDTH // 2)
"""Of the maps that boxes are found in, and the height and width that pictures are read at."""
_OVERLAP = 0.5
_TAUGHT_ROWS, _TEACHING_RATE = 320, 2e-3


class Boxed(NamedTuple):
    """A picture's file, its boxes (left, top, right, bottom) in pixels, and their numbers in :data:`CLASSES`."""

    file: Path
    boxes: list[list[float]]
    classes: list[int]


def prepare(folder: Path, plan: Plan) -> None:
    """Write ``pictures/``, ``trunk/`` (MobileNetV2 of fresh weights with its processor) and ``taught/`` (the same after
    :func:`_teach`); tell what they are in ``boxes.json``.
    """
    import torch
    from transformers import AutoModel

    from pretune.backbones.loading.scratch import scratch_image

    rng = np.random.default_rng(0)
    for split, count in (("train", plan.picture_rows), ("val", plan.picture_tests), ("test", plan.picture_tests)):
        _split(folder / "pictures", split, count, rng)
    config, processor = scratch_image("scratch:mobilenet-v2", None)[:2]
    torch.manual_seed(0)
    model = AutoModel.from_config(config)
    for name in ("trunk", "taught"):
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
        if name == "trunk":
            _teach(model, plan, rng)
    facts = {
        "model": "SSDlite on MobileNetV2",
        "rows": plan.picture_rows,
        "width": WIDTH,
        "height": HEIGHT,
    }
    (folder / "boxes.json").write_text(json.dumps(facts))


def _teach(model: Any, plan: Plan, rng: np.random.Generator) -> None:
    """Which shape covers each cell of the trunk's maps, learned from pictures of its own: what a head of boxes finds in a frozen trunk."""
    import torch
    from torch.nn import functional

    from pretune.backbones.places.stages import find_stages, stages_at

    rows = min(_TAUGHT_ROWS, plan.trunk_batches * plan.picture_batch_size)
    pixels, covers = zip(*(_cover(*_picture(rng)) for _ in range(rows)), strict=True)
    pixels_N3HW, cover_NHW = torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(covers))
    stages = stages_at(find_stages(model), STRIDES)
    heads = torch.nn.ModuleList(torch.nn.Conv2d(one.channels, len(CLASSES) + 1, 1) for one in stages)
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=_TEACHING_RATE)
    model.train()
    for batch in range(plan.trunk_batches):
        optimizer.param_groups[0]["lr"] = _TEACHING_RATE * (1 - batch / plan.trunk_batches)
        some = torch.from_numpy(rng.integers(rows, size=plan.picture_batch_size))
        states = model(pixels_N3HW[some].float() / 127.5 - 1, output_hidden_states=True).hidden_states
        loss = torch.zeros(())
        for one, head in zip(stages, heads, strict=True):
            logits = head(states[one.state])
            cover = functional.interpolate(cover_NHW[some, None].float(), size=logits.shape[-2:], mode="nearest")
            loss = loss + functional.cross_entropy(logits, cover[:, 0].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _cover(picture: Image.Image, boxes: list[list[int]], classes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Its pixels at the size that is read, uint8 (3, H, W), and which box covers each, its class and 1 or 0 for none, (H, W)."""
    height, width = SIZE
    cover = np.zeros(SIZE, dtype=np.uint8)
    for box, kind in zip(boxes, classes, strict=True):
        left, top, right, bottom = (int(side * width / WIDTH) for side in box)
        cover[top : bottom + 1, left : right + 1] = kind + 1
    small = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    return small.transpose(2, 0, 1), cover


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
