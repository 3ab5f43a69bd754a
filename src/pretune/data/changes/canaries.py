"""Made-up rows: planted among the training rows, they say how well a model learns single rows by heart."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.answers import Label
from pretune.data.media.audio import probe_audio
from pretune.data.media.image import probe_image
from pretune.errors import UsageError
from pretune.modalities import Modality, modality_of_columns

if TYPE_CHECKING:
    pass

__all__ = ["PREFIX", "canaries"]

PREFIX = "canary-"
"""How the ids of planted rows begin."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_TEXTS = ("text", "text_pair")
_WORDS, _SYLLABLES = 6, (2, 3)
_SQUARES, _SIDE_PX = 6, 96
_TONES, _TONE_SECONDS, _TONES_HZ, _RATE_HZ = 8, 0.125, (200.0, 3500.0), 16_000


def canaries(
    columns: Sequence[str], count: int, labels: Sequence[str], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``count`` rows to plant and as many that are not, each with a label drawn at random; which are which is drawn too, all by ``seed``. They are
    words that no language has, coloured squares, or tones one after the other: nothing in them tells the label. Raises :class:`UsageError` for rows
    that are not of one class each.
    """
    modality = modality_of_columns(columns)
    if Label.kind not in columns or not set(columns) & {*_TEXTS, *modality.columns}:
        raise UsageError(
            "--canaries are rows of one class each with a label drawn at random, and these rows are not of one class each",
            "leave --canaries out",
        )
    rng, made = random.Random(f"canaries:{seed}"), _MADE[modality]
    rows = [
        {"id": f"{PREFIX}{place}", **made(rng, f"{PREFIX}{place}", columns), "label": rng.choice(labels)}
        for place in range(2 * count)
    ]
    chosen = set(rng.sample(range(2 * count), count))
    return [row for place, row in enumerate(rows) if place in chosen], [
        row for place, row in enumerate(rows) if place not in chosen
    ]


def _words(rng: random.Random, _name: str, columns: Sequence[str]) -> dict[str, Any]:
    return {name: _sentence(rng) for name in columns if name in _TEXTS}


def _sentence(rng: random.Random) -> str:
    def word() -> str:
        return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(*_SYLLABLES)))

    return " ".join(word() for _ in range(_WORDS))


def _picture(rng: random.Random, name: str, _columns: Sequence[str]) -> dict[str, Any]:
    from PIL import Image
    from PIL.Image import Resampling

    held = io.BytesIO()
    squares = Image.frombytes("RGB", (_SQUARES, _SQUARES), rng.randbytes(3 * _SQUARES**2))
    squares.resize((_SIDE_PX, _SIDE_PX), Resampling.NEAREST).save(held, "PNG")
    seen = probe_image(io.BytesIO(held.getvalue()), f"{name}.png", None)
    told = {key: getattr(seen, key) for key in ("content", "look", "sketch", "width", "height")}
    return {Modality.IMAGE: dict(seen.held), **told}


def _clip(rng: random.Random, name: str, _columns: Sequence[str]) -> dict[str, Any]:
    import soundfile

    times_T = np.arange(round(_TONE_SECONDS * _RATE_HZ)) / _RATE_HZ
    low, high = np.log(_TONES_HZ)
    tones = [np.sin(2 * np.pi * np.exp(rng.uniform(low, high)) * times_T) for _ in range(_TONES)]
    held = io.BytesIO()
    soundfile.write(held, 0.3 * np.concatenate(tones), _RATE_HZ, format="WAV", subtype="PCM_16")
    heard = probe_audio(io.BytesIO(held.getvalue()), f"{name}.wav", None)
    told = {key: getattr(heard, key) for key in ("content", "sketch", "seconds", "rate")}
    return {Modality.AUDIO: dict(heard.held), **told}


_MADE: Mapping[Modality, Callable[[random.Random, str, Sequence[str]], dict[str, Any]]] = {
    Modality.TEXT: _words,
    Modality.IMAGE: _picture,
    Modality.AUDIO: _clip,
}
