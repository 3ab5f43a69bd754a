"""Learning from few labels and many rows without: a model's own sure answers are what its answers to varied rows are held to.

Pseudo-labels (Lee 2013, ICML workshop) and FixMatch (Sohn et al. 2020, arXiv 2001.07685), the latter with AdaMatch's relative
threshold and distribution alignment (Berthelot et al. 2022, arXiv 2106.04732, section 4): a fixed threshold and no alignment
lose to labelled rows alone on text (USB, Wang et al. 2022, arXiv 2208.07204). Mean teacher (Tarvainen & Valpola 2017, arXiv 1703.01780,
section 2): an average of the weights answers, and the model's probabilities are held to its own by their squared distance, where it is sure
enough (French et al. 2018, arXiv 1706.05208, section 3.2).
Shapes: B labelled rows, U unlabelled rows of an update, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch.nn import functional

from pretune.backbones.adaptation.adapt import Adaptation
from pretune.engine.average import Average
from pretune.engine.batching import Stream
from pretune.engine.fit import Objective
from pretune.objectives.supervised import Supervised, learned_item
from pretune.tasks.classes.classification import Classification
from pretune.tasks.protocols import EncodedRows
from pretune.types import Batch, Encoded, Feed, Loss

__all__ = ["METHODS", "Consistency", "Method", "accepted"]

_MOMENTUM = 0.9
"""Of the running means; published runs have 0.999 over 100,000s of updates, ours some hundreds."""


@dataclass(frozen=True)
class Method:
    """``is_relative``: the threshold is a share of how sure the model is of labelled rows; ``aligns``: answers are moved towards the
    labelled rows' shares of classes; ``varies``: what is learned are answers to varied rows; ``averages``: an average of the weights gives them.
    """

    is_relative: bool
    aligns: bool
    varies: bool
    averages: bool = False


METHODS = {
    "pseudo-labels": Method(is_relative=False, aligns=False, varies=False),
    "fixmatch": Method(is_relative=True, aligns=True, varies=True),
    "mean-teacher": Method(is_relative=True, aligns=False, varies=True, averages=True),
}


def accepted(probabilities_UC: torch.Tensor, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The class that each row is sure of, (U,), and whether it is sure enough, bool (U,)."""
    sure_U, class_U = probabilities_UC.max(dim=1)
    return class_U, sure_U >= threshold


@final
class Consistency(Objective):
    """Learn ``plain`` from labelled rows, and from rows without labels (``ratio`` times as many an update): the answers of ``weak`` that
    are sure enough (at least ``threshold``) are the labels of the same rows as ``strong`` varies them.

    Both terms have a count of their own: labelled rows, and all unlabelled rows, accepted or not. Where the method ``averages``, ``teacher``
    is the run's average of the weights, which is what is evaluated and kept.
    """

    log_names: tuple[str, ...] = ("accepted",)

    def __init__(
        self, plain: Classification, weak: Classification, strong: Classification, adaptation: Adaptation,
        *, method: Method, threshold: float, weight: float, ratio: int, shares_C: np.ndarray,
    ) -> None:  # fmt: skip
        self.supervised = Supervised(plain, adaptation)
        self.plain, self.weak, self.strong = plain, weak, strong
        self.adaptation = adaptation
        self.method, self.threshold, self.ratio = method, threshold, ratio
        self.weights: Mapping[str, float] = {"labelled": 1.0, "unlabelled": weight}
        self.shares_C = torch.as_tensor(shares_C, dtype=torch.float32)
        self.answered_C = torch.full_like(self.shares_C, 1.0 / len(self.shares_C))
        self.sureness = torch.tensor(1.0)
        self.teacher: Average | None = None

    def streams(
        self, labelled: EncodedRows, unlabelled: EncodedRows, *, batch_size: int, group_by_length: bool
    ) -> dict[str, Stream]:
        """Labelled rows, which say what an epoch is, and unlabelled ones in two variations of the same rows."""
        plain = self.supervised.streams(labelled, batch_size=batch_size, group_by_length=group_by_length)["labelled"]

        def collate_labelled(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            batch = plain.collate(rows_R, keys_R)["labelled"]
            batch.counts = {"labelled": batch.num_items}
            return {"labelled": batch}

        def collate(rows_R: np.ndarray, keys_R: np.ndarray) -> Feed:
            pairs = [(int(row), int(key)) for row, key in zip(rows_R, keys_R, strict=True)]
            weak, strong = (self._varied(task, unlabelled, pairs) for task in (self.weak, self.strong))
            weak.counts, strong.counts = {}, dict.fromkeys(("unlabelled", "accepted"), float(len(pairs)))
            return {"weak": weak, "strong": strong}

        return {
            "labelled": Stream(labelled.lengths_N, collate_labelled, batch_size, group_by_length, is_whole=True),
            "unlabelled": Stream(
                unlabelled.lengths_N, collate, batch_size * self.ratio, group_by_length, is_whole=True
            ),
        }

    @staticmethod
    def _varied(task: Classification, rows: EncodedRows, pairs: list[tuple[int, int]]) -> Batch:
        items = [learned_item(task, rows, row, key) for row, key in pairs]
        return task.collate([Encoded(item.id, item.arrays, item.cost, None, item.weight) for item in items])

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Training mode; what does not learn at ``progress`` rests in eval mode, its dropout too."""
        self.adaptation.train(model, progress)

    def loss(self, model: torch.nn.Module, feed: Feed, rng: torch.Generator) -> Loss:
        """See the class. ``log`` holds how many unlabelled rows were accepted, of all of them."""
        batch = feed["labelled"]
        taught_UC = (
            self._taught(model, feed["weak"]) if self.method.averages else None
        )  # before any graph is made of the weights
        logits_BC = self.plain.logits_of(model, batch)
        known_B = self.plain.hard_losses(logits_BC, batch).sum()
        weak_UC = self._weak(model, feed["weak"]) if taught_UC is None else taught_UC
        class_U, is_sure_U = self._labels(logits_BC.detach().float().softmax(dim=1), weak_UC)
        strong_UC = self.strong.logits_of(model, feed["strong"]).float()
        if taught_UC is None:
            apart_U = functional.cross_entropy(strong_UC, class_U, reduction="none")
        else:
            apart_U = ((strong_UC.softmax(dim=1) - taught_UC) ** 2).sum(dim=1)
        return Loss(
            {"labelled": known_B, "unlabelled": (apart_U * is_sure_U).sum()},
            {"accepted": float(is_sure_U.sum())},
        )

    @torch.no_grad()
    def _weak(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(U, C) probabilities."""
        return self.weak.logits_of(model, batch).float().softmax(dim=1)

    def _taught(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """(U, C) probabilities that the averaged weights give."""
        assert self.teacher is not None, "a mean teacher is given its average"
        with self.teacher.in_place():
            return self._weak(model, batch)

    def _labels(self, known_BC: torch.Tensor, weak_UC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What unlabelled rows are labelled with, and which of them."""
        threshold = self.threshold
        if self.method.is_relative:
            now = known_BC.max(dim=1).values.mean().cpu()
            self.sureness = _MOMENTUM * self.sureness + (1 - _MOMENTUM) * now
            threshold *= float(self.sureness)
        if self.method.aligns:
            self.answered_C = _MOMENTUM * self.answered_C + (1 - _MOMENTUM) * weak_UC.mean(dim=0).cpu()
            ratio_C = (self.shares_C / self.answered_C.clamp(min=1e-6)).to(weak_UC.device)
            weak_UC = functional.normalize(weak_UC * ratio_C, p=1, dim=1)
        return accepted(weak_UC, threshold)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The running means."""
        return {"answered": self.answered_C.clone(), "sureness": self.sureness.clone()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take them back."""
        self.answered_C, self.sureness = state["answered"].clone(), state["sureness"].clone()
