"""Which parts of an example speak for the answer, by the method that suits the model, with its own test.

Shapes: N parts, H and W the sides of a picture in pixels, h and w those of a heat map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from pretune.backbones.adaptation.modes import evaluating
from pretune.engine.devices import Device
from pretune.errors import UsageError
from pretune.explain.aim import Aim
from pretune.explain.aims import Explainable, aim_at
from pretune.explain.faithfulness import ORDERS, Faithfulness, deletion_test
from pretune.explain.gradients import CLOSE, MOST_STEPS, Completeness, class_activation, integrated_gradients
from pretune.explain.patience import OutOfTime, Patience
from pretune.modalities import Modality
from pretune.tasks.base import Task
from pretune.tasks.shown.parts import Parts
from pretune.tasks.shown.saliency import overlay
from pretune.tasks.shown.thumbnails import picture_address
from pretune.types import Example
from pretune.wording import counted

__all__ = ["Attribution", "explain_example"]

SHOWN_SIDE = 480


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What of an example speaks for what is ``explained`` (and, below 0, against it), by ``method``.

    ``answer`` is what the model says, ``probability`` that of ``explained`` (a class,
    or a transcript; ``figure`` is its name), ``measure`` what the scores share out.
    A text has ``pieces`` (words as they stand in it), their ``spans`` (side, first character, character behind the last) and
    ``scores``; a clip ``times`` in seconds, where each of the ``scores``' stretches begins, and its length ``seconds``; a
    picture a ``heat`` map (h, w) over its crop, and addresses (``data:image/jpeg``) of the ``picture`` and of the ``overlay`` of both.
    """

    kind: Modality
    method: str
    answer: str | tuple[str, ...]
    explained: str
    probability: float
    measure: str = ""
    figure: str = "probability"
    pieces: tuple[str, ...] = ()
    spans: tuple[tuple[int, int, int], ...] = ()
    scores: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    seconds: float = 0.0
    heat: tuple[tuple[float, ...], ...] = ()
    picture: str = ""
    overlay: str = ""
    completeness: Completeness | None = None
    faithfulness: Faithfulness | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what the kind does not have is left out."""
        found = {
            "kind": self.kind, "method": self.method, "explained": self.explained, "probability": self.probability,
            "measure": self.measure, "figure": self.figure,
            "answer": self.answer if isinstance(self.answer, str) else list(self.answer),
            "completeness": self.completeness and self.completeness.to_dict(),
            "faithfulness": self.faithfulness and self.faithfulness.to_dict(),
            "notes": list(self.notes),
        }  # fmt: skip
        if self.heat:
            heat = [[round(value, 6) for value in row] for row in self.heat]
            return {**found, "heat": heat, "picture": self.picture, "overlay": self.overlay}
        if self.times:
            return {**found, "times": list(self.times), "seconds": self.seconds, "scores": list(self.scores)}
        spans = [list(span) for span in self.spans]
        return {**found, "pieces": list(self.pieces), "spans": spans, "scores": list(self.scores)}


def explain_example(
    task: Task,
    model: torch.nn.Module,
    example: Example,
    device: Device,
    *,
    label: str | None = None,
    orders: int = ORDERS,
    patience: Patience | None = None,
) -> Attribution:
    """Explain the model's answer to one example (a class, a transcript), or the probability of ``label``.

    Integrated gradients for texts, sounds and vision transformers, Grad-CAM for convolutional nets, and taking parts out one
    by one (occlusion) for a model that gives no gradients, such as one of ONNX. ``orders`` random orders test whether the
    scores can be believed; 0 leaves the test out, which is most of the time this takes. The model must not answer anything
    else meanwhile. ``patience`` bounds the time: fewer steps are taken, the test is left out, both with a note; raises
    :class:`OutOfTime` where not even the scores are done by then. Raises :class:`UsageError` for a task whose answers have no
    parts, and for an example with nothing in it.
    """
    if not isinstance(task, Explainable):
        raise UsageError(f"{task.name} gives no answer that could be shared among the parts of a row", "")
    patience = patience or Patience()
    parts = task.parts(example)
    if parts.count == 0:
        raise UsageError("there is nothing to explain: the text is empty", "give a text with a word in it")
    with evaluating(model), patience.over(model):
        aim = aim_at(task, model, device, parts.item, label)
        scores = _scored(task, model, parts, aim, device, patience)
        test, told = _tested(scores, parts, aim, orders, patience)
    return Attribution(
        kind=task.modality, method=scores.method, answer=aim.answer, explained=aim.explained, probability=aim.probability,
        measure=aim.measure, figure=aim.figure, completeness=scores.completeness, faithfulness=test,
        notes=(*parts.notes, *aim.notes, *_short_of(scores), *told), **_shown(parts, scores, aim),
    )  # fmt: skip


def _tested(
    scores: _Scores, parts: Parts, aim: Aim, orders: int, patience: Patience
) -> tuple[Faithfulness | None, tuple[str, ...]]:
    """The deletion test, and why there is none where it was asked for."""
    try:
        test = deletion_test(
            scores.scores_N,
            lambda taken_MN: aim.probabilities([parts.without(taken_N) for taken_N in taken_MN]),
            blank=parts.blank,
            orders=orders,
            figure=aim.figure,
        )
    except OutOfTime:
        if not patience.is_wanted():
            raise
        return None, (f"There was no time for the deletion test within {patience.seconds:g} seconds.",)
    return test, ("There is but one part, so no order can be tested.",) if orders and test is None else ()


def _short_of(scores: _Scores) -> tuple[str, ...]:
    found = scores.completeness
    if found is None or found.error <= CLOSE or found.steps >= MOST_STEPS:
        return ()
    return (
        f"There was no time for more than {counted(found.steps, 'step')}: the scores miss their sum by {found.error:.0%}.",
    )


class _Scores(NamedTuple):
    """Scores of the parts, and a heat map (h, w) where the method makes its own."""

    method: str
    scores_N: np.ndarray
    completeness: Completeness | None = None
    heat: np.ndarray | None = None


def _scored(
    task: Explainable, model: torch.nn.Module, parts: Parts, aim: Aim, device: Device, patience: Patience
) -> _Scores:
    if next(model.parameters(), None) is None:
        return _occlusion(parts, aim)
    if parts.pixels is not None:
        found = class_activation(task, model, parts, aim, device.device)
        if found is not None:
            method, heat = found
            return _Scores(method, parts.scores_of(_spread(heat, parts.places.shape)), heat=heat)
    shared = integrated_gradients(task, model, parts, aim, device.device, patience)
    if shared is None:
        return _occlusion(parts, aim)
    return _Scores("integrated gradients", parts.scores_of(shared[0]), shared[1])


def _occlusion(parts: Parts, aim: Aim) -> _Scores:
    """By how much the answer's probability falls with each part alone made blank (Zeiler & Fergus 2014, section 4.2; for
    words Li et al. 2016, arXiv 1612.08220)."""
    without = [parts.without(taken_N) for taken_N in np.eye(parts.count, dtype=bool)]
    whole, *rest = aim.probabilities([parts.item, *without])
    return _Scores("occlusion", whole - np.array(rest))


def _spread(heat: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A map (h, w) at the size of the picture (H, W)."""
    held = torch.from_numpy(np.ascontiguousarray(heat, dtype=np.float32))[None, None]
    return torch.nn.functional.interpolate(held, size=tuple(shape), mode="bilinear")[0, 0].double().numpy()


def _shown(parts: Parts, scores: _Scores, aim: Aim) -> dict[str, Any]:
    """What of the scores belongs to parts of this kind."""
    if parts.spans:
        return {"pieces": parts.names, "spans": parts.spans, "scores": tuple(scores.scores_N.tolist())}
    if parts.seconds:
        return {"times": parts.seconds[:-1], "seconds": parts.seconds[-1], "scores": tuple(scores.scores_N.tolist())}
    assert parts.pixels is not None, "pictures have pixels"
    heat = scores.scores_N.reshape(parts.grid) if scores.heat is None else scores.heat
    drawn = aim.drawn(parts.pixels)
    warm = _spread(np.maximum(heat, 0.0), drawn.shape[:2])
    warm = warm / warm.max() if warm.max() > 0 else warm
    return {
        "heat": tuple(tuple(float(value) for value in row) for row in heat),
        "picture": picture_address(drawn, SHOWN_SIDE),
        "overlay": overlay(drawn, warm, SHOWN_SIDE),
    }
