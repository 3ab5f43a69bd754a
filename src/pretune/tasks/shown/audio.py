"""A clip as a page can show and play it without files beside it: its spectrum as a picture, its sound as a WAV."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from pretune.data.media.audio import decode_audio
from pretune.tasks.inputs.log_mel import log_mel, pitch_at

__all__ = ["HOW_TO_READ", "shown_clip"]

HOW_TO_READ = "In a spectrum time runs to the right and pitch upwards; dark is loud. It shows what the model hears, 15 seconds at most."

LONGEST_SECONDS = 15.0
_BANDS, _SCALE = 64, 2
_RANGE_DB = 70.0


def shown_clip(audio: Mapping[str, Any], rate: int) -> dict[str, Any]:
    """``image`` (PNG) and ``audio`` (WAV) as ``data:`` addresses: the first 15 seconds, at ``rate`` Hz and 16 bits.

    ``axes`` holds labels at equal distances: ``x`` seconds from left to right, ``y`` Hz from the top down.
    """
    samples_T = decode_audio(audio, rate)[: round(LONGEST_SECONDS * rate)]
    seconds = len(samples_T) / rate
    axes = {
        "x": [f"{seconds * share:.2g} s" if share else "0 s" for share in (0, 0.5, 1)],
        "y": [_hertz(pitch_at(share, rate)) for share in (1, 0.5, 0)],
    }
    return {"image": _picture(log_mel(samples_T, rate, bands=_BANDS)), "audio": _sound(samples_T, rate), "axes": axes}


def _hertz(pitch: float) -> str:
    return f"{pitch / 1000:.2g} kHz" if pitch >= 1000 else f"{pitch:.2g} Hz"


def _picture(decibels_MF: np.ndarray) -> str:
    """Time to the right, pitch upwards, louder is darker."""
    from PIL import Image

    top = float(decibels_MF.max())
    share_MF = np.clip((decibels_MF - (top - _RANGE_DB)) / _RANGE_DB, 0.0, 1.0)
    picture = Image.fromarray((255 * (1 - share_MF[::-1])).astype(np.uint8))
    picture = picture.resize((picture.width * _SCALE, picture.height * _SCALE))
    held = io.BytesIO()
    picture.save(held, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def _sound(samples_T: np.ndarray, rate: int) -> str:
    import soundfile

    held = io.BytesIO()
    loudest = max(1.0, float(np.abs(samples_T).max(initial=0.0)))
    soundfile.write(held, samples_T / loudest, rate, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(held.getvalue()).decode()
