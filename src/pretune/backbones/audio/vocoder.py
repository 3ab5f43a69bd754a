"""Sound made of log-mel frames by a trained WaveNet, sample by sample.

Shapes: B clips at a time, F frames, M mel bands, T samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pretune.backbones.audio.sampler import Sampler, sound_of
from pretune.backbones.load import load_backbone
from pretune.backbones.own import WAVENET
from pretune.errors import ModelError, UsageError

if TYPE_CHECKING:
    from pretune.modalities.audio.mel import MelSpec

__all__ = ["TEMPERATURE", "WaveNetVocoder", "vocoder_in"]

TEMPERATURE = 0.9
"""Under 1 fewer samples are drawn that break a wave; at 1 they are what the model thinks likely."""


class WaveNetVocoder:
    """``model`` is a :class:`pretune.backbones.audio.wavenet_model.WaveNetModel`; its frames have to be those of ``mel``.

    Raises :class:`ModelError` where they are made otherwise.
    """

    def __init__(self, model: Any, mel: MelSpec, name: str) -> None:
        if model.config.mel != mel.to_dict():
            raise ModelError(
                f"{name} was learned with spectra of {model.config.mel}, the voice says frames of {mel.to_dict()}",
                "train both at one rate, from presets with the same mel bands (40: tacotron-tiny and -mini)",
            )
        self._network, self._mel = model.wavenet, mel
        self._sampler = Sampler.of(model.wavenet)

    def sounds(self, mels: Sequence[np.ndarray], keys: Sequence[int]) -> list[np.ndarray]:
        """Samples (T,) of clips of frames (F, M), drawn by their keys: a clip is the same in every batch."""
        frames_BFM = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in mels], batch_first=True)
        with torch.inference_mode():
            device = self._network.table.weight.device
            given_B = torch.ones(len(mels), dtype=torch.bool, device=device)
            heard_BFN2 = self._network.heard(frames_BFM.to(device), given_B).float().cpu().numpy()
        lengths = [max(0, len(one) - 1) * self._mel.hop for one in mels]
        rngs = [np.random.default_rng([key, 1]) for key in keys]
        codes_BT = self._sampler.draw(heard_BFN2, max(lengths), rngs, TEMPERATURE)
        return [sound_of(row[:length], self._network.codes) for row, length in zip(codes_BT, lengths, strict=True)]


def vocoder_in(folder: str, mel: MelSpec) -> WaveNetVocoder:
    """The WaveNet of a folder or run. Raises :class:`UsageError` where it holds none, :class:`ModelError` where its frames are others."""
    found = load_backbone(folder)
    if found.config.model_type != WAVENET:
        raise UsageError(
            f"--vocoder {folder} is no WaveNet ({found.config.model_type})",
            "make one of the same clips: pretune pretrain scratch:wavenet-tiny --data CLIPS",
        )
    model, report = found.build("AutoModel", seed=0)
    if report.initialised:
        raise UsageError(
            f"--vocoder {folder} was fine-tuned: its layers hear, and nothing in it tells the next sample any more",
            "give the run of pretune pretrain that it began from",
        )
    return WaveNetVocoder(model.eval(), mel, folder)
