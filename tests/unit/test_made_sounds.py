"""The recipe of made-up sounds: the same for a seed, and no recording in two files."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from examples_code import example_module


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return example_module("made_sounds")


def test_a_clip_is_its_number_and_clips_of_a_recording_are_not_the_same(recipe: ModuleType) -> None:
    for name in recipe.KINDS:
        one, again, other = (recipe.heard(name, (0, 0, 3, 1), clip) for clip in (0, 0, 1))
        assert one.shape == (recipe.LENGTH,)
        assert np.isfinite(one).all()
        assert 0.05 < np.abs(one).max() <= 0.9
        assert np.array_equal(one, again), name
        assert not np.allclose(one, other, atol=1e-3), name


def test_no_recording_is_in_two_files(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "SPLITS", {"train": 1, "validation": 1, "test": 1})
    monkeypatch.setattr(recipe, "KINDS", {name: recipe.KINDS[name] for name in ("rain", "bell")})
    recipe.main([str(tmp_path / "made")])
    assert "train: 8 clips" in capsys.readouterr().out
    found = {}
    for split in recipe.SPLITS:
        rows = [json.loads(line) for line in (tmp_path / "made" / f"{split}.jsonl").read_text().splitlines()]
        assert all((tmp_path / "made" / row["audio_filepath"]).exists() for row in rows)
        found[split] = {row["recording"] for row in rows}
    assert len(set.union(*found.values())) == sum(map(len, found.values())) == 6
