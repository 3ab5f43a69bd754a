"""ONNX graphs that write (:mod:`pretune.export.writing_graphs`) as a module that a task calls as it calls the model that they were made from.

Shapes: B rows, L tokens written, T tokens read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pretune.backbones.graph_parts import encoder_beside, lengths_beside, postnet_beside
from pretune.backbones.writing.token_search import Steps
from pretune.errors import ModelError
from pretune.export.graphs.at_once import GraphAtOnce
from pretune.export.graphs.speaker import GraphSpeaker
from pretune.export.graphs.speaking import SpeakingGraph
from pretune.export.onnx_model import Answer, OnnxModel, open_session

__all__ = ["GraphWriter", "open_graph"]


def open_graph(path: Path, *, threads: int | None = None) -> OnnxModel | GraphWriter | SpeakingGraph:
    """The graph at ``path`` (with the parts beside it, where it has these). Raises :class:`ModelError` as they do."""
    if postnet_beside(path).exists():
        return GraphSpeaker(path, threads=threads)
    if lengths_beside(path).exists():
        return GraphAtOnce(path, threads=threads)
    found = OnnxModel(path, threads=threads)
    return GraphWriter(found, threads=threads) if any(name.startswith("past_") for name in found.input_types) else found


class GraphWriter(nn.Module):
    """``steps`` write token by token; called, it gives the logits after known tokens, all at once. It has no parameters.

    ``alone``: rows are answered one after the other (:data:`~pretune.export.onnx_model.ALONE`); ``width`` is the size of its vocabulary.
    """

    def __init__(self, step: OnnxModel, *, threads: int | None = None) -> None:
        """Raises :class:`ModelError` for graphs that are damaged or do not belong together."""
        super().__init__()
        self.path, self.width, self.alone = step.path, step.width, step.alone
        wanted = {one.name: one.shape[1] for one in step.session.get_inputs() if one.name.startswith("cross_")}
        place = encoder_beside(step.path)
        encoder = open_session(place, threads=threads, gives="cross_key_0") if wanted else None
        if encoder is not None and wanted != {one.name: one.shape[1] for one in encoder.get_outputs()}:
            raise ModelError(
                f"{step.path} and {place.name} are not of one model", "copy the folder again, or export anew"
            )
        self.steps = Steps(step.session, encoder)

    def forward(self, *, use_cache: bool = False, **inputs: torch.Tensor) -> Answer:
        """Logits (B, L, V) after each of the tokens that are told; nothing is kept of them."""
        assert not use_cache, "what is written step by step is asked of `steps`"
        arrays = {name: value.cpu().numpy().astype(np.int64) for name, value in inputs.items()}
        told = (arrays["input_ids"], arrays["attention_mask"], arrays.get("decoder_input_ids"))
        if self.alone:
            rows = [self._alone(*(None if one is None else one[row : row + 1] for one in told)) for row in range(len(told[0]))]  # fmt: skip
            logits_BLV = np.concatenate(rows)
        else:
            logits_BLV, _ = self.steps.begin(*told)
        return Answer(torch.from_numpy(logits_BLV).float().to(inputs["input_ids"].device))

    def feeds(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """What its graphs are given for known tokens, by the names of the inputs of both."""
        arrays = {name: value.cpu().numpy().astype(np.int64) for name, value in inputs.items()}
        state = self.steps.opened(arrays["input_ids"], arrays["attention_mask"])
        told = self.steps.feed(arrays[self.steps.reads], state, arrays["attention_mask"])
        return {**arrays, **told}

    def _alone(self, ids_1T: Any, mask_1T: Any, told_1L: Any) -> np.ndarray:
        """One row without the padding beside what it reads; of a decoder zeros stand there."""
        real_T = mask_1T[0] > 0
        logits, _ = self.steps.begin(ids_1T[:, real_T], mask_1T[:, real_T], told_1L)
        if told_1L is not None:
            return logits
        found = np.zeros((1, len(real_T), logits.shape[-1]), dtype=logits.dtype)
        found[:, real_T] = logits
        return found
