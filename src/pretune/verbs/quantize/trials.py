"""The trials of ``pretune quantize``: ways to round a graph, each scored on validation rows and timed here.

A float score and a rounded one come from the same engine, so that what is lost is lost by rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretune.backbones.graph_parts import parts_of
from pretune.compress.int8_graph import Feeds, Layer, Recipe, calibrate, prepare, to_keep, write_int8
from pretune.export.graphs.speaking import SpeakingGraph
from pretune.export.graphs.writer import GraphWriter, open_graph
from pretune.export.onnx_model import ALONE
from pretune.interface.outcome import Say
from pretune.wording import counted

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset

    from pretune.engine.devices import Device
    from pretune.evaluation.latency import Latency
    from pretune.tasks.base import Task
    from pretune.tasks.protocols import EncodedRows
    from pretune.types import Encoded, Prediction

__all__ = ["Subject", "Trial", "best_of", "chosen_among", "keep_what_loses", "try_methods"]

MOST_ROWS = 2000
_BATCH = 8
_ASKED_ROWS = 64
_TIMED_SECONDS = 1.0
_WORTH_TRYING = 0.1


@dataclass
class Trial:
    """One way to round: its graph, its score and what it loses in points, its latency on one row where it was measured, and its bytes."""

    recipe: Recipe
    path: Path
    score: float
    lost: float
    latency: Latency | None = None

    def facts(self) -> dict[str, Any]:
        """JSON values for the record."""
        return {
            "title": self.recipe.title,
            "keep_float": list(self.recipe.keep_float),
            "score": self.score,
            "lost_points": round(self.lost, 3),
            "latency_1_ms": round(self.latency.p50_ms, 3) if self.latency else 0.0,
            "bytes": sum(part.stat().st_size for part in parts_of(self.path).values()),
        }


@dataclass
class Subject:
    """A float graph, the rows that calibrate it (``items``) and those that judge it. ``learned``: its weights know the rounding."""

    task: Task
    device: Device
    folder: Path
    source: Path
    items: Sequence[Encoded]
    validation: Dataset
    narrow: bool
    threads: int | None
    say: Say
    learned: bool = False
    layers: list[Layer] = field(default_factory=list)
    kept: tuple[str, ...] = ()
    score: float = 0.0
    _rows: EncodedRows | None = None
    _truths: list[Any] = field(default_factory=list)
    _ranges: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    def begin(self, keep_float: Sequence[str]) -> None:
        """Prepare the graph and score it as it is. Raises :class:`pretune.errors.UsageError` for a layer it does not have."""
        from pretune.data.splits import Splits
        from pretune.runs.rows import data_fingerprint

        self.layers = prepare(self.source, self.prepared)
        self.kept = to_keep(self.layers, keep_float)
        rows = self.validation.select(range(min(len(self.validation), MOST_ROWS)))
        fingerprint = data_fingerprint(Splits({"validation": rows}, {}))
        self._rows = self.task.encode_rows(rows, fingerprint=fingerprint)
        self._truths = self.task.truths(rows)
        self.score = self.scored(self.prepared)

    @property
    def prepared(self) -> Path:
        """The float graph that is rounded."""
        return self.folder / "prepared.onnx"

    @cached_property
    def feeds(self) -> Feeds:
        """The calibration rows, eight at a time, all of one length."""
        whole = self.task.collate(self.items).inputs
        graph = open_graph(self.source, threads=1)
        parts = [
            {name: value[start : start + _BATCH] for name, value in whole.items()}
            for start in range(0, len(self.items), _BATCH)
        ]
        if isinstance(graph, (GraphWriter, SpeakingGraph)):
            return [graph.feeds(part) for part in parts]
        return [{name: part[name].numpy() for name in graph.input_types} for part in parts]

    def ranges(self, how: str) -> dict[str, tuple[float, float]]:
        """The ranges of the activations, measured once a way."""
        if how not in self._ranges:
            self._ranges[how] = calibrate(self.prepared, self.feeds, how)
        return self._ranges[how]

    def scored(self, path: Path) -> float:
        """The task's own score of a graph on the validation rows."""
        from pretune.tasks.predicting import scores_of

        return scores_of(self.task, self._predicted(path), self._truths)[self.task.metric.primary]

    def calibrate(self, path: Path) -> None:
        """Fit anew on the validation rows what calibrates the probabilities: those of the graph at ``path``."""
        pairs = zip(self._predicted(path), self._truths, strict=True)
        self.task.calibrate([self.task.record(prediction, truth) for prediction, truth in pairs])

    def _predicted(self, path: Path) -> list[Prediction]:
        from pretune.tasks.predicting import predict_rows

        assert self._rows is not None, "begin() comes first"
        return predict_rows(self.task, self.open(path), self._rows, self.device)

    def lost(self, score: float) -> float:
        """Points (hundredths of a share) that a score is worse than the float graph's; of a number in a unit of its own, percent of it."""
        spec = self.task.metric.specs[self.task.metric.primary]
        lost = self.score - score if spec.rising else score - self.score
        if self.lost_in == "percent":
            return 100 * lost / max(abs(self.score), 1e-12)
        return lost if spec.unit == "points" else 100 * lost

    @property
    def lost_in(self) -> str:
        """What losses are counted in: ``points``, or ``percent`` of a score that is no share."""
        return "percent" if self.task.metric.specs[self.task.metric.primary].unit in ("number", "px") else "points"

    def allowed(self, most_loss: float) -> float:
        """Points that may be lost: what is asked, and one row's worth, which is no evidence."""
        return max(most_loss, 100.0 / max(1, len(self._truths))) + 1e-9

    def open(self, path: Path) -> torch.nn.Module:
        """The graph as a module that the task calls."""
        return open_graph(path, threads=self.threads).eval()

    def attempt(self, recipe: Recipe, name: str) -> Trial:
        """Round the graph by ``recipe`` and score it."""
        path = self.folder / f"{name}.onnx"
        notes = {ALONE: "yes"} if recipe.method == "dynamic" else {}
        write_int8(self.prepared, path, dataclasses.replace(recipe, narrow=self.narrow, notes=notes), self.feeds)
        score = self.scored(path)
        trial = Trial(recipe, path, score, self.lost(score))
        kept = f", {counted(len(recipe.keep_float), 'layer')} in float" if recipe.keep_float else ""
        self.say.note(f"{recipe.title}{kept}: {self.task.metric.primary} {score:.4f}, float {self.score:.4f}")
        return trial

    def answer(self, path: Path) -> np.ndarray:
        """The logits of a graph on some calibration rows."""
        import numpy as np
        import torch

        model = self.open(path)
        some = self.items[:_ASKED_ROWS]
        batches = [self.task.collate(some[start : start + _BATCH]) for start in range(0, len(some), _BATCH)]
        with torch.inference_mode():
            return np.concatenate([self.task.logits_of(model, batch).numpy().ravel() for batch in batches])


def try_methods(subject: Subject, method: str, calibration: str, most_loss: float) -> list[Trial]:
    """Try ``dynamic``, ``static`` or both (``auto``); further ways to calibrate where all lose too much."""
    kept, trials = subject.kept, []
    wanted = _methods(subject, method)
    if "dynamic" in wanted:
        trials.append(subject.attempt(Recipe("dynamic", kept), "dynamic"))
    if "static" in wanted:
        for how in ("minmax", "percentile", "entropy") if calibration == "auto" else (calibration,):
            recipe = Recipe("static", kept, calibration=how, ranges=subject.ranges(how))
            trials.append(subject.attempt(recipe, f"static-{how}"))
            if min(trial.lost for trial in trials) <= subject.allowed(most_loss):
                break
    return trials


def _methods(subject: Subject, method: str) -> tuple[str, ...]:
    """Dynamic rounding leaves convolutions in float: with few other weights there is nothing to win by it."""
    if method != "auto":
        return (method,)
    sizes = {layer.kind: 0 for layer in subject.layers}
    for layer in subject.layers:
        sizes[layer.kind] += layer.weights
    products = sizes.get("MatMul", 0) + sizes.get("Gemm", 0)
    tries_dynamic = products > _WORTH_TRYING * (products + sizes.get("Conv", 0))
    return ("dynamic", "static") if tries_dynamic else ("static",)


def best_of(subject: Subject, trials: Sequence[Trial], most_loss: float) -> Trial:
    """See :func:`chosen_among`, of those that keep the score; where none does, the one that loses least."""
    from pretune.evaluation.latency import measure_latency
    from pretune.tasks.predicting import answering

    task, items, device = subject.task, subject.items, subject.device
    calls = {
        str(place): answering(task, subject.open(trial.path), items, 1, device) for place, trial in enumerate(trials)
    }
    for place, latency in measure_latency(calls, seconds=_TIMED_SECONDS).items():
        trials[int(place)].latency = latency
    good = [trial for trial in trials if trial.lost <= subject.allowed(most_loss)]
    return chosen_among(good) if good else min(trials, key=lambda trial: trial.lost)


def chosen_among(trials: Sequence[Trial]) -> Trial:
    """The one that loses least, the first of equals; one after it in that order only where it is clearly faster
    (:meth:`~pretune.evaluation.latency.Latency.is_clearly_under`): the same graph gives the same choice again.
    """
    chosen, *others = sorted(trials, key=lambda trial: trial.lost)
    for trial in others:
        if trial.latency and chosen.latency and trial.latency.is_clearly_under(chosen.latency):
            chosen = trial
    return chosen


def keep_what_loses(subject: Subject, trial: Trial, most_loss: float) -> list[Trial]:
    """More and more of the most sensitive layers in float, until the score is kept or half of them are."""
    from pretune.compress.sensitivity import sensitivities

    bar = subject.say.progress(None, "looking for the layers that lose")
    groups = sensitivities(
        subject.prepared, subject.layers, trial.recipe, subject.feeds, subject.answer, on_group=bar.update
    )
    bar.close()
    found, count = [], 1
    while count <= len(groups) / 2:
        kept = (*trial.recipe.keep_float, *(name for group in groups[:count] for name in group.layers))
        recipe = dataclasses.replace(trial.recipe, keep_float=kept)
        found.append(subject.attempt(recipe, f"{trial.path.stem}-float-{count}"))
        if found[-1].lost <= subject.allowed(most_loss):
            break
        count *= 2
    return found
