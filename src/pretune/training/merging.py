"""What low rank learned goes into the weights at the end of a run, and the folder that is written is read again and asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pretune.errors import RunError
from pretune.training.learning import Learning

if TYPE_CHECKING:
    import torch

    from pretune.runfolder import RunFolder
    from pretune.training.setup import Setup
    from pretune.types import Batch

__all__ = ["Merged", "merge"]

_ROWS = 32
_CLOSE = 1e-3
"""Largest difference of outputs, over their spread, between the model that learned and its folder: the numbers are the same, their sums may be ordered otherwise."""


@dataclass(frozen=True)
class Merged:
    """``matrices`` were merged; before that the model said ``logits`` of the items of ``batch``."""

    matrices: int
    batch: Batch
    logits: torch.Tensor

    def check(self, run: RunFolder, learning: Learning) -> dict[str, Any]:
        """Ask the folder the same, its head too; what run.json says of it. Raises :class:`RunError` where it answers otherwise."""
        from pretune.runs.proven import open_model

        opened = open_model(run.model_dir)
        again = _logits(opened.task, opened.model.to(learning.device.device), self.batch)
        apart = float((again - self.logits).abs().max()) if again.shape == self.logits.shape else float("inf")
        if not apart <= _CLOSE * max(1.0, float(self.logits.abs().max())):
            raise RunError(
                f"{run.model_dir} answers otherwise than the model that learned: outputs lie up to {apart:.3g} apart",
                "its checkpoints are kept; report this as a fault of pretune, and take --adapt full meanwhile",
            )
        return {"matrices": self.matrices, "rows": len(self.batch.ids), "largest_difference": apart}


def merge(setup: Setup, learning: Learning) -> Merged | None:
    """Merge what low rank learned into the model, in place; None where nothing did."""
    from pretune.backbones.adaptation.lora import low_rank_names, merge_low_rank

    if not low_rank_names(learning.model):
        return None
    assert setup.task is not None, "low rank is learned by tasks"
    rows = setup.rows["validation"]
    batch = setup.task.collate([rows[i] for i in range(min(_ROWS, len(rows)))]).to(learning.device.device)
    logits = _logits(setup.task, learning.model, batch)
    return Merged(merge_low_rank(learning.model), batch, logits)


def _logits(task: Any, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """In float32, without dropout."""
    import torch

    from pretune.backbones.adaptation.modes import evaluating

    with evaluating(model), torch.inference_mode():
        return task.logits_of(model, batch).float()
