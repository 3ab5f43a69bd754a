"""Made-up sounds of ten kinds: ``python made_sounds.py FOLDER``.

Rain, wind, waves, an engine, a clock, a bell, a siren, crickets, footsteps and an alarm, each computed and none recorded. A recording is one place,
one thing and one microphone (its own pitch, pace, timbre, noise and colour of sound) and gives four clips of two seconds; those of validation and test are
other recordings than those of train: ``clips/*.wav`` and ``train.jsonl`` (320 clips), ``validation.jsonl`` (120) and ``test.jsonl`` (200) with
``audio_filepath``, ``label`` and ``recording``.
"""

from __future__ import annotations

import argparse
import json
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

RATE, SECONDS, CLIPS = 16_000, 2.0, 4
SPLITS = {"train": 8, "validation": 3, "test": 5}
"""Recordings of each kind."""
LENGTH = int(RATE * SECONDS)
TIME_T = np.arange(LENGTH) / RATE

Draw = np.random.Generator
Maker = Callable[[Draw, Draw], np.ndarray]
"""A clip (T,) from what is drawn once for its recording and what is drawn for it."""


def main(arguments: list[str]) -> None:
    """Clips, three files of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    (given.folder / "clips").mkdir(parents=True)
    for part, (split, recordings) in enumerate(SPLITS.items()):
        rows = []
        for kind, name in enumerate(KINDS):
            for recording in range(recordings):
                for clip in range(CLIPS):
                    place = f"clips/{split}-{name}-{recording}-{clip}.wav"
                    key = (given.seed, part, kind, recording)
                    write(given.folder / place, heard(name, key, clip))
                    rows.append({"audio_filepath": place, "label": name, "recording": f"{split}-{name}-{recording}"})
        (given.folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        print(f"{split}: {len(rows)} clips")


def heard(name: str, recording: tuple[int, ...], clip: int) -> np.ndarray:
    """A clip as the microphone of its recording hears it: coloured, with noise of the place, at its loudness; (T,) in [-1, 1]."""
    same, own = np.random.default_rng(recording), np.random.default_rng((*recording, clip))
    sound = KINDS[name](same, own)
    place = np.random.default_rng((*recording, 999))
    noise = coloured(own.standard_normal(LENGTH), place.uniform(-1.5, 0.0), place.uniform(100, 1000))
    loud = 10 ** (-place.uniform(0, 20) / 20)
    mixed = sound / np.sqrt(np.mean(sound**2) + 1e-9) + loud * noise / np.sqrt(np.mean(noise**2))
    mixed = coloured(mixed, place.uniform(-0.4, 0.4), 1000)
    return mixed / np.abs(mixed).max() * place.uniform(0.1, 0.9) * own.uniform(0.7, 1.0)


def coloured(sound: np.ndarray, slope: float, corner: float) -> np.ndarray:
    """Louder or fainter above ``corner`` Hz by the power ``slope`` of the frequency."""
    spectrum, hertz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / RATE)
    return np.fft.irfft(spectrum * np.maximum(hertz / corner, 0.05) ** slope, len(sound))


def band(sound: np.ndarray, low: float, high: float) -> np.ndarray:
    """What lies between two frequencies."""
    spectrum, hertz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / RATE)
    return np.fft.irfft(spectrum / (1 + (low / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / high) ** 4), len(sound))


def struck(own: Draw, pace: float, jitter: float, one: Callable[[Draw], np.ndarray]) -> np.ndarray:
    """A short sound again and again, ``pace`` times a second."""
    found, at = np.zeros(LENGTH), own.uniform(0, 1 / pace)
    while at < SECONDS:
        piece, start = one(own), int(at * RATE)
        found[start : start + len(piece)] += piece[: LENGTH - start]
        at += max(0.02, (1 + jitter * own.standard_normal()) / pace)
    return found


def rain(same: Draw, own: Draw) -> np.ndarray:
    """Hiss and drops."""
    drops = struck(own, same.uniform(60, 200), 0.9, lambda draw: draw.exponential() * np.exp(-np.arange(200) / 20) * draw.standard_normal(200))  # fmt: skip
    return coloured(own.standard_normal(LENGTH), same.uniform(-0.3, 0.3), 1000) + same.uniform(0.3, 1.5) * drops


def wind(same: Draw, own: Draw) -> np.ndarray:
    """Low noise in gusts."""
    gusts = 1 + 0.8 * np.sin(2 * np.pi * same.uniform(0.2, 0.9) * TIME_T + own.uniform(0, 6.3))
    return gusts * band(own.standard_normal(LENGTH), 40, same.uniform(250, 700))


def waves(same: Draw, own: Draw) -> np.ndarray:
    """Dark noise that swells."""
    swell = np.abs(np.sin(np.pi * same.uniform(0.2, 0.5) * TIME_T + own.uniform(0, 3.1))) ** same.uniform(2, 4)
    return (0.1 + swell) * coloured(own.standard_normal(LENGTH), same.uniform(-0.9, -0.5), 500)


def engine(same: Draw, own: Draw) -> np.ndarray:
    """Many harmonics of a pitch that wanders."""
    hertz = same.uniform(35, 110) * (1 + 0.03 * np.cumsum(own.standard_normal(LENGTH)) / np.sqrt(LENGTH))
    phase, fall = 2 * np.pi * np.cumsum(hertz) / RATE, same.uniform(0.6, 1.2)
    return sum(np.sin(k * phase + same.uniform(0, 6.3)) / k**fall for k in range(1, 25)) + 0.2 * own.standard_normal(LENGTH)  # fmt: skip


def clock(same: Draw, own: Draw) -> np.ndarray:
    """Ticks at an even pace."""
    hertz, pace = same.uniform(1500, 5000), same.uniform(1.0, 4.0)
    tick = np.exp(-np.arange(800) / same.uniform(40, 150)) * np.sin(2 * np.pi * hertz * np.arange(800) / RATE)
    return struck(own, pace, 0.01, lambda _: tick) + 0.02 * own.standard_normal(LENGTH)


def bell(same: Draw, own: Draw) -> np.ndarray:
    """Partials that are no harmonics and ring out."""
    hertz, lasts = same.uniform(300, 1500), same.uniform(0.3, 1.5)
    parts = [(1.0, 1.0), (2.0 + same.uniform(-0.1, 0.1), 0.6), (2.76, 0.5), (5.4, 0.3)]
    time = np.arange(LENGTH) / RATE
    one = sum(loud * np.exp(-time * ratio / lasts) * np.sin(2 * np.pi * hertz * ratio * time) for ratio, loud in parts)
    return struck(own, same.uniform(0.5, 1.5), 0.2, lambda _: np.asarray(one))


def siren(same: Draw, own: Draw) -> np.ndarray:
    """A tone that goes up and down."""
    low, wide, pace = same.uniform(400, 800), same.uniform(300, 900), same.uniform(0.3, 2.0)
    sweep = low + wide * (0.5 + 0.5 * np.sin(2 * np.pi * pace * TIME_T + own.uniform(0, 6.3)))
    phase = 2 * np.pi * np.cumsum(sweep) / RATE
    return np.sin(phase) + same.uniform(0.1, 0.5) * np.sin(2 * phase) + same.uniform(0.05, 0.3) * np.sin(3 * phase)


def crickets(same: Draw, own: Draw) -> np.ndarray:
    """High chirps in pulses."""
    hertz, chirps, pulses = same.uniform(3500, 6000), same.uniform(1.5, 4.0), same.uniform(25, 60)
    on = np.sin(2 * np.pi * chirps * TIME_T + own.uniform(0, 6.3)) > same.uniform(-0.3, 0.5)
    return on * (0.5 + 0.5 * np.sin(2 * np.pi * pulses * TIME_T)) * np.sin(2 * np.pi * hertz * TIME_T)


def footsteps(same: Draw, own: Draw) -> np.ndarray:
    """Thuds at a walking pace."""
    high, lasts = same.uniform(150, 900), same.uniform(0.02, 0.08)
    length = int(6 * lasts * RATE)

    def step(draw: Draw) -> np.ndarray:
        return (
            draw.uniform(0.6, 1.0)
            * np.exp(-np.arange(length) / (lasts * RATE))
            * band(draw.standard_normal(length), 50, high)
        )

    return struck(own, same.uniform(1.3, 2.8), 0.08, step)


def alarm(same: Draw, own: Draw) -> np.ndarray:
    """Beeps of a square wave."""
    hertz, pace, share = same.uniform(900, 3200), same.uniform(1.5, 8.0), same.uniform(0.3, 0.7)
    on = (pace * TIME_T + own.uniform(0, 1)) % 1 < share
    return on * np.sign(np.sin(2 * np.pi * hertz * TIME_T)) * 0.7


KINDS: dict[str, Maker] = {
    one.__name__: one for one in (rain, wind, waves, engine, clock, bell, siren, crickets, footsteps, alarm)
}


def write(path: Path, sound: np.ndarray) -> None:
    """16 bits, one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    main(sys.argv[1:])
