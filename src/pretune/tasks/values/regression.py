"""One number a row, whatever its rows are made of: scale, loss, answer, what simple methods are held against.

Shapes: B items of a batch, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from pretune.answers import Value
from pretune.errors import DataError, ModelError
from pretune.metrics.base import Metric
from pretune.metrics.regression import RegressionMetric
from pretune.schema import Check, number
from pretune.tasks.base import Task
from pretune.tasks.baselines.parts import KnownNumbers
from pretune.tasks.blocks.regression import regression_blocks
from pretune.tasks.inputs.row_task import RowTask, training_rows
from pretune.types import Encoded, Target
from pretune.wording import counted, figure

if TYPE_CHECKING:
    from datasets import Dataset

    from pretune.backbones.load import Backbone
    from pretune.config import TaskSettings
    from pretune.data.splits import Splits

__all__ = ["Regression"]

_FEW_RECORDS = 10
_CLOSE = 1e-2
"""Numbers of two engines that lie closer, in units of the training spread, are the same."""
_FLAT = 1e-3
"""Answers that differ by less, in units of the training spread, tell rows apart by nothing."""


class Regression(RowTask):
    """A number a row. Models answer in units of the training rows' spread from their ``mean``: the loss is the squared error so."""

    answer: ClassVar[str] = Value.kind
    problem_type: ClassVar[str] = "regression"
    metric_type: ClassVar[type[Metric]] = RegressionMetric
    kept: ClassVar[Mapping[str, Check]] = {"mean": number(), "spread": number(above=0)}

    def __init__(self, labels: Sequence[str] = (), *, mean: float = 0.0, spread: float = 1.0) -> None:
        super().__init__(labels)
        self.mean, self.spread = mean, spread

    @classmethod
    def check(cls, data: Splits) -> None:
        """Do the numbers differ?"""
        cls._scale(data)

    @classmethod
    def _scale(cls, data: Splits) -> dict[str, float]:
        """Mean and standard deviation of the training rows' numbers. Raises :class:`DataError` where all are alike."""
        train = training_rows(data, cls.answer)
        numbers = np.array([one for one in train[cls.answer] if one is not None], dtype=np.float64)
        spread = float(numbers.std()) if len(numbers) else 0.0
        if spread <= 0:
            raise DataError(
                f"the training rows have {counted(len(np.unique(numbers)), 'number')}, and nothing can be learned from that",
                f"is --column {cls.answer}=... the right one?",
            )
        return {"mean": float(numbers.mean()), "spread": spread}

    @classmethod
    def options_of(cls, data: Splits, settings: TaskSettings) -> tuple[list[str], dict[str, Any]]:
        """No labels; the scale of the training rows."""
        return [], cls._scale(data)

    @classmethod
    def saved_options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        """The scale."""
        return {"mean": float(about["mean"]), "spread": float(about["spread"])}

    @property
    def tolerance(self) -> float:
        """In the unit of the data."""
        return _CLOSE * self.spread

    @property
    def num_outputs(self) -> int:
        """One."""
        return 1

    def head_config(self) -> dict[str, Any]:
        """One output."""
        return {"num_labels": self.num_outputs}

    def student(self, data: Splits, backbone: Backbone, settings: TaskSettings) -> Self:
        """See :class:`pretune.tasks.base.Task`: on the teacher's scale."""
        student = super().student(data, backbone, settings)
        student.mean, student.spread = self.mean, self.spread
        return student

    def check_teacher(self, teacher: Task) -> None:
        """See :class:`pretune.tasks.base.Task`."""
        if not isinstance(teacher, Regression) or (teacher.mean, teacher.spread) != (self.mean, self.spread):
            raise ModelError(
                f"the teacher ({teacher.name}) answers on another scale",
                "teach with a model of numbers of the same scale",
            )

    def numbered(self, answer: float) -> float:
        """In units of the spread."""
        return (float(answer) - self.mean) / self.spread

    def target_of(self, target: Target | None) -> float | None:
        """In units of the spread."""
        assert target is None or isinstance(target, Value), f"{type(target).__name__} is no number"
        return None if target is None else self.numbered(target.number)

    def shares_of(self, target: Any) -> np.ndarray:
        """The number alone, float32 (1,)."""
        return (
            target if isinstance(target, np.ndarray) else np.array([np.nan if target is None else target], np.float32)
        )

    def targets_and_weights(self, rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers (B,), NaN for unlabelled items."""
        targets_B = torch.from_numpy(np.array([self.shares_of(row.target)[0] for row in rows], dtype=np.float32))
        return targets_B, torch.tensor([row.weight for row in rows], dtype=torch.float32)

    def labelled_targets(self, targets: torch.Tensor) -> torch.Tensor:
        """Those that are numbers."""
        return ~targets.isnan()

    def losses(self, logits_BC: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The squared error in units of the spread."""
        return (logits_BC[:, 0] - targets).square()

    def divergences(self, logits_BC: torch.Tensor, teachers_BC: torch.Tensor, temperature: float) -> torch.Tensor:
        """The squared distance from the teacher's number; a temperature changes nothing."""
        return (logits_BC[:, 0] - teachers_BC[:, 0]).square()

    def outputs_of(self, logits_BC: torch.Tensor) -> torch.Tensor:
        """As the model gives them."""
        return logits_BC

    def answer_of(self, outputs_C: Sequence[float]) -> float:
        """In the unit of the data."""
        return self.mean + self.spread * outputs_C[0]

    def truths(self, dataset: Dataset) -> list[Any]:
        """The numbers."""
        return [None if cell is None else float(cell) for cell in self.cells(dataset)]

    def warnings(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Says when rows of different numbers are all given the same one."""
        if len(records) < _FEW_RECORDS or len({record["truth"] for record in records}) < 2:
            return []
        if np.ptp([record[self.answer] for record in records]) > _FLAT * self.spread:
            return []
        return [
            f"All {counted(len(records))} are given about the same number, {figure(records[0][self.answer], 4)}: the model does not tell them "
            "apart. Learn longer (--epochs) or from a pre-trained backbone."
        ]

    def blocks(self, records: Sequence[Mapping[str, Any]], rows: Any) -> list[dict[str, Any]]:
        """Answers beside truths, errors by size of the truth, the worst rows."""
        truth_N, answer_N = (np.array([record[key] for record in records]) for key in ("truth", self.answer))
        return regression_blocks(truth_N, answer_N, rows, shown=self.shown)

    def known_answers(self, train: Dataset, rows: Dataset) -> KnownNumbers:
        """The numbers of both."""
        train_M, truth_N = (np.array(part[self.answer], dtype=np.float64) for part in (train, rows))
        return KnownNumbers(
            train_M, truth_N, lambda answer_N, truth_N: RegressionMetric().of_numbers(truth_N, answer_N)
        )

    def to_dict(self) -> dict[str, Any]:
        """Name and scale."""
        return {**super().to_dict(), "mean": self.mean, "spread": self.spread}
