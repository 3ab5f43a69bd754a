"""What graphs of all kinds of voices have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

__all__ = ["SpeakingGraph"]


class SpeakingGraph(nn.Module):
    """A voice as graphs. ``alone``: rows are said one after the other (:data:`~pretune.export.onnx_model.ALONE`); ``width`` is None: frames
    are no classes.
    """

    width: int | None = None
    path: Path
    alone: bool

    @abstractmethod
    def feeds(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """What its graphs are given while these rows are said, by the names of the inputs of all of them."""
