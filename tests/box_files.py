"""Pictures with boxes as people bring them: the same boxes in every format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("cell", "disc", "dot")
SPLITS = ("train", "val", "test")
Rows = Mapping[str, Mapping[str, Sequence[tuple[str, int, int, int, int]]]]


def made_rows(
    pictures: int = 4, seed: int = 0, size: tuple[int, int] = (96, 64)
) -> dict[str, dict[str, list[tuple[str, int, int, int, int]]]]:
    """By split and picture the class and edges of each box, in whole pixels; the last picture of a split has none, and one begins at 0."""
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, list[tuple[str, int, int, int, int]]]] = {}
    for split in SPLITS:
        for number in range(pictures):
            boxes = []
            for place in range(0 if number == pictures - 1 else 1 + int(rng.integers(3))):
                x, y = (
                    (0, 0)
                    if number == place == 0
                    else (int(rng.integers(0, size[0] - 20)), int(rng.integers(0, size[1] - 20)))
                )
                boxes.append(
                    (NAMES[int(rng.integers(3))], x, y, x + int(rng.integers(8, 20)), y + int(rng.integers(8, 20)))
                )
            found.setdefault(split, {})[f"{split}_{number}"] = boxes
    return found


def picture(
    path: Path, boxes: Sequence[tuple[str, int, int, int, int]], size: tuple[int, int] = (96, 64), **more: Any
) -> None:
    """A grey picture with each box in its class's colour; noise tells pictures apart."""
    rng = np.random.default_rng(abs(hash(path.stem)) % 2**32)
    pixels = rng.integers(90, 130, (size[1], size[0], 3), dtype=np.uint8)
    for label, x1, y1, x2, y2 in boxes:
        pixels[y1:y2, x1:x2] = [(230, 40, 40), (40, 220, 60), (60, 60, 240)][NAMES.index(label)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)


def voc(folder: Path, rows: Rows) -> Path:
    """Pascal VOC, with pixels counted from 0 (an edge is 0), and ``part`` boxes inside objects."""
    for split, pictures in rows.items():
        for name, boxes in pictures.items():
            picture(folder / "JPEGImages" / f"{name}.png", boxes)
            objects = "".join(
                f"<object><bndbox><ymin>{y1}</ymin><xmin>{x1}</xmin><ymax>{y2}</ymax><xmax>{x2}.0</xmax></bndbox><name>{label}</name>"
                f"<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"
                for label, x1, y1, x2, y2 in boxes
            )
            write(
                folder / "Annotations" / f"{name}.xml",
                f"<annotation><size><width>96</width><height>64</height></size>{objects}</annotation>",
            )
        write(folder / "ImageSets" / "Main" / f"{split}.txt", "\n".join(pictures))
        write(folder / "ImageSets" / "Main" / f"cell_{split}.txt", "\n".join(f"{name} -1" for name in pictures))
    return folder


def coco(folder: Path, rows: Rows) -> Path:
    """COCO, with ids that have gaps and a class of the file that has no box."""
    categories = [{"id": 7 * (number + 1), "name": name} for number, name in enumerate((*NAMES, "nothing"))]
    for split, pictures in rows.items():
        images, annotations = [], []
        for number, (name, boxes) in enumerate(pictures.items()):
            picture(folder / f"{split}2017" / f"{name}.png", boxes)
            images.append({"id": 100 - 3 * number, "file_name": f"{name}.png", "width": 96, "height": 64})
            annotations += [
                {
                    "id": len(annotations) + place,
                    "image_id": 100 - 3 * number,
                    "category_id": 7 * (NAMES.index(label) + 1),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "iscrowd": 0,
                }
                for place, (label, x1, y1, x2, y2) in enumerate(boxes)
            ]
        write(
            folder / "annotations" / f"instances_{split}2017.json",
            json.dumps({"images": images, "annotations": annotations, "categories": categories}),
        )
        write(
            folder / "annotations" / f"captions_{split}2017.json",
            json.dumps({"images": images, "annotations": [{"image_id": 100, "caption": "a"}]}),
        )
    return folder


def yolo(folder: Path, rows: Rows) -> Path:
    """YOLO, with six digits, and an empty file for a picture without objects."""
    for split, pictures in rows.items():
        for name, boxes in pictures.items():
            picture(folder / "images" / split / f"{name}.png", boxes)
            lines = [
                f"{NAMES.index(label)} {(x1 + x2) / 192:.6f} {(y1 + y2) / 128:.6f} {(x2 - x1) / 96:.6f} {(y2 - y1) / 64:.6f}"
                for label, x1, y1, x2, y2 in boxes
            ]
            write(folder / "labels" / split / f"{name}.txt", "\n".join(lines))
    write(folder / "data.yaml", f"train: ../images/train\nval: ../images/val\nnc: 3\nnames: {list(NAMES)}\n")
    return folder


def table(folder: Path, rows: Rows) -> Path:
    """A CSV a split, one box a row; empty cells for a picture without objects."""
    for split, pictures in rows.items():
        lines = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
        for name, boxes in pictures.items():
            picture(folder / split / f"{name}.png", boxes)
            lines += [f"{name}.png,96,64,{label},{x1},{y1},{x2},{y2}" for label, x1, y1, x2, y2 in boxes] or [
                f"{name}.png,96,64,,,,,"
            ]
        write(folder / f"{split}_labels.csv", "\n".join(lines))
    return folder


def write(path: Path, text: str) -> Path:
    """A text file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
