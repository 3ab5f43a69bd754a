"""The recipe of the made-up voice: which sentences are kept, and what is written of them."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path
from types import ModuleType

import pytest

from examples_code import example_module

ROWS = 12


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return example_module("made_voice")


def test_sentences_are_short_plain_whole_and_each_once(recipe: ModuleType):
    texts = [
        "Return the rows. Returns x; return the rows (see the last row, if any): Call f(2) again.",
        "A part of the. The rows, the last row. This sentence has far too many words to be spoken.",
    ]
    found = recipe.sentences_of(texts, often=1)
    assert sorted(found) == ["return the rows", "see the last row, if any", "the rows, the last row"]
    assert sorted(recipe.sentences_of(texts, often=2)) == ["the rows, the last row"]


def test_without_the_speaker_it_says_what_to_install(recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install espeak-ng"):
        recipe.main([str(tmp_path)])


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_clips_and_their_rows(recipe: ModuleType, tmp_path: Path):
    sentences = [f"return the {word} row" for word in ["first", "last", "next", "new", "old", "same", "other", "only", "whole", "empty", "long", "short"]]  # fmt: skip
    made = recipe.make(sentences, tmp_path, minutes=60.0)
    assert made == {"test": 1, "validation": 1, "train": ROWS - 2}
    rows = [json.loads(line) for name in made for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    assert sorted(row["text"] for row in rows) == sorted(sentences)
    for row in rows:
        with wave.open(str(tmp_path / row["audio_filepath"])) as file:
            assert file.getframerate() == recipe.RATE
            assert file.getnframes() / recipe.RATE == pytest.approx(row["duration"], abs=1e-3)
    few = recipe.make(sentences, tmp_path / "few", minutes=1.5 * rows[0]["duration"] / 60)
    assert sum(few.values()) == 2
