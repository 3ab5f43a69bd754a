"""An hour of a made-up voice: ``python made_voice.py FOLDER --minutes 60``.

Sentences and clauses of the docstrings of the libraries that are installed (plain words that stand in many of them, no sentence twice), each spoken by
espeak-ng: ``clips/*.wav``, and ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` with ``audio_filepath``, ``text`` and ``duration``. The voice is a program's, not a
person's. The sentences of test and validation are in no other file; their words are.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import re
import shutil
import subprocess
import sys
import wave
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pretune.data.docstrings import library_roots, paragraphs_of, source_files

RATE = 8_000
VOICE = ("espeak-ng", "-v", "en-us", "-s", "200", "--stdout")
SHARES = {"test": 0.1, "validation": 0.05}
FEWEST_WORDS, MOST_WORDS = 2, 6
OFTEN = 10
"""A word stands in at least so many sentences, or these are left out: what is tried is sentences that were never heard, not words."""

_pause = re.compile(r"[.;:?!]+(?:\s+|$)|\s*[()]\s*")
_plain = re.compile(r"[a-z']+(?:,? [a-z']+)*")
_unfinished = re.compile(r".* (?:an?|and|as|at|by|for|from|if|in|into|is|of|on|or|that|the|their|to|with)")


def main(arguments: list[str]) -> None:
    """Sentences, clips, three files of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0, help="sound in all three files together (default: 60)")
    given = parser.parse_args(arguments)
    if shutil.which(VOICE[0]) is None:
        sys.exit(
            "made_voice.py: espeak-ng, which speaks the sentences, is not installed\n  sudo apt-get install espeak-ng"
        )
    made = make(sentences_of(paragraphs()), given.folder, given.minutes)
    print(f"{given.folder}: " + ", ".join(f"{rows:,} clips of {name}" for name, rows in made.items()))


def paragraphs() -> Iterator[str]:
    """The paragraphs of prose of all libraries, in an order that does not change."""
    for root in library_roots().values():
        for name in sorted(source_files(root)):
            for _, _, text in paragraphs_of((root / name).read_text(encoding="utf-8", errors="replace")):
                yield text


def sentences_of(texts: Iterable[str], often: int = OFTEN) -> list[str]:
    """What stands between two pauses, in small letters, where it is short, plain and whole and all its words are frequent; each once, shuffled."""
    found = list(dict.fromkeys(piece.strip().lower() for text in texts for piece in _pause.split(text) if piece))
    found = [sentence for sentence in found if _is_plain(sentence)]
    counts = Counter(word for sentence in found for word in set(_words(sentence)))
    kept = [sentence for sentence in found if min(counts[word] for word in _words(sentence)) >= often]
    random.Random(0).shuffle(kept)
    return kept


def _is_plain(sentence: str) -> bool:
    words = _words(sentence)
    return (
        FEWEST_WORDS <= len(words) <= MOST_WORDS
        and _plain.fullmatch(sentence) is not None
        and _unfinished.fullmatch(sentence) is None
        and all(len(word) > 1 or word == "a" for word in words)
    )


def _words(sentence: str) -> list[str]:
    return sentence.replace(",", "").split()


def make(sentences: list[str], folder: Path, minutes: float) -> dict[str, int]:
    """Speak sentences until they last so long, and deal them out; rows of each file."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str | float]] = []
    seconds = 0.0
    for number, sentence in enumerate(sentences):
        if seconds >= 60 * minutes:
            break
        name = f"clips/{number:05}.wav"
        lasts = write_clip(spoken(sentence), folder / name)
        rows.append({"audio_filepath": name, "text": sentence, "duration": round(lasts, 3)})
        seconds += lasts
    parts = {name: [rows.pop() for _ in range(round(share * len(rows)))] for name, share in SHARES.items()}
    parts["train"] = rows
    for name, part in parts.items():
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return {name: len(part) for name, part in parts.items()}


def spoken(sentence: str) -> np.ndarray:
    """A sentence as samples (T,) at :data:`RATE`."""
    from scipy.signal import resample_poly

    told = subprocess.run([*VOICE, "--", sentence], stdout=subprocess.PIPE, check=True).stdout
    with wave.open(io.BytesIO(told)) as file:
        rate, sound_T = file.getframerate(), np.frombuffer(file.readframes(len(told)), dtype="<i2")
    return resample_poly(sound_T.astype(np.float64), RATE, rate)


def write_clip(sound_T: np.ndarray, path: Path) -> float:
    """Samples as a file of 16 bits; how many seconds they last."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(sound_T, -32768, 32767).astype("<i2").tobytes())
    return len(sound_T) / RATE


if __name__ == "__main__":
    main(sys.argv[1:])
