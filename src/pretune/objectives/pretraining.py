"""What ``pretune pretrain`` needs of an objective that learns from rows without labels.

One final class a paradigm, listed in :data:`pretune.objectives.PRETRAININGS`. Scores are functions of sums over held-out
rows, as for tasks. Shapes: N rows, K statistics.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import torch

from pretune.backbones.adaptation.adapt import Adaptation
from pretune.engine.fit import Objective
from pretune.metrics.base import Measured, ScoreSpec, Sums
from pretune.modalities import Modality
from pretune.tasks.protocols import EncodedRows, PartsPace

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedConfig

    from pretune.backbones.load import Backbone, LoadReport
    from pretune.config import PretrainingSettings
    from pretune.data.splits import Splits
    from pretune.engine.batching import Stream
    from pretune.engine.devices import Device

__all__ = ["Measure", "Pretraining"]


class Measure(NamedTuple):
    """Scores of rows of their own, and what to say of them."""

    measured: Measured
    note: str


class Pretraining(Objective):
    """Learning from unlabelled rows. ``model`` is what learns, ``adaptation`` (set before learning) what of it learns when.

    ``columns`` are those it reads; ``default_epochs`` are passes for fresh and for trained weights, ``default_batch_size``
    the rows of an update where the settings name none, ``reads`` the settings that it looks at and other objectives may not,
    ``specs`` its scores and ``primary`` the one by which a model is kept, ``models`` what :meth:`suits` asks for, in words, ``reading`` how to read the scores.
    """

    name: ClassVar[str]
    modalities: ClassVar[tuple[Modality, ...]]
    columns: ClassVar[tuple[str, ...]]
    primary: str
    specs: Mapping[str, ScoreSpec]
    default_epochs: tuple[float, float]
    default_batch_size: int = 64
    reads: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[str] = "any model"
    reading: str
    model: torch.nn.Module
    report: LoadReport
    adaptation: Adaptation

    @property
    def title(self) -> str:
        """What a run of it is said to learn."""
        return self.name

    @classmethod
    def suits(cls, config: PreTrainedConfig) -> bool:
        """Can a model of this config be pre-trained so?"""
        return True

    @classmethod
    @abstractmethod
    def start(cls, data: Splits, backbone: Backbone, settings: PretrainingSettings, *, seed: int) -> Self:
        """Model and objective before anything is learned. Raises :class:`pretune.errors.PretuneError` where they do not fit."""

    def parts_pace(self, backbone: Backbone) -> PartsPace | None:
        """How fast the model learns, where the objective says so."""
        return None

    @abstractmethod
    def encode_rows(self, dataset: Dataset, *, fingerprint: str) -> EncodedRows:
        """Every row as arrays, kept on disk under ``fingerprint``."""

    def begin(self, rows: EncodedRows, *, fingerprint: str) -> str:
        """Give fresh weights what can be counted in the training rows rather than learned; returns what they got, in words.

        What was counted is kept on disk under ``fingerprint``.
        """
        return ""

    def advice(self, rows: EncodedRows) -> str:
        """What a person should know before so few training rows are learned from; "" for nothing."""
        return ""

    @abstractmethod
    def streams(self, rows: EncodedRows, *, batch_size: int, group_by_length: bool) -> dict[str, Stream]:
        """What each update draws."""

    def prepare(self, model: torch.nn.Module, progress: float) -> None:
        """Training mode; what does not learn at ``progress`` rests in eval mode."""
        self.adaptation.train(model, progress)

    @abstractmethod
    def statistics(
        self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """(N, K) of held-out rows, alike at every call; ``on_batch`` is told how many rows each batch had."""

    @abstractmethod
    def scores(self, sums_K: np.ndarray) -> dict[str, np.ndarray]:
        """Every score of (..., K) summed statistics."""

    def measure(self, rows: EncodedRows, device: Device, on_batch: Callable[[int], None] | None = None) -> Measured:
        """Held-out rows measured; see :meth:`statistics`."""
        return Sums(self.statistics(rows, device, on_batch), self.scores)

    def measures(self, rows: EncodedRows, device: Device) -> Sequence[Measure]:
        """What else is worth measuring once, at the end."""
        return ()

    def blocks(self, rows: EncodedRows) -> list[dict[str, Any]]:
        """Report blocks that show what was learned from."""
        return []

    def warnings(self) -> Sequence[str]:
        """What went wrong with the representation, in plain words (collapse); nothing when all is well."""
        return ()

    def saved(self) -> torch.nn.Module:
        """What ``model/`` holds: the part that others load."""
        return self.model

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """What ``pretune.json`` beside the model says."""
