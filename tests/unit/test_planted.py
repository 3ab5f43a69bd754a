"""What the chapter of drift plants: as much as it says, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from acceptance.alarms import share_of
from acceptance.planted import new_rows, planted_rows
from datasets import Dataset
from PIL import Image

HELD, ROWS = 100, 40
IS_FIRST_N = np.arange(HELD) % 2 == 0


def places(what: str, amount: float, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Held-out rows that are not the reference, and the new rows made of them."""
    rng = np.random.default_rng(1)
    rest = rng.permutation(HELD)[20:]
    return rest, new_rows(what, rest, ROWS, HELD, IS_FIRST_N, amount, number, rng)


@pytest.mark.parametrize(("what", "planted"), [("rows", 10), ("rate", 10), ("shares", 0)])
def test_so_many_rows_are_planted(what: str, planted: int) -> None:
    rest, new = places(what, 0.25)
    assert len(new) == len({*new.tolist()}) == ROWS
    assert (new >= HELD).sum() == planted
    assert {*new[new < HELD].tolist()} <= {*rest.tolist()}


def test_changed_rows_are_none_of_those_that_stay() -> None:
    rest, new = places("rate", 0.25)
    assert {*(new % HELD).tolist()} == {*rest[:ROWS].tolist()}


def test_classes_have_the_shares_that_are_planted() -> None:
    assert IS_FIRST_N[places("shares", 0.75)[1]].mean() == 0.75


def test_each_amount_has_its_own_set_of_changed_rows() -> None:
    rest, new = places("brighter", 0.1, number=2)
    assert new.tolist() == (rest[:ROWS] + 3 * HELD).tolist()


def written(what: str, held: Dataset, amounts: list[float], folder: Path) -> list[list[Path]]:
    """The files of each set that is planted."""
    found: list[list[Path]] = []

    def read(place: str) -> Dataset:
        found.append(sorted(Path(place).iterdir()))
        return held

    planted_rows(what, held, amounts, None, folder, read)
    return found


def test_pictures_become_so_much_brighter_and_noisier(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("RGB", (64, 64), (100, 100, 100)).save(path)
    held = Dataset.from_dict({"image": [{"path": str(path), "bytes": None}]})
    for what in ("brighter", "noisier"):
        (tmp_path / what).mkdir()
    brighter = [np.asarray(Image.open(one)) for (one,) in written("brighter", held, [0.0, 0.1], tmp_path / "brighter")]
    assert [one.mean() for one in brighter] == [100, 110]
    (noisier,) = (np.asarray(Image.open(one)) for (one,) in written("noisier", held, [0.04], tmp_path / "noisier"))
    assert noisier.std() == pytest.approx(0.04 * 255, rel=0.05)


def test_clips_become_so_much_noisier_or_come_at_twice_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    tone_T = 0.3 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 8_000)
    soundfile.write(path, tone_T, 8_000, subtype="PCM_16")
    held = Dataset.from_dict({"audio": [{"path": str(path), "bytes": None}]})
    for what in ("noisier-clips", "rate"):
        (tmp_path / what).mkdir()
    (noisy_T,) = (
        soundfile.read(one)[0] for (one,) in written("noisier-clips", held, [0.05], tmp_path / "noisier-clips")
    )
    assert (noisy_T - tone_T).std() == pytest.approx(0.05 * tone_T.std(), rel=0.05)
    (twice_T, rate) = soundfile.read(written("rate", held, [0.5], tmp_path / "rate")[0][0])
    assert (len(twice_T), rate) == (16_000, 16_000)


def test_a_share_of_draws_has_its_exact_interval() -> None:
    found = share_of([True] * 4 + [False] * 196)
    assert (found["value"], found["n"]) == (0.02, 200)
    assert (found["low"], found["high"]) == pytest.approx((0.0055, 0.0504), abs=1e-4)
