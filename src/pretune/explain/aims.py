"""What of an answer is explained: one figure, that scores share out and that the deletion test watches.

Shapes: B rows of a batch, M items, C classes, F frames, V characters of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.errors import UsageError
from pretune.explain.aim import Aim, EmptyAnswer
from pretune.explain.place_aims import PlaceAim
from pretune.tasks.classes.labelling import Labelling
from pretune.tasks.places.placed import PlacedTask
from pretune.tasks.predicting import BUDGET_TOKENS, predict_items
from pretune.tasks.speech.speech_recognition import SpeechRecognition
from pretune.tasks.values.regression import Regression
from pretune.types import Batch, Encoded, Prediction
from pretune.wording import figure

__all__ = ["Explainable", "aim_at"]

Explainable = Labelling | Regression | SpeechRecognition | PlacedTask
"""Tasks whose answers have parts, and a figure to share among them."""


def aim_at(task: Explainable, model: torch.nn.Module, device: Device, item: Encoded, label: str | None) -> Aim:
    """The label asked for or the most probable one; the number; the transcript of a clip; a box, region or point of a picture.

    Raises :class:`UsageError` for a label of a task without any, :class:`EmptyAnswer` for a transcript without a character and a
    picture in which nothing is found.
    """
    if isinstance(task, Labelling):
        return _LabelAim(task, model, device, item, label)
    if isinstance(task, PlacedTask):
        return PlaceAim(task, model, device, item, label)
    if label is not None:
        raise UsageError(f"{task.name} gives no label to choose", "leave the label out")
    if isinstance(task, Regression):
        return _NumberAim(task, model, device, item)
    assert isinstance(task, SpeechRecognition)
    return _TranscriptAim(task, model, device, item)


class _Predicted(NamedTuple):
    answer: str | tuple[str, ...]
    values: list[float]


class _LabelAim(Aim):
    """The log-odds of a class, and its calibrated probability (at the fitted temperature)."""

    measure, figure = "log-odds of the answer", "probability"
    notes: tuple[str, ...] = ()

    def __init__(
        self, task: Labelling, model: torch.nn.Module, device: Device, item: Encoded, label: str | None
    ) -> None:
        self._task, self._model, self._device = task, model, device
        self.answer, values = self._predicted([item])[0]
        self._index = int(np.argmax(values)) if label is None else task.number_of(label)
        self.explained, self.probability = task.labels[self._index], values[self._index]

    def score(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return self._task.log_odds_of(logits, self._index)

    def probabilities(self, items: Sequence[Encoded]) -> np.ndarray:
        return np.array([found.values[self._index] for found in self._predicted(items)])

    def _predicted(self, items: Sequence[Encoded]) -> list[_Predicted]:
        named = _named(items)
        predictions: list[Prediction] = predict_items(self._task, self._model, named, self._device)
        records = [self._task.record(prediction) for prediction in predictions]
        honest = self._task.calibrated(records) or records
        by_place = {
            record["id"]: _Predicted(prediction.answer, list(record["probabilities"].values()))
            for record, prediction in zip(honest, predictions, strict=True)
        }
        return [by_place[item.id] for item in named]


class _NumberAim(Aim):
    """The number, in units of the training rows' spread; the deletion test watches its place among the training rows: the share of a
    normal distribution of their mean and spread that lies below it.
    """

    measure, figure = "number (in units of the training rows' spread)", "place among the training numbers"
    notes: tuple[str, ...] = (
        "Marks above 0 make the number larger, marks below 0 smaller. Its place is the share of the training rows below it, were they "
        "spread as a normal distribution.",
    )

    def __init__(self, task: Regression, model: torch.nn.Module, device: Device, item: Encoded) -> None:
        self._task, self._model, self._device = task, model, device
        (prediction,) = predict_items(task, model, [item], device)
        self.answer: str | tuple[str, ...] = figure(prediction.answer, grouped=False)
        self.explained = self.answer
        self.probability = float(self.probabilities([item])[0])

    def score(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return logits[:, 0]

    def probabilities(self, items: Sequence[Encoded]) -> np.ndarray:
        named = _named(items)
        units = {one.id: one.outputs_C[0] for one in predict_items(self._task, self._model, named, self._device)}
        places_M = torch.special.ndtr(torch.tensor([units[item.id] for item in named], dtype=torch.float64))
        return places_M.numpy()


class _TranscriptAim(Aim):
    """The log-likelihood of the transcript that the model writes, over all its alignments (Graves et al. 2006, equation 3)."""

    measure, figure = "log-likelihood of the transcript", "probability"
    notes: tuple[str, ...] = (
        "The probability of a transcript is told as that of one of its characters (the geometric mean): that of the whole would be "
        "the smaller the longer it is.",
    )

    def __init__(self, task: SpeechRecognition, model: torch.nn.Module, device: Device, item: Encoded) -> None:
        self._task, self._model, self._device = task, model, device
        (prediction,) = predict_items(task, model, [item], device)
        self.answer: str | tuple[str, ...] = str(prediction.answer)
        self.explained = str(prediction.answer)
        if not self.answer:
            raise EmptyAnswer("the model writes nothing for this clip", "explain a clip that it writes something for")
        self._characters = len(task.spelling.encode(self.explained))
        self.probability = float(self.probabilities([item])[0])

    def score(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return self._task.log_likelihoods(logits, batch, self.explained)

    def probabilities(self, items: Sequence[Encoded]) -> np.ndarray:
        found_M = np.zeros(len(items))
        costs_M = np.array([item.cost for item in items])
        for places in cut_by_budget(costs_M, max_cost=BUDGET_TOKENS, max_rows=2**31):
            batch = self._task.collate([items[int(place)] for place in places]).to(self._device.device)
            with inference(self._device):
                scores_B = self.score(self._task.logits_of(self._model, batch).float(), batch)
            found_M[places] = np.exp(scores_B.cpu().double().numpy() / self._characters)
        return found_M


def _named(items: Sequence[Encoded]) -> list[Encoded]:
    """The items as rows that are all different."""
    return [Encoded(str(place), item.arrays, item.cost) for place, item in enumerate(items)]
