"""Log-mel features of a clip, for models that read features in place of samples.

They are those of Kaldi's filter bank (Povey et al. 2011) as transformers' ``SeamlessM4TFeatureExtractor`` has them, with
all windows of a clip computed at once: the extractor goes window by window, which takes longer than a small model's update.

Shapes: T samples of a clip (int16), W windows, M mel bands, F frames of S stacked windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

__all__ = ["Filterbank", "filterbank_of"]

WINDOW, HOP = 400, 160
"""In samples, at any rate: the extractor knows no others."""

_FFT = 512
_EMPHASIS = 0.97
_LOWEST_HZ = 20
_LEAST_POWER = float(np.finfo(np.float32).eps)
_LEAST_VARIANCE = 1e-7


@dataclass(frozen=True)
class Filterbank:
    """``bands`` mel bands of sound of ``rate`` Hz, ``stack`` windows a frame. ``even``: every ``band`` of a clip gets mean 0 and variance 1,
    so that a voice keeps its words and a steady hum vanishes, or all of the ``clip`` together, so that a hum is heard and loudness is not.
    """

    rate: int
    bands: int
    stack: int
    even: str = "band"

    @property
    def kernels(self) -> tuple[int, int]:
        """Widths of the two steps from samples to frames: samples of a window, windows of a frame."""
        return WINDOW, self.stack

    @property
    def strides(self) -> tuple[int, int]:
        """How far each step moves on: samples between windows, windows between frames."""
        return HOP, self.stack

    def features(self, clip_T: np.ndarray, hidden_M: np.ndarray | None = None) -> np.ndarray:
        """(F, S * M) float32: with mean 0 and variance 1 over the clip (:attr:`even`), windows side by side.

        Bands of ``hidden_M`` (bool) are set to 0: SpecAugment's masks in frequency (Park et al. 2019, section 2).
        """
        bands_WM = self.log_mel(clip_T)
        over = 0 if self.even == "band" else None
        even_WM = (bands_WM - bands_WM.mean(axis=over)) / np.sqrt(bands_WM.var(axis=over, ddof=1) + _LEAST_VARIANCE)
        if hidden_M is not None:
            even_WM[:, hidden_M] = 0.0
        frames = len(even_WM) // self.stack
        return even_WM[: frames * self.stack].reshape(frames, -1)

    def log_mel(self, clip_T: np.ndarray) -> np.ndarray:
        """Natural logarithm of the power in each band, (W, M) float32, of samples in the scale of 16 bits."""
        windows_WT = np.lib.stride_tricks.sliding_window_view(clip_T.astype(np.float64), WINDOW)[::HOP]
        centred_WT = windows_WT - windows_WT.mean(axis=1, keepdims=True)
        # The window's first sample has no sample before it: it counts as its own.
        before_WT = np.concatenate([centred_WT[:, :1], centred_WT[:, :-1]], axis=1)
        spectrum = np.fft.rfft((centred_WT - _EMPHASIS * before_WT) * _povey(), _FFT)
        power = spectrum.real**2 + spectrum.imag**2
        return np.log(np.maximum(power @ _filters(self.rate, self.bands), _LEAST_POWER)).astype(np.float32)


def filterbank_of(processor: Any) -> Filterbank | None:
    """The filter bank of a feature extractor; None where it has none that is known."""
    from transformers import SeamlessM4TFeatureExtractor

    if isinstance(own := getattr(processor, "filterbank", None), Filterbank):
        return own
    if not isinstance(processor, SeamlessM4TFeatureExtractor):
        return None
    return Filterbank(int(processor.sampling_rate), int(processor.num_mel_bins), int(processor.stride))


@cache
def _povey() -> np.ndarray:
    from transformers.audio_utils import window_function

    return window_function(WINDOW, "povey", periodic=False)


@cache
def _filters(rate: int, bands: int) -> np.ndarray:
    """(frequency bins, M)."""
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(
        num_frequency_bins=_FFT // 2 + 1, num_mel_filters=bands, min_frequency=_LOWEST_HZ, max_frequency=rate // 2,
        sampling_rate=rate, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True,
    )  # fmt: skip
