"""ONNX graphs that say a text (:mod:`pretune.export.speaking_graphs`) as a module that a task calls as it calls the voice that they were made from.

Shapes: B rows, L letters, S steps, F frames, M mel bands, P units of the pre-net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from pretune.backbones.audio.tacotron import Decoded
from pretune.backbones.graph_parts import encoder_beside, postnet_beside
from pretune.engine.randomness import dropout_mask, row_keys
from pretune.errors import ModelError
from pretune.export.graphs.speaking import SpeakingGraph
from pretune.export.onnx_model import ALONE, open_session
from pretune.modalities.audio.speech_steps import FRAMES, Said, SpeechSteps

__all__ = ["GraphSpeaker"]

_DROPOUT = 0.5
"""Of the pre-net's units while ranges are measured, that of the paper."""


class GraphSpeaker(SpeakingGraph):
    """Called, it is told the true frames before each step; :meth:`say` goes on from its own. It has no parameters."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Raises :class:`ModelError` for graphs that are damaged or do not belong together."""
        super().__init__()
        self.path = path
        step = open_session(path, threads=threads, gives=FRAMES)
        encoder = open_session(encoder_beside(path), threads=threads, gives="memory")
        postnet = open_session(postnet_beside(path), threads=threads, gives="polished")
        wanted = {one.name: one.shape[-1] for one in step.get_inputs()}
        made = {one.name: one.shape[-1] for one in encoder.get_outputs()}
        bands = {one.name: one.shape[-1] for one in postnet.get_inputs()}.get("spoken")
        if made != {name: wanted.get(name) for name in made} or bands != wanted.get("frame"):
            raise ModelError(f"{path} and the graphs beside it are not of one model", "copy the folder again, or export anew")  # fmt: skip
        self.alone = ALONE in step.get_modelmeta().custom_metadata_map
        self.units = next(one.shape[-1] for one in step.get_inputs() if one.name == "keep")
        self.steps = SpeechSteps(step, encoder, postnet)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor, frames: torch.Tensor,
        frame_mask: torch.Tensor, keep: torch.Tensor,
    ) -> Decoded:  # fmt: skip
        """As :meth:`pretune.backbones.audio.tacotron_model.TacotronForTextToSpectrogram.forward`."""

        def said(rows: slice) -> Said:
            read = self._read(input_ids[rows], attention_mask[rows], voice_ids[rows])
            return self.steps.forced(read, *(one[rows].cpu().numpy() for one in (frames, frame_mask, keep)))

        return _decoded(self._by_rows(said, len(input_ids)), input_ids.device)[0]

    def say(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, voice_ids: torch.Tensor, most_steps: torch.Tensor,
        draw: Callable[[int], torch.Tensor],
    ) -> tuple[Decoded, torch.Tensor]:  # fmt: skip
        """As :meth:`pretune.backbones.audio.tacotron_model.TacotronForTextToSpectrogram.say`."""

        def said(rows: slice) -> Said:
            read = self._read(input_ids[rows], attention_mask[rows], voice_ids[rows])
            return self.steps.free(read, most_steps[rows].cpu().numpy(), lambda step: draw(step)[rows].cpu().numpy())

        return _decoded(self._by_rows(said, len(input_ids)), input_ids.device)

    def feeds(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """What its graphs are given while these rows are said, by the names of the inputs of all three."""
        ids_BL, mask_BL, voices_B = (inputs[name].cpu().numpy() for name in ("input_ids", "attention_mask", "voice_ids"))  # fmt: skip
        keys_B = row_keys(0, "ranges", 0, np.arange(len(ids_BL)))
        return self.steps.feeds(
            ids_BL,
            mask_BL.sum(axis=1),
            voices_B,
            lambda step: dropout_mask(keys_B, (2, self.units), _DROPOUT, purpose=step),
        )

    def _read(self, ids_BL: torch.Tensor, mask_BL: torch.Tensor, voices_B: torch.Tensor) -> Mapping[str, np.ndarray]:
        ids, mask, voices = (one.cpu().numpy() for one in (ids_BL, mask_BL, voices_B))
        lengths_B = mask.sum(axis=1)
        return self.steps.read(ids[:, : lengths_B.max()], lengths_B, voices)

    def _by_rows(self, said: Callable[[slice], Said], rows: int) -> list[Said]:
        """All rows together; one after the other where the graph asks for that."""
        return [said(slice(row, row + 1)) for row in range(rows)] if self.alone else [said(slice(None))]


def _decoded(parts: list[Said], device: torch.device) -> tuple[Decoded, torch.Tensor]:
    """What was said of some rows after others as one; those with fewer steps or letters end in zeros."""
    found = []
    for several in zip(*parts, strict=True):
        shape = np.max([one.shape[1:] for one in several], axis=0)
        grown = [np.pad(one, [(0, 0), *((0, int(most) - size) for most, size in zip(shape, one.shape[1:], strict=True))]) for one in several]  # fmt: skip
        found.append(torch.from_numpy(np.concatenate(grown)).to(device))
    return Decoded(*found[:4]), found[4]
