"""A task's predictions of many rows: sorted by length, in batches of a token budget, back in the rows' order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pretune.answers import answer_of
from pretune.backbones.adaptation.modes import evaluating
from pretune.engine.batching import cut_by_budget
from pretune.engine.devices import Device, inference
from pretune.errors import DataError
from pretune.metrics.base import values_of
from pretune.tasks.base import Task
from pretune.tasks.protocols import EncodedRows, Learnable
from pretune.types import Encoded, Example, Prediction

__all__ = [
    "answering",
    "asked_of",
    "example_of",
    "items_of",
    "predict_items",
    "predict_rows",
    "readable",
    "scores_of",
    "watched_scores",
]

BUDGET_TOKENS = 4096
_TIMED_ITEMS = 64
_INPUTS = ("text", "text_pair", "words", "turns", "image", "audio", "speaker")


def example_of(row: Mapping[str, Any], name: str, answer: str = "") -> Example:
    """The inputs of a row that was read, as an example called ``name``; with its ``answer`` of this kind, else that is left out."""
    target = answer_of(answer, row.get(answer)) if answer else None
    return Example(name, {key: row[key] for key in _INPUTS if key in row}, target)


def items_of(task: Task, rows: Iterable[Mapping[str, Any]]) -> list[Encoded]:
    """The items of rows that were read, encoded as they are answered (not varied); their ids are places, from "0". Those of a task that
    answers step by step have their answers: what it says at a step is told those before it.
    """
    read = readable(task, [asked_of(task, row, str(place)) for place, row in enumerate(rows)])
    return [item for _, items in read for item in items]


def readable(task: Task, examples: Sequence[Example]) -> list[tuple[int, list[Encoded]]]:
    """The places and items of the examples that the model can read: a question may fill its context. Raises :class:`DataError` where it can
    read none.
    """
    found, why = [], None
    for place, read in enumerate(task.encode_each(examples)):
        if isinstance(read, DataError):
            why = why or read
        else:
            found.append((place, read))
    if why is not None and not found:
        raise why
    return found


def asked_of(task: Task, row: Mapping[str, Any], name: str) -> Example:
    """A row that was read as an example called ``name``, as it is asked about; see :func:`items_of`."""
    return task.asked(example_of(row, name, task.answer if task.by_steps else ""))


def answering(
    task: Task, model: torch.nn.Module, items: Sequence[Encoded], size: int, device: Device
) -> Callable[[], None]:
    """A call to be timed: each time it answers the next batch of ``size`` items. Few items are taken again and again: a batch
    has its size whatever there is.
    """
    count = size * max(1, _TIMED_ITEMS // size)
    some = [items[place % len(items)] for place in range(count)]
    turn = itertools.cycle([task.collate(some[start : start + size]) for start in range(0, count, size)])

    def call() -> None:
        with inference(device):
            task.predict(model, next(turn).to(device.device))

    return call


def predict_rows(
    task: Learnable,
    model: torch.nn.Module,
    rows: EncodedRows,
    device: Device,
    *,
    budget_tokens: int = BUDGET_TOKENS,
    on_batch: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """One prediction a row, in the rows' order. ``on_batch`` is told how many items are done."""
    return _predict(task, model, rows.__getitem__, rows.lengths_N, device, budget_tokens, on_batch)


def scores_of(task: Task, predictions: Sequence[Prediction], truths: Sequence[Any]) -> dict[str, float]:
    """Every score of labelled rows by name, with the answers that calibrating on them would give."""
    records = task.with_fitted_threshold([task.record(p, truth) for p, truth in zip(predictions, truths, strict=True)])
    return values_of(task.metric.measure(records))


def watched_scores(
    task: Task,
    model: torch.nn.Module,
    rows: EncodedRows,
    votes_N: np.ndarray,
    device: Device,
    on_batch: Callable[[int], None],
) -> dict[str, float]:
    """The cheap score that the task's metric names (``watch``), over the rows that count."""
    (name,) = task.metric.watch
    chosen = np.flatnonzero(votes_N)
    above = below = 0.0
    with evaluating(model):
        for places in cut_by_budget(rows.lengths_N[chosen], max_cost=BUDGET_TOKENS, max_rows=2**31):
            batch = task.collate([rows[int(place)] for place in chosen[places]]).to(device.device)
            with inference(device):
                losses_B, counts_B = task.watched(model, batch)
            above, below = above + float(losses_B.sum()), below + float(counts_B.sum())
            on_batch(len(places))
    return {name: above / max(below, 1e-12)}


def predict_items(
    task: Learnable,
    model: torch.nn.Module,
    items: Sequence[Encoded],
    device: Device,
    *,
    budget_tokens: int = BUDGET_TOKENS,
) -> list[Prediction]:
    """The same for encoded items in memory."""
    lengths_N = np.array([item.cost for item in items])
    return _predict(task, model, items.__getitem__, lengths_N, device, budget_tokens, None)


def _predict(
    task: Learnable,
    model: torch.nn.Module,
    read: Callable[[int], Encoded],
    lengths_N: np.ndarray,
    device: Device,
    budget_tokens: int,
    on_batch: Callable[[int], None] | None,
) -> list[Prediction]:
    found: list[Prediction | None] = [None] * len(lengths_N)
    with evaluating(model):
        for places in cut_by_budget(lengths_N, max_cost=budget_tokens, max_rows=2**31):
            batch = task.collate([read(int(place)) for place in places]).to(device.device)
            with inference(device):
                predictions = task.predict(model, batch)
            for place, prediction in zip(places, predictions, strict=True):
                found[int(place)] = prediction
            if on_batch:
                on_batch(len(places))
    return task.merge([prediction for prediction in found if prediction is not None])
