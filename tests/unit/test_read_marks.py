"""Boxes and masks beside pictures: found, said what they are, and neither rows nor classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from media_files import numbered, put
from pretune.config import DataSettings
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError
from pretune.tasks.listing import find_task

OBJECT = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def marks(splits: Splits) -> dict[str, dict[str, Any]]:
    return {one["code"]: one for one in splits.facts["read"]["left_out"] if one["code"] in ("boxes", "masks")}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def mask(path: Path, seed: int, colours: int = 11) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, colours, (18, 24), dtype=np.uint8)).save(path)


def test_boxes_of_voc(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("JPEGImages", name="{}.jpg"))
    for number in range(4):
        write(
            tmp_path / "set" / "Annotations" / f"{number}.xml",
            f"<annotation>{OBJECT.format('RBC')}{OBJECT.format('WBC')}</annotation>",
        )
    write(tmp_path / "set" / "ImageSets" / "Main" / "train.txt", "0\n1\n2\n")
    splits = get(tmp_path / "set")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 3}
    assert [box["label"] for box in splits["train"][0]["boxes"]] == ["RBC", "WBC"]
    assert find_task(splits).name == "object-detection"
    assert [one["code"] for one in splits.facts["read"]["left_out"]] == ["no-split"]


def test_outlines_of_labelme(tmp_path: Path) -> None:
    put(tmp_path / "drawn", numbered("a", name="{}.jpg"))
    for number in range(4):
        write(
            tmp_path / "drawn" / "a" / f"{number}.json",
            json.dumps({"version": "5", "shapes": [], "imagePath": f"{number}.jpg"}),
        )
    assert "LabelMe" in marks(get(tmp_path / "drawn"))["boxes"]["why"]


@pytest.mark.parametrize("folder", ["{}annot", "{}_masks", "SegmentationClass/{}", "labels/{}"])
def test_masks_are_no_class_and_no_split(folder: str, tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("train", "val"))
    for split in ("train", "val"):
        for number in range(4):
            mask(tmp_path / "set" / folder.format(split) / f"{number}.png", number)
    splits = get(tmp_path / "set")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 4, "validation": 4}
    assert not marks(splits)
    assert find_task(splits).columns == ("image", "mask")


def test_classes_called_mask_are_classes(tmp_path: Path) -> None:
    """Faces with a mask and without: the folder's word and the same numbers are not enough."""
    put(tmp_path / "set", numbered("mask", "no_mask", name="{}.jpg"))
    splits = get(tmp_path / "set")
    assert splits.facts["read"]["labels"] == {"mask": 4, "no_mask": 4}
    assert not marks(splits)


def test_class_folders_keep_their_labels_beside_masks(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("images/cat", "images/dog"))
    for label in ("cat", "dog"):
        for number in range(4):
            mask(tmp_path / "set" / "masks" / label / f"{number}_mask.png", number)
    splits = get(tmp_path / "set")
    assert splits.facts["read"]["labels"] == {"cat": 4, "dog": 4}
    assert splits.facts["read"]["masks"]["read"] == 8
    assert find_task(splits).columns == ("image", "label"), "--task takes the masks"


def test_notes_on_single_pictures_are_no_tables(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b", name="{}.jpg"))
    for number in range(4):
        write(tmp_path / "set" / "a" / f"{number}.jpg.json", json.dumps({"title": "a photo", "taken": "2020"}))
    splits = get(tmp_path / "set")
    assert splits.facts["read"]["labels"] == {"a": 4, "b": 4}
    assert any("notes on single pictures" in note for note in splits.facts["read"]["notes"])


def test_transcripts_beside_clips_are_no_boxes(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", name="{}.wav"))
    for number in range(4):
        write(tmp_path / "set" / "a" / f"{number}.txt", "3 4 5 6 7")
    with pytest.raises(DataError, match="a text file of the same name each"):
        get(tmp_path / "set")


def test_damaged_marks_do_no_harm(tmp_path: Path) -> None:
    put(tmp_path / "set", numbered("a", "b", name="{}.jpg"))
    write(tmp_path / "set" / "a" / "0.xml", "<annotation><object><name>")
    (tmp_path / "set" / "mask").mkdir()
    (tmp_path / "set" / "mask" / "0.png").write_bytes(b"\x89PNG broken")
    splits = get(tmp_path / "set")
    (lost,) = splits.facts["read"]["media"]["left_out"].values()
    assert lost["files"] == ["mask/0.png"]
    assert splits.facts["read"]["labels"] == {"a": 4, "b": 4}


def test_real_sets(shared_data: Path) -> None:
    camvid = get(shared_data / "vision" / "camvid")
    assert {name: len(rows) for name, rows in camvid.items()} == {"train": 62, "validation": 21, "test": 39}
