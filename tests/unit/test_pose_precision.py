"""OKS-AP is what pycocotools counts, and a metric that keeps its promises."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from metric_promises import holds_its_promises

from pretune.data.points.lsp import LSP_JOINTS
from pretune.metrics.base import values_of
from pretune.metrics.places.keypoints import KeypointMetric, poses_of
from pretune.metrics.places.poses import falloffs_of, similarities


def random_records(seed: int, count: int = 30) -> list[dict[str, Any]]:
    """Poses of 14 points, some of which are not known, answered nearer or farther."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(count):
        true = np.column_stack([rng.uniform(0, 200, (14, 2)), rng.random(14) < 0.8])
        true[:3, 2] = 1
        true[true[:, 2] == 0] = 0
        said = np.column_stack([true[:, :2] + rng.normal(0, rng.uniform(1, 30), (14, 2)), rng.random(14)])
        records.append({"id": str(number), "truth": true.tolist(), "keypoints": said.tolist()})
    return records


def coco_scores(records: list[dict[str, Any]]) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, found = [], []
    for number, record in enumerate(records, start=1):
        true, said = np.array(record["truth"]), np.array(record["keypoints"])
        known = true[:, 2] > 0
        low, size = true[known, :2].min(axis=0), np.ptp(true[known, :2], axis=0)
        plain = {"image_id": number, "category_id": 1}
        annotations.append({
            **plain, "id": number, "iscrowd": 0, "area": 0.53 * size.prod(), "bbox": [*low, *size],
            "keypoints": true.reshape(-1).tolist(), "num_keypoints": int(known.sum()),
        })  # fmt: skip
        found.append({**plain, "keypoints": said.reshape(-1).tolist(), "score": float(said[:, 2].mean())})
    held = COCO()
    held.dataset = {
        "images": [{"id": n + 1, "width": 300, "height": 300} for n in range(len(records))],
        "annotations": annotations, "categories": [{"id": 1, "name": "person"}], "info": {},
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        held.createIndex()
        evaluation = COCOeval(held, held.loadRes(found), "keypoints")
        evaluation.params.kpt_oks_sigmas = falloffs_of(LSP_JOINTS, 14)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"oks_ap": float(evaluation.stats[0]), "oks_ap50": float(evaluation.stats[1])}


@pytest.mark.parametrize("seed", range(10))
def test_scores_are_those_of_coco(seed: int) -> None:
    records = random_records(seed)
    found = values_of(KeypointMetric(LSP_JOINTS).measure(records))
    for name, value in coco_scores(records).items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert 0.05 < found["oks_ap"] < 0.95, "neither all right nor all wrong"


def test_a_metric_of_poses_keeps_its_promises() -> None:
    holds_its_promises(KeypointMetric(LSP_JOINTS), random_records(0))


def test_similarity_falls_with_distance_by_the_part() -> None:
    names = ("left_wrist", "right_hip", "tail")
    assert falloffs_of(names, 3).tolist() == [0.062, 0.107, 0.079]
    assert falloffs_of(names, 2).tolist() == [0.079, 0.079]
    true = np.array([[[0.0, 0.0, 1.0], [100.0, 100.0, 1.0], [50.0, 50.0, 0.0]]])
    said = true.copy()
    said[0, 2] = [900.0, 900.0, 1.0]
    falloffs = falloffs_of(names, 3)
    assert similarities(true, said, falloffs)[0] == 1.0, "what is not known is not scored"
    said[0, 0, 0] += 20.0
    expected = (np.exp(-(20.0**2) / (2 * 0.53 * 100 * 100 * (2 * 0.062) ** 2)) + 1) / 2
    assert similarities(true, said, falloffs)[0] == pytest.approx(expected)
    true[0, 1, 2] = 0
    assert np.isnan(similarities(true, said, falloffs)[0]), "one point has no size"


def test_rows_without_a_size_count_for_nothing() -> None:
    records = random_records(3)
    alone = [[5.0, 5.0, 1.0], *[[0.0, 0.0, 0.0]] * 13]
    more = [*records, {"id": "x", "truth": alone, "keypoints": [[9.0, 9.0, 1.0]] * 14}]
    scores, with_it = (values_of(KeypointMetric(LSP_JOINTS).measure(some)) for some in (records, more))
    assert with_it["oks_ap"] == scores["oks_ap"]
    assert poses_of(more, LSP_JOINTS)[0].shape == (31, 14, 3)
