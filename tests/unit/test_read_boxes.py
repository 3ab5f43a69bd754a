"""Pictures with boxes: the same rows from every format, and what is said of boxes that cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from box_files import NAMES, coco, made_rows, picture, table, voc, write, yolo
from pretune.config import DataSettings
from pretune.data.checks.passport import passport
from pretune.data.load import load_splits
from pretune.data.read import read
from pretune.data.splits import Splits
from pretune.errors import DataError

FORMATS = {"voc": voc, "coco": coco, "yolo": yolo, "table": table}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_CACHE", str(tmp_path / "cache"))


def get(place: Path, **flags: Any) -> Splits:
    return read(DataSettings(data=str(place), **flags))


def boxes_by_name(splits: Splits) -> dict[str, dict[str, set[tuple[Any, ...]]]]:
    return {
        split: {Path(row["id"]).stem: {(box["label"], *box["box"]) for box in row["boxes"]} for row in rows}
        for split, rows in splits.items()
    }


def notes(splits: Splits) -> str:
    return "\n".join(splits.facts["read"]["notes"])


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = made_rows()
    found = boxes_by_name(get(FORMATS[name](tmp_path / name, rows)))
    words = {"train": "train", "val": "validation", "test": "test"}
    expected = {
        words[split]: {key: {(label, *map(float, edges)) for label, *edges in boxes} for key, boxes in pictures.items()}
        for split, pictures in rows.items()
    }
    assert found == expected


@pytest.mark.parametrize("name", FORMATS)
def test_an_archive_is_read_like_its_folder(name: str, tmp_path: Path) -> None:
    import shutil

    folder = FORMATS[name](tmp_path / name, made_rows())
    shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    assert boxes_by_name(get(tmp_path / "packed.zip")) == boxes_by_name(get(folder))


def test_pixels_are_counted_from_one_where_none_is_zero(tmp_path: Path) -> None:
    for number, low in enumerate((1, 5)):
        picture(tmp_path / "v" / f"{number}.png", [])
        write(tmp_path / "v" / f"{number}.xml", _xml(f"<object><name>cell</name>{_bndbox(low, 3, 96, 64)}</object>"))
    splits = get(tmp_path / "v")
    assert [row["boxes"][0]["box"] for row in splits["train"]] == [[0, 2, 96, 64], [4, 2, 96, 64]]
    assert "count pixels from 1" in notes(splits)


def _bndbox(x1: object, y1: object, x2: object, y2: object) -> str:
    return f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"


def _xml(inner: str, size: tuple[object, object] | None = (96, 64)) -> str:
    stated = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation><filename>elsewhere.jpg</filename>{stated}{inner}</annotation>"


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("as_stored", [True, False])
def test_boxes_turn_with_a_picture_that_its_exif_turns(orientation: int, as_stored: bool, tmp_path: Path) -> None:
    """A white block in a black picture: the box that is read lies on it in the upright picture."""
    from pretune.data.media.image import decode_image

    stored = np.zeros((64, 96, 3), dtype=np.uint8)
    stored[10:22, 60:90] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "v").mkdir()
    Image.fromarray(stored).save(tmp_path / "v" / "a.png", exif=exif)
    upright = np.asarray(decode_image({"path": str(tmp_path / "v" / "a.png"), "bytes": None}))[..., 0] > 128
    rows_y, columns_x = np.nonzero(upright)
    shown = (int(columns_x.min()), int(rows_y.min()), int(columns_x.max()) + 1, int(rows_y.max()) + 1)
    swaps = orientation >= 5
    if as_stored and not swaps:
        pytest.skip("no size tells a mirrored picture from one that is not")
    box, size = ((60, 10, 90, 22), (96, 64)) if as_stored else (shown, upright.shape[::-1])
    write(tmp_path / "v" / "a.xml", _xml(f"<object><name>cell</name>{_bndbox(*box)}</object>", size))
    splits = get(tmp_path / "v")
    assert splits["train"][0]["boxes"][0]["box"] == [float(edge) for edge in shown]
    assert ("turned with it" in notes(splits)) == as_stored


CHANGES = {
    "cut": ((-5, 3, 40, 30), [0, 3, 40, 30], "1 box went beyond the picture, and was cut to it"),
    "cut at both ends": ((-5, -5, 500, 500), [0, 0, 96, 64], "went beyond the picture"),
    "outside": ((200, 3, 240, 30), None, "1 box lay wholly outside of the picture, and was left out"),
    "no area": ((10, 10, 10, 30), None, "1 box had no area, and was left out"),
    "reversed": ((40, 30, 10, 5), [10, 5, 40, 30], "1 box had left and right, or top and bottom, in the wrong order"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_boxes_that_cannot_be_are_mended_or_left_out_and_counted(name: str, tmp_path: Path) -> None:
    given, expected, said = CHANGES[name]
    picture(tmp_path / "v" / "a.png", [])
    other = f"<object><name>cell</name>{_bndbox(0, 0, 9, 9)}</object>"
    write(tmp_path / "v" / "a.xml", _xml(f"{other}<object><name>dot</name>{_bndbox(*given)}</object>"))
    splits = get(tmp_path / "v")
    found = [box["box"] for box in splits["train"][0]["boxes"] if box["label"] == "dot"]
    assert found == ([] if expected is None else [expected])
    assert said in notes(splits)
    assert "a.png" in notes(splits)


def test_the_same_box_twice_is_one(tmp_path: Path) -> None:
    picture(tmp_path / "v" / "a.png", [])
    write(tmp_path / "v" / "a.xml", _xml(2 * f"<object><name>dot</name>{_bndbox(0, 0, 9, 9)}</object>"))
    splits = get(tmp_path / "v")
    assert len(splits["train"][0]["boxes"]) == 1
    assert "1 box stood twice in the same picture" in notes(splits)


def test_crowds_and_difficult_objects_are_set_aside(tmp_path: Path) -> None:
    picture(tmp_path / "v" / "a.png", [])
    hard = f"<object><name>dot</name><difficult>1</difficult>{_bndbox(0, 0, 9, 9)}</object>"
    write(tmp_path / "v" / "a.xml", _xml(hard + f"<object><name>dot</name>{_bndbox(20, 20, 30, 30)}</object>"))
    assert [box["aside"] for box in get(tmp_path / "v")["train"][0]["boxes"]] == ["difficult", None]
    folder = coco(tmp_path / "c", made_rows())
    file = folder / "annotations" / "instances_train2017.json"
    whole = json.loads(file.read_text())
    whole["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(whole))
    assert sum(box["aside"] == "crowd" for row in get(folder)["train"] for box in row["boxes"]) == 1


def test_pictures_without_a_file_of_boxes(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "y", made_rows())
    (folder / "labels" / "train" / "train_0.txt").unlink()
    splits = get(folder)
    assert (len(splits["train"]), len(splits["unlabelled"])) == (3, 1)
    assert "--unlabelled-is empty" in notes(splits)
    assert len(get(folder, unlabelled_is="empty")["train"]) == 4


def test_a_picture_in_two_lists_is_of_the_test(tmp_path: Path) -> None:
    folder = voc(tmp_path / "v", made_rows())
    with open(folder / "ImageSets" / "Main" / "train.txt", "a") as file:
        file.write("\ntest_0\nnobody\n")
    splits = get(folder)
    assert "test_0" in {Path(row["id"]).stem for row in splits["test"]}
    assert len(splits["train"]) == 4
    assert "stands in the lists of several splits, such as JPEGImages/test_0.png" in notes(splits)
    assert "nobody" in notes(splits)


def test_the_passport_tells_of_sizes_and_classes(tmp_path: Path) -> None:
    rows = made_rows()
    rows["test"]["test_0"] = [("dot", 3, 3, 20, 20)]
    for split in ("train", "val"):
        rows[split] = {name: [box for box in boxes if box[0] != "dot"] for name, boxes in rows[split].items()}
    found = passport(load_splits(DataSettings(data=str(voc(tmp_path / "v", rows)))))
    figures = found["splits"]["train"]["answers"]["boxes"]
    assert figures["boxes"] == sum(map(len, rows["train"].values()))
    assert figures["without_any"] >= 1
    assert 8 <= figures["side_px"]["low"] <= figures["side_px"]["high"] <= 20
    codes = {one["code"] for one in found["findings"]}
    assert {"unknown-box-class", "rare-box"} <= codes


def test_tables_with_a_column_of_boxes(tmp_path: Path) -> None:
    picture(tmp_path / "t" / "a.png", [])
    picture(tmp_path / "t" / "b.png", [])
    lines = [
        {"image": "a.png", "boxes": [{"label": "cell", "box": [1, 2, 30, 40]}, [5, 6, 20, 21, "dot"]]},
        {"image": "b.png", "boxes": []},
    ]
    write(tmp_path / "t" / "rows.jsonl", "\n".join(map(json.dumps, lines)))
    found = get(tmp_path / "t" / "rows.jsonl", column=("boxes=boxes",))["train"]
    assert [[box["label"] for box in row["boxes"]] for row in found] == [["cell", "dot"], []]
    lines = [{"file_name": "a.png", "objects": {"bbox": [[1, 2, 29, 38]], "categories": ["cell"]}}]
    write(tmp_path / "t" / "rows.jsonl", "\n".join(map(json.dumps, lines)))
    assert get(tmp_path / "t" / "rows.jsonl", column=("boxes=objects",))["train"][0]["boxes"][0]["box"] == [
        1,
        2,
        30,
        40,
    ]


# --- files as they should not be ----------------------------------------------------------------------------------------------


def _voc_file(text: str) -> Callable[[Path], Path]:
    """One good file and this one."""

    def make(folder: Path) -> Path:
        for name in ("a", "b"):
            picture(folder / f"{name}.png", [])
            write(folder / f"{name}.xml", _xml(f"<object><name>dot</name>{_bndbox(0, 0, 9, 9)}</object>"))
        write(folder / "b.xml", text)
        return folder

    return make


def _coco_with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        coco(folder, {"train": made_rows()["train"]})
        file = folder / "annotations" / "instances_train2017.json"
        whole = json.loads(file.read_text())
        changed = change(whole)
        file.write_text(changed if isinstance(changed, str) else json.dumps(whole))
        return folder

    return make


def _yolo_file(text: str, name: str = "labels/train/train_1.txt") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        yolo(folder, {"train": made_rows()["train"]})
        write(folder / name, text)
        return folder

    return make


def _table_of(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        table(folder, {"train": made_rows()["train"]})
        write(folder / "train_labels.csv", text)
        return folder

    return make


_HEAD = "filename,class,xmin,ymin,xmax,ymax\n"
_DOT = f"<object><name>dot</name>{_bndbox(0, 0, 9, 9)}</object>"
COUNTED = {
    "voc cut off": (_voc_file("<annotation><object><name>dot"), "cannot be read"),
    "voc empty": (_voc_file(""), "cannot be read"),
    "voc no bndbox": (_voc_file(_xml("<object><name>dot</name></object>")), "has no bndbox"),
    "voc no name": (_voc_file(_xml(f"<object>{_bndbox(0, 0, 9, 9)}</object>")), "an object has no name"),
    "voc words for numbers": (_voc_file(_xml(f"<object><name>dot</name>{_bndbox('a', 0, 9, 9)}</object>")), "xmin of the object dot is 'a'"),
    "voc a tag is missing": (_voc_file(_xml("<object><name>dot</name><bndbox><xmin>3</xmin></bndbox></object>")), "is None, which is no number"),
    "voc nan": (_voc_file(_xml(f"<object><name>dot</name>{_bndbox('nan', 0, 9, 9)}</object>")), "which is no number"),
    "voc infinity": (_voc_file(_xml(f"<object><name>dot</name>{_bndbox(0, 0, '1e999', 9)}</object>")), "which is no number"),
    "voc entities": (_voc_file('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'), "declares entities"),
    "voc another size": (_voc_file(_xml(_DOT, (50, 50))), "boxes drawn for another size of the picture"),
    "yolo a word": (_yolo_file("0 0.5 0.5 0.1 abc"), "holds what is no number"),
    "yolo no class": (_yolo_file("cell 0.5 0.5 0.1 0.1"), "not with the number of a class"),
    "yolo pixels": (_yolo_file("0 50 30 20 10"), "places are shares of the picture's sides"),
    "yolo below 0": (_yolo_file("0 0.5 0.5 -0.1 0.1"), "a width or height below 0"),
    "yolo three numbers": (_yolo_file("0 0.5 0.5 0.1"), "has 3 numbers behind its class"),
    "yolo five numbers": (_yolo_file("0 0.5 0.5 0.1 0.1 0.9"), "has 5 numbers behind its class"),
    "yolo unknown class": (_yolo_file("9 0.5 0.5 0.1 0.1"), "is of class 9, and 3 are named"),
    "yolo nan": (_yolo_file("0 nan 0.5 0.1 0.1"), "not finite"),
    "coco stray annotation": (_coco_with(lambda w: w["annotations"].append({"image_id": 999, "category_id": 7, "bbox": [0, 0, 3, 3]})), "pictures that the file does not list"),
    "coco a picture that is not there": (_coco_with(lambda w: w["images"].append({"id": 999, "file_name": "gone.png"})), "gone.png"),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_broken_files_of_boxes_are_counted_and_named(name: str, tmp_path: Path) -> None:
    make, said = COUNTED[name]
    splits = get(make(tmp_path / "set"))
    assert said in notes(splits)
    assert len(splits["train"]) >= 1


def _set(place: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole[place][0].__setitem__(key, value)


REFUSED = {
    "coco cut off": (_coco_with(lambda w: json.dumps(w)[:-20]), "is not valid JSON"),
    "coco no categories": (_coco_with(lambda w: w.__setitem__("categories", [])), "has no categories"),
    "coco category without name": (_coco_with(_set("categories", "name", "")), "without id or name"),
    "coco two names of one id": (_coco_with(lambda w: w["categories"].append({"id": 7, "name": "other"})), "gives the category id 7 to"),
    "coco unknown category": (_coco_with(_set("annotations", "category_id", 5)), "is of category 5, which the file does not name"),
    "coco no category": (_coco_with(_set("annotations", "category_id", None)), "is of category None"),
    "coco no bbox": (_coco_with(_set("annotations", "bbox", None)), "has the bbox None"),
    "coco three numbers": (_coco_with(_set("annotations", "bbox", [1, 2, 3])), "has the bbox"),
    "coco words": (_coco_with(_set("annotations", "bbox", ["a", 2, 3, 4])), "has the bbox"),
    "coco nan": (_coco_with(_set("annotations", "bbox", [float("nan"), 2, 3, 4])), "has the bbox"),
    "coco corners": (_coco_with(_set("annotations", "bbox", [5, 5, -3, 4])), "width or height is below 0"),
    "coco id twice": (_coco_with(lambda w: w["images"].append(dict(w["images"][0], file_name="x.png"))), "to two pictures"),
    "coco file twice": (_coco_with(lambda w: w["images"].append(dict(w["images"][0], id=5))), "twice, under two ids"),
    "coco no file name": (_coco_with(_set("images", "file_name", None)), "without id or file_name"),
    "coco annotation is a number": (_coco_with(lambda w: w["annotations"].__setitem__(0, 3)), "is no object"),
    "yolo.yaml is none": (_yolo_file("names: [a, b\n", "data.yaml"), "is no YAML"),
    "yolo nc": (_yolo_file("nc: 5\nnames: [a, b, c]\n", "data.yaml"), "says nc: 5 and names 3"),
    "yolo names twice": (_yolo_file("names: [a, a, c]\n", "data.yaml"), "one of them twice"),
    "yolo names with gaps": (_yolo_file("names: {0: a, 5: b}\n", "data.yaml"), "number them from 0"),
    "table no class": (_table_of(_HEAD + "train_0.png,,0,0,9,9\n"), "a box without a class"),
    "table words": (_table_of(_HEAD + "train_0.png,dot,a,0,9,9\n"), "four numbers are expected"),
    "table an edge is missing": (_table_of(_HEAD + "train_0.png,dot,0,0,,9\n"), "four numbers are expected"),
    "table no picture": (_table_of(_HEAD + ",dot,0,0,9,9\n"), "names no picture"),
    "table unknown split": (_table_of("filename,class,xmin,ymin,xmax,ymax,split\ntrain_0.png,dot,0,0,9,9,elsewhere\n"), "has the split 'elsewhere'"),
    "voc without pictures of these names": (lambda folder: (picture(folder / "z.png", []), write(folder / "a.xml", _xml(_DOT)), folder)[-1], "no picture has the name"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_reader_can_mend_is_refused_and_named(name: str, tmp_path: Path) -> None:
    make, said = REFUSED[name]
    with pytest.raises(DataError, match=said.replace("(", r"\(")):
        get(make(tmp_path / "set"))


def test_most_files_broken_is_an_error(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / "v" / f"{name}.png", [])
        write(tmp_path / "v" / f"{name}.xml", _xml("<object><name>dot</name></object>"))
    with pytest.raises(DataError, match="the boxes of 3 of 3 pictures cannot be used"):
        get(tmp_path / "v")


@pytest.mark.parametrize(
    "cell",
    ["no json", "3", '[{"box": [1, 2, 3, 4]}]', '[[1, 2, 3, "dot"]]', '[{"label": "dot", "box": [1, 2, 3, "x"]}]'],
)
def test_cells_that_are_no_boxes_name_the_row(cell: str, tmp_path: Path) -> None:
    picture(tmp_path / "t" / "a.png", [])
    write(tmp_path / "t" / "rows.jsonl", json.dumps({"image": "a.png", "boxes": cell}) + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl"):
        get(tmp_path / "t" / "rows.jsonl", column=("boxes=boxes",))


def test_real_boxes_of_blood_cells(shared_data: Path) -> None:
    splits = get(shared_data / "vision" / "bccd")
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 205, "validation": 87, "test": 72}
    assert {box["label"] for row in splits["train"] for box in row["boxes"]} == {"RBC", "WBC", "Platelets"}
    assert len(NAMES) == 3
