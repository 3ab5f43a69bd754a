"""Detectors of transformers that predict a set: each query answers with one box (DETR: Carion et al. 2020, arXiv 2005.12872, section 3.2).

The model is transformers' own class with its class head resized, so that its folder loads without pretune. Whatever the family, what
it says becomes one tensor: a box in shares of the picture (middle x, middle y, width, height), then a logit for each class, and in
families that tell classes apart by softmax one for "nothing", the last. Shapes: B pictures, L layers that answer, Q queries, C classes,
K = C or C + 1 logits.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pretune.backbones.detection.model import MODEL_TYPE
from pretune.backbones.loading.classes import class_axes
from pretune.backbones.states.head_outputs import logits_in
from pretune.errors import UsageError

if TYPE_CHECKING:
    from pretune.backbones.load import Backbone, LoadReport

__all__ = ["has_nothing", "new_query_detector", "num_queries", "picks_queries", "query_layers", "refuse_unlearned"]

PRIOR = 0.01
"""How sure a fresh head of sigmoids is of each class: nearly all queries find nothing (Lin et al. 2017, arXiv 1708.02002, section 3.3)."""
_COUNTS = ("num_queries", "num_detection_tokens")
_ANY_SIZE = {"eval_size": None, "anchor_image_size": None}
"""Settings by which a model would make its positions for one size of pictures, once."""


def num_queries(config: Any) -> int:
    """How many boxes a detector of this config answers with; 0 for a model that is none, or that :func:`refuse_unlearned` refuses."""
    if not _is_detector(config) or _unlearned(config):
        return 0
    return next(int(getattr(config, name)) for name in _COUNTS if hasattr(config, name))


def refuse_unlearned(config: Any, name: str) -> None:
    """Raise :class:`UsageError` for a detector that does not learn by the losses of :mod:`pretune.tasks.places.detection.queries`: it is no
    trunk for another head either.
    """
    if _is_detector(config) and (why := _unlearned(config)):
        raise UsageError(
            f"{name} ({config.model_type}) cannot be fine-tuned here: {why}",
            "choose a detector of RT-DETR, D-FINE or DETR, or a trunk such as scratch:mobilenet-v2",
        )


def _is_detector(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING

    return type(config) in MODEL_FOR_OBJECT_DETECTION_MAPPING and config.model_type != MODEL_TYPE


def _unlearned(config: Any) -> str:
    """Why a detector's loss is another one; "": it is not."""
    if getattr(config, "group_detr", 1) > 1:
        return "it asks several groups of queries while it learns"
    if getattr(config, "two_stage", False):
        return "it has two stages, of which the first proposes regions without classes"
    return "" if any(hasattr(config, name) for name in _COUNTS) else "it has no queries"


def has_nothing(config: Any) -> bool:
    """Are classes told apart by softmax, "nothing" among them? Families of sigmoids have a setting for their focal loss."""
    return not (hasattr(config, "focal_alpha") or getattr(config, "use_focal_loss", False))


def picks_queries(config: Any) -> bool:
    """Are queries those of the encoder's places that look most like something (RT-DETR: Zhao et al. 2023, arXiv 2304.08069, section 4.3)?"""
    return hasattr(config, "learn_initial_query")


def new_query_detector(backbone: Backbone, *, seed: int, labels: Sequence[str]) -> tuple[nn.Module, LoadReport]:
    """The folder's detector for these classes. It takes pictures of any size, and its decoder tells what each layer answers."""
    told: Any = backbone.config
    changes: dict[str, Any] = {name: value for name, value in _ANY_SIZE.items() if hasattr(told, name)}
    if hasattr(told, "auxiliary_loss") and hasattr(told, "decoder_layers"):
        changes["auxiliary_loss"] = True
    model, report = backbone.build(
        "AutoModelForObjectDetection", seed=seed, id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)}, **changes,
    )  # fmt: skip
    if not has_nothing(told):
        _begin_unsure(model, report, len(labels))
    _hold_constants(model)
    return model, report


def _hold_constants(model: Any) -> None:
    """Numbers that a decoder holds as weights that never learn (D-FINE's scales of edges) become buffers, under the same names."""
    trunk = getattr(model.base_model, "backbone", None)
    own = {id(parameter) for parameter in trunk.parameters()} if trunk is not None else set[int]()
    for module in model.modules():
        for name, parameter in [*module.named_parameters(recurse=False)]:
            if not parameter.requires_grad and id(parameter) not in own:
                del module._parameters[name]
                module.register_buffer(name, parameter.detach())


def _begin_unsure(model: Any, report: LoadReport, num_classes: int) -> None:
    """Let fresh class heads say that there is nearly nothing."""
    fresh, weights = {*report.initialised}, dict(model.named_parameters())
    for name in class_axes(type(model), model.config, num_classes):
        if name in fresh and weights[name].ndim == 1:
            nn.init.constant_(weights[name], -math.log((1 - PRIOR) / PRIOR))


def query_layers(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, L, Q, 4 + K) what each layer that is learned by says, the model's answer last; that alone where the model shows no others.

    No noise is drawn: families that learn from noisy copies of the true boxes do so where they are given these, and are not.
    """
    config: Any = model.config
    if hasattr(config, "num_denoising") or not getattr(config, "auxiliary_loss", False):
        output = model(**inputs)
        layers = _shown_layers(output)
    else:
        with _telling_layers(model):
            output = model(**inputs, labels=[])
        classes_LBQK, boxes_LBQ4 = output.auxiliary_outputs
        layers = [] if classes_LBQK is None else [*torch.cat([boxes_LBQ4, classes_LBQK], dim=-1)][:-1]
    return torch.stack([*layers, logits_in(output)], dim=1)


def _shown_layers(output: Any) -> list[torch.Tensor]:
    """What the encoder says of the places that it picks, and each layer of the decoder but the last, (B, Q, 4 + K)."""
    if getattr(output, "intermediate_logits", None) is None:
        return []
    layers_BLQK = torch.cat([output.intermediate_reference_points, output.intermediate_logits], dim=-1)
    picked = []
    if getattr(output, "enc_topk_logits", None) is not None:
        picked = [torch.cat([output.enc_topk_bboxes, output.enc_topk_logits], dim=-1)]
    return [*picked, *layers_BLQK.unbind(dim=1)[:-1]]


@contextlib.contextmanager
def _telling_layers(model: Any) -> Iterator[None]:
    """Where transformers computes its loss of all layers, keep what they say instead."""
    model.loss_function = _layers_said
    try:
        yield
    finally:
        del model._loss_function


def _layers_said(
    _logits: Any, _labels: Any, _device: Any, _boxes: Any, _config: Any, classes: Any = None, boxes: Any = None, **_: Any
) -> tuple[None, None, tuple[Any, Any]]:  # fmt: skip
    return None, None, (classes, boxes)
