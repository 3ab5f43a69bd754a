"""Copies of clips: the same samples in other files, re-coded, trimmed, louder; another take of the same word is none."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from pretune.data.media.audio import decode_audio, probe_audio
from pretune.data.media.sound import SoundSketch, landmarks_of, samples_hash
from pretune.data.near import sounds
from pretune.data.near.pairs import KINDS, NearPairs
from pretune.data.near.sounds import RATE_HZ, agreement, find_near_sounds

RATE = 16_000


def voice(seed: int, seconds: float = 1.2, take: int = 0) -> np.ndarray:
    """Syllables of changing pitch and loudness; another take has the same pitches at other moments."""
    rng = np.random.default_rng(seed)
    moved = np.random.default_rng(1000 * seed + take)
    time = np.arange(int(seconds * RATE)) / RATE
    wave = np.zeros(len(time))
    for syllable in range(5):
        begins, pitch = rng.uniform(0, seconds * 0.8) + 0.03 * take * moved.uniform(), rng.uniform(110, 260)
        loud = np.exp(-(((time - begins - 0.1) / 0.07) ** 2))
        pitches = pitch * (1 + 0.02 * take * moved.normal()) + 12 * np.sin(2 * np.pi * 4 * time + rng.uniform(0, 6))
        phase = 2 * np.pi * np.cumsum(pitches) / RATE + moved.uniform(0, 6) * (take > 0)
        for harmonic in range(1, 12):
            wave += loud * rng.uniform(0, 1) / harmonic * np.sin(harmonic * phase)
        assert syllable < 5
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def coded(samples: np.ndarray, rate: int = RATE, **options: Any) -> bytes:
    held = io.BytesIO()
    soundfile.write(held, samples, rate, **options)
    return held.getvalue()


def near(files: list[bytes]) -> NearPairs:
    media = [probe_audio(io.BytesIO(data), f"{number}.wav", None) for number, data in enumerate(files)]

    def decode(chosen: np.ndarray) -> list[np.ndarray]:
        return [decode_audio({"bytes": files[clip], "path": "clip"}, RATE_HZ) for clip in chosen]

    return find_near_sounds([each.sketch for each in media], np.array([each.seconds for each in media]), decode)


def others(count: int = 20) -> list[bytes]:
    return [coded(voice(seed), format="WAV", subtype="PCM_16") for seed in range(count)]


def with_a_chunk(wav: bytes) -> bytes:
    """The same file with a comment behind its samples, as recorders write it."""
    chunk = b"LIST" + (16).to_bytes(4, "little") + b"INFOICMT" + (4).to_bytes(4, "little")
    whole = wav + chunk[:16] + b"note"
    return whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:]


def test_the_same_samples_in_other_files() -> None:
    files = others()
    samples, _ = soundfile.read(io.BytesIO(files[3]), dtype="int16")
    found = near([*files, coded(samples, format="FLAC"), with_a_chunk(files[4])])
    assert list(zip(found.left_P.tolist(), found.right_P.tolist(), strict=True)) == [(3, 20), (4, 21)]
    assert {KINDS[kind] for kind in found.kind_P} == {"samples"}
    assert found.alike_P.tolist() == [1.0, 1.0]


WAYS = {
    "mp3": lambda wave: coded(wave, format="MP3", compression_level=0.5),
    "mp3 of few bits": lambda wave: coded(wave, format="MP3", compression_level=0.95),
    "ogg": lambda wave: coded(wave, format="OGG", subtype="VORBIS"),
    "louder": lambda wave: coded(np.clip(2.5 * wave, -1, 1), format="WAV"),
    "quieter": lambda wave: coded(0.3 * wave, format="WAV"),
    "ends trimmed": lambda wave: coded(wave[1_377:-911], format="WAV"),
    "another rate": lambda wave: coded(soxr.resample(wave, RATE, 22_050), 22_050, format="WAV"),
    "trimmed at another rate": lambda wave: coded(soxr.resample(wave, RATE, 44_100)[3_001:], 44_100, format="WAV"),
    "upside down": lambda wave: coded(-wave, format="WAV"),
    "two channels": lambda wave: coded(np.stack([wave, wave], axis=1), format="WAV"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_recording_is_found(way: str) -> None:
    found = near(others() + [WAYS[way](voice(seed)) for seed in range(5)])
    assert list(zip(found.left_P.tolist(), found.right_P.tolist(), strict=True)) == [(n, 20 + n) for n in range(5)]
    assert {KINDS[kind] for kind in found.kind_P} == {"sound"}
    assert found.alike_P.min() >= sounds.LEAST_AGREEMENT


def test_another_take_of_the_same_words_is_no_copy() -> None:
    takes = [coded(voice(seed, take=take), format="WAV") for seed in range(12) for take in range(4)]
    assert len(near(takes).left_P) == 0


def test_silence_and_very_short_clips_have_no_landmarks() -> None:
    silent, short = np.zeros(RATE, dtype=np.float32), voice(0)[8_000:8_400]
    found = near(
        [
            coded(silent, format="WAV"),
            coded(silent, format="FLAC"),
            coded(short, format="WAV"),
            coded(0.5 * short, format="WAV"),
        ]
    )
    assert list(zip(found.left_P.tolist(), found.right_P.tolist(), strict=True)) == [(0, 1)]


def test_a_sketch_does_not_depend_on_how_samples_come_and_is_bounded() -> None:
    wave = voice(1, seconds=3.0)[:, None]
    whole, again = SoundSketch(RATE), SoundSketch(RATE)
    whole.add(wave)
    again.add(wave)
    assert whole.done() == again.done()
    noise = np.random.default_rng(0).normal(0, 0.1, (60 * RATE, 1)).astype(np.float32)
    long = SoundSketch(RATE)
    for start in range(0, len(noise), 10 * RATE):
        long.add(noise[start : start + 10 * RATE])
    assert len(landmarks_of(long.done())) == 6_000
    other = SoundSketch(8_000)
    other.add(wave)
    assert samples_hash(other.done()) != samples_hash(whole.done())


def test_work_is_bounded_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    files = others() + [WAYS["quieter"](voice(seed)) for seed in range(5)]
    monkeypatch.setattr(sounds, "_MOST_SECONDS", 5.0)
    found = near(files)
    assert not found.complete
    assert 0 < len(found.left_P) < 5


def test_agreement_of_waves() -> None:
    wave = voice(2)
    assert agreement(wave, -0.1 * wave[700:]) == pytest.approx(1.0, abs=1e-3)
    assert agreement(wave, voice(3)) < 0.7
    assert agreement(wave, np.empty(0, dtype=np.float32)) == 0.0
    assert agreement(np.zeros(100, dtype=np.float32), wave) == 0.0


@pytest.mark.slow
@pytest.mark.shared_data
def test_digits_spoken_again_are_no_copies(shared_data: Path) -> None:
    folder = shared_data / "speech" / "fsdd" / "recordings"
    files = [path.read_bytes() for path in sorted(folder.glob("[0-4]_*.wav"))]
    found = near(files)
    assert len(files) >= 1_000
    assert len(found.left_P) <= 2
