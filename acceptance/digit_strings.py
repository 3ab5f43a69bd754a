"""``python -m acceptance.digit_strings FSDD OUT``: spoken digits joined to strings of one to five, for a voice and for the recogniser that hears it.

A string is said by one speaker: clips without the quiet around them, equally loud, a little pause between them, faint noise under all. Ten pairs of a digit and a
speaker are left out of what the voice learns from, and no string that is tried stands in one that is learned from, not even as a part of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from acceptance.digits import rows_of
from pretune.modalities.audio.mel import PEAK, trimmed

RATE = 8_000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MOST_DIGITS = 5
PAUSE_SECONDS, NOISE = (0.02, 0.08), 1e-3
VALIDATION_CLIPS = 5
"""Of each digit and speaker, kept from the training clips."""
TRIED = {2: 20, 3: 40, 4: 40, 5: 40}
"""Strings of so many digits that no string to learn from holds."""

String = tuple[int, ...]
Pair = tuple[str, int]


@dataclass(frozen=True)
class Recordings:
    """The clips of each speaker and digit."""

    clips: dict[Pair, list[np.ndarray]]

    @classmethod
    def of(cls, fsdd: Path, rows: Iterable[dict[str, Any]]) -> Recordings:
        """Decoded, trimmed and equally loud."""
        clips: dict[Pair, list[np.ndarray]] = {}
        for row in rows:
            sound_T, rate = soundfile.read(fsdd / row["audio_filepath"], dtype="float32")
            assert rate == RATE, f"{row['audio_filepath']} has {rate} samples a second"
            clips.setdefault((row["speaker"], int(row["label"])), []).append(trimmed(sound_T, rate))
        return cls(clips)

    def parted(self, count: int) -> tuple[Recordings, Recordings]:
        """All but the last ``count`` of each speaker and digit, and those."""
        first = {pair: clips[:-count] for pair, clips in self.clips.items()}
        return Recordings(first), Recordings({pair: clips[-count:] for pair, clips in self.clips.items()})

    def joined(self, speaker: str, string: String, draw: np.random.Generator) -> np.ndarray:
        """A string as samples (T,): any clip of each digit, pauses between them."""
        parts: list[np.ndarray] = []
        for digit in string:
            choices = self.clips[speaker, digit]
            pause = round(RATE * draw.uniform(*PAUSE_SECONDS)) if parts else 0
            parts += [np.zeros(pause, dtype=np.float32), choices[draw.integers(len(choices))]]
        sound_T = np.concatenate(parts)
        return sound_T + NOISE * PEAK * draw.standard_normal(len(sound_T)).astype(np.float32)


def main() -> None:
    """Write OUT/voice and OUT/judge (to learn from, of validation, and strings to try), OUT/left-out-strings and, digits alone, OUT/left-out and OUT/learned."""
    parser = argparse.ArgumentParser(prog="python -m acceptance.digit_strings", description=__doc__)
    parser.add_argument("fsdd", type=Path, help="folder with train.jsonl, test.jsonl and the clips")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--strings", type=int, default=3000, help="strings to learn from, of either (default: 3000)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    every = Recordings.of(asked.fsdd, rows_of(asked.fsdd / "train.jsonl"))
    learned, watched = every.parted(VALIDATION_CLIPS)
    held = Recordings.of(asked.fsdd, rows_of(asked.fsdd / "test.jsonl"))
    speakers = sorted({speaker for speaker, _ in every.clips})
    left = left_out(speakers)
    draw = np.random.default_rng(asked.seed)
    tried = list(strings_to_try(draw))
    told: dict[str, Any] = {}

    def write(place: str, recordings: Recordings, rows: Iterable[tuple[str, String]]) -> None:
        told[place] = write_rows(
            asked.out, place, recordings, list(rows), np.random.default_rng((asked.seed, len(told)))
        )

    for name, without in (("voice", left), ("judge", frozenset[Pair]())):
        write(f"{name}/train", learned, strings_to_learn(draw, asked.strings, speakers, tried, without))
        write(f"{name}/validation", watched, strings_to_learn(draw, asked.strings // 15, speakers, tried, without))
        write(f"{name}/test", held, said_by(speakers, tried, left, 0))
    write("left-out-strings/test", held, said_by(speakers, tried, left, 1))
    write("left-out/test", held, (pair for pair in alone(held) if (pair[0], *pair[1]) in left))
    write("learned/test", held, (pair for pair in alone(held) if (pair[0], *pair[1]) not in left))
    sys.stdout.write(
        json.dumps({"left_out": sorted(f"{WORDS[digit]} by {name}" for name, digit in left), **told}) + "\n"
    )


def left_out(speakers: list[str]) -> frozenset[Pair]:
    """Each digit with one speaker, speakers in turn."""
    return frozenset((speakers[digit % len(speakers)], digit) for digit in range(len(WORDS)))


def strings_to_try(draw: np.random.Generator) -> Iterator[String]:
    """Strings of :data:`TRIED`, each once."""
    for size, count in TRIED.items():
        for number in draw.permutation(len(WORDS) ** size)[:count]:
            yield tuple(int(number) // len(WORDS) ** place % len(WORDS) for place in range(size))


def strings_to_learn(draw: np.random.Generator, count: int, speakers: list[str], tried: list[String], without: frozenset[Pair]) -> Iterator[tuple[str, String]]:  # fmt: skip
    """Random strings of one to five digits that hold none of ``tried``, by all speakers in turn, without the pairs that they may not say."""
    for number in range(count):
        speaker = speakers[number % len(speakers)]
        digits = [digit for digit in range(len(WORDS)) if (speaker, digit) not in without]
        string = tried[0]
        while any(holds(string, one) for one in tried):
            string = tuple(map(int, draw.choice(digits, 1 + number // len(speakers) % MOST_DIGITS)))
        yield speaker, string


def holds(string: String, part: String) -> bool:
    """Does a string have another in it?"""
    return any(string[place : place + len(part)] == part for place in range(len(string) - len(part) + 1))


def said_by(
    speakers: list[str], strings: list[String], left: frozenset[Pair], count: int
) -> Iterator[tuple[str, String]]:
    """Each string by two speakers, in turn, of those with whom it has ``count`` digits that are left out."""
    for number, string in enumerate(strings):
        fit = [name for name in speakers if sum((name, digit) in left for digit in string) == count]
        for place in range(min(2, len(fit))):
            yield fit[(2 * number + place) % len(fit)], string


def alone(recordings: Recordings) -> Iterator[tuple[str, String]]:
    """Each digit alone, as often as there are clips of it."""
    for (speaker, digit), clips in recordings.clips.items():
        yield from [(speaker, (digit,))] * len(clips)


def write_rows(out: Path, place: str, recordings: Recordings, rows: list[tuple[str, String]], draw: np.random.Generator) -> dict[str, Any]:  # fmt: skip
    """Write OUT/PLACE.jsonl with its clips; what it holds."""
    folder, name = out / Path(place).parent, Path(place).name
    (folder / name).mkdir(parents=True)
    lines, seconds = [], 0.0
    for number, (speaker, string) in enumerate(rows):
        sound_T = recordings.joined(speaker, string, draw)
        path = f"{name}/{number:04}.wav"
        soundfile.write(folder / path, np.clip(sound_T, -1.0, 1.0), RATE, subtype="PCM_16")
        text = " ".join(WORDS[digit] for digit in string)
        lines.append(json.dumps({"audio_filepath": path, "text": text, "speaker": speaker, "duration": round(len(sound_T) / RATE, 3)}))  # fmt: skip
        seconds += len(sound_T) / RATE
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"rows": len(rows), "words": sum(len(string) for _, string in rows), "minutes": round(seconds / 60, 1)}


if __name__ == "__main__":
    main()
