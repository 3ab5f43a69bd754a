"""A detector's graph that ends in boxes: non-maximum suppression inside, for programs that are to have no numbers to make sense of.

``boxes.onnx`` takes ``pixel_values`` (B, 3, H, W) as ``model.onnx`` does and gives ``found`` (M, 7), float32: number of the picture in the
batch, number of the class, score, and left, top, right and bottom in pixels of the canvas; by picture and class, the surest first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pretune.answers.boxes import SAME_OVERLAP, Box, overlap
from pretune.backbones.detection.anchors import LEAST_SCORE, MOST_BOXES, MOST_OVERLAP, Found
from pretune.backbones.states.head_outputs import logits_in
from pretune.errors import CheckFailed
from pretune.export.onnx_graph import ByName, checked_signature, example_inputs, free_sizes, plain, write_graph
from pretune.files import fsync_file, translate_disk_errors
from pretune.tasks.base import Task
from pretune.tasks.protocols import Locating
from pretune.types import Batch, Encoded

__all__ = ["BOXES_FILE", "FOUND", "compare_suppressed", "write_suppressed"]

BOXES_FILE = "boxes.onnx"
FOUND = "found"
_BOXES, _SCORES = "boxes", "scores"
_SURE, _MOST, _COMPARED = 0.05, 100, 64
_LEAST_SAME = 0.99


def write_suppressed(task: Task, model: nn.Module, batch: Batch, path: Path) -> dict[str, Any]:
    """Write the graph to ``path``; its signature. Raises :class:`pretune.errors.ModelError` where it cannot be traced."""
    assert isinstance(task, Locating), f"{task.name} finds no boxes"
    inputs = example_inputs(task, batch)
    free = free_sizes(task, inputs)

    def run(given: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        boxes_BP4, scores_BPC = task.located(logits_in(traced(**given)).float())
        return boxes_BP4.float(), scores_BPC.transpose(1, 2).float()

    with plain(model) as traced:
        write_graph(ByName(traced, inputs, run), inputs, free, [_BOXES, _SCORES], path)
    _suppress(path)
    return checked_signature(path, free)


def _suppress(path: Path) -> None:
    """Put the suppression behind the boxes (B, P, 4) and scores (B, C, P) of a graph."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    constants = {
        "nms_most": np.array(MOST_BOXES, np.int64), "nms_overlap": np.array(MOST_OVERLAP, np.float32),
        "nms_least": np.array(LEAST_SCORE, np.float32), "nms_picture_and_box": np.array([0, 2], np.int64),
        "nms_picture_and_class": np.array([0, 1], np.int64), "nms_last": np.array([1], np.int64),
    }  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("NonMaxSuppression", [_BOXES, _SCORES, "nms_most", "nms_overlap", "nms_least"], ["nms_chosen"]),
            helper.make_node("Gather", ["nms_chosen", "nms_picture_and_box"], ["nms_places"], axis=1),
            helper.make_node("GatherND", [_BOXES, "nms_places"], ["nms_boxes"]),
            helper.make_node("GatherND", [_SCORES, "nms_chosen"], ["nms_flat"]),
            helper.make_node("Unsqueeze", ["nms_flat", "nms_last"], ["nms_scores"]),
            helper.make_node("Gather", ["nms_chosen", "nms_picture_and_class"], ["nms_whole"], axis=1),
            helper.make_node("Cast", ["nms_whole"], ["nms_numbers"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["nms_numbers", "nms_scores", "nms_boxes"], [FOUND], axis=1),
        ]
    )  # fmt: skip
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(FOUND, TensorProto.FLOAT, ["found_boxes", 7]))
    onnx.checker.check_model(model)
    with translate_disk_errors(path):
        onnx.save(model, str(path))
        fsync_file(path)


def compare_suppressed(
    task: Task, model: nn.Module, items: Sequence[Encoded], path: Path, *, threads: int | None
) -> dict[str, int]:
    """Of the model's boxes that are scored 0.05 or more, of a picture the 100 surest, how many the graph finds too: of the same class, over it
    by 99 %. Raises :class:`CheckFailed` where it is fewer than 99 of 100.
    """
    from pretune.export.onnx_model import open_session

    assert isinstance(task, Locating), f"{task.name} finds no boxes"
    session = open_session(path, threads=threads, gives=FOUND)
    asked = same = 0
    for item in items[:_COMPARED]:
        batch = task.collate([item])
        found = session.run([FOUND], {name: value.numpy() for name, value in batch.inputs.items()})[0]
        said = [Box(str(int(number)), *box) for _, number, _, *box in np.asarray(found).tolist()]
        own = _sure(task.chosen(model, batch)[0])
        asked += len(own)
        same += sum(any(one.label == box.label and overlap(one, box) >= SAME_OVERLAP for box in said) for one in own)
    if same < _LEAST_SAME * asked:
        raise CheckFailed(
            f"{path.name} finds {same} of {asked} boxes that the model finds in validation pictures",
            "nothing was written. Leave --nms out: predict.py suppresses by itself",
        )
    return {"rows": len(items[:_COMPARED]), "boxes": asked, "same": same}


def _sure(kept: Found) -> list[Box]:
    told = zip(kept.classes_M.tolist(), kept.scores_M.tolist(), kept.boxes_M4.tolist(), strict=True)
    return [Box(str(number), *box) for number, score, box in told if score >= _SURE][:_MOST]
