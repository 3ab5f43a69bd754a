"""A learning rate that is lowered where evaluations get no better, and the end of learning where that no longer helps."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plateau"]

LEAST_SHARE = 0.01
"""Of the peak rate: learning ends in place of going below it."""


@dataclass
class Plateau:
    """Counts evaluations without a better result; after ``patience`` of them the rate is times ``factor``.

    The rule of :class:`torch.optim.lr_scheduler.ReduceLROnPlateau`, with a state of two whole numbers that a checkpoint keeps
    and with an end: a rate that would fall below :data:`LEAST_SHARE` of the peak ends the run.
    """

    patience: int
    factor: float
    waited: int = 0
    lowered: int = 0

    @property
    def reduction(self) -> float:
        """Share of the rate that is left."""
        return self.factor**self.lowered

    @property
    def is_over(self) -> bool:
        """Has lowering the rate ceased to help?"""
        return self.reduction < LEAST_SHARE

    def note(self, better: bool) -> bool:
        """Count an evaluation; True where the rate is lower from now on."""
        self.waited = 0 if better else self.waited + 1
        if self.waited < self.patience or self.is_over:
            return False
        self.waited, self.lowered = 0, self.lowered + 1
        return True

    def to_dict(self) -> dict[str, int]:
        """For a checkpoint."""
        return {"waited": self.waited, "lowered": self.lowered}

    def load(self, state: dict[str, int]) -> None:
        """Take that back."""
        self.waited, self.lowered = state["waited"], state["lowered"]
