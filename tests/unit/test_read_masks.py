"""Masks as people bring them: grey values, palettes, colours, two values, tables of names; and what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pretune.answers import Mask
from pretune.answers.mask import NONE
from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError

SIZE = (24, 18)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if mode == "P":
        picture = picture.convert("P") if pixels.ndim == 3 else picture
        picture.putpalette([value for i in range(256) for value in (i, 255 - i, (7 * i) % 256)])
    picture.save(path, **how)


def photo(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    save(path, np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def classes_at(seed: int, values: list[int], size: tuple[int, int] = SIZE) -> np.ndarray:
    blocks = np.random.default_rng(seed).choice(values, (size[1] // 6, size[0] // 6)).astype(np.uint8)
    blocks.flat[: len(values)] = values
    return np.kron(blocks, np.ones((6, 6), dtype=np.uint8))


def folders(root: Path, values: list[int], folder: str = "masks", end: str = "", count: int = 3, **how: Any) -> None:
    for number in range(count):
        photo(root / "images" / f"{number}.jpg", number)
        save(root / folder / f"{number}{end}.png", classes_at(number, values), **how)


def masks_of(splits: Splits, split: str = "train") -> list[Mask]:
    return [Mask.from_json(cell) for cell in splits[split]["mask"]]


def notes(splits: Splits) -> str:
    return " ".join(splits.facts["read"]["notes"])


@pytest.mark.parametrize(
    ("folder", "end"), [("masks", ""), ("masks", "_mask"), ("SegmentationClass", ""), ("images", "_mask")]
)
def test_grey_values_are_classes_of_their_number(folder: str, end: str, tmp_path: Path) -> None:
    folders(tmp_path / "set", [0, 3, 7], folder, end)
    splits = get(tmp_path / "set")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 3}
    assert splits.facts["read"]["masks"]["classes"] == ["0", "3", "7"]
    for number, mask in enumerate(masks_of(splits)):
        expected = classes_at(number, [0, 3, 7])
        found = mask.pixels(["0", "3", "7"])
        assert np.array_equal(np.array([0, 3, 7])[found], expected)


def test_splits_of_pictures_are_those_of_their_masks(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for number in range(2):
            photo(tmp_path / "set" / split / f"{number}.png", hash(split) % 100 + number)
            save(tmp_path / "set" / f"{split}annot" / f"{number}.png", classes_at(len(split) + number, [0, 1, 2]))
    splits = get(tmp_path / "set")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert np.array_equal(masks_of(splits, "validation")[0].pixels(["0", "1", "2"]), classes_at(3, [0, 1, 2]))
    for top in ("images", "masks"):
        for split in ("train", "val"):
            place = tmp_path / "other" / top / split / "0.png"
            photo(place, len(split)) if top == "images" else save(place, classes_at(len(split), [0, 1]))
    assert {name: len(rows) for name, rows in get(tmp_path / "other").items()} == {"train": 1, "validation": 1}


def test_a_palette_is_read_as_its_numbers(tmp_path: Path) -> None:
    folders(tmp_path / "set", [0, 2, 5, 255], mode="P")
    splits = get(tmp_path / "set")
    assert splits.facts["read"]["masks"]["classes"] == ["0", "2", "5"]
    assert "Pixels of value 255 have no class" in notes(splits)
    first = masks_of(splits)[0].pixels(["0", "2", "5"])
    assert np.array_equal(first == NONE, classes_at(0, [0, 2, 5, 255]) == 255)
    kept = get(tmp_path / "set", ignore_class=("none",))
    assert kept.facts["read"]["masks"]["classes"] == ["0", "2", "5", "255"]


@pytest.mark.parametrize("values", [[0, 255], [False, True]])
def test_two_values_are_two_classes(values: list[Any], tmp_path: Path) -> None:
    """0 and 255 alone: 255 is a class, and not all of it is ignored."""
    for number in range(3):
        photo(tmp_path / "set" / "images" / f"{number}.jpg", number)
        pixels = classes_at(number, [int(value) for value in values])
        save(tmp_path / "set" / "masks" / f"{number}.png", pixels.astype(bool) if values[1] is True else pixels)
    splits = get(tmp_path / "set")
    assert splits.facts["read"]["masks"]["classes"] == ["black", "white"]
    assert masks_of(splits)[0].areas()["white"] == (classes_at(0, [0, 1]) == 1).sum()


COLOURS = {"Sky": (128, 128, 128), "Road": (128, 64, 128), "Void": (0, 0, 0)}


def colour_masks(root: Path, names: list[str], count: int = 3) -> None:
    for number in range(count):
        photo(root / "images" / f"{number}.jpg", number)
        pixels = np.array([COLOURS[name] for name in names], dtype=np.uint8)[classes_at(number, [*range(len(names))])]
        save(root / "masks" / f"{number}.png", pixels)


TABLES = {
    "class_dict.csv": "name,r,g,b\nRoad,128,64,128\nSky,128,128,128\nTram,1,2,3\nVoid,0,0,0\n",
    "label_colors.txt": "128 64 128\tRoad\n128 128 128\tSky\n1 2 3\tTram\n0 0 0\tVoid\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nRoad:128,64,128::\nSky:128,128,128::\nTram:1,2,3::\nVoid:0,0,0::\n",
}


@pytest.mark.parametrize("table", TABLES)
def test_colours_are_named_by_a_table(table: str, tmp_path: Path) -> None:
    colour_masks(tmp_path / "set", ["Sky", "Road", "Void"])
    (tmp_path / "set" / table).write_text(TABLES[table])
    splits = get(tmp_path / "set")
    told = splits.facts["read"]["masks"]
    assert (told["classes"], told["absent"]) == (["Road", "Sky"], ["Tram"])
    assert "1 class of the table stand in no picture: Tram" in notes(splits)
    assert "Pixels of Void have no class" in notes(splits)
    assert np.array_equal(masks_of(splits)[0].pixels(["Road", "Sky"]) == NONE, classes_at(0, [0, 1, 2]) == 2)


def test_colours_without_a_table_are_called_by_themselves(tmp_path: Path) -> None:
    colour_masks(tmp_path / "set", ["Sky", "Road"])
    splits = get(tmp_path / "set", ignore_class=("#808080",))
    assert splits.facts["read"]["masks"]["classes"] == ["#804080"]
    with pytest.raises(DataError, match=r"--ignore-class #808081: masks have no such class"):
        get(tmp_path / "set", ignore_class=("#808081",))


def test_colours_that_the_table_lacks_are_told_or_refused(tmp_path: Path) -> None:
    colour_masks(tmp_path / "set", ["Sky", "Road", "Void"])
    (tmp_path / "set" / "class_dict.csv").write_text("name,r,g,b\nSky,128,128,128\nTram,1,2,3\n")
    with pytest.raises(DataError, match=r"of the pixels of masks have values that class_dict.csv does not name"):
        get(tmp_path / "set")


def test_values_are_named_by_the_lines_of_a_file(tmp_path: Path) -> None:
    folders(tmp_path / "set", [0, 1, 2, 255])
    (tmp_path / "set" / "classes.txt").write_text("ground\nvoid\ntree\nlake\n")
    splits = get(tmp_path / "set")
    assert splits.facts["read"]["masks"]["classes"] == ["ground", "tree"]
    assert splits.facts["read"]["masks"]["absent"] == ["lake"]


def test_masks_in_jpeg_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        photo(tmp_path / "set" / "images" / f"{number}.jpg", number, (96, 72))
        save(tmp_path / "set" / "masks" / f"{number}.jpg", classes_at(number, [0, 255], (96, 72)))
    with pytest.raises(DataError, match="is a mask saved as JPEG"):
        get(tmp_path / "set")


def test_masks_that_cannot_be_used_are_named_and_their_pictures_have_none(tmp_path: Path) -> None:
    root = tmp_path / "set"
    folders(root, [0, 1, 2], count=8)
    photo(root / "images" / "bare.jpg", 20)
    save(root / "masks" / "1.png", classes_at(1, [0, 1, 2], (48, 36)))
    save(root / "masks" / "5.png", classes_at(1, [0, 1, 2]).T.copy())
    save(root / "masks" / "6.png", np.random.default_rng(0).integers(0, 255, (18, 24, 3), dtype=np.uint8))
    (root / "masks" / "7.png").write_bytes((root / "masks" / "0.png").read_bytes()[:50])
    save(root / "masks" / "alone.png", classes_at(1, [0, 1, 2]))
    splits = get(root)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 5, "unlabelled": 4}
    lost = splits.facts["read"]["masks"]["left_out"]
    assert {reason: one["files"] for reason, one in lost.items()} == {
        "broken": ["masks/7.png"], "many_values": ["masks/6.png"], "other_size": ["masks/5.png"],
    }  # fmt: skip
    assert "1 mask is of another size than its picture" in notes(splits)
    assert any("masks of no picture" in one["why"] and one["count"] == 1 for one in splits.facts["read"]["left_out"])


def test_a_table_may_name_pictures_and_masks(tmp_path: Path) -> None:
    folders(tmp_path / "set", [0, 1], folder="targets")
    lines = [f"images/{number}.jpg,targets/{number}.png" for number in range(3)]
    (tmp_path / "set" / "all.csv").write_text("\n".join(["image,mask", *lines]))
    splits = get(tmp_path / "set" / "all.csv")
    assert splits["train"].column_names[:3] == ["id", "image", "mask"]
    assert splits.facts["read"]["masks"]["classes"] == ["0", "1"]


def test_the_passport_tells_the_shares_of_classes_and_what_is_rare(tmp_path: Path) -> None:
    folders(tmp_path / "set", [0, 1, 2], count=12)
    save(tmp_path / "set" / "masks" / "0.png", classes_at(0, [0, 1, 9]))
    found = passport(load_splits(DataSettings(data=str(tmp_path / "set"))))
    figures = found["splits"]["train"]["answers"]["mask"]
    assert figures["pixels"] == 18 * 24 * figures["rows"]
    assert sum(figures["counts"].values()) == figures["pixels"]
    rare = [one for one in found["findings"] if one["code"] == "rare-class"]
    assert [one["severity"] for one in rare] == ["warning"]
