"""Log-mel spectra of clips, for baselines and for pictures of sound.

Shapes: T samples, F frames, M mel bands.
"""

from __future__ import annotations

from functools import cache

import numpy as np

__all__ = ["log_mel", "pitch_at"]

BANDS = 40
_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.010
_FLOOR = 1e-8
_LOWEST_HZ, _SCALE = 20.0, "slaney"


def log_mel(samples_T: np.ndarray, rate: int, *, bands: int = BANDS) -> np.ndarray:
    """Decibels (M, F) of Hann windows of 25 ms every 10 ms, silence held at -80 dB. A clip too short for a window gets silence."""
    window = round(_WINDOW_SECONDS * rate)
    size = 1 << (window - 1).bit_length()
    padded_T = np.pad(samples_T.astype(np.float64), (0, max(0, size - len(samples_T))))
    around_T = np.pad(padded_T, (window // 2, window // 2), mode="reflect")
    windows_FT = np.lib.stride_tricks.sliding_window_view(around_T, window)[:: round(_HOP_SECONDS * rate)]
    spectrum = np.fft.rfft(windows_FT * _hann(window), size)
    power_FM = (spectrum.real**2 + spectrum.imag**2) @ _filters(rate, size, bands)
    return (10 * np.log10(np.maximum(power_FM, _FLOOR))).astype(np.float32).T


def pitch_at(share: float, rate: int) -> float:
    """Hz at a ``share`` of the way from the lowest to the highest of the bands."""
    from transformers.audio_utils import hertz_to_mel, mel_to_hertz

    low, high = (float(hertz_to_mel(hertz, _SCALE)) for hertz in (_LOWEST_HZ, rate / 2))
    return float(mel_to_hertz(low + share * (high - low), _SCALE))


@cache
def _hann(window: int) -> np.ndarray:
    from transformers.audio_utils import window_function

    return window_function(window, "hann")


@cache
def _filters(rate: int, size: int, bands: int) -> np.ndarray:
    # At low rates the lowest triangles fall between two bins and stay empty; the library warns of it.
    import warnings

    from transformers.audio_utils import mel_filter_bank

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mel_filter_bank(
            num_frequency_bins=size // 2 + 1, num_mel_filters=bands, min_frequency=_LOWEST_HZ, max_frequency=rate / 2,
            sampling_rate=rate, norm="slaney", mel_scale=_SCALE,
        )  # fmt: skip
