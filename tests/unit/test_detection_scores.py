"""Average precision beside COCO's own programs, and as a function of row weights."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from pretune.metrics.base import values_of
from pretune.metrics.places.detection import AveragePrecision, DetectionMetric, best_threshold

CLASSES = ("cell", "disc", "dot")


def random_records(seed: int, rows: int = 12, *, crowds: bool = True) -> list[dict[str, Any]]:
    """Truths, and predictions that are near some of them; equal scores, doubles and boxes of nothing among them."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(rows):
        truth, found = [], []
        for _ in range(int(rng.integers(0, 7))):
            corner, sides = rng.uniform(0, 150, 2), rng.choice([8.0, 40.0, 120.0]) * rng.uniform(0.7, 1.3, 2)
            label = str(rng.choice(CLASSES[:2] if seed % 2 else CLASSES))
            box = [*corner.tolist(), *(corner + sides).tolist()]
            crowd = bool(crowds and rng.random() < 0.15)
            truth.append({"label": label, "box": box, **({"aside": "crowd"} if crowd else {})})
            for _ in range(int(rng.integers(0, 4))):
                moved = np.array(box) + rng.normal(0, 0.06, 4) * np.tile(sides, 2)
                moved[2:] = np.maximum(moved[2:], moved[:2] + 1)
                kind = label if rng.random() < 0.85 else str(rng.choice(CLASSES))
                found.append({"label": kind, "box": moved.tolist(), "score": round(float(rng.random()), 2)})
        for _ in range(int(rng.integers(0, 4))):
            corner = rng.uniform(0, 150, 2)
            found.append(
                {
                    "label": str(rng.choice(CLASSES)),
                    "box": [*corner.tolist(), *(corner + 30).tolist()],
                    "score": round(float(rng.random()), 2),
                }
            )
        records.append({"id": str(number), "boxes": found, "truth": truth})
    return records


def as_coco(
    records: list[dict[str, Any]], weights: np.ndarray | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The records as COCO's files, each row as often as its weight says."""
    images, truths, found = [], [], []
    copies = np.ones(len(records), dtype=int) if weights is None else weights
    for record, times in zip(records, copies, strict=True):
        for _ in range(int(times)):
            image = len(images) + 1
            images.append({"id": image, "width": 400, "height": 400, "file_name": f"{image}.jpg"})
            for one in record["truth"]:
                x1, y1, x2, y2 = one["box"]
                truths.append({
                    "id": len(truths) + 1, "image_id": image, "category_id": CLASSES.index(one["label"]) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1), "iscrowd": int("aside" in one),
                })  # fmt: skip
            for one in record["boxes"]:
                x1, y1, x2, y2 = one["box"]
                found.append(
                    {
                        "image_id": image,
                        "category_id": CLASSES.index(one["label"]) + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "score": one["score"],
                    }
                )
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    return {"images": images, "annotations": truths, "categories": categories, "info": {}}, found


def coco_scores(library: str, records: list[dict[str, Any]], weights: np.ndarray | None = None) -> dict[str, float]:
    truth, found = as_coco(records, weights)
    if library == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    with contextlib.redirect_stdout(io.StringIO()):
        held = COCO()
        held.dataset = truth
        held.createIndex()
        evaluation = Evaluation(held, held.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("ap50_95", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    return {name: float(value) for name, value in zip(names, evaluation.stats[:6], strict=True)}


def own_scores(records: list[dict[str, Any]], weights: np.ndarray | None = None) -> dict[str, float]:
    measured = DetectionMetric().measure(records)
    scores = measured.scores(None if weights is None else weights[None].astype(float))
    return {
        name: float(np.asarray(scores[name]).reshape(-1)[0])
        for name in ("ap50_95", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    }


@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_coco(library: str, seed: int) -> None:
    records = random_records(seed)
    expected = coco_scores(library, records)
    for name, value in own_scores(records).items():
        assert value == pytest.approx(expected[name], abs=1e-9) or (np.isnan(value) and expected[name] == -1), name


@pytest.mark.parametrize("seed", range(4))
def test_a_row_that_weighs_three_counts_as_three_rows(seed: int) -> None:
    """Equal scores stand in another order then; these records have none."""
    records = random_records(seed, crowds=False)
    rng = np.random.default_rng(seed)
    for record in records:
        for box in record["boxes"]:
            box["score"] = float(rng.random())
    weights = rng.integers(0, 4, len(records))
    expected = own_scores([record for record, times in zip(records, weights, strict=True) for _ in range(times)])
    for name, value in own_scores(records, weights).items():
        assert value == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name


def test_many_sets_of_weights_give_what_each_gives_alone() -> None:
    measured = DetectionMetric().measure(random_records(3))
    weights = np.random.default_rng(0).integers(0, 3, (20, measured.num_rows)).astype(float)
    together = measured.scores(weights)
    for name, values in together.items():
        alone = [float(measured.scores(one[None])[name][0]) for one in weights]
        assert values.tolist() == pytest.approx(alone, nan_ok=True), name


def test_rows_taken_and_in_units() -> None:
    records = random_records(5)
    measured = DetectionMetric().measure(records)
    some = np.array([1, 4, 4, 7])
    taken = values_of(measured.take(some))
    assert taken == pytest.approx(values_of(DetectionMetric().measure([records[i] for i in some])), nan_ok=True)
    united = measured.in_units(np.arange(len(records)) % 3, 3)
    weights = np.array([[2.0, 0.0, 1.0]])
    expected = measured.scores(weights[:, np.arange(len(records)) % 3])
    assert {k: float(v[0]) for k, v in united.scores(weights).items()} == pytest.approx(
        {k: float(v[0]) for k, v in expected.items()}, nan_ok=True
    )


def test_the_threshold_is_where_f1_is_best() -> None:
    records = random_records(2, rows=20)
    metric = DetectionMetric()
    rows = [metric.matched_row(record) for record in records]
    threshold, f1, precision, recall = best_threshold(rows)
    at = values_of(DetectionMetric(threshold).measure(records))
    assert (at["box_f1"], at["box_precision"], at["box_recall"]) == pytest.approx((f1, precision, recall))
    assert all(
        values_of(DetectionMetric(other).measure(records))["box_f1"] <= f1 + 1e-12 for other in np.linspace(0, 1, 41)
    )


def test_pictures_without_boxes_and_classes_without_truth() -> None:
    nothing = [{"id": "1", "boxes": [], "truth": []}]
    scores = values_of(DetectionMetric().measure(nothing))
    assert all(np.isnan(value) for value in scores.values())
    wrong = [{"id": "1", "boxes": [{"label": "dot", "box": [0, 0, 9, 9], "score": 0.9}], "truth": []}]
    assert values_of(DetectionMetric().measure(wrong))["box_precision"] == 0
    assert isinstance(DetectionMetric().measure(wrong).parts[0], AveragePrecision)  # type: ignore[attr-defined]
