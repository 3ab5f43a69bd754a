"""Pictures on a canvas for the detector in this folder, and boxes of what its graph says; :mod:`predict` uses it.

A detector of two stages says where its regions lie before what it says of them; one with queries tells a box in shares of the canvas.
Shapes: B items of a batch, A anchors of the canvas (or regions, or queries), C classes, M boxes; H, W the sides of the canvas in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CODER = (10.0, 10.0, 5.0, 5.0)
MOST_LOG = math.log(1000.0 / 16)
"""Of a side's offset: a graph's number beyond it would make a box of no size that is."""
MOST_BEFORE, MOST_BOXES, LEAST_SCORE, MOST_OVERLAP = 400, 200, 0.01, 0.45


@dataclass
class Item:
    """A picture scaled to fit the canvas, uint8 (h, w, 3), and its size (width, height) before."""

    pixels: np.ndarray
    size: tuple[int, int]


class Reader:
    """Pictures in the upper left corner of a canvas; boxes in pixels of the picture that was given."""

    most_together = 8

    def __init__(self, _folder: Path, about: dict[str, Any], beside: Callable[[str], Any]) -> None:
        self.told, self.labels, self.rgb = about["inputs"], about["labels"], beside("pictures").rgb
        self.places_of = by_queries if "queries" in self.told else by_anchors

    def items(self, row: dict[str, Any]) -> list[Item]:
        """A picture, scaled."""
        picture = self.rgb(row["image"])
        width, height = picture.size
        tall, wide = self.told["canvas"]
        ratio = min(wide / width, tall / height)
        size = (max(1, min(wide, round(width * ratio))), max(1, min(tall, round(height * ratio))))
        scaled = picture if size == picture.size else picture.resize(size, self.told["resample"])
        return [Item(np.asarray(scaled, dtype=np.uint8), (width, height))]

    def inputs(self, items: list[Item]) -> dict[str, np.ndarray]:
        """``pixel_values`` (B, 3, H, W)."""
        whole = np.empty((len(items), *self.told["canvas"], 3), dtype=np.uint8)
        whole[:] = np.array(self.told["fill"], dtype=np.uint8)
        for number, item in enumerate(items):
            whole[number, : item.pixels.shape[0], : item.pixels.shape[1]] = item.pixels
        std_C, mean_C = (np.array(self.told[key], dtype=np.float32) for key in ("std", "mean"))
        values = whole.astype(np.float32) * (np.float32(self.told["scale"]) / std_C) - mean_C / std_C
        return {"pixel_values": np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)}

    def real(self, logits: np.ndarray, item: Item) -> np.ndarray:
        """All that the graph says of an item."""
        return logits

    def answer(self, outputs: list[np.ndarray], items: list[Item]) -> dict[str, Any]:
        """The boxes scored high enough to be told, the surest first."""
        (said_AK,), (item,) = outputs, items
        boxes_A4, scores_AC = self.places_of(said_AK.astype(np.float64), self.told)
        tall, wide = self.told["canvas"]
        boxes_A4 = np.clip(boxes_A4, 0.0, [wide, tall, wide, tall])
        width, height = item.size
        down, across = (item.pixels.shape[side] / item.size[1 - side] for side in (0, 1))
        found = []
        for score, label, place in chosen(boxes_A4, scores_AC):
            if score < self.told["threshold"]:
                continue
            box = np.clip(boxes_A4[place] / [across, down, across, down], 0.0, [width, height, width, height])
            if box[2] - box[0] > 0.01 and box[3] - box[1] > 0.01:
                found.append(
                    {
                        "label": self.labels[label],
                        "box": [round(float(one), 2) for one in box],
                        "score": round(score, 9),
                    }
                )
        return {"boxes": found}


def by_anchors(said_AK: np.ndarray, told: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (A, 4) and scores (A, C) of offsets from anchors or regions, the background the first of the logits behind them."""
    if told["proposals"]:
        places_A4, said_AK = said_AK[:, :4], said_AK[:, 4:]
    else:
        places_A4 = anchors_on(told["canvas"], told["strides"], told["shapes"])
    return decoded(said_AK[:, :4], places_A4), softmax(said_AK[:, 4:])[:, 1:]


def by_queries(said_AK: np.ndarray, told: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The same of middles and sides in shares of the canvas; by softmax "nothing" is the last of the logits."""
    tall, wide = told["canvas"]
    middles, half = said_AK[:, :2], said_AK[:, 2:4] / 2
    boxes_A4 = np.concatenate([middles - half, middles + half], axis=1) * [wide, tall, wide, tall]
    logits_AK = said_AK[:, 4:]
    if told["queries"] == "softmax":
        return boxes_A4, softmax(logits_AK)[:, :-1]
    return boxes_A4, 1 / (1 + np.exp(-np.clip(logits_AK, -700, 700)))


def softmax(logits_AK: np.ndarray) -> np.ndarray:
    """(A, K) probabilities."""
    powers_AK = np.exp(logits_AK - logits_AK.max(axis=1, keepdims=True))
    return powers_AK / powers_AK.sum(axis=1, keepdims=True)


def anchors_on(canvas: list[int], strides: list[int], shapes: list[Any]) -> np.ndarray:
    """(A, 4) the anchors: by stride, row, column and shape, each around the middle of its cell."""
    parts = []
    for stride, own in zip(strides, shapes, strict=True):
        rows, columns = (math.ceil(side / stride) for side in canvas)
        y, x = np.meshgrid((np.arange(rows) + 0.5) * stride, (np.arange(columns) + 0.5) * stride, indexing="ij")
        middle = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
        half = np.array(own, dtype=np.float64) / 2
        parts.append(np.concatenate([middle - half, middle + half], axis=-1).reshape(-1, 4))
    return np.concatenate(parts)


def decoded(offsets_A4: np.ndarray, anchors_A4: np.ndarray) -> np.ndarray:
    """(A, 4) the box of each anchor."""
    sides = anchors_A4[:, 2:] - anchors_A4[:, :2]
    middles = anchors_A4[:, :2] + sides / 2
    moved = offsets_A4 / CODER
    middles = middles + moved[:, :2] * sides
    half = np.exp(np.minimum(moved[:, 2:], MOST_LOG)) * sides / 2
    return np.concatenate([middles - half, middles + half], axis=1)


def chosen(boxes_A4: np.ndarray, scores_AC: np.ndarray) -> list[tuple[float, int, int]]:
    """Score, class and anchor of each box that stays: none of a class over a surer one."""
    found = []
    for label in range(scores_AC.shape[1]):
        order = np.argsort(-scores_AC[:, label], kind="stable")[:MOST_BEFORE]
        order = order[scores_AC[order, label] > LEAST_SCORE]
        sides = boxes_A4[order, 2:] - boxes_A4[order, :2]
        order = order[(sides > 0).all(axis=1)]
        while len(order):
            best, order = order[0], order[1:]
            found.append((float(scores_AC[best, label]), label, int(best)))
            order = order[overlaps(boxes_A4[best], boxes_A4[order]) <= MOST_OVERLAP]
    return sorted(found, key=lambda one: -one[0])[:MOST_BOXES]


def overlaps(box_4: np.ndarray, boxes_M4: np.ndarray) -> np.ndarray:
    """(M,) intersection over union."""
    low, high = np.maximum(box_4[:2], boxes_M4[:, :2]), np.minimum(box_4[2:], boxes_M4[:, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=1)
    return shared / (np.prod(box_4[2:] - box_4[:2]) + (boxes_M4[:, 2:] - boxes_M4[:, :2]).prod(axis=1) - shared)
